//! The vault that the chart installs.

use coffer_operator::default_vault::{Made, make, read};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn manifest() -> Value {
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "Vault",
        "metadata": {"name": "default", "namespace": "coffer-vaults",
            "annotations": {"coffer.dev/is-default-vault": "true"}},
        "spec": {"owners": [{"user": {"name": "alice"}}], "sharing": "Owner", "access": {"namespaces": "All"}},
    })
}

/// C2: making it again changes nothing, whatever its owners made of it since.
#[tokio::test(start_paused = true)]
async fn a_vault_is_made_once_and_then_belongs_to_its_owners() {
    let api = Api::new();
    let vault = read(&manifest().to_string()).unwrap();
    assert_eq!(make(api.client(), &vault, PATIENCE).await.unwrap(), Made::Now);
    let stored = api.get("vaults", "coffer-vaults", "default").unwrap();
    for field in ["owners", "sharing", "access"] {
        assert_eq!(stored["spec"][field], manifest()["spec"][field], "{field}");
    }
    assert_eq!(stored["metadata"]["annotations"]["coffer.dev/is-default-vault"], "true");
    assert_eq!(api.take_writes(), ["POST namespaces//coffer-vaults", "POST vaults/coffer-vaults/default"]);

    api.edit("vaults", "coffer-vaults", "default", |vault| {
        vault["spec"]["owners"] = json!([{"user": {"name": "bob"}}]);
        vault["metadata"]["annotations"] = json!({});
    });
    assert_eq!(make(api.client(), &vault, PATIENCE).await.unwrap(), Made::Before);
    assert_eq!(api.take_writes(), Vec::<String>::new());
}

/// In the first seconds of an installation no webhook answers; and an answer may be lost on its way.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_for_now_is_asked_again_until_patience_ends() {
    let api = Api::new();
    api.fail_every(2);
    let vault = read(&manifest().to_string()).unwrap();
    make(api.client(), &vault, PATIENCE).await.unwrap();
    assert!(api.get("vaults", "coffer-vaults", "default").is_some());

    let api = Api::new();
    api.put("namespaces", json!({"metadata": {"name": "coffer-vaults"}}));
    // Each write fails; the second one took effect all the same.
    api.fail_every(1);
    assert_eq!(make(api.client(), &vault, PATIENCE).await.unwrap(), Made::Before);
    assert!(api.get("vaults", "coffer-vaults", "default").is_some());

    let api = Api::new();
    api.put("namespaces", json!({"metadata": {"name": "coffer-vaults"}}));
    api.fail_every(1);
    let began = Instant::now();
    let error = make(api.client(), &vault, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "make Vault 'coffer-vaults/default'");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// C2: the webhook's refusal of a second default vault is a 409, as is that of an object which is there.
#[tokio::test(start_paused = true)]
async fn another_default_vault_in_the_way_is_not_taken_for_this_one() {
    let service = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
        let is_vault = request.uri().path().contains("/vaults");
        let (code, body) = match (request.method() == http::Method::GET, is_vault) {
            (true, true) => (
                404,
                json!({"kind": "Status", "status": "Failure", "code": 404, "message": "no", "reason": "NotFound"}),
            ),
            (true, false) => (200, json!({"metadata": {"name": "coffer-vaults"}})),
            (false, _) => (
                409,
                json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict",
                "message": "Vault 'x/everyones' is the cluster's default already"}),
            ),
        };
        let response = http::Response::builder()
            .status(code)
            .body(kube::client::Body::from(body.to_string().into_bytes()));
        Ok::<_, std::convert::Infallible>(response.unwrap())
    });
    let vault = read(&manifest().to_string()).unwrap();
    let error = make(kube::Client::new(service, "default"), &vault, PATIENCE).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("is the cluster's default already"), "{cause}");
}

#[test]
fn a_manifest_without_name_namespace_or_owners_is_refused_with_the_field() {
    for (pointer, empty, field) in [
        ("/metadata/name", json!(""), "metadata.name"),
        ("/metadata/namespace", Value::Null, "metadata.namespace"),
        ("/spec/owners", json!([]), "spec.owners"),
        ("/spec/owners", json!([{"robot": {}}]), "robot"),
    ] {
        let mut manifest = manifest();
        *manifest.pointer_mut(pointer).unwrap() = empty;
        let text = read(&manifest.to_string()).unwrap_err();
        assert!(text.contains(field), "{text}");
    }
}
