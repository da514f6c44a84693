//! Whether a spec has the form that its schema asks for, and in plain words what would.
//!
//! The API server checks the same schema, but after the admission webhooks, with regular expressions for words, and
//! quoting what was written. Here the first misfit is named with its field and the accepted form, and never quoted.

use crate::limits::{self, is_alias, is_label};
use crate::{RateLimit, duration, rate_limit};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The first place where a value has not the form that its schema asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Path of the field, such as `spec.roles[0].verbs[1]`.
    pub field: String,
    /// What is wrong, and what would be right. Never the value itself.
    pub problem: String,
}

/// One pattern of the schemas.
struct Form {
    pattern: &'static str,
    accepts: fn(&str) -> bool,
    problem: &'static str,
}

/// Every pattern that a field written by users may have.
const FORMS: [Form; 8] = [
    Form {
        pattern: limits::LABEL_PATTERN,
        accepts: is_label,
        problem: "must be a name of 1 to 63 lower-case letters, digits or '-' that begins and ends with a letter or digit",
    },
    Form {
        pattern: limits::SCOPE_PATTERN,
        accepts: |text| text == "*" || is_label(text),
        problem: "must be the name of a VaultMember (1 to 63 lower-case letters, digits or '-'), or '*' alone",
    },
    Form {
        pattern: limits::GLOB_PATTERN,
        accepts: limits::is_glob,
        problem: "must be 1 to 63 lower-case letters, digits, '-' or '*' (any run of characters), such as gh-*",
    },
    Form {
        pattern: limits::ALIAS_PATTERN,
        accepts: is_alias,
        problem: "must be 1 to 64 letters, digits, '_' or '-'",
    },
    Form {
        pattern: limits::ITEM_PATTERN,
        accepts: |text| text == "." || text == ".." || limits::is_item_key(text),
        problem: "must be the key of an item: 1 to 253 letters, digits, '.', '_' or '-'",
    },
    Form {
        pattern: limits::SHA256_HEX_PATTERN,
        accepts: |text| {
            text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        },
        problem: "must be a SHA-256 hash: 64 lower-case hexadecimal digits",
    },
    Form {
        pattern: duration::PATTERN,
        accepts: |text| duration::parse(text).is_ok(),
        problem: "must be a whole number above 0 and h, d, w or m (m is 30 days), such as 24h, 90d, 12w or 6m",
    },
    Form {
        pattern: rate_limit::PATTERN,
        accepts: |text| text.parse::<RateLimit>().is_ok(),
        problem: "must be requests per seconds as N/Ws, such as 30/60s",
    },
];

/// The first misfit of `value`, which stands at `field`, against an OpenAPI schema of ours. What is as it was in `old`
/// is not looked at, as the API server itself does.
pub fn misfit(schema: &Value, field: &str, value: &Value, old: Option<&Value>) -> Option<Misfit> {
    let nullable = schema.get("nullable").and_then(Value::as_bool) == Some(true);
    if old == Some(value) || (value.is_null() && nullable) {
        return None;
    }
    let found = match (schema.get("type").and_then(Value::as_str), value) {
        (Some("object"), Value::Object(fields)) => return of_object(schema, field, fields, old),
        (Some("array"), Value::Array(entries)) => return of_list(schema, field, entries, old),
        (Some("string"), Value::String(text)) => of_text(schema, text),
        (Some("boolean"), Value::Bool(_)) | (None, _) => None,
        (Some(_), Value::Null) => Some("must not be null: leave it out".to_owned()),
        (Some("integer" | "number"), Value::Number(number)) => of_number(schema, number.as_f64()),
        (Some(wanted), found) => Some(format!("must be {}, not {}", kind(wanted), kind_of(found))),
    };
    found.map(|problem| Misfit { field: field.to_owned(), problem })
}

