//! What is decided about each kind: facts from the tables, judgement from `coffer-policy`.

pub mod acceptance;
pub mod access_token;
pub mod audit_query;
pub mod connection;
mod question;
pub mod release;
pub mod restored;
pub mod vault;
pub mod vault_member;

use std::{collections::BTreeSet, sync::LazyLock};

use coffer_crds::{
    Subject, Vault, VaultMember, VaultSpec,
    form::{Misfit, misfit},
};
use coffer_policy::{
    BreakGlass, Caller, MemberState, MemberView, identity, memberships, roles, writes::VaultView,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Resource as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    refusal::Refusal,
    review::{Admitted, Broken, Request, UserInfo},
    state::{Directory, Key, Look, Tables},
};

/// What a decision depends on besides the request and the tables.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The operator's user name.
    pub operator: &'a str,
    /// Who may do what an owner may, without being a member.
    pub break_glass: &'a BreakGlass,
    /// The present time.
    pub now: Timestamp,
}

/// Users that delete what Kubernetes itself no longer needs: never held up by a decision about a vault. The last one
/// is both controllers where the controller manager runs under one identity.
const COLLECTORS: [&str; 3] = [
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:kube-controller-manager",
];

/// An invite or a vault that is older than this and not finished will not be finished while a request waits.
const FRESH: SignedDuration = SignedDuration::from_secs(60);

/// Whether this user's DELETE passes without a decision.
pub fn collects_garbage(user: &UserInfo) -> bool {
    COLLECTORS.contains(&user.username.as_str())
}

/// The caller as policy knows it.
pub fn caller(user: &UserInfo) -> Caller {
    Caller::from(&user.author())
}

/// A vault with its memberships, gathered for one decision.
pub struct Facts {
    vault: Vault,
    members: Vec<MemberView>,
    names: Vec<String>,
}

impl Facts {
    /// What the tables say of `vault` and its members.
    pub fn gather(tables: &Tables, vault: &Vault, now: Timestamp) -> Self {
        let namespace = vault.metadata.namespace.as_deref().unwrap_or_default();
        let members: Vec<VaultMember> =
            tables.members_in(namespace).map(|member| member.as_ref().clone()).collect();
        let names = members
            .iter()
            .filter(|member| Some(&member.spec.vault) == vault.metadata.name.as_ref())
            .filter_map(|member| member.metadata.name.clone())
            .collect();
        Self { vault: vault.clone(), members: identity::from_status(vault, &members, now), names }
    }

    /// As policy looks at it, as far as memberships go; for the rest, [`judge`].
    pub fn view<'a>(&'a self, circumstances: &Circumstances<'a>) -> VaultView<'a> {
        VaultView {
            vault: &self.vault,
            members: &self.members,
            operator: Some(circumstances.operator),
            break_glass: None,
        }
    }

    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whether a VaultMember of that name exists in this vault, or is about to be made of `spec.owners`.
    pub fn knows(&self, member: &str) -> bool {
        self.names.iter().any(|name| name == member) || self.members.iter().any(|view| view.name == member)
    }

    /// Whether the caller is or was a member (Suspended and Expired ones count), or is about to be one.
    pub fn involves(&self, caller: &Caller) -> bool {
        !memberships(caller, &self.members).is_empty() || self.is_joining(caller)
    }

    /// Whether a membership of the caller is being made right now: then the answer is worth waiting for.
    pub fn is_joining(&self, caller: &Caller) -> bool {
        self.members.iter().any(|member| is_pending(member, self.namespace()) && member.is_of(caller))
    }

    fn namespace(&self) -> &str {
        self.vault.metadata.namespace.as_deref().unwrap_or_default()
    }
}

/// Whether the operator is about to make this membership Active: accepted, or a ServiceAccount of the vault's own
/// namespace, which is accepted at once.
pub fn is_pending(member: &MemberView, vault_namespace: &str) -> bool {
    match (member.state, &member.subject) {
        (MemberState::Accepted, _) => true,
        (MemberState::Invited, Subject::ServiceAccount(account)) => {
            account.namespace.as_deref().is_none_or(|namespace| namespace == vault_namespace)
        }
        (MemberState::Invited, Subject::User(_) | Subject::Group(_) | Subject::External(_)) => false,
        (MemberState::Active | MemberState::Declined | MemberState::Suspended | MemberState::Expired, _) => {
            false
        }
    }
}

