//! A vault that comes back from a backup.

use super::*;

const MEMBERS: [&str; 3] = ["alice", "intern", "web"];

/// What a backup tool writes back of an object.
fn afresh(saved: &Value) -> Value {
    let mut object = saved.clone();
    let (name, namespace) = (saved["metadata"]["name"].clone(), saved["metadata"]["namespace"].clone());
    object["metadata"] = json!({"name": name, "namespace": namespace});
    object.as_object_mut().unwrap().remove("status");
    for author in ["lastWriter", "invitedBy"] {
        if saved["spec"][author].is_object() {
            object["spec"][author] = json!({"username": "velero"});
        }
    }
    object
}

fn registered(api: &Api) -> Vec<String> {
    let keyring = api.get("keyrings", "team-a", "main").unwrap();
    let members = keyring["spec"]["members"].as_array().unwrap().iter();
    members.map(|member| String::from(member["name"].as_str().unwrap())).collect()
}

/// C16, ADR 26: a watch that lags shows nobody of those who came back; they are members all the same.
#[tokio::test(start_paused = true)]
async fn nobody_who_came_back_is_removed_because_a_watch_has_not_shown_them() {
    let api = Api::new();
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    let saved = |plural: &str, name: &str| afresh(&api.get(plural, "team-a", name).unwrap());
    let (keyring, envelope) = (saved("keyrings", "main"), saved("envelopes", "github"));
    let (vault, connection) = (saved("vaults", "main"), saved("connections", "github"));
    let members = MEMBERS.map(|name| saved("vaultmembers", name));
    let gone = api.remove("vaults", "team-a", "main");
    api.remove("connections", "team-a", "github");
    for name in ["web", "intern"] {
        api.remove("vaultmembers", "team-a", name);
    }
    assert!(api.all("keyrings").is_empty() && api.all("vaultmembers").is_empty());
    // Everybody has seen that.
    tokio::time::sleep(Duration::from_secs(1)).await;

    api.hold_back(Some("vaultmembers"));
    api.put("keyrings", keyring);
    api.put("envelopes", envelope);
    members.into_iter().for_each(|member| api.put("vaultmembers", member));
    let mut vault = vault;
    vault["metadata"]["annotations"] = json!({"coffer.dev/restore": gone["metadata"]["uid"]});
    api.put("vaults", vault);
    api.put("connections", connection);
    let uid = api.get("vaults", "team-a", "main").unwrap()["metadata"]["uid"].clone();
    until("the adoption", || api.get("keyrings", "team-a", "main").unwrap()["spec"]["vaultUID"] == uid).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(registered(&api), MEMBERS);
    api.hold_back(None);
    all_ready(&api).await;
    assert_eq!(registered(&api), MEMBERS);
    let envelope = api.get("envelopes", "team-a", "github").unwrap();
    let connection = api.get("connections", "team-a", "github").unwrap();
    assert_eq!(envelope["spec"]["connection"]["uid"], connection["metadata"]["uid"]);
    assert!(envelope["spec"]["advised"].is_null(), "nobody lost anything");
    operator.stop().await;
}
