//! What somebody can open who holds one member's key and reads all of etcd.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coffer_crds::{
    Envelope, EnvelopeSpec, Keyring, RegisteredMember, SlotRecipient, Vault, VaultMember, Wrap,
};
use coffer_envelope::custody::{self, RootOfTrust};
use coffer_envelope::subject_ref;
use coffer_keys::VaultId;
use coffer_keys::context::{SlotContext, SlotTo, ValuesContext, VaultKeyContext};
use coffer_keys::data_key::{Commitment, DataKey};
use coffer_keys::digest::MembersDigest;
use coffer_keys::hierarchy::{MemberIdentity, VaultKey};
use coffer_keys::signature::VaultPublicKey;
use coffer_keys::wrap::{OpenWith, WrapParts, Wrapped, WrappingKey};
use e2e::cluster::Cluster;
use e2e::install::{self, NAMESPACE};
use e2e::namespace::Namespace;
use e2e::team::Team;
use e2e::wait;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn bytes(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap()
}

fn unwrap_of(wrap: &Wrap) -> Wrapped {
    let (salt, enc) = (wrap.salt.as_deref().map(bytes), wrap.enc.as_deref().map(bytes));
    let parts = WrapParts {
        v: wrap.v.into(),
        suite: &wrap.suite,
        kid: &wrap.kid,
        salt: salt.as_deref(),
        enc: enc.as_deref(),
        ct: &bytes(&wrap.ct),
    };
    Wrapped::from_parts(&parts).unwrap()
}

/// Everything of the namespace's Coffer objects that lies in etcd, read there.
struct Etcd {
    envelopes: Vec<EnvelopeSpec>,
    members: Vec<VaultMember>,
    /// Signing key by vault id.
    signing_keys: BTreeMap<String, VaultPublicKey>,
    /// Vault id by name of the Vault.
    vaults: BTreeMap<String, String>,
}

impl Etcd {
    async fn read(cluster: &Cluster, ns: &Namespace) -> Result<Self> {
        let dump = cluster.etcd().dump().await?;
        fn of<T: DeserializeOwned>(
            dump: &[e2e::etcd::Stored],
            plural: &str,
            namespace: &str,
        ) -> Result<Vec<T>> {
            let prefix = format!("/registry/coffer.dev/{plural}/{namespace}/");
            let stored = dump.iter().filter(|pair| pair.key.starts_with(&prefix));
            stored.map(|pair| serde_json::from_slice(&pair.value).with_context(|| pair.key.clone())).collect()
        }
        let vaults: Vec<Vault> = of(&dump, "vaults", ns.name())?;
        let envelopes: Vec<Envelope> = of(&dump, "envelopes", ns.name())?;
        let status = |vault: &Vault| vault.status.clone().unwrap();
        Ok(Self {
            envelopes: envelopes.into_iter().map(|envelope| envelope.spec).collect(),
            members: of(&dump, "vaultmembers", ns.name())?,
            signing_keys: vaults
                .iter()
                .map(status)
                .map(|status| {
                    let key = VaultPublicKey::parse(&status.custodian_key.unwrap()).unwrap();
                    (status.vault_id.unwrap(), key)
                })
                .collect(),
            vaults: vaults
                .iter()
                .map(|vault| (vault.metadata.name.clone().unwrap(), status(vault).vault_id.unwrap()))
                .collect(),
        })
    }

    /// Every wrapped vault key that this key opens.
    fn vault_keys(&self, key: &WrappingKey) -> Vec<(String, VaultKey)> {
        let mut opened = Vec::new();
        for member in &self.members {
            let vault_id = &self.vaults[&member.spec.vault];
            for wrapped in &member.status.as_ref().unwrap().wrapped_keys {
                let context = VaultKeyContext {
                    vault_id: VaultId::parse(vault_id).unwrap(),
                    epoch: wrapped.epoch.try_into().unwrap(),
                    signing_key: &self.signing_keys[vault_id],
                    name: member.metadata.name.as_deref().unwrap(),
                    uid: member.metadata.uid.as_deref().unwrap(),
                };
                if let Ok(vault_key) =
                    VaultKey::open_as_member(OpenWith::Key(key), &context, &unwrap_of(&wrapped.wrap))
                {
                    opened.push((vault_id.clone(), vault_key));
                }
            }
        }
        opened
    }