fn of_object(
    schema: &Value,
    field: &str,
    fields: &Map<String, Value>,
    old: Option<&Value>,
) -> Option<Misfit> {
    let here = |problem| Some(Misfit { field: field.to_owned(), problem });
    if let Some(most) = limit(schema, "maxProperties").filter(|most| fields.len() > *most) {
        return here(format!("holds {} entries; at most {most}", fields.len()));
    }
    let is_set = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let names: Vec<&str> = choices.iter().flat_map(required).collect();
        if names.iter().filter(|name| is_set(name)).count() != 1 {
            return here(format!("must be exactly one of {}", names.join(", ")));
        }
    }
    if let Some(missing) = required(schema).find(|name| !is_set(name)) {
        return Some(Misfit { field: format!("{field}.{missing}"), problem: "is missing".to_owned() });
    }
    let properties = schema.get("properties");
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    fields.iter().find_map(|(name, value)| {
        let schema = properties.and_then(|known| known.get(name)).or(others)?;
        misfit(schema, &format!("{field}.{}", shown(name)), value, old.and_then(|old| old.get(name)))
    })
}

fn of_list(schema: &Value, field: &str, entries: &[Value], old: Option<&Value>) -> Option<Misfit> {
    let here = |problem| Some(Misfit { field: field.to_owned(), problem });
    if let Some(most) = limit(schema, "maxItems").filter(|most| entries.len() > *most) {
        return here(format!("lists {} entries; at most {most}", entries.len()));
    }
    if let Some(least) = limit(schema, "minItems").filter(|least| entries.len() < *least) {
        return here(format!("must list at least {least}"));
    }
    let schema = schema.get("items")?;
    entries.iter().enumerate().find_map(|(index, entry)| {
        misfit(schema, &format!("{field}[{index}]"), entry, old.and_then(|old| old.get(index)))
    })
}

fn of_text(schema: &Value, text: &str) -> Option<String> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return (!words.contains(&text)).then(|| format!("must be one of {}", words.join(", ")));
    }
    let form = schema.get("pattern").and_then(|pattern| FORMS.iter().find(|form| form.pattern == pattern));
    if let Some(form) = form.filter(|form| !(form.accepts)(text)) {
        return Some(form.problem.to_owned());
    }
    if schema.get("format").and_then(Value::as_str) == Some("date-time") && text.parse::<Timestamp>().is_err()
    {
        return Some("must be a time such as 2026-01-31T00:00:00Z".to_owned());
    }
    let length = text.chars().count();
    if let Some(most) = limit(schema, "maxLength").filter(|most| length > *most) {
        return Some(format!("is {length} characters long; at most {most}"));
    }
    match limit(schema, "minLength").filter(|least| length < *least) {
        Some(_) if length == 0 => Some("must not be empty".to_owned()),
        Some(least) => Some(format!("is {length} characters long; at least {least}")),
        None => None,
    }
}

fn of_number(schema: &Value, number: Option<f64>) -> Option<String> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let (least, most) = (bound("minimum"), bound("maximum"));
    let number = number?;
    let whole = schema.get("type").and_then(Value::as_str) != Some("integer") || number.fract() == 0.0;
    if whole && least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most) {
        return None;
    }
    Some(match (least, most) {
        (Some(least), Some(most)) => format!("must be a whole number from {least} to {most}"),
        (Some(least), None) => format!("must be a whole number, at least {least}"),
        (None, Some(most)) => format!("must be a whole number, at most {most}"),
        (None, None) => "must be a whole number".to_owned(),
    })
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema.get(name).and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok())
}

/// A name that a user chose, so that a text stays one short line.
fn shown(name: &str) -> String {
    name.escape_debug().take(80).collect()
}

fn kind(wanted: &str) -> &'static str {
    match wanted {
        "object" => "an object",
        "array" => "a list",
        "string" => "a string",
        "boolean" => "true or false",
        _ => "a number",
    }
}

fn kind_of(found: &Value) -> &'static str {
    match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
