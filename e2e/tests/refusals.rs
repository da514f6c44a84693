//! Bad input, as the person reads it who made the mistake: each text names the field, the problem and what is accepted.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::{Connection, Envelope, conditions};
use e2e::install;
use e2e::namespace::{Namespace, shell_pod};
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

/// In every manifest here; it must be in no answer.
const SECRET: &str = "value-never-told";

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A Connection of vault `team` with one value, changed by `more`.
fn connection(name: &str, more: Value) -> Value {
    let mut spec = json!({"vault": {"name": "team"}, "stringData": {"token": SECRET}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object("Connection", name, spec)
}

fn member(more: Value) -> Value {
    let mut spec = json!({"vault": "team", "role": "member", "subject": {"user": {"name": "carol"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object("VaultMember", "carol", spec)
}

/// Apply each, and compare what kubectl says.
async fn refused_with(ns: &Namespace, cases: Vec<(Value, &str)>) -> Result<()> {
    for (manifest, expected) in cases {
        let said =
            ns.kubectl().apply_refused(&manifest.to_string()).await.with_context(|| expected.to_owned())?;
        ensure!(said.contains(expected), "expected: {expected}\nsaid: {said}");
        ensure!(!said.contains(SECRET), "tells the value: {said}");
    }
    Ok(())
}

const DURATION: &str =
    "must be a whole number above 0 and h, d, w or m (m is 30 days), such as 24h, 90d, 12w or 6m";

/// C17, C18, C19, T31, T35.
#[tokio::test]
async fn a_mistake_in_any_field_is_told_with_the_accepted_form() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "mistakes", &[], async |ns| {
        Team::make(ns).await?;
        let duration = |field: &str| format!("spec.{field}: {DURATION}");
        let items: serde_json::Map<_, _> = (0..65).map(|n| (format!("i{n}"), json!(SECRET))).collect();
        refused_with(
            ns,
            vec![
                (connection("c", json!({"provder": "github"})), "unknown field \"spec.provder\""),
                (
                    connection("c", json!({"vault": {"name": "tema"}})),
                    &format!("spec.vault: there is no Vault 'tema' in namespace '{}'", ns.name()),
                ),
                (connection("c", json!({"type": "apikey"})), "spec.type: must be one of opaque, api-key, "),
                (connection("c", json!({"ttl": "-90d"})), &duration("ttl")),
                (connection("c", json!({"alias": "a.b"})), "spec.alias: must be 1 to 64 letters, digits, '_' or '-'"),
                (connection("c", json!({"members": "web"})), "spec.members: must be a list, not a string"),
                (connection("c", json!({"members": ["Web"]})), "spec.members[0]: must be the name of a VaultMember"),
                (connection("c", json!({"members": ["*", "web"]})), "spec.members: is either [\"*\"], every member"),
                (connection("c", json!({"members": vec!["m"; 257]})), "spec.members: lists 257 entries; at most 256"),
                (
                    connection("c", json!({"ttl": "1d", "expiresAt": "2036-01-01T00:00:00Z"})),
                    "set expiresAt or ttl, not both",
                ),
                (connection("c", json!({"stringData": items})), "spec.stringData: holds 65 items; a Connection has at most 64"),
                (
                    connection("c", json!({"stringData": {"token": SECRET.repeat(5000)}})),
                    "spec.stringData.token: is 79 KiB long; an item holds at most 64 KiB",
                ),
                (
                    connection("c", json!({"stringData": {"a/b": SECRET}})),
                    "spec.stringData.a/b: an item's name has 1 to 253 letters, digits, '.', '_' or '-'",
                ),
                (
                    connection("c", json!({"sealedData": {"other": SECRET}})),
                    "spec.sealedData.other: is not standard base64; put plain values into spec.stringData",
                ),
                (connection("Git_Hub", json!({})), "metadata.name: Invalid value: \"Git_Hub\""),
                (object("Vault", "v", json!({"sharing": "all"})), "spec.sharing: must be one of All, Owner"),
                (object("Vault", "v", json!({"memberTTL": "90"})), &duration("memberTTL")),
                (object("Vault", "v", json!({"rotation": {"interval": "1y"}})), &duration("rotation.interval")),
                (
                    object("Vault", "v", json!({"access": {"namespaces": "same"}})),
                    "spec.access.namespaces: not understood: write Same, All, or {selector: {matchLabels: {…}}}",
                ),
                (
                    object("Vault", "v", json!({"owners": [{"usr": {"name": "alice"}}]})),
                    "unknown field \"spec.owners[0].usr\"",
                ),
                (
                    object("Vault", "v", json!({"roles": [{"name": "ci", "verbs": ["Use"]}]})),
                    "spec.roles[0].verbs[0]: must be one of list, use, read, write, share, invite, audit, rotate",
                ),
                (
                    object("Vault", "v", json!({"roles": [{"name": "ci", "verbs": ["use"], "connections": ["GH_*"]}]})),
                    "spec.roles[0].connections[0]: must be 1 to 63 lower-case letters, digits, '-' or '*'",
                ),
                (
                    object("Vault", "v", json!({"roles": [{"name": "ci", "verbs": ["use"], "rateLimit": "30/1m"}]})),
                    "spec.roles[0].rateLimit: must be requests per seconds as N/Ws, such as 30/60s",
                ),
                (
                    object("Vault", "v", json!({"roles": [{"name": "admin", "verbs": ["use"]}]})),
                    "spec.roles[0].name: 'admin' is built in and cannot be changed: choose another name",
                ),
                (member(json!({"vault": "tema"})), "spec.vault: there is no Vault 'tema' in namespace"),
                (member(json!({"role": "boss"})), "spec.role: vault 'team' has no role 'boss'. It has: owner, admin, member"),
                (member(json!({"subject": {}})), "spec.subject: must be exactly one of serviceAccount, user, group, external"),
                (member(json!({"inviteTTL": "2days"})), &duration("inviteTTL")),
                (member(json!({"expiresAt": "tomorrow"})), "spec.expiresAt: must be a time such as 2026-01-31T00:00:00Z"),
                (member(json!({"suspended": "yes"})), "spec.suspended: must be true or false, not a string"),
            ],
        )
        .await
    })
    .await
}

/// T28, C14: a vault of another namespace: what it does not admit, and what a stranger is told.
#[tokio::test]
async fn a_vault_of_another_namespace_says_no_more_than_it_must() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "elsewhere", &[], async |home| {
        Team::with_spec(home, "team", json!({"owners": [{"user": {"name": "alice"}}]})).await?;
        Namespace::lend(&cluster, "guest", &[], async |guest| {
            for user in ["alice", "mallory"] {
                let binding = format!("--user={user}");
                guest.kubectl().run(["create", "rolebinding", user, "--clusterrole=edit", &binding]).ok().await?;
            }
            let alice = guest.member("alice", &[]).await?;
            let mallory = guest.member("mallory", &[]).await?;
            let to = |vault: &str| {
                connection("c", json!({"vault": {"name": vault, "namespace": home.name()}})).to_string()
            };
            let said = alice.apply_refused(&to("team")).await?;
            let expected = format!(
                "spec.vault: Vault '{0}/team' takes no Connections of namespace '{1}': its spec.access.namespaces does not hold it",
                home.name(),
                guest.name()
            );
            ensure!(said.contains(&expected), "{said}");
            let (there, absent) = (mallory.apply_refused(&to("team")).await?, mallory.apply_refused(&to("gone")).await?);
            ensure!(there.replace("'team'", "'gone'") == absent, "{there}\n{absent}");
            ensure!(there.contains("that 'mallory' is a member of"), "{there}");
            Ok(())
        })
        .await
    })
    .await
}

/// C8, C12, C34, T28: what a pod asks for and may not have, in words, before anything runs.
#[tokio::test]
async fn a_pod_that_asks_for_what_it_cannot_have_is_told_at_once() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "pods", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.workload("intern").await?;
        ns.service_account("stranger").await?;
        team.connection("github", &["web"], &[("token", SECRET)]).await?;
        team.connection("slack", &["web"], &[("token", SECRET)]).await?;

        let asks = |account: &str, words: &str| shell_pod("p", asking(account, words));
        let with = |mut pod: Value, pointer: &str, value: Value| {
            *pod.pointer_mut(pointer).unwrap() = value;
            pod
        };
        let revoke = with(
            asks("web", "github"),
            "/metadata/annotations",
            json!({"coffer.dev/connections": "github", "coffer.dev/on-revoke": "remove"}),
        );
        let mut taken = asks("web", "github");
        taken["spec"]["volumes"] = json!([{"name": "coffer", "emptyDir": {}}]);
        refused_with(
            ns,
            vec![
                (asks("intern", "github"), "Credential 'github' is not accessible to member 'intern'. Allowed: web"),
                (asks("web", "githbu"), "Credential 'githbu' not found"),
                (asks("stranger", "github"), "Credential 'github' not found"),
                (
                    asks("web", "github;slack"),
                    "metadata.annotations[coffer.dev/connections]: 'github;slack' names no credential: write aliases or namespace/name, separated by commas, such as github, team-a/slack",
                ),
                (revoke, "metadata.annotations[coffer.dev/on-revoke]: must be Keep or Remove"),
                (
                    taken,
                    "spec.volumes[0].name: the name 'coffer' is taken by a volume that is not of driver csi.coffer.dev: rename it",
                ),
            ],
        )
        .await?;

        // Two of one alias: refused for one owner, and told to a pod that is in scope of both.
        let twice = connection("second", json!({"alias": "github"}));
        let said = ns.kubectl().apply_refused(&twice.to_string()).await?;
        ensure!(said.contains(&format!("spec.alias: Connection '{}/github' of the same owner is 'github' already", ns.name())), "{said}");
        Ok(())
    })
    .await
}

