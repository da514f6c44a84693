//! One vault with its members, as decisions need them; and which vault is meant when none is named.

use coffer_crds::{Connection, Vault, VaultMember, annotations::DEFAULT_VAULT};
use coffer_policy::{MemberView, Scope, identity::from_status, writes::VaultView};
use jiff::Timestamp;
use kube::ResourceExt;

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

    /// A Connection if it is there, and its vault; else the vault of that name, or the one that is meant.
    pub(crate) async fn with_or_of(
        cluster: &Cluster,
        connection: &str,
        vault: Option<&str>,
    ) -> Result<(Option<Connection>, Self), Failure> {
        let found: Option<Connection> = cluster.find(connection).await?;
        let facts = match &found {
            Some(found) => Self::around(cluster, found).await?,
            None => Self::of(cluster, vault).await?,
        };
        Ok((found, facts))
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
