//! Connections: who may write one, into which vault, as whose; and the sealing of what it brings.

use coffer_crds::{Connection, Vault};
use coffer_keys::{VaultId, intake::IntakePublicKey};
use coffer_policy::{Caller, Scope, access, home, release::alias, writes};
use kube::{CustomResourceExt as _, ResourceExt as _};
use rand_core::CryptoRng;
use serde_json::{Value, json};

use super::{
    Circumstances, Facts, SpecSchema, before, caller, check_form, clear_up, is_fresh, judge, refuse,
    spec_schema, stored, typed, vault_named,
};
use crate::{
    applied::{self, Items},
    draft::Draft,
    refusal::Refusal,
    review::{Admitted, Broken, Operation, Request},
    seal::{self, Place},
    stamp::{Paths, differs, stamp},
    state::{Claim, Directory, Key, Look, Tables, named_vault},
};

/// What of the spec is no change by itself: the stamp, and `stringData`, which is asked about by `brings_values`.
const NO_CHANGE: Paths<'_> = &[&["lastWriter"], &["stringData"]];
pub(super) static SCHEMA: SpecSchema = SpecSchema::new(|| spec_schema(&Connection::crd()));
const LAST_WRITER: &[&str] = &["spec", "lastWriter"];
const WAY_OUT: &str =
    "An owner of the vault can delete this Connection, and its owner apply it again with its values";

/// Decides a CREATE or UPDATE and gives the patch that seals, stamps and completes the object.
///
/// # Errors
/// [`Refusal`], which names fields and items and never a value.
pub async fn admit(
    mut request: Request,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
    rng: &mut impl CryptoRng,
) -> Result<Admitted, Refusal> {
    let mut draft = Draft::new(std::mem::take(&mut request.object));
    let creating = request.operation == Operation::Create;
    if creating && (request.name.is_empty() || draft.text(["metadata", "name"]).is_none()) {
        let problem =
            "a Connection needs a name of its own: values are sealed for it; generateName cannot be used";
        return Err(Refusal::field("metadata.name", problem));
    }
    seal::check_values(draft.object())?;
    let dropped = applied::settle(&request, &mut draft)?;
    if !creating {
        keep(&mut draft, &request, "vault", &["spec", "vault", "name"])?;
        keep(&mut draft, &request, "owner", &["spec", "owner"])?;
    }
    let old = request.old_object.expose();
    let changed = creating
        || !dropped.is_empty()
        || seal::brings_values(draft.object())
        || differs(draft.object(), old, NO_CHANGE);
    let (mut warnings, mut broken) = (Vec::new(), None);
    if changed {
        seal::check_total(draft.object())?;
        check_form(draft.object(), old, &SCHEMA)?;
        check_scope(draft.object())?;
        let write = Write::read(&request, &draft, &dropped)?;
        let ruling = directory.wait(|tables| write.judge(tables, circumstances)).await?;
        if let Some(vault) = &ruling.default_vault {
            let reference = json!({"name": vault.name, "namespace": vault.namespace});
            draft.set(["spec", "vault"], reference)?;
        }
        draft.set(["spec", "owner"], ruling.owner.as_str().into())?;
        let key = ruling.intake.as_ref().map(|(vault_id, key)| (key, write.place(*vault_id, &ruling.owner)));
        seal::seal_values(&mut draft, &dropped, key, rng)?;
        seal::check_sealed(draft.object(), old)?;
        (warnings, broken) = (ruling.warnings, ruling.broken);
    } else {
        // An empty stringData is left; everything else is as it was.
        draft.remove(["spec", "stringData"]);
    }
    stamp(&mut draft, LAST_WRITER, old, &request.user_info, changed)?;
    seal::check_annotations(draft.object())?;
    Ok(Admitted { patch: draft.into_patch(), warnings, broken })
}

