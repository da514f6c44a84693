//! People read credentials by Release objects, with what any `kubectl` can do.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stdout, reason = "what is measured here is told and no verdict")]

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coffer_broker_api::people::{Answer, Delivered, Denied};
use coffer_crds::{Release, RequestPhase, Vault, VaultMember};
use coffer_envelope::subject_ref;
use coffer_keys::VaultId;
use coffer_keys::acceptance::Acceptance;
use coffer_keys::member_key::{MemberKeyKind, MemberSecretKey};
use coffer_keys::signature::VaultPublicKey;
use e2e::fault;
use e2e::install::{self, NAMESPACE};
use e2e::namespace::Namespace;
use e2e::people::{Person, record, value, wanting};
use e2e::team::Team;
use e2e::users::User;
use e2e::wait;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// alice owns the vault; bob is a member without a key.
async fn team(ns: &Namespace) -> Result<Team<'_>> {
    let team = Team::with_spec(ns, "team", json!({"owners": [{"user": {"name": "alice"}}]})).await?;
    team.active("alice").await?;
    let alice = ns.member("alice", &[]).await?;
    alice.apply(&team.manifest("github", &["*"], &[("token", "ghp_value")]).to_string()).await?;
    team.ready("github").await?;
    invite(ns, "bob").await?;
    accept(ns, "bob", json!({})).await?;
    Ok(team)
}

/// One more member, of a name that no other test uses: requesters are paced by name, whatever the namespace.
async fn member_of_its_own(ns: &Namespace, name: &str) -> Result<Person> {
    invite(ns, name).await?;
    accept(ns, name, json!({})).await?;
    Person::new(ns, name, &[]).await
}

/// Invite somebody, and let them accept.
async fn invite(ns: &Namespace, name: &str) -> Result<VaultMember> {
    let alice = ns.member("alice", &[]).await?;
    let member = json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember", "metadata": {"name": name},
        "spec": {"vault": "team", "role": "member", "subject": {"user": {"name": name}}},
    });
    alice.apply(&member.to_string()).await?;
    let binding = ["create", "rolebinding", &format!("{name}-invited"), "--clusterrole=edit"];
    ns.kubectl().run(binding).arg(format!("--user={name}")).ok().await?;
    Ok(ns.api::<VaultMember>().get(name).await?)
}

async fn accept(ns: &Namespace, name: &str, acceptance: Value) -> Result<()> {
    let subject = ns.member(name, &[]).await?;
    let accept = json!({"spec": {"acceptance": acceptance}}).to_string();
    subject.run(["patch", "vaultmember", name, "--type", "merge", "-p", &accept]).ok().await?;
    Team::existing(ns).active(name).await
}

/// What an Ed25519 key signs to accept an invite.
fn signed(invite: &VaultMember, vault_id: &str, key: &MemberSecretKey) -> Result<Value> {
    let acceptance = Acceptance {
        vault_id: VaultId::parse(vault_id)?,
        namespace: &invite.namespace().context("it has a namespace")?,
        name: &invite.name_any(),
        uid: &invite.uid().context("it has a uid")?,
        subject: subject_ref(&invite.spec.subject)?,
        public_key: key.public(),
    };
    let public_key = format!("ed25519:{}", STANDARD.encode(key.public().as_bytes()));
    Ok(json!({"publicKey": public_key, "proof": acceptance.sign(key)?}))
}

fn denied(answer: Answer) -> Result<Denied> {
    answer.granted().err().context("it was granted")
}