    /// Names of the Connections of which one of these keys opens some slot, whomever the slot is for.
    fn opened_by(&self, keys: &[&WrappingKey]) -> BTreeSet<String> {
        let opens = |spec: &EnvelopeSpec| {
            let digest = match &spec.members {
                coffer_crds::EnvelopeScope::All(_) => MembersDigest::all(),
                coffer_crds::EnvelopeScope::Listed(members) => MembersDigest::listed(
                    members.iter().map(|member| (member.name.as_str(), member.uid.as_str())),
                )
                .unwrap(),
            };
            let commitment = Commitment::from_bytes(bytes(&spec.commitment).try_into().unwrap());
            spec.slots.iter().any(|slot| {
                let context = SlotContext {
                    values: ValuesContext {
                        vault_id: VaultId::parse(&spec.vault_id).unwrap(),
                        namespace: &spec.connection.namespace,
                        connection: &spec.connection.name,
                        owner_name: &spec.owner.name,
                        owner_uid: &spec.owner.uid,
                        version: spec.version.try_into().unwrap(),
                    },
                    epoch: spec.epoch.try_into().unwrap(),
                    members: &digest,
                    commitment: &commitment,
                    signing_key: &self.signing_keys[&spec.vault_id],
                    to: match slot.to {
                        SlotRecipient::Vault => SlotTo::Vault,
                        SlotRecipient::Custodian => SlotTo::Custodian,
                        SlotRecipient::Member => SlotTo::Member {
                            name: slot.name.as_deref().unwrap(),
                            uid: slot.uid.as_deref().unwrap(),
                        },
                    },
                };
                let wrapped = unwrap_of(&slot.wrap);
                keys.iter().any(|key| DataKey::open_slot(OpenWith::Key(key), &context, &wrapped).is_ok())
            })
        };
        self.envelopes.iter().filter(|spec| opens(spec)).map(|spec| spec.connection.name.clone()).collect()
    }
}

/// The one key of one member: what a thief of it would hold.
async fn key_of(cluster: &Cluster, vault_id: &str, member: &RegisteredMember) -> Result<WrappingKey> {
    let secrets = Api::<Secret>::namespaced(cluster.client().await?, NAMESPACE);
    let root = secrets.get("coffer-root").await?.data.unwrap();
    let brokered = secrets.get("coffer-brokered").await?.data.unwrap();
    let root =
        RootOfTrust::from_local_secret(root.iter().map(|(name, key)| (name.as_str(), key.0.as_slice())))?;
    let branches =
        custody::open_branch(&root, brokered.iter().map(|(name, key)| (name.as_str(), key.0.as_slice())))?;
    let identity = MemberIdentity {
        vault_id: VaultId::parse(vault_id)?,
        name: &member.name,
        uid: &member.uid,
        subject: subject_ref(&member.subject)?,
        subject_uid: member.subject_uid.as_deref().unwrap_or_default(),
    };
    Ok(branches.get(branches.newest()).context("no branch")?.member_key(&identity))
}

/// T1, and a scope held by cryptography: also the vault key does not open what lists others.
#[tokio::test]
async fn one_members_key_and_all_of_etcd_open_its_scopes_and_nothing_else() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "thief", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.workload("intern").await?;
        team.connection("shared", &["*"], &[("token", "of everybody")]).await?;
        team.connection("webs", &["web"], &[("token", "of web")]).await?;
        team.connection("interns", &["intern"], &[("token", "of intern")]).await?;
        let other = Team::with_spec(ns, "other", json!({})).await?;
        other.workload("ops").await?;
        other.connection("others-shared", &["*"], &[("token", "of another vault")]).await?;
        other.connection("ops", &["ops"], &[("token", "of ops")]).await?;

        let etcd = Etcd::read(&cluster, ns).await?;
        ensure!(etcd.envelopes.len() == 5, "read {} Envelopes in etcd", etcd.envelopes.len());
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        for (vault, thief, vault_opens, opens) in [
            ("team", "web", names(&["shared"]), names(&["shared", "webs"])),
            ("team", "intern", names(&["shared"]), names(&["shared", "interns"])),
            ("other", "ops", names(&["others-shared"]), names(&["others-shared", "ops"])),
        ] {
            let keyring = ns.api::<Keyring>().get(vault).await?.spec;
            let member = keyring.members.iter().find(|member| member.name == thief).unwrap();
            let own = key_of(&cluster, &keyring.vault_id, member).await?;
            let vault_keys = etcd.vault_keys(&own);
            assert_eq!(
                vault_keys.iter().map(|(vault_id, _)| vault_id.as_str()).collect::<Vec<_>>(),
                [keyring.vault_id.as_str()],
                "{thief} opens one vault key, that of its vault"
            );
            let of_vault: Vec<_> = vault_keys.iter().map(|(_, key)| key.wrapping_key()).collect();
            assert_eq!(etcd.opened_by(&of_vault), vault_opens, "with the vault key that {thief} holds");
            let everything: Vec<_> = of_vault.into_iter().chain([&own]).collect();
            assert_eq!(etcd.opened_by(&everything), opens, "with all that {thief} holds");
        }
        Ok(())
    })
    .await
}