/// Whether an object is young enough for its consequences to be still under way.
pub fn is_fresh(object: &impl kube::Resource, now: Timestamp) -> bool {
    let created = object.meta().creation_timestamp.as_ref().map(|time| time.0);
    created.is_none_or(|created| now.duration_since(created) < FRESH)
}

/// Policy's answer: by the caller's memberships, and where they do not allow it, by break glass, which is then told.
///
/// # Errors
/// Policy's refusal.
pub fn judge(
    facts: &Facts,
    circumstances: &Circumstances<'_>,
    caller: &Caller,
    ask: impl Fn(&VaultView<'_>) -> Result<(), coffer_policy::Refusal>,
) -> Result<Option<Broken>, coffer_policy::Refusal> {
    let view = facts.view(circumstances);
    let Err(refusal) = ask(&view) else { return Ok(None) };
    let glass = circumstances.break_glass;
    let group = glass.group_of(caller).ok_or_else(|| refusal.clone())?;
    ask(&VaultView { break_glass: Some(glass), ..view }).map_err(|_| refusal)?;
    Ok(Some(Broken { group: group.to_owned(), vault: facts.vault.object_ref(&()) }))
}

/// The refusal, unless a membership or a vault that is being made turns it into something else.
pub fn refuse<T>(
    refusal: coffer_policy::Refusal,
    facts: &Facts,
    caller: &Caller,
) -> Look<Result<T, Refusal>> {
    let refusal = Err(from_policy(refusal));
    if facts.is_joining(caller) { Look::Until(refusal) } else { Look::Unless(refusal) }
}

/// Policy's refusal with its field in front.
pub fn from_policy(refusal: coffer_policy::Refusal) -> Refusal {
    Refusal::Authorize(match refusal.field.as_str() {
        "" => refusal.message,
        field => format!("{field}: {}", refusal.message),
    })
}

/// The Vault `key`, which `field` names.
pub fn vault_named<'a>(
    tables: &'a Tables,
    key: &Key,
    field: &str,
) -> Result<&'a std::sync::Arc<Vault>, Refusal> {
    tables.vault(key).ok_or_else(|| {
        Refusal::field(field, format!("there is no Vault '{}' in namespace '{}'", key.name, key.namespace))
    })
}

/// Reads an object as its kind.
///
/// # Errors
/// [`Refusal::AcceptField`] with the first field that does not fit, and the accepted form. It quotes nothing.
pub fn typed<K: DeserializeOwned>(object: &Value, schema: &SpecSchema) -> Result<K, Refusal> {
    if let Ok(object) = K::deserialize(object) {
        return Ok(object);
    }
    check_form(object, &Value::Null, schema)?;
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    Err(Refusal::field("spec", format!("does not fit the schema; see kubectl explain {kind}.spec")))
}

/// The object as it is stored; `None` when it does not fit its schema, as after somebody wrote straight into etcd or an
/// upgrade was rolled back. A DELETE is then decided by [`clear_up`].
pub fn stored<K: DeserializeOwned>(request: &Request) -> Option<K> {
    K::deserialize(request.old_object.expose()).ok()
}

/// The object that an UPDATE changes.
///
/// # Errors
/// [`Refusal::AcceptField`] when it does not fit its schema (T45): nobody can tell what the change would give to whom.
/// The text says so of the stored object, since the one that was sent may be in order, and `way_out`.
pub fn before<K: DeserializeOwned>(
    request: &Request,
    schema: &SpecSchema,
    way_out: &str,
) -> Result<K, Refusal> {
    stored(request).ok_or_else(|| malformed(request, schema, way_out))
}

/// What is said of a stored object that does not fit its schema.
fn malformed(request: &Request, schema: &SpecSchema, way_out: &str) -> Refusal {
    let spec = request.old_object.expose().get("spec").unwrap_or(&Value::Null);
    let found = misfit(schema, "spec", spec, None);
    let (field, problem) = found.map_or_else(
        || (String::from("spec"), String::from("does not fit the schema")),
        |found| (found.field, found.problem),
    );
    Refusal::field(
        field,
        format!(
            "{problem}. This is about the object as it is stored, not as you sent it: somebody wrote it past its \
             schema, and no change of it can be judged. {way_out}"
        ),
    )
}

