//! A cluster in memory, for tests: the caches hold its objects, and the plans' writes are applied as the API server
//! would, with uids, resourceVersions, optimistic concurrency and garbage collection.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod branching;

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::{
    Author, Connection, ConnectionStatus, Envelope, Keyring, Subject, Vault, VaultMember, VaultMemberStatus,
    VaultStatus,
};
use coffer_envelope::{
    Branches, Custodian, OpenKeyring,
    custody::{RootOfTrust, open_custodian, seal_new_root, seal_secrets},
};
use coffer_keys::intake::{InputContext, IntakePublicKey};
use coffer_policy::BreakGlass;
use k8s_openapi::{
    api::{core::v1::ServiceAccount, rbac::v1::RoleBinding},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::{SignedDuration, Timestamp},
};
use kube::{Resource, ResourceExt as _, api::ObjectMeta, core::PartialObjectMeta, runtime::watcher::Event};
use serde_json::{Value, json};

use crate::{
    cache::{Cache, Key},
    caches::Caches,
    connection,
    context::{Judging, Keyrings, rng},
    installation::custody::{Custody, Opened},
    reads::Reads,
    vault,
};

pub(crate) const OPERATOR: &str = "system:serviceaccount:coffer-system:coffer-operator";

/// The cluster, with one vault `team-a/main` whose owner is alice.
pub(crate) struct World {
    pub(crate) caches: Caches,
    pub(crate) custody: Custody,
    pub(crate) keyrings: Keyrings,
    pub(crate) now: Timestamp,
    pub(crate) break_glass: Arc<BreakGlass>,
    /// What the audit logs say: nothing, and nobody is asked.
    pub(crate) reads: Reads,
    serial: u64,
}

pub(crate) fn author(name: &str) -> Author {
    Author { username: String::from(name), uid: None, groups: vec![String::from("system:authenticated")] }
}

