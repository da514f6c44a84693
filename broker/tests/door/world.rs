//! A vault `team-a/main` with members and Connections, and a door to ask at.

mod answer;
mod fakes;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use coffer_broker::{
    audit::{self, AuditLog, DenialBudget, FileLimits, FileSink, Record},
    branch::Keys,
    doors::workload::{WorkloadDoor, routes},
    facts::{Stores, SubjectIndex, WordIndex},
    last_used::{LastUsed, Used},
    limits::LocalWindows,
    metrics::{AuditHealth, BrokerMetrics},
    release::{Glass, Registers, Releaser, Seen},
};
use coffer_crds::{
    AllMembers, Author, Connection, ConnectionSpec, Custody, Envelope, EnvelopeConnection, EnvelopeMember,
    EnvelopeScope, Keyring, NamedSubject, RegisteredMember, ServiceAccountSubject, Sharing, Subject, Vault,
    VaultMember, VaultMemberStatus, VaultRef, VaultStatus,
};
use coffer_envelope::{Access, Custodian, Item, NewEnvelope, OpenKeyring, Recipient, listed_scope};
use coffer_keys::{
    SecretBytes, VaultId, answer::EphemeralKey, member_key::MemberPublicKey, signature::CheckedSignatures,
};
use coffer_policy::{BreakGlass, roles};
use coffer_runtime::{Metrics, Readiness};
use getrandom::{SysRng, rand_core::UnwrapErr};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::Time};
use kube::{
    Resource, ResourceExt as _,
    runtime::{reflector, watcher::Event},
};
use warp::filters::BoxedFilter;

pub(crate) use answer::{Answer, request};
pub(crate) use fakes::{FakeReread, Pod, Tokens, identity};
use fakes::{Gated, Shared, versioned};

pub(crate) const DRIVER: &str = "system:serviceaccount:coffer-system:coffer-node";

pub(crate) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// Everything a test can turn.
pub(crate) struct World {
    pub(crate) vault: Vault,
    pub(crate) keyring: OpenKeyring,
    pub(crate) members: BTreeMap<String, VaultMember>,
    pub(crate) door: Arc<WorkloadDoor>,
    pub(crate) routes: BoxedFilter<(http::Response<String>,)>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) reread: Arc<FakeReread>,
    pub(crate) sink_is_gone: Arc<AtomicBool>,
    pub(crate) readiness: Readiness,
    pub(crate) used: Arc<Mutex<Vec<Used>>>,
    /// The Connections of which a broken glass was told, and what was said.
    pub(crate) witnessed: Arc<Mutex<Vec<(String, String)>>>,
    writers: Writers,
    dir: tempfile::TempDir,
}

struct Writers {
    vaults: reflector::store::Writer<Vault>,
    keyrings: reflector::store::Writer<Keyring>,
    members: reflector::store::Writer<VaultMember>,
    connections: reflector::store::Writer<Connection>,
    envelopes: reflector::store::Writer<Envelope>,
    namespaces: reflector::store::Writer<Namespace>,
    subjects: Arc<SubjectIndex>,
    words: Arc<WordIndex>,
}

impl World {
    /// A vault that alice owns, without any Connection.
    pub(crate) fn new() -> Self {
        Self::with_keys(true)
    }

    /// A vault without anybody.
    pub(crate) fn bare() -> Self {
        Self::empty(true)
    }

    /// The same for a broker that has, or has not, its keys.
    pub(crate) fn with_keys(has_keys: bool) -> Self {
        let mut world = Self::empty(has_keys);
        world.member("alice", user("alice"), "owner");
        world
    }

