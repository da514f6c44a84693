//! What somebody gains who can write every object and holds no key: nothing, and it is found out.
//!
//! Sealed values that are copied elsewhere are tried in `writing.rs`, older Envelopes in the broker's and the client's own
//! tests, and an intake key in a Vault's status by a stranger in `guards.rs`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coffer_crds::{
    Connection, Envelope, EnvelopeSpec, Keyring, KeyringSpec, Vault, VaultMember, VaultStatus, conditions,
};
use e2e::broker::{Door, Knock, pod_token};
use e2e::install::{self, NAMESPACE};
use e2e::namespace::Namespace;
use e2e::team::Team;
use e2e::wait;
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::{Value, json};

fn bytes(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap()
}

/// Write an Envelope's spec past the guards, as whoever had stolen the operator's token could.
async fn forge(ns: &Namespace, name: &str, spec: &EnvelopeSpec) -> Result<()> {
    let mut forged = ns.api::<Envelope>().get(name).await?;
    forged.spec = spec.clone();
    let operator = format!("--as=system:serviceaccount:{NAMESPACE}:coffer-operator");
    let replace = ns.kubectl().run(["replace", operator.as_str(), "-f", "-"]);
    replace.input(&serde_json::to_string(&forged)?).ok().await.map(drop)
}

fn flipped(base64: &str, at: usize) -> String {
    let mut altered = bytes(base64);
    altered[at] ^= 1;
    STANDARD.encode(altered)
}

/// Wait until the operator says of a Connection that its Envelope is not one it wrote.
async fn found_out(ns: &Namespace, name: &str) -> Result<()> {
    let api = ns.api::<Connection>();
    wait::object(&api, name, "to be found out", wait::SOON, |found: Option<&Connection>| {
        found.and_then(|found| found.status.as_ref()).is_some_and(|status| {
            status.conditions.iter().any(|condition| {
                condition.type_ == conditions::READY
                    && condition.status == "False"
                    && condition.reason == conditions::reason::ENVELOPE_INVALID
            })
        })
    })
    .await
    .map(drop)
}

/// T2, T22: altered anywhere, or moved from another Connection, an Envelope opens for nobody and nothing is lost.
#[tokio::test]
async fn an_altered_or_spliced_envelope_is_found_out_and_never_released() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "forged", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "the true value")]).await?;
        team.connection("slack", &["web"], &[("token", "another value")]).await?;
        let pod = ns.shell("web", json!({"spec": {"serviceAccountName": "web"}})).await?;
        let token = pod_token(&ns.api(), &pod).await?;
        let door = Door::find(&cluster).await?;
        let account = ns.api::<ServiceAccount>().get("web").await?;
        let envelopes = ns.api::<Envelope>();
        let (truth, slack) = (envelopes.get("github").await?.spec, envelopes.get("slack").await?.spec);

        let altered = |change: &dyn Fn(&mut EnvelopeSpec)| {
            let mut spec = truth.clone();
            change(&mut spec);
            spec
        };
        let forgeries = [
            (
                "an item's ciphertext",
                altered(&|spec| {
                    let item = spec.items.get_mut("token").unwrap();
                    item.ct = flipped(&item.ct, 3);
                }),
            ),
            ("an item of another Connection", altered(&|spec| spec.items.clone_from(&slack.items))),
            ("the commitment", altered(&|spec| spec.commitment = flipped(&spec.commitment, 0))),
            ("the signature", altered(&|spec| spec.signature = flipped(&spec.signature, 10))),
            (
                "every slot",
                altered(&|spec| {
                    for slot in &mut spec.slots {
                        slot.wrap.ct = flipped(&slot.wrap.ct, 7);
                    }
                }),
            ),
            (
                "another Connection's whole Envelope",
                altered(&|spec| {
                    *spec = EnvelopeSpec { connection: spec.connection.clone(), ..slack.clone() };
                }),
            ),
            ("a later version", altered(&|spec| spec.version += 1)),
        ];
        for (what, forgery) in forgeries {
            forge(ns, "github", &forgery).await.with_context(|| what.to_owned())?;
            found_out(ns, "github").await.with_context(|| what.to_owned())?;
            let knock = Knock::new(&pod, &["github"])?;
            let answer = door.ask_as(&token, &knock).await?;
            assert_eq!(answer.status, 503, "{what}: {}", answer.message());
            let told = String::from_utf8_lossy(answer.body()).into_owned();
            assert!(!told.contains("true value") && !told.contains("another value"), "{what}: {told}");
            // Nothing was overwritten: what the thief left stays as evidence, and the truth can be put back.
            let now: Value = serde_json::to_value(envelopes.get("github").await?.spec)?;
            assert_eq!(now, serde_json::to_value(&forgery)?, "{what}");

            let restored = EnvelopeSpec { version: forgery.version.max(truth.version), ..truth.clone() };
            if restored.version != truth.version {
                // CEL lets no version go back: only whoever deletes the Envelope can undo this one.
                continue;
            }
            forge(ns, "github", &truth).await.with_context(|| what.to_owned())?;
            team.ready("github").await.with_context(|| what.to_owned())?;
            let knock = Knock::new(&pod, &["github"])?;
            let released = knock.open(&door.ask_as(&token, &knock).await?, &account)?;
            assert_eq!(released.connections[0].items["token"].expose(), b"the true value", "{what}");
        }
        Ok(())
    })
    .await
}