/// Decides a DELETE of what does not fit its schema (T45): it is an owner's, of any vault here or of the one that it names
/// as far as that can be read; and anybody's whom RBAC lets where nobody owns any.
///
/// # Errors
/// [`Refusal::Authorize`].
pub fn clear_up(
    request: &Request,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
) -> Result<Admitted, Refusal> {
    let caller = caller(&request.user_info);
    let owners = directory.look(|tables| {
        let here = tables
            .members_in(&request.namespace)
            .map(|member| Key::new(&request.namespace, &member.spec.vault));
        let vaults: BTreeSet<Key> = here.chain(named(request)).collect();
        let owners = vaults.iter().flat_map(|key| owners(tables, key, circumstances.now));
        owners.collect::<Vec<_>>()
    });
    if owners.is_empty() || owners.iter().any(|owner| owner.is_of(&caller)) {
        return Ok(Admitted::default());
    }
    let names: Vec<_> = owners.iter().map(|owner| owner.name.as_str()).collect();
    Err(Refusal::Authorize(format!(
        "this object does not fit its schema, so that nobody can tell whose it is. Ask an owner ({}) to delete it",
        names.join(", ")
    )))
}

/// The vault that an object names, whatever else is wrong with it.
fn named(request: &Request) -> Option<Key> {
    let vault = request.old_object.expose().pointer("/spec/vault")?;
    let text = |field: &str| vault.get(field).and_then(Value::as_str);
    let name = vault.as_str().or_else(|| text("name"))?;
    Some(Key::new(text("namespace").unwrap_or(&request.namespace), name))
}

/// The owners in force of a vault, also of one that does not fit its schema itself.
fn owners(tables: &Tables, key: &Key, now: Timestamp) -> Vec<MemberView> {
    let facts = match tables.vault(key) {
        Some(vault) => Facts::gather(tables, vault, now),
        None => {
            let mut vault = Vault::new(&key.name, VaultSpec::default());
            vault.metadata.namespace = Some(key.namespace.clone());
            Facts::gather(tables, &vault, now)
        }
    };
    facts.members.into_iter().filter(|member| member.is_active() && member.role == roles::OWNER).collect()
}

/// Checks that the spec has the form that its schema asks for, where it differs from `old`. The API server does the
/// same a moment later, in regular expressions and with the value quoted.
///
/// # Errors
/// [`Refusal::AcceptField`] with the first field that does not fit, and the accepted form.
pub fn check_form(object: &Value, old: &Value, schema: &SpecSchema) -> Result<(), Refusal> {
    match misfit(schema, "spec", object.get("spec").unwrap_or(&Value::Null), old.get("spec")) {
        None => Ok(()),
        Some(Misfit { field, problem }) => Err(Refusal::field(field, problem)),
    }
}

/// The schema of one kind's spec.
pub type SpecSchema = LazyLock<Value>;

/// Takes the schema of the spec out of a kind's definition.
pub fn spec_schema(crd: &CustomResourceDefinition) -> Value {
    let version = crd.spec.versions.first();
    let schema = version.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let spec = schema.and_then(|schema| schema.properties.as_ref()?.get("spec"));
    serde_json::to_value(spec).expect("a schema is JSON")
}

/// Checks a subject: nobody may stand for everybody (T25).
///
/// # Errors
/// [`Refusal::AcceptField`].
pub fn check_subject(field: &str, subject: &Subject) -> Result<(), Refusal> {
    let (kind, name) = match subject {
        Subject::ServiceAccount(account) => ("serviceAccount", account.name.as_str()),
        Subject::User(user) => ("user", user.name.as_str()),
        Subject::Group(group) => ("group", group.name.as_str()),
        Subject::External(_) => return Ok(()),
    };
    let problem = if name.is_empty() || name == "*" {
        "must be one identity's own name, never '*' or empty"
    } else if kind == "group" && name.starts_with("system:") {
        "must not be a group of Kubernetes' own (system:…), which holds whoever the cluster puts there"
    } else if kind == "user" && (name == "system:anonymous" || name.starts_with("system:serviceaccount:")) {
        "must be a person's or a program's user name; for a ServiceAccount write subject.serviceAccount"
    } else {
        return Ok(());
    };
    Err(Refusal::field(format!("{field}.{kind}.name"), problem))
}
