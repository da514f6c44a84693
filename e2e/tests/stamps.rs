//! Who wrote an object is who the API server authenticated, whatever the object says (T20).
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result};
use coffer_crds::{AccessToken, Author, Connection, Release, Vault, VaultMember};
use e2e::install;
use e2e::kubectl::Kubectl;
use e2e::namespace::Namespace;
use e2e::people;
use e2e::team::Team;
use k8s_openapi::api::rbac::v1::RoleBinding;
use serde_json::{Value, json};
use std::path::Path;

/// A vault of alice and bob, so that bob is somebody worth posing as.
async fn team(ns: &Namespace) -> Result<Team<'_>> {
    let owners = json!({"owners": [{"user": {"name": "alice"}}, {"user": {"name": "bob"}}]});
    Team::with_spec(ns, "team", owners).await
}

/// What a client writes who would be somebody else.
fn forged() -> Value {
    json!({"username": "bob", "uid": "1", "groups": ["system:masters"]})
}

fn member(name: &str, role: &str, subject: Value) -> Value {
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember", "metadata": {"name": name},
        "spec": {"vault": "team", "role": role, "subject": subject},
    })
}

#[track_caller]
fn assert_is(author: Option<&Author>, name: &str, group: &str) {
    let author = author.unwrap();
    assert_eq!(author.username, name);
    assert_ne!(author.uid.as_deref(), Some("1"));
    assert!(author.groups.iter().any(|found| found == group), "{author:?}");
    assert!(!author.groups.iter().any(|found| found == "system:masters"), "{author:?}");
}

/// T20.
#[tokio::test]
async fn a_user_who_names_another_author_is_stamped_as_who_they_are() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "stamps", &[], async |ns| {
        let team = team(ns).await?;
        let alice = ns.member("alice", &["devs"]).await?;

        let mut github = team.manifest("github", &[], &[("token", "value")]);
        github["spec"]["lastWriter"] = forged();
        alice.apply(&github.to_string()).await?;
        assert_is(team.ready("github").await?.spec.last_writer.as_ref(), "alice", "devs");

        // A stamp is no change: it stays, whoever sends another.
        let stamp = json!({"spec": {"lastWriter": forged()}}).to_string();
        ns.kubectl().run(["patch", "connection", "github", "--type", "merge", "-p", &stamp]).ok().await?;
        let stored = ns.api::<Connection>().get("github").await?;
        assert_is(stored.spec.last_writer.as_ref(), "alice", "devs");

        let vault = json!({"spec": {"sharing": "Owner", "lastWriter": forged()}}).to_string();
        alice.run(["patch", "vault", "team", "--type", "merge", "-p", &vault]).ok().await?;
        assert_is(ns.api::<Vault>().get("team").await?.spec.last_writer.as_ref(), "alice", "devs");
        Ok(())
    })
    .await
}

/// T20.
#[tokio::test]
async fn an_invitation_is_its_senders_and_an_acceptance_its_subjects() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "accepted", &[], async |ns| {
        let team = team(ns).await?;
        let alice = ns.member("alice", &["devs"]).await?;
        ns.create::<RoleBinding>(json!({
            "metadata": {"name": "invited"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "carol"}],
        }))
        .await?;

        let mut invite = member("carol", "member", json!({"user": {"name": "carol"}}));
        invite["spec"]["invitedBy"] = forged();
        invite["spec"]["lastWriter"] = forged();
        alice.apply(&invite.to_string()).await?;
        let invited = ns.api::<VaultMember>().get("carol").await?;
        assert_is(invited.spec.invited_by.as_ref(), "alice", "devs");
        assert_is(invited.spec.last_writer.as_ref(), "alice", "devs");

        let accept = |by: Value| json!({"spec": {"acceptance": {"by": by}}}).to_string();
        let as_carol = accept(json!({"username": "carol"}));
        let patch = ["patch", "vaultmember", "carol", "--type", "merge", "-p"];
        let said = alice.run(patch).arg(&as_carol).refused().await?;
        assert!(said.contains("only the subject of member 'carol' may accept"), "{said}");

        let carol = ns.member("carol", &["guests"]).await?;
        carol.run(patch).arg(accept(forged())).ok().await?;
        team.active("carol").await?;
        let accepted = ns.api::<VaultMember>().get("carol").await?;
        assert_is(accepted.spec.acceptance.unwrap().by.as_ref(), "carol", "guests");
        assert_is(accepted.spec.last_writer.as_ref(), "carol", "guests");
        assert_is(accepted.spec.invited_by.as_ref(), "alice", "devs");
        Ok(())
    })
    .await
}

/// T20.
#[tokio::test]
async fn a_serviceaccount_that_names_another_author_is_stamped_as_itself() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "stamps-sa", &[], async |ns| {
        let team = team(ns).await?;
        let alice = ns.member("alice", &[]).await?;
        let account = ns.service_account("web").await?;
        alice.apply(&member("web", "admin", json!({"serviceAccount": {"name": "web"}})).to_string()).await?;
        team.active("web").await?;

        let mut github = team.manifest("github", &[], &[("token", "value")]);
        github["spec"]["lastWriter"] = forged();
        let web = Token::of(ns, "web").await?;
        e2e::wait::until("the binding to count", e2e::wait::SOON, async || {
            web.run(&["create", "-f", "-"], &github).await.map(Some)
        })
        .await?;
        let stored = ns.api::<Connection>().get("github").await?.spec.last_writer.unwrap();
        assert_eq!(stored.username, format!("system:serviceaccount:{}:web", ns.name()));
        assert_eq!(stored.uid, account.metadata.uid);
        assert!(!stored.groups.iter().any(|group| group == "system:masters"), "{stored:?}");
        Ok(())
    })
    .await
}