/// Replace a Keyring's spec past the guards.
async fn forge_keyring(ns: &Namespace, spec: &KeyringSpec) -> Result<()> {
    let mut forged = ns.api::<Keyring>().get("team").await?;
    forged.spec = spec.clone();
    let operator = format!("--as=system:serviceaccount:{NAMESPACE}:coffer-operator");
    let replace = ns.kubectl().run(["replace", operator.as_str(), "-f", "-"]);
    replace.input(&serde_json::to_string(&forged)?).ok().await.map(drop)
}

/// Wait until a Vault says this of itself.
async fn says(ns: &Namespace, status: &str, reason: &str) -> Result<()> {
    let (api, what) = (ns.api::<Vault>(), format!("to say {reason}"));
    wait::object(&api, "team", &what, wait::SOON, |found: Option<&Vault>| {
        found.and_then(|found| found.status.as_ref()).is_some_and(|found| {
            found.conditions.iter().any(|condition| {
                condition.type_ == conditions::READY
                    && condition.status == status
                    && condition.reason == reason
            })
        })
    })
    .await
    .map(drop)
}

/// T2, T22: whoever writes themselves into the register, takes another's place in it, or gives another a key, is no
/// member by it; and while the Keyring is not believed nothing is released by what it says.
#[tokio::test]
async fn a_forged_register_makes_nobody_a_member() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "register", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        ns.service_account("mallory").await?;
        team.connection("github", &["web"], &[("token", "the true value")]).await?;
        team.connection("shared", &["*"], &[("token", "another value")]).await?;
        let truth = ns.api::<Keyring>().get("team").await?.spec;
        let uid = ns.api::<ServiceAccount>().get("mallory").await?.metadata.uid.unwrap();
        let web = truth.members.iter().position(|member| member.name == "web").unwrap();
        let forged = |change: &dyn Fn(&mut KeyringSpec)| {
            let mut spec = truth.clone();
            change(&mut spec);
            spec
        };
        let forgeries = [
            (
                "another subject in a member's place",
                forged(&|spec| {
                    let place = spec.members.iter_mut().find(|member| member.name == "web").unwrap();
                    place.subject = serde_json::from_value(json!({
                        "serviceAccount": {"namespace": ns.name(), "name": "mallory"}
                    }))
                    .unwrap();
                    place.subject_uid = Some(uid.clone());
                }),
            ),
            (
                "one member more",
                forged(&|spec| {
                    let mut more = truth.members[web].clone();
                    (more.name, more.uid) = ("zed".into(), "zed".into());
                    spec.members.push(more);
                }),
            ),
            (
                "a higher role",
                forged(&|spec| {
                    spec.members.iter_mut().for_each(|member| member.role = "owner".into());
                }),
            ),
            (
                "a key of its own for another",
                forged(&|spec| {
                    spec.members
                        .iter_mut()
                        .for_each(|member| member.key_hash = Some(STANDARD.encode([7; 32])));
                }),
            ),
        ];
        let pod = ns.shell("mallory", json!({"spec": {"serviceAccountName": "mallory"}})).await?;
        let token = pod_token(&ns.api(), &pod).await?;
        let door = Door::find(&cluster).await?;
        for (what, forgery) in forgeries {
            forge_keyring(ns, &forgery).await.with_context(|| what.to_owned())?;
            says(ns, "False", conditions::reason::KEYRING_INVALID).await.with_context(|| what.to_owned())?;
            let knock = Knock::new(&pod, &["github", "shared"])?;
            let answer = door.ask_as(&token, &knock).await?;
            let told = String::from_utf8_lossy(answer.body()).into_owned();
            ensure!(answer.status >= 400, "{what}: {told}");
            ensure!(!told.contains("true value") && !told.contains("another value"), "{what}: {told}");
            let left: Value = serde_json::to_value(ns.api::<Keyring>().get("team").await?.spec)?;
            assert_eq!(left, serde_json::to_value(&forgery)?, "{what}: it stays as evidence");
            forge_keyring(ns, &truth).await.with_context(|| what.to_owned())?;
            says(ns, "True", conditions::reason::AVAILABLE).await.with_context(|| what.to_owned())?;
        }
        Ok(())
    })
    .await
}