/// C6: whoever was removed kept its key, every wrapped key it ever saw, and reads all of etcd for ever after.
#[tokio::test]
async fn what_a_removed_member_kept_opens_nothing_that_was_written_since() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "leaver", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.workload("intern").await?;
        team.connection("shared", &["*"], &[("token", "of everybody")]).await?;
        team.connection("both", &["web", "intern"], &[("token", "of both")]).await?;
        team.connection("interns", &["intern"], &[("token", "of intern")]).await?;
        let keyring = ns.api::<Keyring>().get("team").await?.spec;
        let member = keyring.members.iter().find(|member| member.name == "web").unwrap();
        let own = key_of(&cluster, &keyring.vault_id, member).await?;
        let before = Etcd::read(&cluster, ns).await?;
        let kept = before.vault_keys(&own);
        let kept: Vec<_> = kept.iter().map(|(_, key)| key.wrapping_key()).chain([&own]).collect();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(before.opened_by(&kept), names(&["shared", "both"]), "what it could open");

        ns.kubectl().run(["delete", "vaultmember", "web"]).ok().await?;
        // Written as soon as anybody can: it waits for the new epoch by itself.
        team.connection("later", &["*"], &[("token", "of everybody else")]).await?;
        let found = |found: Option<&Vault>| {
            let status = found.and_then(|found| found.status.as_ref());
            status.is_some_and(|status| status.key_epoch == Some(2) && status.rotation.is_none())
        };
        wait::object(&ns.api::<Vault>(), "team", "new keys everywhere", wait::SOON, found).await?;
        let after = Etcd::read(&cluster, ns).await?;
        ensure!(after.envelopes.len() == 4, "read {} Envelopes in etcd", after.envelopes.len());
        assert_eq!(after.opened_by(&kept), BTreeSet::new(), "what it opens of all there is now");
        assert!(after.vault_keys(&own).is_empty(), "no wrapped key in etcd is for it");
        assert_eq!(before.opened_by(&kept), names(&["shared", "both"]), "what it copied in time it keeps");
        let intern = keyring.members.iter().find(|member| member.name == "intern").unwrap();
        let intern = key_of(&cluster, &keyring.vault_id, intern).await?;
        let its = after.vault_keys(&intern);
        let its: Vec<_> = its.iter().map(|(_, key)| key.wrapping_key()).chain([&intern]).collect();
        assert_eq!(
            after.opened_by(&its),
            names(&["shared", "both", "interns", "later"]),
            "who stayed lost nothing"
        );
        ask_go(&cluster, ns, member, &before, &after).await
    })
    .await
}

/// The same, found out by the independent implementation: it opens everything as the custodian and as who stayed, and
/// tries all that the leaver kept against every slot.
async fn ask_go(
    cluster: &Cluster,
    ns: &Namespace,
    leaver: &RegisteredMember,
    before: &Etcd,
    after: &Etcd,
) -> Result<()> {
    let secrets = Api::<Secret>::namespaced(cluster.client().await?, NAMESPACE);
    let data = async |name: &str| anyhow::Ok(secrets.get(name).await?.data.unwrap_or_default());
    let mut custody = BTreeMap::new();
    for name in ["coffer-custodian", "coffer-brokered"] {
        let mut wraps = BTreeMap::new();
        for (generation, wrap) in data(name).await? {
            wraps.insert(generation, serde_json::from_slice::<Value>(&wrap.0)?);
        }
        custody.insert(name, wraps);
    }
    let root: BTreeMap<String, String> = data("coffer-root")
        .await?
        .iter()
        .map(|(name, key)| (name.clone(), STANDARD.encode(&key.0)))
        .collect();
    let values = [
        ("shared", "of everybody"),
        ("both", "of both"),
        ("interns", "of intern"),
        ("later", "of everybody else"),
    ];
    let envelopes = values.map(|(name, value)| {
        let spec = after.envelopes.iter().find(|spec| spec.connection.name == name).unwrap();
        let items = json!({"token": STANDARD.encode(value)});
        json!({"spec": spec, "items": items, "opens": ["intern"], "refuses": [leaver.name]})
    });
    let wrapped = |etcd: &Etcd, name: &str| {
        let member = etcd.members.iter().find(|member| member.metadata.name.as_deref() == Some(name));
        member.and_then(|member| member.status.clone()).unwrap_or_default().wrapped_keys
    };
    let vault = ns.api::<Vault>().get("team").await?.status.unwrap();
    let file = json!({"vault": {
        "root": root,
        "custodySecrets": custody,
        "custodianKey": vault.custodian_key,
        "intakeKey": vault.intake_key,
        "keyring": ns.api::<Keyring>().get("team").await?.spec,
        "former": [leaver],
        "memberKeys": {},
        "wrappedKeys": {"intern": wrapped(after, "intern"), &leaver.name: wrapped(before, &leaver.name)},
        "envelopes": envelopes,
        "sealedData": [],
    }});
    let path = tempfile::NamedTempFile::new()?;
    std::fs::write(path.path(), file.to_string())?;
    let verify = tokio::process::Command::new("go")
        .args(["run", ".", "verify"])
        .arg(path.path())
        .current_dir(cluster.layout().checkout().join("keys/interop"))
        .envs([("CGO_ENABLED", "0"), ("GOFLAGS", "-trimpath -buildvcs=false"), ("GOTOOLCHAIN", "local")])
        .output()
        .await
        .context("run the Go implementation")?;
    let said = String::from_utf8_lossy(&verify.stdout).into_owned();
    ensure!(
        verify.status.success() && said.starts_with("ok"),
        "{said}{}",
        String::from_utf8_lossy(&verify.stderr)
    );
    Ok(())
}