    fn empty(has_keys: bool) -> Self {
        let custodian = Custodian::generate(&mut rng());
        let keyring = custodian.new_keyring(VaultId::generate(&mut rng()), "uid-main", now(), &mut rng());
        let (stores, writers) = stores();
        let (tokens, reread) = (Arc::<Tokens>::default(), Arc::<FakeReread>::default());
        let witnessed = Arc::<Mutex<Vec<(String, String)>>>::default();
        let (sink_is_gone, used) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Used>>>::default());
        let (metrics, readiness) = (BrokerMetrics::new(&Metrics::new()), Readiness::new());
        let dir = tempfile::tempdir().unwrap();
        let sink = Gated {
            inner: FileSink::new(dir.path().join("audit"), FileLimits { file_bytes: 1 << 20, keep_files: 0 }),
            gone: sink_is_gone.clone(),
        };
        let health = AuditHealth { metrics: metrics.clone(), check: readiness.check("audit") };
        let (audit, _writer) = AuditLog::start(sink, health, "coffer-broker-0", now).unwrap();
        let releaser = Releaser {
            stores,
            reread: Box::new(Shared(reread.clone())),
            keys: Keys::fixed(has_keys.then(|| custodian.branches().clone())),
            registers: Registers::default(),
            seen: Seen::default(),
            signatures: CheckedSignatures::default(),
            audit,
            glass: Glass {
                groups: Arc::new(BreakGlass::new(vec!["oncall".to_owned()])),
                witness: Box::new(Shared(witnessed.clone())),
            },
            limits: Box::new(LocalWindows::default()),
            denials: DenialBudget::new(1000, std::time::Duration::from_secs(1), 100),
            last_used: LastUsed::start(Shared(used.clone())),
            metrics,
            clock: now,
        };
        let door = Arc::new(WorkloadDoor {
            reviews: Box::new(Shared(tokens.clone())),
            driver_user: DRIVER.into(),
            anonymous: DenialBudget::new(1000, std::time::Duration::from_secs(1), 100),
            releaser: Arc::new(releaser),
        });
        let mut vault = Vault::new("main", serde_json::from_value(serde_json::json!({})).unwrap());
        place(&mut vault, "main");
        vault.status =
            Some(VaultStatus { custodian_key: Some(keyring.custodian_key()), ..VaultStatus::default() });
        let routes = routes(door.clone());
        let members = BTreeMap::new();
        let mut world = Self {
            vault,
            keyring,
            members,
            door,
            routes,
            tokens,
            reread,
            sink_is_gone,
            readiness,
            used,
            witnessed,
            writers,
            dir,
        };
        world.apply_vault();
        world
    }

    /// Shows the vault as `self.vault` is now.
    pub(crate) fn apply_vault(&mut self) {
        self.writers.vaults.apply_watcher_event(&Event::Apply(self.vault.clone()));
    }

    /// Shows the Keyring as it is now.
    pub(crate) fn apply_keyring(&mut self) {
        self.apply_keyring_object(self.keyring_object());
    }

    pub(crate) fn apply_keyring_object(&mut self, keyring: Keyring) {
        self.writers.keyrings.apply_watcher_event(&Event::Apply(seen(keyring)));
    }

    pub(crate) fn keyring_object(&self) -> Keyring {
        let mut keyring = Keyring::new("main", self.keyring.to_spec());
        place(&mut keyring, "main-keyring");
        keyring
    }

    /// An Active member: on the register, its vault key wrapped if its role covers all.
    pub(crate) fn member(&mut self, name: &str, subject: Subject, role: &str) {
        let subject_uid = match &subject {
            Subject::ServiceAccount(account) => Some(format!("sa-{}", account.name)),
            Subject::User(_) | Subject::Group(_) | Subject::External(_) => None,
        };
        let registered = RegisteredMember {
            name: name.into(),
            uid: format!("uid-{name}"),
            subject: subject.clone(),
            subject_uid,
            role: role.into(),
            custody: Custody::Brokered,
            key_hash: None,
            accepted_at: Time(now()),
            former_uids: Vec::new(),
        };
        self.admit(registered, None);
    }

    /// The same for one that brought its own key.
    pub(crate) fn own_member(&mut self, name: &str, subject: Subject, role: &str, key: &MemberPublicKey) {
        let registered = RegisteredMember {
            name: name.into(),
            uid: format!("uid-{name}"),
            subject,
            subject_uid: None,
            role: role.into(),
            custody: Custody::Own,
            key_hash: Some(coffer_envelope::key_hash(key)),
            accepted_at: Time(now()),
            former_uids: Vec::new(),
        };
        self.admit(registered, Some(key));
    }

    fn admit(&mut self, registered: RegisteredMember, key: Option<&MemberPublicKey>) {
        self.keyring.register(registered.clone()).unwrap();
        self.apply_keyring();
        let RegisteredMember { name, subject, role, .. } = &registered;
        let spec = serde_json::json!({"vault": "main", "subject": subject, "role": role, "acceptance": {}});
        let mut member = VaultMember::new(name, serde_json::from_value(spec).unwrap());
        place(&mut member, name);
        let wrapped_keys = self.wrapped_to(&registered, key);
        member.status = Some(VaultMemberStatus { wrapped_keys, ..Default::default() });
        self.apply_member(member);
    }

    /// The vault keys wrapped for a Brokered member, as the operator wraps them.
    pub(crate) fn wrapped(&self, member: &RegisteredMember) -> Vec<coffer_crds::WrappedVaultKey> {
        self.wrapped_to(member, None)
    }

    fn wrapped_to(
        &self,
        member: &RegisteredMember,
        key: Option<&MemberPublicKey>,
    ) -> Vec<coffer_crds::WrappedVaultKey> {
        let wanted = roles::role(&self.vault.spec, &member.role).is_some_and(|r| r.covers_all() && r.opens());
        let epochs: Vec<i64> = self.keyring.epochs().filter(|_| wanted).map(|epoch| epoch.epoch).collect();
        let wrap = |epoch| self.keyring.wrap_vault_key(member, key, epoch, &mut rng()).unwrap();
        epochs.into_iter().map(wrap).collect()
    }

    pub(crate) fn apply_member(&mut self, member: VaultMember) {
        self.members.insert(member.name_any(), member.clone());
        let event = Event::Apply(seen(member));
        self.writers.members.apply_watcher_event(&event);
        self.writers.subjects.observe(&event);
    }

    /// The VaultMember is deleted; the operator has not got to the register yet.
    pub(crate) fn delete_member(&mut self, name: &str) {
        let event = Event::Delete(self.members.remove(name).unwrap());
        self.writers.members.apply_watcher_event(&event);
        self.writers.subjects.observe(&event);
    }

    /// A Connection of alice with one item `token`, and its Envelope.
    pub(crate) fn connection(&mut self, name: &str, members: &[&str], value: &str) {
        self.connection_of(name, "alice", Some(members), value);
    }

    pub(crate) fn connection_of(&mut self, name: &str, owner: &str, members: Option<&[&str]>, value: &str) {
        let connection = connection(name, owner, members);
        let envelope = self.envelope(&connection, value);
        self.apply_connection(connection);
        self.apply_envelope(envelope);
    }

    pub(crate) fn apply_connection(&mut self, connection: Connection) {
        let event = Event::Apply(connection);
        self.writers.connections.apply_watcher_event(&event);
        self.writers.words.observe(&event);
    }

    pub(crate) fn apply_envelope(&mut self, envelope: Envelope) {
        self.writers.envelopes.apply_watcher_event(&Event::Apply(seen(envelope)));
    }

    pub(crate) fn apply_namespace(&mut self, name: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.into());
        namespace.metadata.labels = Some(labels);
        self.writers.namespaces.apply_watcher_event(&Event::Apply(namespace));
    }

    /// The Envelope that the operator would write for a Connection as it is.
    pub(crate) fn envelope(&self, connection: &Connection, value: &str) -> Envelope {
        let uid = |name: &str| self.keyring.member(name).map(|m| m.uid.clone()).unwrap_or_default();
        let listed = |name: &str| EnvelopeMember { name: name.into(), uid: uid(name) };
        let owner = listed(connection.spec.owner.as_deref().unwrap());
        let scope = match (connection.spec.members.as_deref(), self.vault.spec.sharing) {
            (Some([star]), _) if star == "*" => EnvelopeScope::All(AllMembers {}),
            (None, Sharing::All) => EnvelopeScope::All(AllMembers {}),
            (names, _) => {
                let names = names.into_iter().flatten().map(|name| listed(name));
                listed_scope(names.chain([owner.clone()])).unwrap()
            }
        };
        let name = connection.name_any();
        let recipients = self
            .keyring
            .members()
            .iter()
            .filter(|m| coffer_envelope::scope_contains(&scope, &m.name, &m.uid))
            .filter(|m| {
                let role = roles::role(&self.vault.spec, &m.role);
                let listed = matches!(scope, EnvelopeScope::Listed(_));
                role.is_some_and(|r| r.opens() && r.covers(&name) && (listed || !r.covers_all()))
            })
            .map(|member| Recipient { member, key: None })
            .collect();
        let item = Item { value: SecretBytes::new(value.as_bytes().to_vec()), sealed_sha256: [7; 32] };
        let new = NewEnvelope {
            connection: EnvelopeConnection {
                namespace: "team-a".into(),
                name: name.clone(),
                uid: connection.uid().unwrap(),
            },
            version: 1,
            created_by: "alice".into(),
            writer: Author { username: "alice".into(), ..Author::default() },
            now: now(),
            access: Access { owner, scope, recipients },
            items: BTreeMap::from([("token".to_owned(), item)]),
        };
        let mut envelope = Envelope::new(&name, self.keyring.seal_envelope(new, &mut rng()).unwrap());
        place(&mut envelope, &format!("envelope-{name}"));
        envelope
    }

    /// Asks, as the pod's own agent.
    pub(crate) async fn ask(&self, pod: &Pod, references: &[&str]) -> Answer {
        self.ask_as(pod, Some(&pod.token), None, references).await
    }

    /// Asks, as the driver of the pod's node.
    pub(crate) async fn ask_by_driver(&self, pod: &Pod, driver_token: &str, references: &[&str]) -> Answer {
        self.ask_as(pod, Some(&pod.token), Some(driver_token), references).await
    }

    pub(crate) async fn ask_as(
        &self,
        claimed: &Pod,
        pod_token: Option<&str>,
        driver_token: Option<&str>,
        references: &[&str],
    ) -> Answer {
        let key = EphemeralKey::generate(&mut rng());
        let request = request(claimed, &key, references);
        let mut test = warp::test::request().method("POST").path("/v1/release");
        if let Some(token) = pod_token {
            test = test.header("authorization", format!("Bearer {token}"));
        }
        if let Some(token) = driver_token {
            test = test.header("Coffer-Driver-Token", token);
        }
        let response = test.json(&request).reply(&self.routes).await;
        Answer {
            status: response.status().as_u16(),
            retry_after: response.headers().get("retry-after").map(|v| v.to_str().unwrap().parse().unwrap()),
            body: response.body().to_vec(),
            key,
            request,
        }
    }

    /// What is on record, everything that was said before included.
    pub(crate) async fn records(&self) -> Vec<Record> {
        // An empty commit is behind everything that waits.
        let _ = self.door.releaser.audit.record(Vec::new()).await;
        let mut out = Vec::new();
        audit::print(&self.audit_dir(), None, &mut out).unwrap();
        assert!(audit::verify(&self.audit_dir()).unwrap().intact());
        let lines = out.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    pub(crate) fn audit_dir(&self) -> PathBuf {
        self.dir.path().join("audit")
    }
}

