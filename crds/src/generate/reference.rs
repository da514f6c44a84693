//! The API reference: every field, condition, reason, annotation and label.

use crate::annotations;
use crate::conditions::{self, Documented};
use serde_json::Value;
use std::fmt::Write as _;

const OPENING: &str = "\
<!-- Generated from crds/ by `make generate`; do not edit. -->
# API reference

Group `coffer.dev`, version `v1alpha1`. All kinds are namespaced and in the category `coffer` (`kubectl get coffer`).
Fields marked *stamped* are written by the webhook from the request's authenticated identity; what a client writes there
is replaced.

";

/// The whole page.
pub fn api_reference(crds: &[Value]) -> String {
    let mut page = OPENING.to_owned();
    page.push_str("| kind | plural | short | what it is |\n| --- | --- | --- | --- |\n");
    for crd in crds {
        let names = &crd["spec"]["names"];
        let schema = root(crd);
        let kind = text(&names["kind"]);
        let _ = writeln!(
            page,
            "| [{kind}](#{}) | `{}` | {} | {} |",
            kind.to_lowercase(),
            text(&names["plural"]),
            strings(&names["shortNames"]),
            cell(text(&schema["description"])),
        );
    }
    for crd in crds {
        kind(&mut page, crd);
    }
    closing(&mut page);
    page
}

fn kind(page: &mut String, crd: &Value) {
    let schema = root(crd);
    let _ =
        write!(page, "\n## {}\n\n{}\n\n", text(&crd["spec"]["names"]["kind"]), text(&schema["description"]));
    for part in ["spec", "status"] {
        let fields = &schema["properties"][part];
        if fields.is_null() {
            continue;
        }
        page.push_str("| field | type | meaning |\n| --- | --- | --- |\n");
        walk(page, part, fields);
        page.push('\n');
    }
    let mut rules = Vec::new();
    collect_rules(schema, "", &mut rules);
    if !rules.is_empty() {
        page.push_str("Refused by the API server, with these words:\n\n");
        for (path, message) in rules {
            let path = if path.is_empty() { String::new() } else { format!("`{path}`: ") };
            let _ = writeln!(page, "* {path}{message}");
        }
    }
}

/// Conditions are the same everywhere and documented once.
fn is_condition_field(path: &str) -> bool {
    path.ends_with(".conditions")
}

fn walk(page: &mut String, path: &str, schema: &Value) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().map(text).collect();
    let union = schema["oneOf"].is_array();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let must = if required.contains(&name.as_str()) {
            ", required"
        } else if union {
            ", one of"
        } else {
            ""
        };
        let _ = writeln!(
            page,
            "| `{path}` | {}{must}{} | {} |",
            type_of(field),
            limits(field),
            cell(text(&field["description"]))
        );
        if is_condition_field(&path) {
            continue;
        }
        walk(page, &path, field);
        walk(page, &format!("{path}[]"), &field["items"]);
        walk(page, &format!("{path}.*"), &field["additionalProperties"]);
    }
}

fn type_of(field: &Value) -> String {
    if let Some(words) = field["enum"].as_array() {
        let words: Vec<_> = words.iter().filter(|w| !w.is_null()).map(|w| format!("`{}`", text(w))).collect();
        return words.join(" ");
    }
    match text(&field["type"]) {
        "array" => format!("list of {}", type_of(&field["items"])),
        "object" if field["additionalProperties"].is_object() => {
            format!("map of {}", type_of(&field["additionalProperties"]))
        }
        "string" if field["format"] == "date-time" => "time".to_owned(),
        "" => "any".to_owned(),
        other => other.to_owned(),
    }
}

fn limits(field: &Value) -> String {
    let mut out = String::new();
    if !field["default"].is_null() {
        let _ = write!(out, ", default `{}`", field["default"].to_string().replace('"', ""));
    }
    let places = [("", field), (" each", &field["items"]), (" each", &field["additionalProperties"])];
    for (each, schema) in places {
        for (keyword, word) in [
            ("minItems", "at least"),
            ("maxItems", "at most"),
            ("maxProperties", "at most"),
            ("minimum", "≥"),
            ("maximum", "≤"),
        ] {
            // `0` is what every unsigned number says of itself.
            if let Some(limit) = schema[keyword].as_f64().filter(|l| *l > 0.0) {
                let _ = write!(out, ", {word} {limit}{each}");
            }
        }
        if let Some(longest) = schema["maxLength"].as_u64() {
            let _ = write!(out, ", ≤ {longest} characters{each}");
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            let _ = write!(out, ", `{}`{each}", pattern.replace('|', "\\|"));
        }
    }
    out
}

fn collect_rules(schema: &Value, path: &str, rules: &mut Vec<(String, String)>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let path = format!("{path}{}", text(&rule["fieldPath"]));
        rules.push((path.trim_start_matches('.').to_owned(), text(&rule["message"]).to_owned()));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        collect_rules(field, &format!("{path}.{name}"), rules);
    }
    if schema["items"].is_object() {
        collect_rules(&schema["items"], &format!("{path}[]"), rules);
    }
    if schema["additionalProperties"].is_object() {
        collect_rules(&schema["additionalProperties"], &format!("{path}.*"), rules);
    }
}

fn closing(page: &mut String) {
    page.push_str("\n## Conditions\n\n");
    table(page, "condition", "of", conditions::TYPES);
    page.push_str("\n### Reasons\n\n");
    table(page, "reason", "of", conditions::reason::ALL);
    page.push_str("\n## Annotations and labels\n\n| key | on | meaning |\n| --- | --- | --- |\n");
    for key in annotations::ALL {
        let _ = writeln!(page, "| `{}` | {} | {} |", key.name, key.on, cell(key.meaning));
    }
}

fn table(page: &mut String, first: &str, second: &str, rows: &[Documented]) {
    let _ = writeln!(page, "| {first} | {second} | meaning |\n| --- | --- | --- |");
    for row in rows {
        let _ = writeln!(page, "| `{}` | {} | {} |", row.name, row.on, cell(row.meaning));
    }
}

fn root(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn strings(value: &Value) -> String {
    let all: Vec<_> = value.as_array().into_iter().flatten().map(|v| format!("`{}`", text(v))).collect();
    all.join(", ")
}

/// One line, and no column of its own.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