/// A ServiceAccount's token is all that these requests carry.
struct Token {
    kubectl: Kubectl,
    flags: [String; 3],
}

impl Token {
    async fn of(ns: &Namespace, account: &str) -> Result<Self> {
        let server = ["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"];
        let server = ns.kubectl().run(server).ok().await.context("find the API server")?;
        let token = ns.kubectl().run(["create", "token", account]).ok().await?;
        let authority = ns.cluster().layout().pki().join("ca.crt");
        let flags = [
            format!("--server={server}"),
            format!("--certificate-authority={}", authority.display()),
            format!("--token={}", token.trim()),
        ];
        Ok(Self { kubectl: ns.kubectl().with_kubeconfig(Path::new("/dev/null")), flags })
    }

    async fn run(&self, arguments: &[&str], input: &Value) -> Result<String> {
        // The command's words hold the token, so an error must not tell them.
        let said = self.kubectl.run(arguments).args(&self.flags).input(&input.to_string()).said().await?;
        anyhow::ensure!(said.ok, "{}", said.err);
        Ok(said.out)
    }
}

/// T20: whom an administrator impersonates is whom the API server authenticated.
#[tokio::test]
async fn an_impersonated_user_is_the_author() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "stamps-as", &[], async |ns| {
        let team = team(ns).await?;
        ns.member("alice", &[]).await?;
        let mut github = team.manifest("github", &[], &[("token", "value")]);
        github["spec"]["lastWriter"] = forged();
        let create = ["create", "-f", "-", "--as=alice", "--as-group=devs"];
        ns.kubectl().run(create).input(&github.to_string()).ok().await?;
        assert_is(team.ready("github").await?.spec.last_writer.as_ref(), "alice", "devs");
        Ok(())
    })
    .await
}

/// T20: a Release that names somebody else is refused; one that names nobody is stamped.
#[tokio::test]
async fn a_release_for_somebody_else_is_refused() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "requester", &[], async |ns| {
        team(ns).await?;
        let alice = ns.member("alice", &["devs"]).await?;
        let release = |requester: Value| {
            let spec = json!({
                "vault": "team",
                "connections": [{"name": "github"}],
                "publicKey": people::any_key(),
                "requester": requester,
            });
            json!({
                "apiVersion": "coffer.dev/v1alpha1", "kind": "Release",
                "metadata": {"name": "mine"}, "spec": spec,
            })
            .to_string()
        };
        let own = json!({"username": "alice", "groups": ["devs", "system:authenticated"]});
        let bobs = json!({"username": "bob", "groups": ["devs", "system:authenticated"]});
        let masters = json!({"username": "alice", "groups": ["system:masters"]});
        for claimed in [forged(), bobs, masters] {
            let said = alice.run(["create", "-f", "-"]).input(&release(claimed.clone())).refused().await?;
            assert!(
                said.contains("spec.requester must name whoever sends this request"),
                "{claimed}: {said}"
            );
        }
        for claimed in [own, Value::Null] {
            alice.run(["create", "-f", "-"]).input(&release(claimed)).ok().await?;
            let stored = ns.api::<Release>().get("mine").await?;
            assert_is(stored.spec.requester.as_ref(), "alice", "devs");
            assert_eq!(stored.spec.impersonation_possible, None, "a certificate names its credential");
            alice.run(["delete", "release", "mine"]).ok().await?;
        }
        let impersonated = ["create", "-f", "-", "--as=alice", "--as-group=devs"];
        ns.kubectl().run(impersonated).input(&release(Value::Null)).ok().await?;
        let stored = ns.api::<Release>().get("mine").await?;
        assert_is(stored.spec.requester.as_ref(), "alice", "devs");
        assert_eq!(stored.spec.impersonation_possible, Some(true));

        // Nor does anybody else take it away, whatever RBAC says.
        let said = ns.kubectl().run(["delete", "release", "mine"]).refused().await?;
        assert!(said.contains("only the requester deletes this object"), "{said}");
        alice.run(["delete", "release", "mine"]).ok().await?;
        Ok(())
    })
    .await
}

/// T20: a token names whoever issued it.
#[tokio::test]
async fn a_token_is_stamped_with_whoever_issues_it() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "issuer", &[], async |ns| {
        team(ns).await?;
        let alice = ns.member("alice", &["devs"]).await?;
        let external = json!({"external": {}});
        alice.apply(&member("laptop", "member", external).to_string()).await?;
        let token = |member: &str| {
            let spec = json!({
                "member": member, "sha256": "0".repeat(64), "prefix": "cof_abcd", "issuedBy": forged(),
            });
            json!({
                "apiVersion": "coffer.dev/v1alpha1", "kind": "AccessToken",
                "metadata": {"name": "laptop"}, "spec": spec,
            })
            .to_string()
        };
        let said = alice.apply_refused(&token("bob")).await?;
        assert!(said.contains("only member 'bob' itself may make tokens for it"), "{said}");
        alice.apply(&token("laptop")).await?;
        let stored = ns.api::<AccessToken>().get("laptop").await?.spec.issued_by;
        assert_is(stored.as_ref(), "alice", "devs");
        Ok(())
    })
    .await
}
