use std::{collections::BTreeMap, sync::Arc};

use coffer_crds::{Connection, ConnectionPhase, Vault, VaultMember, Verb, annotations::CONNECTIONS};
use coffer_policy::{
    Caller, MemberView, access,
    release::{self, Asked, Denial, Target, alias, decide, not_found},
    resolve::{Candidate, Relation, ResolveError, candidates, connection_refs},
};
use jiff::Timestamp;
use serde_json::Value;

use super::MAX_CONNECTIONS;
use crate::{
    refusal::Refusal,
    state::{Key, Look, Tables},
    validate::{is_fresh, is_pending},
};

/// What a pod gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The Connections whose files are mounted, in the order of the annotation, else by namespace and name.
    pub connections: Vec<Key>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// A new pod, as far as the choice depends on it.
pub(super) struct Pod {
    namespace: String,
    account: Key,
    caller: Caller,
    /// The annotation that narrows; `None`: everything in scope.
    named: Option<String>,
}

impl Pod {
    pub(super) fn read(pod: &Value, namespace: &str) -> Self {
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
        let account =
            text("/spec/serviceAccountName").or_else(|| text("/spec/serviceAccount")).unwrap_or("default");
        let named = pod.pointer("/metadata/annotations").and_then(|all| all.get(CONNECTIONS));
        Self {
            namespace: namespace.to_owned(),
            account: Key::new(namespace, account),
            // The broker will see this identity in the pod's token. Its uid is not known here; the broker checks it.
            caller: Caller {
                username: format!("system:serviceaccount:{namespace}:{account}"),
                uid: None,
                groups: Vec::new(),
            },
            named: named.and_then(Value::as_str).map(str::to_owned),
        }
    }
}

/// One vault that the pod's ServiceAccount has something to do with.
struct Membership {
    vault: Arc<Vault>,
    members: Vec<MemberView>,
    admits: bool,
    /// The operator is making the membership Active right now.
    joining: bool,
}

/// What the pod gets by the tables as they are now.
pub(super) fn choose(tables: &Tables, pod: &Pod, now: Timestamp) -> Look<Result<Choice, Refusal>> {
    let memberships = memberships(tables, pod, now);
    let view = view(tables, pod, &memberships);
    match &pod.named {
        Some(words) => {
            let chosen = named(tables, pod, &memberships, &view, words, now);
            patient(chosen, &memberships, now)
        }
        None => {
            let chosen = in_scope(tables, pod, &memberships, &view, now);
            let joining = memberships.iter().any(|membership| membership.joining);
            match chosen {
                Ok((choice, ready)) if ready && !joining => Look::Settled(Ok(choice)),
                Ok((choice, _)) => Look::Until(Ok(choice)),
                Err(refusal) => Look::Unless(Err(refusal)),
            }
        }
    }
}

fn memberships(tables: &Tables, pod: &Pod, now: Timestamp) -> Vec<Membership> {
    let mut of_vault: BTreeMap<Key, Vec<&Arc<VaultMember>>> = BTreeMap::new();
    for member in tables.members_of_account(&pod.account) {
        let namespace = member.metadata.namespace.clone().unwrap_or_default();
        of_vault.entry(Key::new(namespace, &member.spec.vault)).or_default().push(member);
    }
    let labels = tables.namespace_labels(&pod.namespace);
    of_vault
        .into_iter()
        .filter_map(|(key, members)| {
            let vault = tables.vault(&key)?.clone();
            let views: Vec<_> =
                members.iter().map(|member| MemberView::reported(member, &vault, now)).collect();
            let joining = members
                .iter()
                .zip(&views)
                .any(|(member, view)| is_fresh(member.as_ref(), now) && is_pending(view, &key.namespace));
            Some(Membership {
                admits: access::admits(&vault, &pod.namespace, &labels),
                vault,
                members: views,
                joining,
            })
        })
        .collect()
}