pub(crate) fn main_vault() -> Key {
    Key::new("team-a", "main")
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            caches: Caches::new(),
            custody: Custody::Open(Opened::of(Custodian::generate(&mut rng()))),
            keyrings: Keyrings::default(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            break_glass: Arc::default(),
            reads: Reads::default(),
            serial: 100,
        }
    }

    /// With vault `team-a/main` applied by alice, and everything settled.
    pub(crate) fn with_vault() -> Self {
        let mut world = Self::new();
        world.add_vault(json!({"owners": [{"user": {"name": "alice"}}]}), "alice");
        world.settle();
        world
    }

    pub(crate) fn add_vault(&mut self, spec: Value, by: &str) {
        let mut vault: Vault = serde_json::from_value(
            json!({"metadata": {"name": "main", "namespace": "team-a"}, "spec": spec}),
        )
        .unwrap();
        vault.spec.last_writer = Some(author(by));
        self.create(|caches| &caches.vaults, vault);
    }

    pub(crate) fn add_account(&mut self, namespace: &str, name: &str) {
        let metadata = ObjectMeta {
            name: Some(String::from(name)),
            namespace: Some(String::from(namespace)),
            ..ObjectMeta::default()
        };
        let account = PartialObjectMeta::<ServiceAccount> { metadata, ..PartialObjectMeta::default() };
        self.create(|caches| &caches.accounts, account);
    }

    /// Invites a ServiceAccount of team-a.
    pub(crate) fn invite_account(&mut self, name: &str, role: &str, by: &str) {
        self.invite(name, json!({"serviceAccount": {"name": name}}), role, by);
    }

    pub(crate) fn invite(&mut self, name: &str, subject: Value, role: &str, by: &str) {
        let mut member: VaultMember = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "team-a"},
            "spec": {"vault": "main", "subject": subject, "role": role},
        }))
        .unwrap();
        member.spec.invited_by = Some(author(by));
        member.spec.last_writer = Some(author(by));
        self.create(|caches| &caches.members, member);
    }

    /// Applies a Connection of team-a with sealed values.
    pub(crate) fn add_connection(
        &mut self,
        name: &str,
        members: Option<&[&str]>,
        items: &[(&str, &str)],
        by: &str,
    ) {
        let mut connection: Connection = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "team-a"},
            "spec": {"vault": {"name": "main"}, "owner": by, "members": members},
        }))
        .unwrap();
        connection.spec.last_writer = Some(author(by));
        let owner = connection.spec.owner.clone().unwrap();
        for (item, value) in items {
            let sealed = self.seal(name, &owner, item, value);
            connection.spec.sealed_data.insert(String::from(*item), sealed);
        }
        self.create(|caches| &caches.connections, connection);
    }

    pub(crate) fn seal(&self, connection: &str, owner: &str, item: &str, value: &str) -> String {
        let status = self.vault().status.clone().unwrap();
        let key = status.intake_key.unwrap();
        let key = IntakePublicKey::parse(&key.kid, &key.public_key).unwrap();
        let context = InputContext {
            vault_id: coffer_keys::VaultId::parse(&status.vault_id.unwrap()).unwrap(),
            namespace: "team-a",
            connection,
            owner,
            item,
        };
        STANDARD.encode(key.seal(&context, value.as_bytes(), &mut rng()))
    }

    /// The custodian root is turned over: a newer generation beside those that are held.
    pub(crate) fn grow_root(&mut self, generation: u64) {
        self.with_roots(|sealed, trust| {
            sealed.extend([seal_new_root(generation, trust, &mut rng()).unwrap()])
        });
    }

    /// A generation of the custodian root is taken out of its Secret.
    pub(crate) fn lose_root(&mut self, generation: u64) {
        self.with_roots(|sealed, _| drop(sealed.remove(&format!("generation-{generation}"))));
    }

    /// Reads the custodian's Secret with other data, as the keeper of the root does.
    fn with_roots(&mut self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>, &RootOfTrust)) {
        let Custody::Open(opened) = &self.custody else { panic!("no custodian") };
        let trust = RootOfTrust::generate_local(&mut rng());
        let mut sealed = seal_secrets(&opened.custodian, &trust, &mut rng()).unwrap();
        change(&mut sealed.custodian, &trust);
        let [roots, branches] = [&sealed.custodian, &sealed.brokered]
            .map(|data| data.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        self.custody = Custody::Open(Opened::of(open_custodian(&trust, roots, branches).unwrap()));
        self.keyrings.forget();
    }

    pub(crate) fn vault(&self) -> Arc<Vault> {
        self.caches.vaults.get(&main_vault()).unwrap()
    }

    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        self.caches.keyrings.get(&main_vault()).unwrap()
    }

    pub(crate) fn keys(&self) -> OpenKeyring {
        let Custody::Open(opened) = &self.custody else { panic!("no custodian") };
        opened.custodian.open_keyring(&self.keyring().spec).unwrap()
    }

    pub(crate) fn branches(&self) -> Branches {
        let Custody::Open(opened) = &self.custody else { panic!("no custodian") };
        opened.custodian.branches().clone()
    }

    /// The newest generation of the custodian root.
    pub(crate) fn newest_root(&self) -> u64 {
        let Custody::Open(opened) = &self.custody else { panic!("no custodian") };
        opened.custodian.newest_root()
    }

    pub(crate) fn member(&self, name: &str) -> Arc<VaultMember> {
        self.caches.members.get(&Key::new("team-a", name)).unwrap()
    }

    pub(crate) fn member_status(&self, name: &str) -> VaultMemberStatus {
        self.member(name).status.clone().unwrap_or_default()
    }

    pub(crate) fn connection(&self, name: &str) -> Arc<Connection> {
        self.caches.connections.get(&Key::new("team-a", name)).unwrap()
    }

    pub(crate) fn envelope(&self, name: &str) -> Arc<Envelope> {
        self.caches.envelopes.get(&Key::new("team-a", name)).unwrap()
    }

    /// What the custodian finds in an Envelope.
    pub(crate) fn values(&self, name: &str) -> Vec<(String, String)> {
        let (keys, envelope) = (self.keys(), self.envelope(name));
        let opened = keys.open_envelope("team-a", name, &envelope.spec).unwrap();
        let items = opened.items().unwrap();
        items
            .iter()
            .map(|(item, value)| (item.clone(), String::from_utf8_lossy(value.expose()).into_owned()))
            .collect()
    }

    pub(crate) fn edit_member(&mut self, name: &str, by: &str, edit: impl FnOnce(&mut VaultMember)) {
        let mut member = self.member(name).as_ref().clone();
        edit(&mut member);
        // As the webhook stamps.
        if coffer_policy::writes::grant_changed(&self.member(name), &member) {
            member.spec.invited_by = Some(author(by));
        }
        member.spec.last_writer = Some(author(by));
        self.update(|caches| &caches.members, member);
    }

    pub(crate) fn edit_vault(&mut self, by: &str, edit: impl FnOnce(&mut Vault)) {
        let mut vault = self.vault().as_ref().clone();
        edit(&mut vault);
        vault.spec.last_writer = Some(author(by));
        self.update(|caches| &caches.vaults, vault);
    }

    pub(crate) fn edit_connection(&mut self, name: &str, by: &str, edit: impl FnOnce(&mut Connection)) {
        let mut connection = self.connection(name).as_ref().clone();
        edit(&mut connection);
        connection.spec.last_writer = Some(author(by));
        self.update(|caches| &caches.connections, connection);
    }

    pub(crate) fn judge(&self) -> Judging<'_> {
        Judging { operator: OPERATOR, break_glass: &self.break_glass }
    }

    pub(crate) fn vault_facts(&self) -> vault::fetch::Facts {
        let custodian = match &self.custody {
            Custody::Open(opened) => Ok(opened.custodian.clone()),
            Custody::Unavailable(why) => Err(why.to_string()),
            Custody::Unknown => Err(String::from("unknown")),
        };
        let keyring = self.caches.keyrings.get(&main_vault());
        vault::fetch::gather(self.vault(), custodian, keyring, &self.caches, self.judge())
    }

    pub(crate) fn plan_vault(&self) -> vault::plan::Plan {
        vault::plan::plan(&self.vault_facts(), self.now, &mut rng())
    }

    pub(crate) fn plan_connection(&self, name: &str) -> connection::plan::Plan {
        let envelope = self.caches.envelopes.get(&Key::new("team-a", name));
        let facts = connection::fetch::gather(
            self.connection(name),
            envelope,
            &self.custody,
            &self.caches,
            &self.keyrings,
            self.judge(),
        );
        let facts = connection::fetch::Facts { reads: self.reads.clone(), ..facts };
        connection::plan::plan(&facts, self.now, &mut rng())
    }

    /// Plans and applies until there is nothing to write; gives the number of writes.
    pub(crate) fn settle(&mut self) -> usize {
        let mut writes = 0;
        for _ in 0..20 {
            let round = self.round();
            writes += round;
            if round == 0 {
                return writes;
            }
        }
        panic!("the operator does not come to rest");
    }

    fn round(&mut self) -> usize {
        let mut writes = 0;
        if self.caches.vaults.get(&main_vault()).is_some() {
            let plan = self.plan_vault();
            writes += plan.writes.len();
            for write in plan.writes {
                self.apply_vault(write);
            }
        }
        let mut names: Vec<String> =
            self.caches.connections.all().iter().map(|found| found.name_any()).collect();
        names.sort();
        for name in names {
            let plan = self.plan_connection(&name);
            writes += plan.writes.len();
            for write in plan.writes {
                self.apply_connection(&name, write);
            }
        }
        writes
    }

    pub(crate) fn apply_vault(&mut self, write: vault::plan::Write) {
        use vault::plan::Write;
        match write {
            Write::CreateKeyring(keyring) => self.create(|caches| &caches.keyrings, *keyring),
            Write::ReplaceKeyring(keyring) => self.replace(|caches| &caches.keyrings, *keyring),
            Write::MemberStatus(change) => {
                let (mut member, status) = *change;
                member.status = Some(status);
                self.replace(|caches| &caches.members, member);
            }
            Write::CreateMember(member) => {
                let mut member = *member;
                // The webhook stamps everybody, the operator too.
                member.spec.last_writer = Some(author(OPERATOR));
                member.spec.invited_by = Some(author(OPERATOR));
                self.create(|caches| &caches.members, member);
            }
            Write::RaiseOwner(member) => {
                let name = member.name_any();
                self.edit_member(&name, OPERATOR, |member| {
                    member.spec.role = String::from("owner");
                    member.spec.suspended = false;
                });
            }
            Write::DeleteMember(member) => self.delete(|caches| &caches.members, &Key::of(member.as_ref())),
            Write::CreateBinding(binding) => self.create(|caches| &caches.bindings, *binding),
            Write::ApplyBinding(binding) => self.update(|caches| &caches.bindings, *binding),
            Write::DeleteBinding(binding) => {
                self.delete(|caches| &caches.bindings, &Key::of(binding.as_ref()))
            }
            Write::VaultStatus(status) => {
                let mut vault = self.vault().as_ref().clone();
                vault.status = Some(*status);
                self.replace(|caches| &caches.vaults, vault);
            }
        }
    }

    pub(crate) fn apply_connection(&mut self, name: &str, write: connection::plan::Write) {
        use connection::plan::Write;
        match write {
            Write::CreateEnvelope(envelope) => self.create(|caches| &caches.envelopes, *envelope),
            Write::ReplaceEnvelope(envelope) => self.replace(|caches| &caches.envelopes, *envelope),
            Write::Status(status) => {
                let mut connection = self.connection(name).as_ref().clone();
                connection.status = Some(*status);
                self.replace(|caches| &caches.connections, connection);
            }
        }
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Leaves out that many uids.
    pub(crate) fn skip(&mut self, uids: u64) {
        self.serial += uids;
    }

    pub(crate) fn create<K: Object>(&mut self, pick: fn(&Caches) -> &Cache<K>, mut object: K) {
        assert!(pick(&self.caches).get(&Key::of(&object)).is_none(), "{} exists", Key::of(&object));
        let serial = self.next();
        let meta = object.meta_mut();
        meta.uid = Some(format!("uid-{serial}"));
        meta.creation_timestamp = Some(Time(self.now));
        meta.generation = Some(1);
        meta.resource_version = Some(serial.to_string());
        pick(&self.caches).written(object);
    }

    /// With optimistic concurrency.
    fn replace<K: Object>(&mut self, pick: fn(&Caches) -> &Cache<K>, mut object: K) {
        let held = pick(&self.caches).get(&Key::of(&object)).unwrap();
        assert_eq!(held.resource_version(), object.resource_version(), "a plan for a state that is gone");
        object.meta_mut().resource_version = Some(self.next().to_string());
        pick(&self.caches).written(object);
    }

    /// A change of the spec by a user.
    pub(crate) fn update<K: Object>(&mut self, pick: fn(&Caches) -> &Cache<K>, mut object: K) {
        let held = pick(&self.caches).get(&Key::of(&object)).unwrap();
        let serial = self.next();
        let meta = object.meta_mut();
        meta.uid = held.uid();
        meta.generation = held.meta().generation.map(|generation| generation + 1);
        meta.resource_version = Some(serial.to_string());
        pick(&self.caches).written(object);
    }

    pub(crate) fn delete<K: Object>(&mut self, pick: fn(&Caches) -> &Cache<K>, key: &Key) {
        let mut gone = pick(&self.caches).get(key).unwrap().as_ref().clone();
        let uid = gone.uid();
        gone.meta_mut().resource_version = Some(self.next().to_string());
        pick(&self.caches).observe(Event::Delete(gone));
        self.collect(|caches| &caches.keyrings, uid.as_deref());
        self.collect(|caches| &caches.envelopes, uid.as_deref());
        self.collect(|caches| &caches.members, uid.as_deref());
        self.collect(|caches| &caches.bindings, uid.as_deref());
    }

    fn collect<K: Object>(&mut self, pick: fn(&Caches) -> &Cache<K>, owner: Option<&str>) {
        let owned = |object: &K| {
            object
                .meta()
                .owner_references
                .iter()
                .flatten()
                .any(|reference| Some(reference.uid.as_str()) == owner)
        };
        let gone: Vec<_> = pick(&self.caches).all().into_iter().filter(|object| owned(object)).collect();
        for object in gone {
            let mut object = object.as_ref().clone();
            object.meta_mut().resource_version = Some(self.next().to_string());
            pick(&self.caches).observe(Event::Delete(object));
        }
    }

    pub(crate) fn delete_member(&mut self, name: &str) {
        self.delete(|caches| &caches.members, &Key::new("team-a", name));
    }

    pub(crate) fn pass(&mut self, hours: i64) {
        self.now += SignedDuration::from_hours(hours);
    }
}