/// Decides a DELETE.
///
/// # Errors
/// [`Refusal::Authorize`].
pub async fn delete(
    request: &Request,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
) -> Result<Admitted, Refusal> {
    let Some(old) = stored::<Connection>(request) else { return clear_up(request, directory, circumstances) };
    let caller = caller(&request.user_info);
    let broken = directory
        .wait(|tables| {
            // Without a vault nobody can read it any more, and RBAC alone says who clears up.
            let vault = named_vault(&old).and_then(|key| tables.vault(&key).cloned());
            let Some(vault) = vault else { return Look::Settled(Ok(None)) };
            let facts = Facts::gather(tables, &vault, circumstances.now);
            let judged = judge(&facts, circumstances, &caller, |view| {
                writes::connection(&caller, view, Some(&old), None)
            });
            judged.map_or_else(|refusal| refuse(refusal, &facts, &caller), |broken| Look::Settled(Ok(broken)))
        })
        .await?;
    Ok(Admitted { broken, ..Admitted::default() })
}

/// What a field is when an update says nothing at `told`: as it is stored. The webhook wrote it at creation, so a
/// manifest that never named it must not take it away.
fn keep(draft: &mut Draft, request: &Request, field: &str, told: &[&str]) -> Result<(), Refusal> {
    let stored = request.old_object.expose().pointer("/spec").and_then(|spec| spec.get(field));
    match stored {
        Some(stored) if draft.text(told).is_none_or(str::is_empty) => {
            draft.set(["spec", field], stored.clone())
        }
        Some(_) | None => Ok(()),
    }
}

/// One CREATE or UPDATE, as it is judged: typed, and with the names of new items in place of their values.
struct Write {
    caller: Caller,
    old: Option<Connection>,
    new: Connection,
    brings_values: bool,
}

/// What the tables add to a write.
#[derive(Debug)]
struct Ruling {
    /// The vault, when the object named none.
    default_vault: Option<Key>,
    owner: String,
    /// What to seal to, when there is anything to seal.
    intake: Option<(VaultId, IntakePublicKey)>,
    warnings: Vec<String>,
    broken: Option<Broken>,
}

impl Write {
    fn read(request: &Request, draft: &Draft, dropped: &Items) -> Result<Self, Refusal> {
        let mut new: Connection = typed(draft.object(), &SCHEMA)?;
        new.metadata.namespace = Some(request.namespace.clone());
        let old: Option<Connection> = match request.old_object.is_absent() {
            true => None,
            false => Some(before(request, &SCHEMA, WAY_OUT)?),
        };
        new.spec.sealed_data.retain(|item, _| !dropped.contains(item));
        let incoming = draft.get(["spec", "stringData"]).and_then(Value::as_object);
        for (item, _) in incoming.into_iter().flatten() {
            // Differs from anything stored: a new value is a change, whatever it turns out to be.
            new.spec.sealed_data.insert(item.clone(), String::new());
        }
        Ok(Self {
            caller: caller(&request.user_info),
            old,
            new,
            brings_values: seal::brings_values(draft.object()),
        })
    }

    fn place<'a>(&'a self, vault_id: VaultId, owner: &'a str) -> Place<'a> {
        let namespace = self.new.metadata.namespace.as_deref().unwrap_or_default();
        let connection = self.new.metadata.name.as_deref().unwrap_or_default();
        Place { vault_id, namespace, connection, owner }
    }