/// The Connections that the pod may know of. With an annotation only those that its words could mean, since a vault
/// may hold ten thousand.
fn view(tables: &Tables, pod: &Pod, memberships: &[Membership]) -> Vec<Candidate> {
    let words: Option<Vec<&str>> = pod
        .named
        .as_ref()
        .map(|text| text.split(',').map(|word| word.trim().rsplit('/').next().unwrap_or_default()).collect());
    let meant = |connection: &Connection| {
        let name = connection.metadata.name.as_deref().unwrap_or_default();
        words.as_ref().is_none_or(|words| words.contains(&name) || words.contains(&alias(connection)))
    };
    memberships
        .iter()
        .flat_map(|membership| {
            let key = Key::of(membership.vault.as_ref());
            let connections = tables.connections_of(&key).map(AsRef::as_ref).filter(|found| meant(found));
            candidates(&pod.caller, &membership.vault, &membership.members, connections)
        })
        .collect()
}

/// The Connections that the annotation names: each must be allowed.
fn named<'a>(
    tables: &'a Tables,
    pod: &Pod,
    memberships: &[Membership],
    view: &[Candidate],
    words: &str,
    now: Timestamp,
) -> Result<Vec<&'a Arc<Connection>>, Refusal> {
    let mut chosen = Vec::new();
    for resolved in connection_refs(words, view).map_err(unresolved)? {
        let connection = tables.connection(&Key::new(resolved.key.namespace, resolved.key.name));
        let connection = connection.ok_or_else(|| denied(&not_found(&resolved.reference)))?;
        chosen.push((resolved.reference, connection));
    }
    allowed(pod, memberships, &chosen, now)?;
    let chosen: Vec<_> = chosen.into_iter().map(|(_, connection)| connection).collect();
    for connection in &chosen {
        let vault = membership_of(connection, memberships).filter(|membership| !membership.admits);
        if let Some(membership) = vault {
            return Err(Refusal::Authorize(format!(
                "Vault '{}' takes no pods of namespace '{}': its spec.access.namespaces does not hold it",
                Key::of(membership.vault.as_ref()),
                pod.namespace
            )));
        }
        if !has_files(connection) {
            let problem = format!(
                "Connection '{}' is not for files (spec.inject.files.disabled): take it out",
                Key::of(connection.as_ref())
            );
            return Err(Refusal::field(annotation(), problem));
        }
    }
    distinct(&chosen)?;
    Ok(chosen)
}

/// Waits for what is being made: a Connection that is not Ready, a membership that is not Active.
fn patient(
    chosen: Result<Vec<&Arc<Connection>>, Refusal>,
    memberships: &[Membership],
    now: Timestamp,
) -> Look<Result<Choice, Refusal>> {
    match chosen {
        Ok(chosen) => {
            let ready = chosen.iter().all(|connection| !is_pending_connection(connection, now));
            let choice = Choice { connections: keys(&chosen), warnings: Vec::new() };
            // Not Ready after all: the volume waits for it.
            if ready { Look::Settled(Ok(choice)) } else { Look::Until(Ok(choice)) }
        }
        Err(refusal) if memberships.iter().any(|membership| membership.joining) => Look::Until(Err(refusal)),
        Err(refusal) => Look::Unless(Err(refusal)),
    }
}

/// Everything that the ServiceAccount may use and that is Ready; and whether nothing is still being made.
fn in_scope(
    tables: &Tables,
    pod: &Pod,
    memberships: &[Membership],
    view: &[Candidate],
    now: Timestamp,
) -> Result<(Choice, bool), Refusal> {
    let (mut chosen, mut warnings, mut ready) = (Vec::new(), Vec::new(), true);
    for candidate in view.iter().filter(|candidate| candidate.relation != Relation::OutOfScope) {
        let key = Key::new(&candidate.namespace, &candidate.name);
        let Some(connection) = tables.connection(&key) else { continue };
        let admits = membership_of(connection, memberships).is_some_and(|membership| membership.admits);
        let this = (candidate.name.clone(), connection);
        if !admits || !has_files(connection) || allowed(pod, memberships, &[this], now).is_err() {
            continue;
        }
        if let Some(own) = own_instead(tables, view, candidate) {
            warnings.push(format!(
                "Connection '{key}' is left out of this pod: its own '{own}' has the alias '{}' as well",
                candidate.alias
            ));
            continue;
        }
        if phase(connection) == Some(ConnectionPhase::Ready) {
            chosen.push((candidate.name.clone(), connection));
            continue;
        }
        // One Connection that never becomes Ready must not keep every pod of the namespace from starting.
        ready &= !is_pending_connection(connection, now);
        warnings.push(format!("Connection '{key}' is not Ready and left out of this pod"));
    }
    allowed(pod, memberships, &chosen, now)?;
    let mut chosen: Vec<_> = chosen.into_iter().map(|(_, connection)| connection).collect();
    chosen.sort_by_key(|connection| Key::of(connection.as_ref()));
    distinct(&chosen)?;
    Ok((Choice { connections: keys(&chosen), warnings }, ready))
}

