//! What the installation itself needs: certificates and trust, the custodian root, the guards.

use super::*;

/// Where cert-manager makes the certificates, the operator has no rule on them.
#[tokio::test(start_paused = true)]
async fn certificates_that_somebody_else_makes_are_left_alone_and_all_else_is_done() {
    let api = Api::new();
    let operator = Operator::start_with(&api, "operator-0", &["--certificates", "external"]);
    until("the custodian root", || api.get("secrets", "coffer-system", "coffer-custodian").is_some()).await;
    let untrusted = operator.readiness.report();
    assert!(untrusted.contains("[-]webhooks-trusted"), "{untrusted}");
    let theirs = json!("dGhlaXJz");
    let configurations = [(MUTATING, "coffer"), (MUTATING, "coffer-pods"), (VALIDATING, "coffer")];
    for (plural, name) in configurations {
        api.edit(plural, "", name, |found| found["webhooks"][0]["clientConfig"]["caBundle"] = theirs.clone());
    }
    until("readiness", || operator.readiness.is_ready()).await;
    for secret in ["coffer-ca", "coffer-webhook-tls", "coffer-broker-tls"] {
        assert!(api.get("secrets", "coffer-system", secret).is_none(), "{secret}");
    }
    for (plural, name) in configurations {
        let untouched = api.get(plural, "", name).unwrap();
        assert_eq!(untouched["webhooks"][0]["clientConfig"]["caBundle"], theirs);
    }
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn certificates_and_trust_come_up_without_any_vault_and_are_put_right() {
    let api = Api::new();
    let began = Instant::now();
    let operator = Operator::start(&api, "operator-0");
    // The pods' configuration comes later.
    let pods = api.remove(MUTATING, "", "coffer-pods");
    let bundle = |plural: &str, name: &str| {
        api.get(plural, "", name)
            .map(|found| found["webhooks"][0]["clientConfig"]["caBundle"].clone())
            .unwrap_or_default()
    };
    let expected = || {
        let map = api.get("configmaps", "coffer-system", "coffer-ca").unwrap_or_default();
        map["data"]["ca.crt"].as_str().map(|pem| json!(STANDARD.encode(pem)))
    };
    let trusted =
        |plural: &str, name: &str| expected().is_some_and(|expected| bundle(plural, name) == expected);
    until("trust", || trusted(MUTATING, "coffer") && trusted(VALIDATING, "coffer")).await;
    until("certificates", || {
        ["coffer-webhook-tls", "coffer-broker-tls"]
            .iter()
            .all(|name| api.get("secrets", "coffer-system", name).is_some())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let secret = api.get("secrets", "coffer-system", "coffer-broker-tls").unwrap();
    assert_eq!(secret["type"], "kubernetes.io/tls");

    assert!(!operator.readiness.is_ready());
    // And somebody empties the other one.
    api.put(MUTATING, pods);
    api.edit(MUTATING, "", "coffer", |found| {
        found["webhooks"][0]["clientConfig"]["caBundle"] = json!("AAAA");
    });
    until("trust again", || trusted(MUTATING, "coffer") && trusted(MUTATING, "coffer-pods")).await;
    until("readiness", || operator.readiness.is_ready()).await;
    let before = api.get("secrets", "coffer-system", "coffer-webhook-tls");
    api.remove("secrets", "coffer-system", "coffer-broker-tls");
    until("the certificate again", || api.get("secrets", "coffer-system", "coffer-broker-tls").is_some())
        .await;
    assert_eq!(api.get("secrets", "coffer-system", "coffer-webhook-tls"), before);
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_custodian_root_that_is_gone_is_said_to_be_gone_never_replaced_and_welcome_back() {
    for name in ["coffer-root", "coffer-custodian", "coffer-brokered"] {
        let api = Api::new();
        let operator = Operator::start(&api, "operator-0");
        quickstart(&api).await;
        all_ready(&api).await;
        let secret = api.get("secrets", "coffer-system", name).unwrap();
        // To the custodian's a generation can be added.
        let is_fixed = name != "coffer-custodian";
        assert_eq!(secret["immutable"] == true, is_fixed);
        api.remove("secrets", "coffer-system", name);
        until("the condition", || reason(&api, "vaults", "main") == "CustodianUnavailable").await;
        assert!(!operator.readiness.is_ready());
        assert!(operator.metrics.encode().unwrap().contains("coffer_operator_custodian_available 0"));
        api.take_writes();
        // What is applied meanwhile waits.
        api.edit("connections", "team-a", "github", |connection| connection["spec"]["members"] = json!([]));
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(api.get("secrets", "coffer-system", name).is_none(), "{name} was made anew");
        assert_eq!(api.take_writes(), Vec::<String>::new());
        assert_eq!(slots(&api), ["custodian", "alice", "web"]);

        api.put("secrets", secret);
        until("recovery", || is_ready(&api, "vaults", "main")).await;
        until("what waited", || slots(&api) == ["custodian", "alice"]).await;
        assert!(operator.readiness.is_ready());
        operator.stop().await;
    }
}

/// What the Secret of the custodian root holds.
fn roots(api: &Api) -> Vec<String> {
    let secret = api.get("secrets", "coffer-system", "coffer-custodian").unwrap();
    secret["data"].as_object().unwrap().keys().cloned().collect()
}

/// Everything of the quickstart is sealed under a root, in one epoch, and says so.
async fn under_root(api: &Api, root: i64) {
    until("the turn-over to end", || {
        let keyring = api.get("keyrings", "team-a", "main").unwrap()["spec"].clone();
        let vault = api.get("vaults", "team-a", "main").unwrap()["status"].clone();
        let connection = api.get("connections", "team-a", "github").unwrap()["status"].clone();
        keyring["rootGeneration"] == root
            && keyring["epochs"].as_array().is_some_and(|epochs| epochs.len() == 1)
            && vault["rotation"].is_null()
            && vault["keyEpoch"] == keyring["current"]
            && connection["keyEpoch"] == keyring["current"]
            && vault["sealedToOlderRoots"] == i64::from(root > 1)
    })
    .await;
    let envelope = api.get("envelopes", "team-a", "github").unwrap();
    assert_eq!(envelope["spec"]["slots"][0]["wrap"]["kid"], format!("custodian/{root}"));
}

/// A vault under root 2, whose Connection is sealed to root 1.
async fn turned_over(api: &Api) {
    let operator = Operator::start(api, "operator-0");
    quickstart(api).await;
    all_ready(api).await;
    operator.stop().await;
    let operator = Operator::start_with(api, "operator-0", &["--root-generation", "2"]);
    under_root(api, 2).await;
    operator.stop().await;
}

/// C25, T40.
#[tokio::test(start_paused = true)]
async fn a_newer_root_is_made_beside_the_older_ones_once_and_no_lower_number_takes_it_back() {
    let api = Api::new();
    turned_over(&api).await;
    assert_eq!(roots(&api), ["generation-1", "generation-2"]);
    let secret = api.get("secrets", "coffer-system", "coffer-custodian").unwrap();
    api.take_writes();
    for more in [["--root-generation", "2"], ["--root-generation", "1"]] {
        // Another replica opens it all.
        let operator = Operator::start_with(&api, "operator-1", &more);
        until("a look at everything", || {
            operator.reconciles("Vault", "Unchanged") > 0
                && operator.reconciles("Connection", "Unchanged") > 0
        })
        .await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(api.take_writes(), Vec::<String>::new(), "{more:?}");
        let metrics = operator.metrics.encode().unwrap();
        assert!(metrics.contains("coffer_operator_root_generation 2"), "{metrics}");
        for needed in ["1\",kind=\"Connection\"} 1", "1\",kind=\"Keyring\"} 0", "2\",kind=\"Envelope\"} 1"] {
            let line = format!("coffer_operator_root_needed_by{{generation=\"{needed}");
            assert!(metrics.contains(&line), "{line}: {metrics}");
        }
        operator.stop().await;
    }
    // Numbers may be left out. What was there stays byte for byte.
    let operator = Operator::start_with(&api, "operator-0", &["--root-generation", "7"]);
    under_root(&api, 7).await;
    let after = api.get("secrets", "coffer-system", "coffer-custodian").unwrap();
    assert_eq!(roots(&api), ["generation-1", "generation-2", "generation-7"]);
    for generation in roots(&api).iter().take(2) {
        assert_eq!(after["data"][generation], secret["data"][generation]);
    }
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_root_that_is_gone_from_the_secret_is_missed_and_none_takes_its_number() {
    let api = Api::new();
    turned_over(&api).await;
    let whole = api.get("secrets", "coffer-system", "coffer-custodian").unwrap();
    let set = |data: Value| {
        api.edit("secrets", "coffer-system", "coffer-custodian", |secret| secret["data"] = data);
    };
    let operator = Operator::start_with(&api, "operator-0", &["--root-generation", "2"]);
    until("everything", || is_ready(&api, "vaults", "main")).await;
    set(json!({"generation-1": whole["data"]["generation-1"]}));
    until("the condition", || reason(&api, "vaults", "main") == "KeyringInvalid").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(roots(&api), ["generation-1"]);
    set(whole["data"].clone());
    until("recovery", || is_ready(&api, "vaults", "main")).await;
    // The older one is not needed for what was sealed since.
    set(json!({"generation-2": whole["data"]["generation-2"]}));
    api.edit("connections", "team-a", "github", |connection| connection["spec"]["members"] = json!([]));
    until("a change", || slots(&api) == ["custodian", "alice"]).await;
    assert!(is_ready(&api, "vaults", "main"));
    operator.stop().await;
}

/// One that an earlier version made: all goes on, and nothing is added.
#[tokio::test(start_paused = true)]
async fn an_immutable_secret_is_left_as_it_is_and_opens() {
    let api = Api::new();
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    operator.stop().await;
    api.edit("secrets", "coffer-system", "coffer-custodian", |secret| secret["immutable"] = json!(true));
    let operator = Operator::start_with(&api, "operator-0", &["--root-generation", "2"]);
    api.edit("connections", "team-a", "github", |connection| connection["spec"]["members"] = json!([]));
    until("a change", || slots(&api) == ["custodian", "alice"]).await;
    assert_eq!(roots(&api), ["generation-1"]);
    assert!(operator.readiness.is_ready(), "{}", operator.readiness.report());
    operator.stop().await;
}

fn condition(api: &Api, plural: &str, name: &str, type_: &str) -> (String, String) {
    let object = api.get(plural, "team-a", name).unwrap();
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == type_).cloned().unwrap_or_default();
    let text = |field: &str| String::from(found[field].as_str().unwrap_or_default());
    (text("reason"), text("message"))
}

#[tokio::test(start_paused = true)]
async fn without_a_guard_nothing_is_applied_until_it_is_back() {
    for plural in [POLICIES, BINDINGS] {
        let api = Api::new();
        let operator = Operator::start(&api, "operator-0");
        quickstart(&api).await;
        all_ready(&api).await;
        let guarded = || condition(&api, "vaults", "main", "Guarded");
        until("the guards", || guarded().0 == "AsShipped").await;

        let gone = api.remove(plural, "", "coffer-authors");
        // Written at once: neither applied before the condition is told nor after.
        api.edit("connections", "team-a", "github", |connection| connection["spec"]["members"] = json!([]));
        until("the condition", || guarded().0 == "GuardMissing").await;
        assert!(guarded().1.contains("'coffer-authors' is missing"), "{}", guarded().1);
        until("the Connection that waits", || reason(&api, "connections", "github") == "GuardMissing").await;
        assert!(is_ready(&api, "vaults", "main"), "what was applied before is in effect");
        assert!(operator.metrics.encode().unwrap().contains("coffer_operator_guards_as_shipped 0"));
        api.take_writes();
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(api.take_writes(), Vec::<String>::new());
        assert_eq!(slots(&api), ["custodian", "alice", "web"]);

        api.put(plural, gone);
        until("what waited", || slots(&api) == ["custodian", "alice"]).await;
        until("the Connection", || is_ready(&api, "connections", "github")).await;
        until("the guards", || guarded().0 == "AsShipped").await;
        assert!(operator.metrics.encode().unwrap().contains("coffer_operator_guards_as_shipped 1"));
        operator.stop().await;
    }
}

/// An upgrade that changes a policy replaces one object after the other.
#[tokio::test(start_paused = true)]
async fn a_guard_that_is_away_for_a_moment_is_doubted_and_not_told() {
    let api = Api::new();
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    let before = api.get("vaults", "team-a", "main").unwrap();
    let gone = api.remove(POLICIES, "", "coffer-authors");
    tokio::time::sleep(Duration::from_secs(2)).await;
    api.edit("connections", "team-a", "github", |connection| connection["spec"]["members"] = json!([]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(slots(&api), ["custodian", "alice", "web"], "in doubt nothing is applied");
    api.put(POLICIES, gone);
    until("what waited", || slots(&api) == ["custodian", "alice"]).await;
    assert_eq!(
        api.get("vaults", "team-a", "main").unwrap()["status"]["conditions"],
        before["status"]["conditions"]
    );
    operator.stop().await;
}
