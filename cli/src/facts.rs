//! One vault with its members, as decisions need them; and which vault is meant when none is named.

use coffer_crds::{Connection, Vault, VaultMember, VaultRef, annotations::DEFAULT_VAULT};
use coffer_policy::{MemberView, Scope, identity::from_status, writes::VaultView};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use crate::{Failure, cluster::Cluster};

/// A vault and its members, as the API server shows them to this user.
pub(crate) struct Facts {
    pub(crate) vault: Vault,
    /// All VaultMembers of the namespace: names must not collide with those of other vaults either.
    pub(crate) neighbours: Vec<VaultMember>,
    /// The memberships.
    pub(crate) views: Vec<MemberView>,
    pub(crate) now: Timestamp,
}

impl Facts {
    /// The vault of that name, or the one that is meant when none is named.
    pub(crate) async fn of(cluster: &Cluster, wanted: Option<&str>) -> Result<Self, Failure> {
        let vault = vault(cluster, wanted).await?;
        Ok(Self::new(vault, cluster.all().await?, Timestamp::now()))
    }

    /// A Connection, and its vault.
    pub(crate) async fn with(cluster: &Cluster, connection: &str) -> Result<(Connection, Self), Failure> {
        let connection: Connection = cluster.get(connection).await?;
        let facts = Self::around(cluster, &connection).await?;
        Ok((connection, facts))
    }

    /// A Connection if it is there, and its vault; else the vault that it is to be made in.
    pub(crate) async fn with_or_for(
        cluster: &Cluster,
        new: &NewConnection<'_>,
    ) -> Result<(Option<Connection>, Self), Failure> {
        let found: Option<Connection> = cluster.find(new.name).await?;
        let facts = match &found {
            Some(found) => Self::around(cluster, found).await?,
            None => Self::for_new(cluster, new).await?,
        };
        Ok((found, facts))
    }

    /// The vault that a Connection is to be made in.
    pub(crate) async fn for_new(cluster: &Cluster, new: &NewConnection<'_>) -> Result<Self, Failure> {
        let vault = vault_for_new(cluster, new).await?;
        let there = vault.namespace().unwrap_or_else(|| cluster.namespace.clone());
        Ok(Self::new(vault, cluster.at(&there).all().await?, Timestamp::now()))
    }

    /// The vault of a Connection.
    pub(crate) async fn around(cluster: &Cluster, connection: &Connection) -> Result<Self, Failure> {
        let reference = connection.spec.vault.clone().unwrap_or_default();
        let name = reference.name.ok_or_else(|| {
            Failure::Conflict(format!("connection '{}' is in no vault yet", connection.name_any()))
        })?;
        let there = reference.namespace.unwrap_or_else(|| cluster.namespace.clone());
        Self::of(&cluster.at(&there), Some(&name)).await
    }

    pub(crate) fn new(vault: Vault, neighbours: Vec<VaultMember>, now: Timestamp) -> Self {
        let views = from_status(&vault, &neighbours, now);
        Self { vault, neighbours, views, now }
    }

    pub(crate) fn name(&self) -> String {
        self.vault.name_any()
    }

    /// Whether this is the vault of what was typed, `NAME` or `NAMESPACE/NAME`.
    pub(crate) fn is_vault(&self, typed: &str) -> bool {
        match typed.split_once('/') {
            Some((namespace, name)) => {
                self.vault.namespace().as_deref() == Some(namespace) && self.name() == name
            }
            None => self.name() == typed,
        }
    }

    /// As writes are judged.
    pub(crate) fn view(&self) -> VaultView<'_> {
        VaultView { vault: &self.vault, members: &self.views, operator: None, break_glass: None }
    }

    /// The VaultMembers of this vault.
    pub(crate) fn members(&self) -> impl Iterator<Item = &VaultMember> {
        let name = self.vault.name_any();
        self.neighbours.iter().filter(move |member| member.spec.vault == name)
    }

    /// The membership of that name.
    pub(crate) fn member(&self, name: &str) -> Result<&MemberView, Failure> {
        self.views.iter().find(|view| view.name == name).ok_or_else(|| {
            let known: Vec<_> = self.views.iter().map(|view| view.name.as_str()).collect();
            Failure::NotFound(format!(
                "vault '{}' has no member '{name}'. It has: {}",
                self.name(),
                if known.is_empty() { String::from("none") } else { known.join(", ") }
            ))
        })
    }

    /// Names of the members that are in force, sorted.
    pub(crate) fn active(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.views.iter().filter(|view| view.is_active()).map(|view| view.name.clone()).collect();
        names.sort();
        names
    }

    /// Whom a Connection is for.
    pub(crate) fn scope(&self, connection: &Connection) -> Scope {
        Scope::of_connection(connection, self.vault.spec.sharing)
    }
}

