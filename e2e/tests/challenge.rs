//! A key that cannot sign proves itself by opening a challenge, with no right but an invitee's.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coffer_broker_api::people::Delivered;
use coffer_crds::{Custody, Vault, VaultMember, VaultMemberStatus};
use coffer_envelope::subject_ref;
use coffer_keys::VaultId;
use coffer_keys::acceptance::{Acceptance, decode_challenge};
use coffer_keys::member_key::{MemberKeyKind, MemberSecretKey};
use coffer_keys::signature::VaultPublicKey;
use e2e::install;
use e2e::namespace::Namespace;
use e2e::people::{Person, wanting};
use e2e::team::Team;
use e2e::wait;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use kube::Resource as _;
use serde_json::{Value, json};

/// C3, C4: nothing is wrapped before the answer; one answer counts, for the key that was asked.
#[tokio::test]
async fn x25519_and_x_wing_members_answer_their_challenge_and_read_with_their_own_key() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "challenge", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.connection("github", &["*"], &[("token", "ghp_value")]).await?;
        for (name, kind, prefix) in
            [("xena", MemberKeyKind::X25519, "x25519"), ("xander", MemberKeyKind::XWing, "x-wing")]
        {
            let key = MemberSecretKey::generate(kind, &mut UnwrapErr(SysRng));
            let public = format!("{prefix}:{}", STANDARD.encode(key.public().as_bytes()));
            joins(ns, &team, name, &key, &public).await?;
            reads(ns, name, &key).await?;
        }
        Ok(())
    })
    .await
}

async fn joins(
    ns: &Namespace,
    team: &Team<'_>,
    name: &str,
    key: &MemberSecretKey,
    public: &str,
) -> Result<()> {
    team.invite(name, "member", json!({"user": {"name": name}})).await?;
    let subject = ns.kubectl_as(name, &[])?;
    wait::until("an invitee's right to answer", wait::SOON, async || {
        let said = subject.run(["auth", "can-i", "patch", "vaultmembers.coffer.dev"]).said().await?;
        Ok((said.out.trim() == "yes").then_some(()))
    })
    .await?;
    let said = subject.run(["auth", "can-i", "create", "connections.coffer.dev"]).said().await?;
    ensure!(said.out.trim() == "no", "an invitee may only answer: {said:?}");
    let write = async |acceptance: Value| {
        let patch = json!({"spec": {"acceptance": acceptance}}).to_string();
        subject.run(["patch", "vaultmember", name, "--type", "merge", "-p", &patch]).said().await
    };

    let early = write(json!({"publicKey": public, "proof": "bm90aGluZw=="})).await?;
    ensure!(!early.ok && early.err.contains("give publicKey alone"), "{early:?}");
    ensure!(write(json!({"publicKey": public})).await?.ok, "the key alone");
    let challenged = |found: Option<&VaultMember>| {
        found.and_then(|found| found.status.as_ref()).is_some_and(|status| status.challenge.is_some())
    };
    let members = ns.api::<VaultMember>();
    wait::object(&members, name, "a challenge", wait::SOON, challenged).await?;
    let member = members.get(name).await?;
    let status: VaultMemberStatus = member.status.clone().unwrap();
    ensure!(status.wrapped_keys.is_empty() && status.custody.is_none(), "{status:?}");

    let vault = ns.api::<Vault>().get("team").await?;
    let vault_id = vault.status.and_then(|status| status.vault_id).context("it is ready")?;
    let acceptance = Acceptance {
        vault_id: VaultId::parse(&vault_id)?,
        namespace: ns.name(),
        name,
        uid: member.meta().uid.as_deref().unwrap(),
        subject: subject_ref(&member.spec.subject)?,
        public_key: key.public(),
    };
    let challenge = decode_challenge(&status.challenge.unwrap())?;
    let proof = acceptance.answer(key, &challenge).ok().context("the challenge opens with the key")?;
    let another = write(json!({"publicKey": format!("{public}="), "proof": proof})).await?;
    ensure!(!another.ok, "{another:?}");
    let answered = write(json!({"publicKey": public, "proof": proof})).await?;
    ensure!(answered.ok, "{answered:?}");
    team.active(name).await?;
    let twice = write(json!({"publicKey": public, "proof": "bm90aGluZw=="})).await?;
    ensure!(!twice.ok && twice.err.contains("accept"), "{twice:?}");
    let status = members.get(name).await?.status.unwrap();
    ensure!(status.custody == Some(Custody::Own) && status.challenge.is_none(), "{status:?}");
    ensure!(status.key_fingerprint == Some(key.public().fingerprint().to_string()), "{status:?}");
    Ok(())
}

async fn reads(ns: &Namespace, name: &str, key: &MemberSecretKey) -> Result<()> {
    let vault = ns.api::<Vault>().get("team").await?;
    let pinned = vault.status.and_then(|status| status.custodian_key).context("it is ready")?;
    let pinned = VaultPublicKey::parse(&pinned)?;
    let person = Person::new(ns, name, &[]).await?;
    let read = async || {
        let (answer, _) = person.ask(&wanting(ns, "team", "github")).await?;
        let Ok(delivered) = answer.granted() else { return Ok(None) };
        anyhow::Ok(Some(delivered))
    };
    let delivered = wait::until("the credential to be wrapped", wait::SOON, read).await?;
    let [Delivered::Wrapped(own)] = delivered.as_slice() else { bail!("what is wrapped was expected") };
    let opened = own.open(key, &pinned)?;
    ensure!(opened.items["token"].expose() == b"ghp_value", "{name} reads another value");
    Ok(())
}
