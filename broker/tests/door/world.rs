//! A vault `team-a/main` with members and Connections, and a door to ask at.

use coffer_broker::{
    audit::{self, AuditLog, Committed, DenialBudget, FileLimits, FileSink, Opened, Record, Sink},
    branch::Keys,
    doors::workload::{WorkloadDoor, routes},
    facts::{Fresh, Reread, RereadFailed, Stores, SubjectIndex, Wanted, WordIndex},
    identity::{BoundObject, ReviewUnavailable, TokenIdentity, TokenReviewer},
    last_used::{LastUsed, StatusWriter, Used},
    limits::LocalWindows,
    metrics::{AuditHealth, BrokerMetrics},
    release::{Glass, Registers, Releaser, Seen, Witness},
};
use coffer_broker_api::{DOOR, ErrorBody, PodReference, ReleaseRequest, ReleaseResponse, Released};
use coffer_crds::{
    AllMembers, Author, Connection, ConnectionSpec, Custody, Envelope, EnvelopeConnection, EnvelopeMember,
    EnvelopeScope, Keyring, NamedSubject, RegisteredMember, ServiceAccountSubject, Sharing, Subject, Vault,
    VaultMember, VaultMemberStatus, VaultRef, VaultStatus,
};
use coffer_envelope::{Access, Custodian, Item, NewEnvelope, OpenKeyring, Recipient, listed_scope};
use coffer_keys::{
    SecretBytes, VaultId,
    answer::{AnswerContext, EphemeralKey},
    member_key::MemberPublicKey,
    signature::CheckedSignatures,
};
use coffer_policy::{BreakGlass, Caller, roles};
use coffer_runtime::{Metrics, Notice, Readiness};
use futures::future::BoxFuture;
use getrandom::{SysRng, rand_core::UnwrapErr};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Namespace, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Resource, ResourceExt as _,
    runtime::{reflector, watcher::Event},
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use warp::filters::BoxedFilter;

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
        self.writers.keyrings.apply_watcher_event(&Event::Apply(keyring));
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
        let event = Event::Apply(member);
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
        self.writers.envelopes.apply_watcher_event(&Event::Apply(envelope));
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

/// What the door said.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Vec<u8>,
    pub(crate) key: EphemeralKey,
    pub(crate) request: ReleaseRequest,
}

impl Answer {
    pub(crate) fn error(&self) -> ErrorBody {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn sealed(&self) -> Vec<u8> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let response: ReleaseResponse = serde_json::from_slice(&self.body).unwrap();
        assert_eq!((response.v, &response.request_id), (1, &self.request.request_id));
        STANDARD.decode(response.sealed).unwrap()
    }

    /// Opens the answer as the node does.
    pub(crate) fn open(&self, pod: &Pod) -> Released {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let request_sha256: [u8; 32] = Sha256::digest(self.request.canonical()).into();
        let context = AnswerContext {
            door: DOOR,
            request_id: &self.request.request_id,
            requester_username: &pod.username,
            requester_uid: &pod.account_uid,
            request_sha256: &request_sha256,
        };
        Released::decode(self.key.open(&context, &self.sealed()).unwrap().expose()).ok().unwrap()
    }

    /// The `token` items, in the answer's order.
    pub(crate) fn values(&self, pod: &Pod) -> Vec<String> {
        let value = |c: &coffer_broker_api::ReleasedConnection| {
            String::from_utf8(c.items["token"].expose().to_vec()).unwrap()
        };
        self.open(pod).connections.iter().map(value).collect()
    }
}

