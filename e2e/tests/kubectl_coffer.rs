//! People share a vault from their terminals: with certificates for the API server, an SSH key, and the plugin.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Result, ensure};
use coffer_crds::{Custody, MemberPhase, VaultMember};
use e2e::guide;
use e2e::install;
use e2e::namespace::Namespace;
use e2e::team::INJECTED;
use e2e::terminal::Person;
use e2e::wait;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

/// C40: the guide, as it is written.
#[tokio::test]
async fn the_guide_to_team_sharing_works_as_it_is_written() -> Result<()> {
    let cluster = install::installed().await?;
    // For the lock that tests share; the guide makes its own namespaces.
    Namespace::lend(&cluster, "guide", &[], async |_| {
        let people = [("alice", &[][..]), ("bob", &[]), ("carol", &[])];
        let own = ["coffer-team", "coffer-ci"];
        let told = guide::follow(&cluster, "docs/guides/team-sharing.md", &people, &own).await?;
        for expected in [
            "Vault 'team' made in namespace 'coffer-team'.",
            "Invited user:bob to vault 'team' as member 'bob', with role 'member'.",
            "You are member 'bob' of vault 'team' in namespace 'coffer-team', with role 'member'.",
            "sa:coffer-ci/builder accepts its invite to vault 'coffer-team/team'.",
            "gains: bob, builder",
            "the token has 14 characters",
            "Member 'bob' is removed from vault 'team'.",
            "item token: new value",
            "it has 14 characters",
            "exit code 3",
        ] {
            ensure!(told.contains(expected), "'{expected}' is not in: {told}");
        }
        ensure!(!told.contains("ghp_"), "a value was shown: {told}");
        Ok(())
    })
    .await
}