    fn judge(&self, tables: &Tables, circumstances: &Circumstances<'_>) -> Look<Result<Ruling, Refusal>> {
        let (key, is_default) = match self.vault_key(tables) {
            Ok(found) => found,
            Err(refusal) => return Look::Unless(Err(refusal)),
        };
        let vault = match vault_named(tables, &key, "spec.vault") {
            Ok(vault) => vault.clone(),
            Err(_) if self.is_foreign(&key) => return Look::Unless(Err(self.unknown_or_no_member(&key))),
            Err(refusal) => return Look::Unless(Err(refusal)),
        };
        let facts = Facts::gather(tables, &vault, circumstances.now);
        let mut new = self.new.clone();
        let admitted = self.admitted(tables, &vault);
        let authorized = self.authorize(&facts, &mut new, circumstances);
        if (admitted.is_err() || authorized.is_err())
            && self.is_foreign(&key)
            && !facts.involves(&self.caller)
        {
            return Look::Unless(Err(self.unknown_or_no_member(&key)));
        }
        if let Err(refusal) = admitted {
            return Look::Unless(Err(refusal));
        }
        let broken = match authorized {
            Ok(broken) => broken,
            Err(refusal) => return refuse(refusal, &facts, &self.caller),
        };
        let owner = new.spec.owner.clone().unwrap_or_default();
        if let Err(refusal) = unique(tables, &key, &new) {
            // The other one may have been deleted a moment ago.
            return Look::Unless(Err(refusal));
        }
        let intake = match self.brings_values.then(|| intake_key(&vault)).transpose() {
            Ok(intake) => intake,
            Err(refusal) if is_fresh(vault.as_ref(), circumstances.now) => return Look::Until(Err(refusal)),
            Err(refusal) => return Look::Unless(Err(refusal)),
        };
        let warnings = warnings(tables, &key, &facts, &new);
        Look::Settled(Ok(Ruling {
            default_vault: is_default.then_some(key),
            owner,
            intake,
            warnings,
            broken,
        }))
    }

    /// The vault that the object names, else its namespace's default, else the cluster's; and whether by default.
    fn vault_key(&self, tables: &Tables) -> Result<(Key, bool), Refusal> {
        if let Some(key) = named_vault(&self.new) {
            let before = self.old.as_ref().and_then(named_vault);
            if before.is_some_and(|before| before != key) {
                let problem =
                    "never changes, since values are sealed for it: delete this Connection and make another";
                return Err(Refusal::field("spec.vault", problem));
            }
            return Ok((key, false));
        }
        let namespace = self.new.metadata.namespace.as_deref().unwrap_or_default();
        let vaults = tables.vaults().map(AsRef::as_ref);
        let vault = home::default_of(vaults, namespace, &tables.namespace_labels(namespace)).ok_or_else(|| {
            let problem = format!(
                "names no vault, and neither namespace '{namespace}' nor the cluster has a default one: set spec.vault.name"
            );
            Refusal::field("spec.vault", problem)
        })?;
        Ok((Key::of(vault), true))
    }

    /// Whether that vault is in another namespace than the Connection, where its author need not be able to see it.
    fn is_foreign(&self, vault: &Key) -> bool {
        self.new.metadata.namespace.as_deref() != Some(vault.namespace.as_str())
    }

    /// T28: the one answer about a vault of another namespace, whether or not it exists, for whoever is no member.
    fn unknown_or_no_member(&self, vault: &Key) -> Refusal {
        let problem = format!(
            "there is no Vault '{}' in namespace '{}' that '{}' is a member of: look at the name, or ask an owner for an invite",
            vault.name, vault.namespace, self.caller.username
        );
        Refusal::field("spec.vault", problem)
    }

    fn admitted(&self, tables: &Tables, vault: &Vault) -> Result<(), Refusal> {
        let namespace = self.new.metadata.namespace.as_deref().unwrap_or_default();
        if access::admits(vault, namespace, &tables.namespace_labels(namespace)) {
            return Ok(());
        }
        let problem = format!(
            "Vault '{}' takes no Connections of namespace '{namespace}': its spec.access.namespaces does not hold it; an owner of the vault can add it",
            Key::of(vault)
        );
        Err(Refusal::field("spec.vault", problem))
    }

    fn authorize(
        &self,
        facts: &Facts,
        new: &mut Connection,
        circumstances: &Circumstances<'_>,
    ) -> Result<Option<Broken>, coffer_policy::Refusal> {
        let view = facts.view(circumstances);
        if self.old.is_none() && new.spec.owner.as_ref().is_none_or(String::is_empty) {
            let owner = writes::owner_for(&self.caller, &view, &new.name_any())?;
            new.spec.owner = Some(owner.name.clone());
        }
        judge(facts, circumstances, &self.caller, |view| {
            writes::connection(&self.caller, view, self.old.as_ref(), Some(new))
        })
    }
}

