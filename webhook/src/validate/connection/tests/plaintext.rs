//! No value in any answer, whatever is sent.

use super::*;

/// Everything that can be said about a request: patch, warnings or refusal.
fn everything_said(decision: Result<Admitted, Refusal>) -> String {
    use base64::Engine as _;
    let body = answer("u", decision);
    let patch = serde_json::from_slice::<Value>(&body).ok().and_then(|answer| {
        let patch = answer["response"]["patch"].as_str()?.to_owned();
        base64::engine::general_purpose::STANDARD.decode(patch).ok()
    });
    String::from_utf8_lossy(&[body, patch.unwrap_or_default()].concat()).into_owned()
}

/// Values that cannot come about by chance, with characters that JSON escapes around them.
fn plaintext() -> impl Strategy<Value = String> {
    ("[ -~]{0,8}", "[a-zA-Z0-9]{16}", "[\n\"\\\\ü]{0,3}")
        .prop_map(|(before, marker, after)| format!("{before}{marker}{after}"))
}

fn marker(value: &str) -> Vec<String> {
    value
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| part.len() >= 16)
        .map(str::to_owned)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// T35: whatever is written and however it is refused, no answer holds a value; what is stored opens.
    #[test]
    fn no_answer_holds_plaintext_and_what_is_stored_opens(
        values in proptest::collection::btree_map("[a-z][a-z0-9._-]{0,12}", plaintext(), 1..4),
        by in proptest::sample::select(vec!["alice", "bob", "mallory", "system:serviceaccount:a:web"]),
        spoil in 0..6_u8,
        with_annotation in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let world = World::new();
        let mut string_data: Map<String, Value> =
            values.iter().map(|(item, value)| (item.clone(), json!(value))).collect();
        let any_value = values.values().next().expect("at least one").clone();
        let mut spec = json!({"vault": {"name": "team"}});
        match spoil {
            0 => { string_data.insert("nested".into(), json!({"deep": [any_value]})); }
            1 => { string_data.insert("large".into(), json!(any_value.repeat(5_000))); }
            2 => spec["sealedData"] = json!({"mine": any_value}),
            3 => spec["type"] = json!(any_value),
            _ => {}
        }
        spec["stringData"] = string_data.into();
        let mut object = manifest(spec.clone());
        if with_annotation {
            object["metadata"]["annotations"] = json!({LAST_APPLIED: json!({"spec": spec}).to_string()});
        }
        let request = request("CREATE", by, object.clone(), Value::Null);
        let decision = runtime.block_on(admit(request, &world.directory, &circumstances(), &mut rng()));
        if let Ok(admitted) = &decision {
            let stored = patched(&object, &admitted.patch);
            prop_assert_eq!(stored["spec"].get("stringData"), None);
            for (item, value) in &values {
                prop_assert_eq!(world.custodian.open(&stored, item), Some(value.clone()));
                for part in marker(value) {
                    prop_assert!(!stored.to_string().contains(&part), "stored");
                }
            }
        } else {
            prop_assert!(spoil < 4 || by == "mallory" || by.contains("serviceaccount"));
        }
        let said = everything_said(decision);
        for part in values.values().flat_map(|value| marker(value)) {
            prop_assert!(!said.contains(&part), "said: {}", said);
        }
    }

    /// T44: objects of any shape are refused or admitted, without a panic.
    #[test]
    fn no_shape_of_an_object_makes_a_panic(
        spec in any_json(), annotations in any_json(), fields in any_json(), update in any::<bool>()
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let world = World::new();
        let object = json!({"metadata": {"name": "c", "namespace": "a", "annotations": annotations, "managedFields": fields}, "spec": spec});
        let old = if update { json!({"metadata": {"name": "c", "managedFields": fields}, "spec": annotations}) } else { Value::Null };
        let mut review = review(if update { "UPDATE" } else { "CREATE" }, "alice", object.clone(), old);
        review["request"]["namespace"] = "a".into();
        let bytes = serde_json::to_vec(&review).expect("JSON encodes");
        let request = crate::review::parse(&bytes).expect("a review");
        if let Ok(admitted) = runtime.block_on(admit(request, &world.directory, &circumstances(), &mut rng())) {
            patched(&object, &admitted.patch);
        }
    }
}

/// Names that the program looks at, at any place and depth.
fn any_json() -> impl Strategy<Value = Value> {
    let names = proptest::sample::select(vec![
        "stringData",
        "sealedData",
        "vault",
        "name",
        "owner",
        "lastWriter",
        "members",
        "alias",
        "fieldsV1",
        "manager",
        "operation",
        "f:spec",
        "f:stringData",
        LAST_APPLIED,
        "coffer.dev/applied-items",
        "ttl",
        "a",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,6}".prop_map(Value::from),
        Just(json!("team")),
        Just(json!("{\"spec\":{\"stringData\":{\"a\":1}}}")),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((names.clone(), inner), 0..4).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}