/// T22: an intake key that the vault's own key did not sign is put right, and nothing that was sealed to it is believed.
#[tokio::test]
async fn a_changed_intake_key_is_put_right() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "intake", &[], async |ns| {
        let team = Team::make(ns).await?;
        let truth = ns.api::<Vault>().get("team").await?.status.unwrap().intake_key.unwrap();
        let mut key = bytes(&truth.public_key);
        key[5] ^= 1;
        let path = format!("/registry/coffer.dev/vaults/{}/team", ns.name());
        let stored = cluster.etcd().dump().await?.into_iter().find(|stored| stored.key == path);
        let mut forged: Value = serde_json::from_slice(&stored.context("the Vault is in etcd")?.value)?;
        forged["status"]["intakeKey"]["publicKey"] = json!(STANDARD.encode(key));
        cluster.etcd().put(&path, &serde_json::to_vec(&forged)?).await?;
        wait::object(&ns.api::<Vault>(), "team", "to be put right", wait::SOON, |found: Option<&Vault>| {
            let status: Option<&VaultStatus> = found.and_then(|found| found.status.as_ref());
            status.and_then(|status| status.intake_key.as_ref()) == Some(&truth)
        })
        .await?;
        team.connection("github", &["*"], &[("token", "value")]).await.map(drop)
    })
    .await
}

/// T2, T26: whoever takes the name of a member that went has nothing that was for the one before, until somebody lists it.
#[tokio::test]
async fn the_name_of_a_member_that_went_opens_nothing() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "name", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "value")]).await?;
        ns.service_account("other").await?;
        ns.kubectl().run(["delete", "vaultmember", "web"]).ok().await?;
        wait::absent(&ns.api::<VaultMember>(), "web", wait::SOON).await?;
        team.invite("web", "member", json!({"serviceAccount": {"name": "other"}})).await?;
        team.active("web").await?;
        let pod = ns.shell("other", json!({"spec": {"serviceAccountName": "other"}})).await?;
        let token = pod_token(&ns.api(), &pod).await?;
        let door = Door::find(&cluster).await?;
        let ask = async |knock: &Knock| door.ask_as(&token, knock).await;
        let refused = ask(&Knock::new(&pod, &["github"])?).await?;
        assert_eq!(refused.status, 403, "{}", refused.message());
        // Taken out and listed again it is meant.
        for members in [json!([]), json!(["web"])] {
            let patch = json!({"spec": {"members": members}}).to_string();
            ns.kubectl()
                .run(["patch", "connection", "github", "--type=merge", "-p"])
                .arg(&patch)
                .ok()
                .await?;
            team.ready("github").await?;
        }
        let account = ns.api::<ServiceAccount>().get("other").await?;
        let knock = Knock::new(&pod, &["github"])?;
        let released = knock.open(&ask(&knock).await?, &account)?;
        assert_eq!(released.connections[0].items["token"].expose(), b"value");
        Ok(())
    })
    .await
}