/// C9, C10, C14: a certificate, `kubectl create -f`, `get` and `delete` are enough for a member; who is none learns nothing.
#[tokio::test]
async fn a_member_reads_with_kubectl_alone_and_a_stranger_is_told_what_everybody_is() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "release", &[], async |ns| {
        team(ns).await?;
        let bob = ns.kubectl_as("bob", &[])?;
        let pending = wanting(ns, "team", "github");
        let manifest = serde_json::to_string(&pending.object())?;
        bob.run(["create", "-f", "-"]).input(&manifest).ok().await?;
        let stored: Release = wait::until("an answer", wait::SOON, async || {
            let said = bob.run(["get", "release", pending.name(), "-o", "json"]).ok().await?;
            let release: Release = serde_json::from_str(&said)?;
            let phase = release.status.as_ref().and_then(|status| status.phase);
            Ok((phase == Some(RequestPhase::Answered)).then_some(release))
        })
        .await?;
        assert_eq!(value(pending.open(&stored)?, "token")?, "ghp_value");
        let table = bob.run(["get", "release", pending.name()]).ok().await?;
        assert!(table.contains("Answered") && table.contains("bob"), "{table}");
        bob.run(["delete", "release", pending.name()]).ok().await?;
        let record = record(&cluster, &stored.uid().unwrap()).await?;
        assert_eq!((&record["door"], &record["actor"]["name"]), (&json!("request"), &json!("bob")));
        assert_eq!((&record["verb"], &record["impersonationPossible"]), (&json!("read"), &json!(null)));
        // Nobody looks through others' requests.
        for verb in ["list", "watch", "update", "patch"] {
            let said = bob.run(["auth", "can-i", verb, "releases.coffer.dev"]).said().await?;
            assert_eq!(said.out.trim(), "no", "{verb}");
        }

        // mallory may send requests here, and is no member.
        ns.kubectl().run(["create", "rolebinding", "m", "--clusterrole=edit", "--user=mallory"]).ok().await?;
        let mallory = Person::new(ns, "mallory", &[]).await?;
        let member = Person::new(ns, "bob", &[]).await?;
        let none = denied(member.ask(&wanting(ns, "team", "nothing")).await?.0)?;
        assert_eq!((none.code, none.message.as_str()), (404, "Credential 'nothing' not found"));
        wait::until("mallory's rights", wait::SOON, async || {
            let said = ns.kubectl_as("mallory", &[])?.run(["auth", "can-i", "create", "releases.coffer.dev"]);
            Ok((said.said().await?.out.trim() == "yes").then_some(()))
        })
        .await?;
        for vault in ["team", "elsewhere"] {
            let denied = denied(mallory.ask(&wanting(ns, vault, "github")).await?.0)?;
            assert_eq!(
                (denied.code, denied.message.as_str()),
                (404, "Credential 'github' not found"),
                "{vault}"
            );
        }
        Ok(())
    })
    .await
}

/// C40: the guide's commands, as written but for the names of namespace and vault.
#[tokio::test]
async fn every_command_of_the_guide_works_for_a_member() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "guide", &[], async |ns| {
        team(ns).await?;
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let guide = fs::read_to_string(checkout.join("docs/guides/releases.md"))?;
        let blocks = guide.split("```console\n").skip(1).filter_map(|after| after.split("```").next());
        let script: String = blocks.collect();
        ensure!(script.contains("kubectl create -f release.json"), "the guide's commands: {script}");
        let script = script.replace("new team-a main", &format!("new {} team", ns.name()));
        let script = script.replace("-n team-a", &format!("-n {}", ns.name()));
        // In a copy, so that nothing is left in the checkout.
        let copy = tempfile::tempdir()?;
        let example = "docs/examples/release";
        fs::create_dir_all(copy.path().join(example))?;
        for file in ["go.mod", "main.go"] {
            fs::copy(checkout.join(example).join(file), copy.path().join(example).join(file))?;
        }
        let bob = User::new(&cluster, "bob", &[])?;
        let path = format!("{}:{}", cluster.layout().bin().display(), std::env::var("PATH")?);
        let ran = tokio::process::Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(copy.path())
            .env("KUBECONFIG", bob.kubeconfig())
            .env("PATH", path)
            .env("GOTOOLCHAIN", "local")
            .output()
            .await?;
        let said = String::from_utf8_lossy(&ran.stdout);
        ensure!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
        assert!(said.lines().any(|line| line == "token=ghp_value"), "{said}");
        Ok(())
    })
    .await
}

/// C9: the broker hands on what only the member's own key opens.
#[tokio::test]
async fn a_member_with_its_own_key_decrypts_on_its_own_machine() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "own-key", &[], async |ns| {
        team(ns).await?;
        let vault = ns.api::<Vault>().get("team").await?.status.context("the vault has a status")?;
        let pinned = VaultPublicKey::parse(&vault.custodian_key.context("and a signing key")?)?;
        let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut UnwrapErr(SysRng));
        let invite = invite(ns, "carol").await?;
        accept(ns, "carol", signed(&invite, &vault.vault_id.context("and an id")?, &key)?).await?;
        let carol = Person::new(ns, "carol", &[]).await?;
        let own = wait::until("what is wrapped for carol", wait::SOON, async || {
            match carol.ask(&wanting(ns, "team", "github")).await?.0.granted()?.into_iter().next() {
                Some(Delivered::Wrapped(own)) => Ok(Some(own)),
                Some(Delivered::Items(_)) | None => bail!("items were released"),
            }
        })
        .await?;
        ensure!(own.custodian_key()? == pinned, "the key that carol pinned");
        let opened = own.open(&key, &pinned)?;
        assert_eq!(opened.items["token"].expose(), b"ghp_value");
        Ok(())
    })
    .await
}