/// The vault of that name, or the one that is meant when none is named.
pub(crate) async fn vault(cluster: &Cluster, wanted: Option<&str>) -> Result<Vault, Failure> {
    match wanted {
        Some(name) => cluster.get(name).await,
        None => choose(cluster.all().await?, &cluster.namespace),
    }
}

/// A Connection that is not there yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewConnection<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The vault as it was typed: `NAME`, or `NAMESPACE/NAME`.
    pub(crate) vault: Option<&'a str>,
    /// What is known of its spec, whatever the vault.
    pub(crate) fields: &'a Map<String, Value>,
}

/// The vault that a Connection is to be made in: as it was typed, else the one that is meant in its namespace, else the
/// cluster's default one. Which one that is, admission says: nobody need be able to look into all namespaces.
pub(crate) async fn vault_for_new(cluster: &Cluster, new: &NewConnection<'_>) -> Result<Vault, Failure> {
    if let Some(typed) = new.vault {
        let (namespace, name) = typed.split_once('/').unwrap_or((&cluster.namespace, typed));
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            return Err(Failure::Usage(format!("--vault {typed}: write NAME, or NAMESPACE/NAME")));
        }
        return cluster.at(namespace).get(name).await;
    }
    let here: Vec<Vault> = cluster.all().await?;
    if !here.is_empty() {
        return choose(here, &cluster.namespace);
    }
    let reference = default_elsewhere(cluster, new).await?.ok_or_else(|| {
        Failure::NotFound(format!(
            "namespace '{0}' has no vault, and the cluster no default one: name one with --vault NAMESPACE/NAME, or make one \
             with kubectl coffer init -n {0}",
            cluster.namespace
        ))
    })?;
    let there = reference.namespace.unwrap_or_else(|| cluster.namespace.clone());
    cluster.at(&there).get(&reference.name.unwrap_or_default()).await
}

/// Where admission would put it, or has put it.
async fn default_elsewhere(cluster: &Cluster, new: &NewConnection<'_>) -> Result<Option<VaultRef>, Failure> {
    let manifest = json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "Connection", "metadata": {"name": new.name},
        "spec": new.fields});
    match cluster.judged().create::<Connection>(manifest).await {
        Ok(judged) => Ok(judged.spec.vault),
        // One that is there, sealed for again.
        Err(Failure::Conflict(said)) => match cluster.find::<Connection>(new.name).await? {
            Some(found) => Ok(found.spec.vault),
            None => Err(Failure::Conflict(said)),
        },
        // There is none.
        Err(Failure::Usage(said)) if said.starts_with("spec.vault: ") => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The only vault of a namespace, else its default one.
fn choose(mut vaults: Vec<Vault>, namespace: &str) -> Result<Vault, Failure> {
    if vaults.len() > 1 {
        let is_default =
            |vault: &Vault| vault.annotations().get(DEFAULT_VAULT).is_some_and(|value| value == "true");
        if vaults.iter().filter(|vault| is_default(vault)).count() != 1 {
            let names: Vec<_> = vaults.iter().map(ResourceExt::name_any).collect();
            let names = names.join(", ");
            return Err(Failure::Usage(format!(
                "namespace '{namespace}' has several vaults ({names}): say which with --vault"
            )));
        }
        vaults.retain(is_default);
    }
    vaults.pop().ok_or_else(|| {
        Failure::NotFound(format!(
            "namespace '{namespace}' has no vault: make one with kubectl coffer init -n {namespace}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(name: &str, default: bool) -> Vault {
        let mut vault = Vault::new(name, coffer_crds::VaultSpec::default());
        if default {
            vault.annotations_mut().insert(DEFAULT_VAULT.to_owned(), "true".to_owned());
        }
        vault
    }

    /// C2: the default vault is meant when none is named.
    #[test]
    fn the_only_vault_is_meant_else_the_default_one_else_they_are_listed() {
        let chosen = |vaults| choose(vaults, "team").map(|vault| vault.name_any()).map_err(|f| f.exit_code());
        assert_eq!(chosen(vec![vault("a", false)]), Ok("a".to_owned()));
        assert_eq!(chosen(vec![vault("a", false), vault("b", true)]), Ok("b".to_owned()));
        assert_eq!(chosen(vec![vault("a", false), vault("b", false)]), Err(Failure::USAGE));
        assert_eq!(chosen(vec![vault("a", true), vault("b", true)]), Err(Failure::USAGE));
        assert_eq!(chosen(Vec::new()), Err(Failure::NOT_FOUND));
    }
}