fn condition<'a>(connection: &'a Connection, kind: &str) -> Option<&'a Condition> {
    connection.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)
}

/// Wait until a condition says this.
async fn says(ns: &Namespace, name: &str, kind: &str, reason: &str, words: &str) -> Result<Connection> {
    let what = format!("{kind}={reason}: {words}");
    wait::object(&ns.api::<Connection>(), name, &what, wait::SOON, |found: Option<&Connection>| {
        found.and_then(|found| condition(found, kind)).is_some_and(|condition| {
            condition.status == "False" && condition.reason == reason && condition.message.contains(words)
        })
    })
    .await
}

/// T2, T22: what only the operator can find out stands in a condition, and what was good before stays.
#[tokio::test]
async fn what_shows_only_later_stands_in_a_condition() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "conditions", &[], async |ns| {
        let team = Team::make(ns).await?;

        let later = connection("scoped", json!({"members": ["later"]}));
        let said = ns.kubectl().run(["apply", "-f", "-"]).input(&later.to_string()).said().await?;
        let warning = format!(
            "Warning: spec.members: 'later' is no member of vault '{}/team' yet, and gains nothing before it is",
            ns.name()
        );
        ensure!(said.ok && said.err.contains(&warning), "{said:?}");
        says(ns, "scoped", conditions::SCOPE_RESOLVED, conditions::reason::UNKNOWN_MEMBER, "later").await?;

        let good = team.connection("github", &[], &[("token", SECRET)]).await?;
        let sealed = STANDARD.decode(&good.spec.sealed_data["token"])?;
        let update = |bytes: &[u8]| {
            let spec = json!({"vault": {"name": "team"}, "members": [], "sealedData": {"token": STANDARD.encode(bytes)}});
            object("Connection", "github", spec).to_string()
        };
        // Cut off in its frame: no sealed input at all, and refused at once.
        for length in [0, 3, 40] {
            let said = ns.kubectl().apply_refused(&update(&sealed[..length])).await?;
            ensure!(said.contains("spec.sealedData.token: is not sealed input: "), "{length}: {said}");
        }
        // One bit in the ciphertext: only whoever can open it can tell.
        let mut flipped = sealed.clone();
        *flipped.last_mut().unwrap() ^= 1;
        ns.kubectl().apply(&update(&flipped)).await?;
        let words = "spec.sealedData[token] does not open: it was sealed for another vault, namespace, name, owner";
        let kept =
            says(ns, "github", conditions::READY, conditions::reason::SEALED_DATA_UNREADABLE, words).await?;
        ensure!(kept.status.as_ref().and_then(|status| status.version) == Some(1), "{:?}", kept.status);
        ns.kubectl().apply(&update(&sealed)).await?;
        team.ready("github").await?;

        // Copied to another name, and to the same name in another vault: it opens for neither.
        ns.kubectl().run(["delete", "connection", "github"]).ok().await?;
        wait::absent(&ns.api::<Envelope>(), "github", wait::SOON).await?;
        Team::with_spec(ns, "other", json!({})).await?;
        for (name, vault) in [("copied", "team"), ("github", "other")] {
            let copy = json!({"vault": {"name": vault}, "sealedData": {"token": STANDARD.encode(&sealed)}});
            ns.kubectl().apply(&object("Connection", name, copy).to_string()).await?;
            let told =
                says(ns, name, conditions::READY, conditions::reason::SEALED_DATA_UNREADABLE, words).await?;
            ensure!(told.status.as_ref().and_then(|status| status.version).is_none(), "{:?}", told.status);
        }
        Ok(())
    })
    .await
}