pub(crate) fn request(pod: &Pod, key: &EphemeralKey, references: &[&str]) -> ReleaseRequest {
    ReleaseRequest {
        v: 1,
        request_id: VaultId::generate(&mut rng()).to_string(),
        connections: references.iter().map(|reference| (*reference).to_owned()).collect(),
        public_key: key.public().to_base64(),
        pod: PodReference { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() },
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

fn place<K: Resource>(object: &mut K, uid: &str) {
    let meta = object.meta_mut();
    meta.namespace = Some("team-a".into());
    meta.uid = Some(format!("uid-{uid}"));
    meta.creation_timestamp = Some(Time(now()));
}

/// A pod with its ServiceAccount's token.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) username: String,
    pub(crate) account_uid: String,
    pub(crate) token: String,
}

/// Tokens that the fake API server accepts.
#[derive(Default)]
pub(crate) struct Tokens {
    known: Mutex<BTreeMap<String, TokenIdentity>>,
    pub(crate) down: AtomicBool,
    pub(crate) asked: AtomicUsize,
}

impl Tokens {
    /// A pod of ServiceAccount `account` in `team-a`, on node `n1`.
    pub(crate) fn pod(&self, account: &str) -> Pod {
        self.pod_in("team-a", account, "n1")
    }

    pub(crate) fn pod_in(&self, namespace: &str, account: &str, node: &str) -> Pod {
        let pod = Pod {
            namespace: namespace.into(),
            name: format!("{account}-0"),
            uid: format!("uid-of-{account}-0-in-{namespace}"),
            username: format!("system:serviceaccount:{namespace}:{account}"),
            account_uid: format!("sa-{account}"),
            token: format!("{namespace}.{account}.{node}"),
        };
        self.accept(&pod.token, identity(&pod, Some(node)));
        pod
    }

    /// The token of the driver on `node`.
    pub(crate) fn driver(&self, node: &str) -> String {
        let token = format!("driver.{node}.sig");
        let pod = Pod {
            namespace: "coffer-system".into(),
            name: format!("coffer-node-{node}"),
            uid: format!("uid-of-driver-{node}"),
            username: DRIVER.into(),
            account_uid: "sa-coffer-node".into(),
            token: token.clone(),
        };
        self.accept(&token, identity(&pod, Some(node)));
        token
    }

    pub(crate) fn accept(&self, token: &str, identity: TokenIdentity) {
        self.known.lock().unwrap().insert(token.into(), identity);
    }
}

pub(crate) fn identity(pod: &Pod, node: Option<&str>) -> TokenIdentity {
    let caller = Caller {
        username: pod.username.clone(),
        uid: Some(pod.account_uid.clone()),
        groups: vec!["system:serviceaccounts".into(), "system:authenticated".into()],
    };
    TokenIdentity {
        caller,
        pod: Some(BoundObject { name: pod.name.clone(), uid: pod.uid.clone() }),
        node: node.map(|node| BoundObject { name: node.into(), uid: format!("uid-of-{node}") }),
    }
}

/// A fake that a test keeps a hand on.
struct Shared<T>(Arc<T>);

impl TokenReviewer for Shared<Tokens> {
    fn review<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, ReviewUnavailable>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let answer = match self.0.down.load(Ordering::SeqCst) {
            true => Err(ReviewUnavailable),
            false => Ok(self.0.known.lock().unwrap().get(token).cloned()),
        };
        Box::pin(async move { answer })
    }
}

/// What the API server has, seen past the watches.
#[derive(Default)]
pub(crate) struct FakeReread {
    pub(crate) fresh: Mutex<Option<Fresh>>,
    pub(crate) asked: AtomicUsize,
}

impl Reread for Shared<FakeReread> {
    fn read<'a>(&'a self, _: &'a Wanted) -> BoxFuture<'a, Result<Fresh, RereadFailed>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let fresh = self.0.fresh.lock().unwrap().clone().ok_or(RereadFailed);
        Box::pin(async move { fresh })
    }
}

impl Witness for Shared<Mutex<Vec<(String, String)>>> {
    fn tell(&self, about: ObjectReference, notice: Notice) {
        self.0.lock().unwrap().push((about.name.unwrap(), notice.note));
    }
}

impl StatusWriter for Shared<Mutex<Vec<Used>>> {
    fn write<'a>(
        &'a self,
        used: &'a Used,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<(), coffer_runtime::CallError>> {
        self.0.lock().unwrap().push(used.clone());
        Box::pin(async { Ok(()) })
    }
}

/// An audit volume that can go away.
struct Gated {
    inner: FileSink,
    gone: Arc<AtomicBool>,
}

impl Gated {
    fn gate(&self) -> io::Result<()> {
        if self.gone.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Sink for Gated {
    fn open(&mut self) -> io::Result<Opened> {
        self.gate()?;
        self.inner.open()
    }
    fn commit(&mut self, lines: &[u8], first_seq: u64) -> io::Result<Committed> {
        self.gate()?;
        self.inner.commit(lines, first_seq)
    }
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
