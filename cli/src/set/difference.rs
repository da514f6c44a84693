//! What a `set` changes, for people to read. Never a value.

use coffer_crds::Connection;
use serde_json::{Map, Value};

/// One line for each field and item that was asked for; for items also what stays.
pub(super) fn lines(
    before: Option<&Connection>,
    fields: &Map<String, Value>,
    items: &Map<String, Value>,
) -> Vec<String> {
    let spec = before.and_then(|before| serde_json::to_value(&before.spec).ok()).unwrap_or_default();
    let stored = before.map(|before| &before.spec.sealed_data);
    let mut lines = Vec::new();
    for (item, value) in items {
        let there = stored.is_some_and(|stored| stored.contains_key(item));
        let what = match (there, value.is_null()) {
            (_, true) => "taken out",
            (true, false) => "new value",
            (false, false) => "added",
        };
        lines.push(format!("item {item}: {what}"));
    }
    if !items.is_empty() {
        let kept =
            stored.into_iter().flat_map(|stored| stored.keys()).filter(|item| !items.contains_key(*item));
        lines.extend(kept.map(|item| format!("item {item}: as it was")));
    }
    for (field, value) in fields {
        let (was, is) = (spec.get(field).map(shown), shown(value));
        match was {
            Some(was) if was == is => lines.push(format!("{field}: {is}, as it was")),
            Some(was) => lines.push(format!("{field}: {was} → {is}")),
            None if before.is_some() => lines.push(format!("{field}: not set → {is}")),
            None => lines.push(format!("{field}: {is}")),
        }
    }
    lines
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(values) if values.is_empty() => String::from("nobody else"),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.contains_key("env") => {
            let variables = value.pointer("/env/variables").and_then(Value::as_object);
            let pairs = variables.into_iter().flatten();
            pairs.map(|(variable, item)| format!("{variable}={}", shown(item))).collect::<Vec<_>>().join(", ")
        }
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn github() -> Connection {
        let object = json!({"metadata": {"name": "github"}, "spec": {"vault": {"name": "team"},
            "members": ["web"], "provider": "github", "sealedData": {"token": "c2VhbGVk", "user": "c2VhbGVk"}}});
        serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"))
    }

    /// T27, C33: setting again replaces, and says what.
    #[test]
    fn a_second_set_shows_what_is_replaced_and_what_stays() {
        let fields = map(json!({"members": ["web", "ci"], "provider": "github", "alias": "gh"}));
        let items = map(json!({"token": "bmV3", "old": null, "more": "bmV3"}));
        let said = lines(Some(&github()), &fields, &items);
        assert_eq!(
            said,
            [
                "item more: added",
                "item old: taken out",
                "item token: new value",
                "item user: as it was",
                "alias: not set → gh",
                "members: web → web, ci",
                "provider: github, as it was",
            ]
        );
        assert!(!said.concat().contains("bmV3"), "never a value, sealed or not");
    }

    #[test]
    fn a_first_set_shows_what_is_made() {
        let said = lines(None, &map(json!({"members": []})), &map(json!({"token": "bmV3"})));
        assert_eq!(said, ["item token: added", "members: nobody else"]);
    }
}