pub(crate) fn user(name: &str) -> Subject {
    Subject::User(NamedSubject { name: name.into() })
}

pub(crate) fn group(name: &str) -> Subject {
    Subject::Group(NamedSubject { name: name.into() })
}

pub(crate) fn account(name: &str) -> Subject {
    account_in("team-a", name)
}

pub(crate) fn account_in(namespace: &str, name: &str) -> Subject {
    Subject::ServiceAccount(ServiceAccountSubject { namespace: Some(namespace.into()), name: name.into() })
}

pub(crate) fn connection(name: &str, owner: &str, members: Option<&[&str]>) -> Connection {
    let spec = ConnectionSpec {
        vault: Some(VaultRef { name: Some("main".into()), namespace: None }),
        owner: Some(owner.into()),
        members: members.map(|members| members.iter().map(|m| (*m).to_owned()).collect()),
        ..ConnectionSpec::default()
    };
    let mut connection = Connection::new(name, spec);
    place(&mut connection, &format!("connection-{name}"));
    connection
}

/// As a watch shows it.
fn seen<K: Resource + serde::Serialize + Clone>(object: K) -> K {
    Arc::unwrap_or_clone(versioned(Arc::new(object)))
}

fn place<K: Resource>(object: &mut K, uid: &str) {
    let meta = object.meta_mut();
    meta.namespace = Some("team-a".into());
    meta.uid = Some(format!("uid-{uid}"));
    meta.creation_timestamp = Some(Time(now()));
}

fn stores() -> (Stores, Writers) {
    let (subjects, words) = (Arc::<SubjectIndex>::default(), Arc::<WordIndex>::default());
    let (vaults, vaults_writer) = reflector::store();
    let (keyrings, keyrings_writer) = reflector::store();
    let (members, members_writer) = reflector::store();
    let (connections, connections_writer) = reflector::store();
    let (envelopes, envelopes_writer) = reflector::store();
    let (namespaces, namespaces_writer) = reflector::store();
    let writers = Writers {
        vaults: vaults_writer,
        keyrings: keyrings_writer,
        members: members_writer,
        connections: connections_writer,
        envelopes: envelopes_writer,
        namespaces: namespaces_writer,
        subjects: subjects.clone(),
        words: words.clone(),
    };
    (Stores { vaults, keyrings, members, connections, envelopes, namespaces, subjects, words }, writers)
}
