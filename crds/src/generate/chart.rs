//! A CRD as a Helm template.

use serde_json::{Value, json};

const HEADER: &str = "\
{{- /* Generated from crds/ by `make generate`; do not edit. */ -}}
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: ";

const METADATA: &str = "
  annotations:
    helm.sh/resource-policy: keep
  labels:
    {{- include \"coffer.labels\" . | nindent 4 }}
";

/// The CRD as a template of the chart: upgraded by `helm upgrade`, kept by `helm uninstall`.
pub fn chart_template(crd: &Value) -> String {
    let name = crd.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let body = serde_saphyr::to_string(&json!({ "spec": crd["spec"] })).expect("JSON is YAML");
    format!("{HEADER}{name}{METADATA}{}\n", escape(body.trim_end()))
}

/// What Helm would take for its own, such as `{{secure.ALIAS}}` in a description.
fn escape(yaml: &str) -> String {
    yaml.replace("{{", "{{ `{{` }}")
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn braces_of_ours_are_not_helms() {
        assert_eq!(escape("a {{secure.X}} b"), "a {{ `{{` }}secure.X}} b");
    }
}