/// C12: one's own goes first. Otherwise whoever shares a credential of the same alias would keep the pod from starting.
/// So it is also while the own one is not Ready: another's must not take its place in the pod's files.
fn own_instead(tables: &Tables, view: &[Candidate], shared: &Candidate) -> Option<Key> {
    let mut own = view.iter().filter(|own| own.relation == Relation::Own && own.alias == shared.alias);
    let own = own.find_map(|own| {
        let key = Key::new(&own.namespace, &own.name);
        tables.connection(&key).is_some_and(|connection| has_files(connection)).then_some(key)
    });
    own.filter(|_| shared.relation != Relation::Own)
}

fn membership_of<'a>(connection: &Connection, memberships: &'a [Membership]) -> Option<&'a Membership> {
    let vault = crate::state::named_vault(connection)?;
    memberships.iter().find(|membership| Key::of(membership.vault.as_ref()) == vault)
}

/// Policy's answer to one request for all of them, as the broker will be asked, but without what only the broker
/// knows: the Envelope and the rate limit.
fn allowed(
    pod: &Pod,
    memberships: &[Membership],
    chosen: &[(String, &Arc<Connection>)],
    now: Timestamp,
) -> Result<(), Refusal> {
    let asked: Vec<Asked<'_>> = chosen
        .iter()
        .map(|(reference, connection)| {
            let target = membership_of(connection, memberships).map(|membership| Target {
                vault: &membership.vault,
                members: &membership.members,
                connection,
                envelope: None,
            });
            Asked { reference, target }
        })
        .collect();
    let request = release::Request { caller: Some(&pod.caller), verb: Verb::Use, now, asked: &asked };
    decide(&request, |_| Ok(())).map_err(|denial| denied(&denial))?;
    if chosen.len() > MAX_CONNECTIONS {
        let problem = format!("{} Connections are meant; a pod gets at most {MAX_CONNECTIONS}", chosen.len());
        return Err(Refusal::field(annotation(), problem));
    }
    Ok(())
}

/// Two credentials of one alias would be one folder.
fn distinct(chosen: &[&Arc<Connection>]) -> Result<(), Refusal> {
    let mut of_alias: BTreeMap<&str, &Arc<Connection>> = BTreeMap::new();
    for connection in chosen {
        if let Some(other) = of_alias.insert(alias(connection), connection) {
            return Err(Refusal::field(
                annotation(),
                format!(
                    "Connections '{}' and '{}' both have the alias '{}', which is the folder of their files: name one of them",
                    Key::of(other.as_ref()),
                    Key::of(connection.as_ref()),
                    alias(connection)
                ),
            ));
        }
    }
    Ok(())
}

/// A denial in policy's own words. The code is 403 for an absent credential too: a 404 would tell the caller that
/// something about the pod is missing.
fn denied(denial: &Denial) -> Refusal {
    Refusal::Authorize(denial.to_string())
}

fn unresolved(error: ResolveError) -> Refusal {
    match error {
        ResolveError::NotFound { .. } => Refusal::Authorize(error.to_string()),
        ResolveError::Malformed { .. } | ResolveError::Ambiguous { .. } => {
            Refusal::field(annotation(), error.to_string())
        }
    }
}

fn annotation() -> String {
    format!("metadata.annotations[{CONNECTIONS}]")
}

fn keys(chosen: &[&Arc<Connection>]) -> Vec<Key> {
    chosen.iter().map(|connection| Key::of(connection.as_ref())).collect()
}

fn phase(connection: &Connection) -> Option<ConnectionPhase> {
    connection.status.as_ref().and_then(|status| status.phase)
}

/// Whether the operator is about to make it Ready.
fn is_pending_connection(connection: &Connection, now: Timestamp) -> bool {
    matches!(phase(connection), None | Some(ConnectionPhase::Pending)) && is_fresh(connection, now)
}

fn has_files(connection: &Connection) -> bool {
    let files = connection.spec.inject.as_ref().and_then(|inject| inject.files.as_ref());
    !files.is_some_and(|files| files.disabled)
}