/// Two people with certificates, one of them with an SSH key, and a wrong step at each point.
#[tokio::test]
async fn a_wrong_step_at_each_point_says_what_to_do_and_has_its_exit_code() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "steps", &[INJECTED], async |ns| {
        let (alice, bob) = (Person::new(&cluster, "alice", &[])?, Person::new(&cluster, "bob", &[])?);
        let coffer = |words: &str| format!("kubectl coffer -n {} {words}", ns.name());
        let all = |person: &str| format!("create rolebinding {person} --clusterrole=edit --user={person}");
        ns.kubectl().run(all("alice").split(' ')).ok().await?;

        // Her SSH key, first open to others.
        alice.done("mkdir -p ~/.ssh && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519").await?;
        let key = alice.home().join(".ssh/id_ed25519");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
        alice.fails(&coffer("key show"), 2, "chmod 600").await?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let shown = alice.done(&coffer("key show -o name")).await?;
        let openssh = alice.done("ssh-keygen -lf ~/.ssh/id_ed25519 | cut -d' ' -f2").await?;
        ensure!(shown == openssh, "{shown} is not what OpenSSH prints: {openssh}");

        // A vault.
        alice.fails(&coffer("set github --from-file token=/dev/null"), 4, "kubectl coffer init").await?;
        bob.fails(&coffer("init"), 3, "cannot get resource").await?;
        let said = alice.done(&coffer("init")).await?;
        ensure!(said.contains("Vault 'team' made"), "{said}");
        let said = alice.done(&coffer("init")).await?;
        ensure!(said.contains("is there already"), "{said}");
        let member: VaultMember = ns.api().get("alice").await?;
        let status = member.status.unwrap();
        ensure!(status.custody == Some(Custody::Own), "{status:?}");
        ensure!(status.key_fingerprint.as_deref() == Some(openssh.trim()), "{status:?}");

        // An invite.
        alice.fails(&coffer("invite bob"), 2, "user:NAME").await?;
        alice.fails(&coffer("invite user:bob --role king"), 3, "has no role 'king'").await?;
        bob.fails(&coffer("accept --brokered"), 3, "cannot list").await?;
        alice.done(&coffer("invite user:bob")).await?;
        wait::until("the invite to open the door", wait::SOON, async || {
            let said = bob.types(&coffer("members list"), None).await?;
            Ok((said.code == 0).then_some(()))
        })
        .await?;
        bob.fails(&coffer("accept"), 2, "key new").await?;
        bob.fails(&coffer("set github --from-file token=/dev/null"), 3, "cannot get resource").await?;
        bob.done(&coffer("key new --no-passphrase")).await?;
        bob.done(&coffer("accept")).await?;
        let said = bob.done(&coffer("accept")).await?;
        ensure!(said.contains("already"), "{said}");
        bob.fails(&coffer("invite user:dave"), 3, "does not allow 'invite'").await?;
        alice.fails(&coffer("members suspend alice"), 3, "last owner").await?;

        // Another key, which both vouch for.
        bob.fails(&coffer("key rotate --new ~/next"), 4, "there is no key file").await?;
        bob.done(&coffer("key new --no-passphrase --key ~/next")).await?;
        let said = bob.done(&coffer("key rotate --new ~/next")).await?;
        ensure!(said.contains("Member 'bob' of vault 'team' has the key SHA256:"), "{said}");
        bob.fails(&coffer("key rotate --new ~/next"), 4, "no membership of yours").await?;
        bob.fails(&coffer("key rotate --key ~/next --new ~/next"), 2, "is the key that is used now").await?;

        // A credential.
        alice.fails(&coffer("set github --item token=hunter2"), 2, "--item token").await?;
        let set = coffer("set github --from-file token=- --provider github --members bob");
        let said = alice.types(&set, Some("ghp_value\n")).await?;
        ensure!(said.code == 0 && said.out.contains("is made"), "{said:?}");
        bob.fails(&coffer("set github --from-file token=/etc/hostname"), 3, "does not allow 'write'").await?;
        bob.fails(&coffer("share github --members '*'"), 3, "does not allow 'share'").await?;
        let can = alice.done(&coffer("who-can read github -o name")).await?;
        ensure!(can == "alice\nbob\n", "{can}");
        ensure!(alice.done(&coffer("doctor")).await?.contains("its keys hold"));

        // A judged change is not made.
        alice.done(&coffer("share github --members alice --dry-run")).await?;
        ensure!(alice.done(&coffer("who-can read github -o name")).await? == "alice\nbob\n");

        // Both the key before and the next one vouched; the next one opens what was shared.
        let read = bob.done(&coffer("get github token --key ~/next")).await?;
        ensure!(read == "ghp_value", "{read}");

        // He leaves.
        alice.fails(&coffer("members remove bob"), 2, "--yes").await?;
        let said = alice.done(&coffer("members remove bob --yes")).await?;
        ensure!(said.contains("is removed") && said.contains("  github"), "{said}");
        ensure!(alice.done(&coffer("who-can read github -o name")).await? == "alice\n");
        bob.fails(&coffer("members remove alice --yes"), 3, "cannot").await?;

        // New keys: at his removal by themselves, and when they are asked for.
        let told = alice.done(&coffer("rotate --dry-run")).await?;
        ensure!(told.contains(" → ") && told.contains("1 connections are sealed anew"), "{told}");
        alice.fails(&coffer("rotate"), 2, "--yes").await?;
        bob.fails(&coffer("rotate --yes"), 3, "cannot").await?;
        let said = alice.done(&coffer("rotate --yes --wait")).await?;
        ensure!(said.contains("sealed under new keys"), "{said}");
        let versions = alice.done(&coffer("history github")).await?;
        ensure!(versions.contains("alice") && versions.contains("present"), "{versions}");
        ensure!(alice.done(&coffer("get github token")).await? == "ghp_value", "the value is the same");

        // kubectl itself completes.
        alice
            .done("kubectl coffer completion kubectl > ~/kubectl_complete-coffer && chmod +x ~/kubectl_complete-coffer")
            .await?;
        let offered = alice.done("kubectl __complete coffer memb").await?;
        ensure!(offered.starts_with("members\t"), "{offered}");
        Ok(())
    })
    .await
}

/// What is sealed on a machine that reaches no cluster is applied by another, and opens in the vault alone.
#[tokio::test]
async fn a_manifest_that_was_sealed_without_a_cluster_is_applied_from_git() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "git", &[], async |ns| {
        let alice = Person::new(&cluster, "alice", &[])?;
        ns.kubectl()
            .run(["create", "rolebinding", "alice", "--clusterrole=edit", "--user=alice"])
            .ok()
            .await?;
        let name = ns.name();
        alice.done(&format!("kubectl coffer -n {name} init --brokered")).await?;
        wait::object(&ns.api::<VaultMember>(), "alice", "member active", wait::SOON, |member: Option<&VaultMember>| {
            member.and_then(|member| member.status.as_ref()?.phase) == Some(MemberPhase::Active)
        })
        .await?;
        alice.done(&format!("kubectl coffer -n {name} seal-key > ~/key.yaml")).await?;
        let seal = "KUBECONFIG=/nowhere kubectl-coffer seal npm --owner alice --from-file token=- --seal-key ~/key.yaml > ~/npm.yaml";
        let said = alice.types(seal, Some("npm_value\n")).await?;
        ensure!(said.code == 0, "{said:?}");
        let manifest = fs::read_to_string(alice.home().join("npm.yaml"))?;
        ensure!(!manifest.contains("npm_value"), "{manifest}");
        alice.done(&format!("kubectl -n {name} apply -f ~/npm.yaml")).await?;
        alice.done(&format!("kubectl -n {name} wait --for=condition=Ready connection/npm --timeout=60s")).await?;
        Ok(())
    })
    .await
}