/// The vault's id and the key that values are sealed to.
fn intake_key(vault: &Vault) -> Result<(VaultId, IntakePublicKey), Refusal> {
    let status = vault.status.as_ref();
    let not_ready = |problem: &str| {
        Refusal::AwaitReadiness(format!(
            "Vault '{}' {problem}: see kubectl describe vault -n {} {}",
            Key::of(vault),
            vault.metadata.namespace.as_deref().unwrap_or_default(),
            vault.name_any()
        ))
    };
    let (Some(id), Some(key)) = (
        status.and_then(|status| status.vault_id.as_deref()),
        status.and_then(|status| status.intake_key.as_ref()),
    ) else {
        return Err(not_ready("is not ready, it has no intake key yet"));
    };
    let unusable = |_| not_ready("has an intake key that cannot be read");
    let id = VaultId::parse(id).map_err(unusable)?;
    let key = IntakePublicKey::parse(&key.kid, &key.public_key).map_err(unusable)?;
    Ok((id, key))
}

/// Early notice of what the operator would mark Invalid: one owner has one Connection per provider and connection
/// name, and one per alias, in a vault.
fn unique(tables: &Tables, vault: &Key, new: &Connection) -> Result<(), Refusal> {
    let this = Key::of(new);
    let taken = |claim: &Claim, field: &str, value: &str| {
        let mut others = tables
            .claiming(claim)
            .filter(|other| other.spec.owner == new.spec.owner)
            .map(|other| Key::of(other.as_ref()))
            .filter(|other| *other != this);
        others.next().map_or(Ok(()), |other| {
            Err(Refusal::BeUnique(format!(
                "spec.{field}: Connection '{other}' of the same owner is '{value}' already"
            )))
        })
    };
    if let Some(claim @ Claim::Provider { provider, name, .. }) = &Claim::provider(vault, new) {
        taken(claim, "connectionName", &format!("{provider}/{name}"))?;
    }
    taken(&Claim::alias(vault, new), "alias", alias(new))
}

/// What is admitted and still worth a word.
fn warnings(tables: &Tables, vault: &Key, facts: &Facts, new: &Connection) -> Vec<String> {
    let mut warnings = Vec::new();
    let listed = new.spec.members.iter().flatten().filter(|name| *name != "*");
    for name in listed.filter(|name| !facts.knows(name)) {
        warnings.push(format!(
            "spec.members: '{name}' is no member of vault '{vault}' yet, and gains nothing before it is"
        ));
    }
    let sharing = facts.vault().spec.sharing;
    let scope = Scope::of_connection(new, sharing);
    let owner = |connection: &Connection| connection.spec.owner.clone().unwrap_or_default();
    // Only what the author's own member can see is named.
    let clash = tables.claiming(&Claim::alias(vault, new)).find(|other| {
        let seen = Scope::of_connection(other, sharing).holds(&owner(new), &owner(other));
        let shared = scope.holds(&owner(other), &owner(new)) || scope == Scope::All;
        seen && shared && other.spec.owner != new.spec.owner
    });
    if let Some(other) = clash {
        let other = Key::of(other.as_ref());
        warnings.push(format!(
            "spec.alias: '{}' is also the alias of Connection '{other}'; whoever may use both must name them in full",
            alias(new)
        ));
    }
    warnings
}

/// T31: a rule of the schema too, in words of ours.
fn check_scope(object: &Value) -> Result<(), Refusal> {
    let members =
        object.pointer("/spec/members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if members.len() > 1 && members.iter().any(|member| member.as_str() == Some("*")) {
        return Err(Refusal::field("spec.members", "is either [\"*\"], every member, or a list of names"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