/// Kinds that the world holds.
pub(crate) trait Object: coffer_runtime::store::Watchable + Resource<DynamicType = ()> {}
impl<K: coffer_runtime::store::Watchable + Resource<DynamicType = ()>> Object for K {}

pub(crate) fn condition<'a>(conditions: &'a [Condition], type_: &str) -> &'a Condition {
    conditions.iter().find(|condition| condition.type_ == type_).unwrap()
}

pub(crate) fn ready_of_vault(status: &VaultStatus) -> (&str, &str) {
    let ready = condition(&status.conditions, "Ready");
    (ready.status.as_str(), ready.reason.as_str())
}

pub(crate) fn ready_of_member(status: &VaultMemberStatus) -> (&str, &str) {
    let ready = condition(&status.conditions, "Ready");
    (ready.status.as_str(), ready.reason.as_str())
}

pub(crate) fn ready_of_connection(status: &ConnectionStatus) -> (&str, &str) {
    let ready = condition(&status.conditions, "Ready");
    (ready.status.as_str(), ready.reason.as_str())
}

pub(crate) fn subjects(binding: &RoleBinding) -> Vec<&str> {
    binding.subjects.iter().flatten().map(|subject| subject.name.as_str()).collect()
}

pub(crate) fn user(name: &str) -> Subject {
    Subject::User(coffer_crds::NamedSubject { name: String::from(name) })
}