/// T20: a request sent with `--as` is somebody else's in name only, and is marked.
#[tokio::test]
async fn a_request_that_may_be_impersonated_is_marked_in_the_audit_log() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "posed", &[], async |ns| {
        team(ns).await?;
        let pending = wanting(ns, "team", "github");
        let manifest = serde_json::to_string(&pending.object())?;
        ns.kubectl().run(["create", "-f", "-", "--as=bob"]).input(&manifest).ok().await?;
        let releases = ns.api::<Release>();
        let stored = wait::object(&releases, pending.name(), "an answer", wait::SOON, answered).await?;
        let record = record(&cluster, &stored.uid().unwrap()).await?;
        assert_eq!(
            (&record["actor"]["name"], &record["impersonationPossible"]),
            (&json!("bob"), &json!(true))
        );
        Ok(())
    })
    .await
}

fn answered(found: Option<&Release>) -> bool {
    let phase = found.and_then(|found| found.status.as_ref()?.phase);
    phase == Some(RequestPhase::Answered)
}

/// How long a round trip takes; printed, and in no way a verdict on a machine that does other things too.
#[tokio::test]
async fn a_round_trip_is_measured() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "trip", &[], async |ns| {
        team(ns).await?;
        let trip = member_of_its_own(ns, "trudy").await?;
        let mut times = Vec::new();
        for _ in 0..40 {
            let (answer, took) = trip.ask(&wanting(ns, "team", "github")).await?;
            assert_eq!(value(answer, "token")?, "ghp_value");
            times.push(took);
        }
        times.sort();
        println!("round trip by Release: p50 {:?}, p90 {:?}, worst {:?}", times[20], times[36], times[39]);
        Ok(())
    })
    .await
}

/// One user's flood is bounded in words, another is served meanwhile, and all of it is gone after a minute.
#[tokio::test]
async fn a_flood_by_one_user_starves_nobody_and_is_gone_after_a_minute() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "flood", &[], async |ns| {
        team(ns).await?;
        let flooder = member_of_its_own(ns, "frank").await?;
        let alice = Person::new(ns, "alice", &[]).await?;
        let mut refused = String::new();
        let flood = async {
            for _ in 0..250 {
                if let Err(error) = flooder.create(&wanting(ns, "team", "github")).await {
                    refused = format!("{error:#}");
                }
            }
            Instant::now()
        };
        let served = async {
            let mut slowest = Duration::ZERO;
            for _ in 0..5 {
                let (answer, took) = alice.ask(&wanting(ns, "team", "github")).await?;
                assert_eq!(value(answer, "token")?, "ghp_value");
                slowest = slowest.max(took);
            }
            Ok::<_, anyhow::Error>(slowest)
        };
        let (ended, slowest) = tokio::join!(flood, served);
        println!("slowest of another user's during the flood: {:?}", slowest?);
        assert!(refused.contains("you make Releases too fast: 60 at once, then one a second"), "{refused}");
        let releases = ns.api::<Release>();
        let made = releases.list(&Default::default()).await?.items.len();
        println!("{made} of 250 were made");
        wait::until("all to be gone", Duration::from_secs(100), async || {
            Ok(releases.list(&Default::default()).await?.items.is_empty().then_some(()))
        })
        .await?;
        println!("the last was gone {:?} after the flood", ended.elapsed());
        Ok(())
    })
    .await
}

/// Without a broker a Release waits and says so, and nothing else is the worse for it.
#[tokio::test]
async fn with_the_broker_down_a_release_waits_and_says_so_and_is_answered_when_it_is_back() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "no-broker", &[], async |ns| {
        team(ns).await?;
        let bob = Person::new(ns, "bob", &[]).await?;
        let kubectl = cluster.kubectl().namespaced(NAMESPACE);
        let scale =
            async |replicas: &str| kubectl.run(["scale", "statefulset/coffer-broker", replicas]).ok().await;
        scale("--replicas=0").await?;
        let outcome = async {
            fault::ready(&cluster, "broker", 0).await?;
            let pending = wanting(ns, "team", "github");
            bob.create(&pending).await?;
            let asked = ns.kubectl_as("bob", &[])?;
            let said = wait::until("the Release to say that it waits", wait::SOON, async || {
                let said = asked.run(["get", "release", pending.name()]).ok().await?;
                Ok(said.contains("Pending").then_some(said))
            })
            .await?;
            ensure!(said.contains("no broker has taken this up yet"), "{said}");
            scale("--replicas=2").await?;
            assert_eq!(value(bob.answer(&pending).await?, "token")?, "ghp_value");
            Ok(())
        }
        .await;
        scale("--replicas=2").await?;
        fault::ready(&cluster, "broker", 2).await?;
        outcome
    })
    .await
}
