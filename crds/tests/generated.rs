//! What is generated from the types: fresh, documented, and frozen where clients depend on it. No network.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use coffer_crds::generate::{chart_template, crds, files};
use serde_json::{Value, json};
use std::path::Path;

/// `make generate && git diff --exit-code`, without git.
#[test]
fn committed_files_are_what_the_types_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (path, text) in files() {
        let committed = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
        assert!(committed == text, "{path} is stale: run `make generate`");
    }
}

/// Group, version, kind, plural and short names are what scripts, manifests and RBAC rules are written against.
#[test]
fn names_are_frozen() {
    let names: Vec<String> = crds()
        .iter()
        .map(|crd| {
            let spec = &crd["spec"];
            assert_eq!(spec["versions"].as_array().map(Vec::len), Some(1));
            assert_eq!(spec["scope"], "Namespaced");
            assert_eq!(spec["names"]["categories"], json!(["coffer"]));
            let status = spec["versions"][0].pointer("/subresources/status").is_some();
            format!(
                "{}/{} {} {} {} {}",
                spec["group"].as_str().unwrap(),
                spec["versions"][0]["name"].as_str().unwrap(),
                spec["names"]["kind"].as_str().unwrap(),
                spec["names"]["plural"].as_str().unwrap(),
                spec["names"]["shortNames"][0].as_str().unwrap(),
                if status { "status" } else { "data" },
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            "coffer.dev/v1alpha1 Vault vaults vlt status",
            "coffer.dev/v1alpha1 VaultMember vaultmembers vmem status",
            "coffer.dev/v1alpha1 Connection connections conn status",
            "coffer.dev/v1alpha1 AccessToken accesstokens ctok status",
            "coffer.dev/v1alpha1 Keyring keyrings kring data",
            "coffer.dev/v1alpha1 Envelope envelopes envl data",
            "coffer.dev/v1alpha1 Release releases crel status",
            "coffer.dev/v1alpha1 AuditQuery auditqueries aq status",
        ]
    );
}

/// The CRD is a public document.
#[test]
fn every_field_is_documented() {
    for crd in crds() {
        let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        each_property(root, "", &mut |path, schema| {
            let top = path == ".metadata";
            assert!(top || schema["description"].is_string(), "{} {path}", crd["spec"]["names"]["kind"]);
        });
    }
}

/// Server-side apply has to know how two writers' lists merge.
#[test]
fn every_list_says_how_it_merges_and_conditions_merge_by_type() {
    for crd in crds() {
        let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let kind = &crd["spec"]["names"]["kind"];
        each_property(root, "", &mut |path, schema| {
            // An Envelope's scope is a variant of a union, where a structural schema takes no extension; atomic is the default.
            if schema["type"] != "array" || path.ends_with(".members.listed") || path.contains(".conditions.")
            {
                return;
            }
            let merge = &schema["x-kubernetes-list-type"];
            assert!(merge.is_string(), "{kind} {path}");
            if path.ends_with(".conditions") {
                assert_eq!(merge, "map", "{kind} {path}");
                assert_eq!(schema["x-kubernetes-list-map-keys"], json!(["type"]), "{kind} {path}");
            }
        });
    }
}

/// The API server warns of formats that it does not know, at every apply.
#[test]
fn no_schema_has_a_format_that_kubernetes_does_not_know() {
    for crd in crds() {
        let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        each_property(root, "", &mut |path, schema| {
            let format = schema["format"].as_str().unwrap_or("int64");
            assert!(["int32", "int64", "date-time"].contains(&format), "{path} {format}");
        });
    }
}

/// T35: what offends a pattern is echoed into error texts and the audit log, so plaintext written into the wrong field
/// must never meet one.
#[test]
fn no_pattern_looks_at_values_of_credentials() {
    let crd = crds().into_iter().find(|c| c["spec"]["names"]["kind"] == "Connection").unwrap();
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
    let plain = &spec["stringData"];
    assert_eq!(plain["type"], "object");
    assert_eq!(plain["x-kubernetes-preserve-unknown-fields"], true);
    for keyword in ["properties", "additionalProperties", "x-kubernetes-validations", "maxProperties"] {
        assert!(plain[keyword].is_null(), "stringData has {keyword}");
    }
    let sealed = &spec["sealedData"]["additionalProperties"];
    assert!(sealed["pattern"].is_null() && sealed["x-kubernetes-validations"].is_null());
}

/// The template, with Helm's parts filled in, is the CRD again.
#[test]
fn a_chart_template_renders_to_the_definition() {
    for crd in crds() {
        let template = chart_template(&crd);
        assert!(template.contains("helm.sh/resource-policy: keep"));
        let rendered: String = template
            .lines()
            .filter(|line| !line.starts_with("{{- /*"))
            .map(|line| match line.contains("include \"coffer.labels\"") {
                true => "    app: coffer\n".to_owned(),
                false => format!("{}\n", line.replace("{{ `{{` }}", "{{")),
            })
            .collect();
        let parsed: Value = serde_saphyr::from_str(&rendered).unwrap();
        assert_eq!(parsed["spec"], crd["spec"]);
        assert_eq!(parsed["metadata"]["name"], crd["metadata"]["name"]);
    }
}

fn each_property(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, field);
        each_property(field, &path, visit);
        each_property(&field["items"], &path, visit);
        each_property(&field["additionalProperties"], &path, visit);
    }
}
