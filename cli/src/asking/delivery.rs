//! Whether what was delivered is what was asked for. The broker's word alone is not taken for it: whoever answers
//! something else under a name that was typed would choose what a command or a pipe gets.

use coffer_broker_api::{
    ReleasedConnection,
    people::{Delivered, WrappedConnection},
};
use coffer_crds::{Connection, ReleaseConnection, Vault};
use coffer_policy::release::alias;
use kube::ResourceExt as _;

use crate::{Failure, cluster::Cluster, decision::is_of};

/// Which Connection a delivery says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said<'a> {
    namespace: &'a str,
    name: &'a str,
    alias: &'a str,
    /// Only what is wrapped says it.
    uid: Option<&'a str>,
}

/// How a delivery fits the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It has the name that was typed, where it was looked for.
    Named,
    /// By an alias or in another namespace, as the vault may have it: only the live object can tell.
    AskTheObject,
    /// It is something else.
    Other,
}

impl<'a> Said<'a> {
    fn of(delivered: &'a Delivered) -> Self {
        match delivered {
            Delivered::Items(ReleasedConnection { namespace, name, alias, .. }) => {
                Self { namespace, name, alias, uid: None }
            }
            Delivered::Wrapped(own) => {
                let WrappedConnection { connection, alias, .. } = &**own;
                Self {
                    namespace: &connection.namespace,
                    name: &connection.name,
                    alias,
                    uid: Some(&connection.uid),
                }
            }
        }
    }

    fn fits(&self, wanted: &ReleaseConnection, here: &str) -> Fit {
        let there = wanted.namespace.as_deref();
        if there.is_some_and(|there| there != self.namespace)
            || ![self.name, self.alias].contains(&wanted.name.as_str())
        {
            Fit::Other
        } else if self.name == wanted.name && self.namespace == there.unwrap_or(here) {
            Fit::Named
        } else {
            Fit::AskTheObject
        }
    }

    /// Whether the live object is this one, and what was typed means it.
    fn is(&self, live: &Connection, wanted: &ReleaseConnection, vault: &Vault) -> bool {
        is_of(live, vault)
            && [live.name_any().as_str(), alias(live)].contains(&wanted.name.as_str())
            && self.uid.is_none_or(|uid| live.metadata.uid.as_deref() == Some(uid))
    }
}

/// One delivery for each thing that was asked for, in the same order, and each of them it.
pub(super) async fn check(
    cluster: &Cluster,
    vault: &Vault,
    wanted: &[ReleaseConnection],
    delivered: &[Delivered],
) -> Result<(), Failure> {
    if wanted.len() != delivered.len() {
        return Err(Failure::Conflict(format!(
            "the broker answered {} credentials, and {} were asked for: nothing is taken",
            delivered.len(),
            wanted.len()
        )));
    }
    for (wanted, delivered) in wanted.iter().zip(delivered) {
        let said = Said::of(delivered);
        let is_it = match said.fits(wanted, &cluster.namespace) {
            Fit::Named => true,
            Fit::Other => false,
            Fit::AskTheObject => {
                let live = cluster.at(said.namespace).find::<Connection>(said.name).await;
                let live = live.map_err(|failure| {
                    Failure::Conflict(format!(
                        "the broker answered with '{}/{}' for '{}', and that cannot be looked at ({failure}): nothing \
                         is taken. Ask for it by namespace and name",
                        said.namespace, said.name, wanted.name
                    ))
                })?;
                live.is_some_and(|live| said.is(&live, wanted, vault))
            }
        };
        if !is_it {
            return Err(Failure::Conflict(format!(
                "'{}' was asked for, and the broker answered with '{}/{}': nothing is taken",
                wanted.name, said.namespace, said.name
            )));
        }
    }
    Ok(())
}

/// The items that were named, all of them and no other.
pub(super) fn check_items(wanted: &ReleaseConnection, opened: &ReleasedConnection) -> Result<(), Failure> {
    let is_asked_for = |item: &String| wanted.items.contains(item);
    if wanted.items.is_empty()
        || (opened.items.keys().all(is_asked_for)
            && wanted.items.iter().all(|item| opened.items.contains_key(item)))
    {
        return Ok(());
    }
    Err(Failure::Conflict(format!(
        "of '{}' the items {} were asked for, and others were answered: nothing is taken",
        wanted.name,
        wanted.items.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_broker_api::ItemValue;

    fn wanted(namespace: Option<&str>, name: &str, items: &[&str]) -> ReleaseConnection {
        ReleaseConnection {
            name: name.into(),
            namespace: namespace.map(str::to_owned),
            items: items.iter().map(|item| (*item).to_owned()).collect(),
        }
    }

    #[test]
    fn a_delivery_fits_by_name_or_needs_the_live_object_or_is_something_else() {
        let said = Said { namespace: "team", name: "github", alias: "gh", uid: None };
        for (namespace, name, fit) in [
            (None, "github", Fit::Named),
            (Some("team"), "github", Fit::Named),
            (None, "gh", Fit::AskTheObject),
            (Some("team"), "gh", Fit::AskTheObject),
            (None, "slack", Fit::Other),
            (Some("other"), "github", Fit::Other),
        ] {
            assert_eq!(said.fits(&wanted(namespace, name, &[]), "team"), fit, "{namespace:?}/{name}");
        }
        assert_eq!(said.fits(&wanted(None, "github", &[]), "elsewhere"), Fit::AskTheObject);
    }

    #[test]
    fn neither_more_nor_fewer_items_are_taken_than_were_named() {
        let value = |text: &str| ItemValue::new(text.as_bytes().to_vec());
        let opened = ReleasedConnection {
            namespace: "team".into(),
            name: "github".into(),
            alias: "github".into(),
            type_: "opaque".into(),
            version: 1,
            items: [("token".to_owned(), value("t")), ("user".to_owned(), value("u"))].into(),
        };
        let code =
            |items: &[&str]| check_items(&wanted(None, "github", items), &opened).map_err(|f| f.exit_code());
        assert_eq!(code(&[]), Ok(()));
        assert_eq!(code(&["user", "token"]), Ok(()));
        assert_eq!(code(&["token"]), Err(Failure::CONFLICT));
        assert_eq!(code(&["token", "user", "more"]), Err(Failure::CONFLICT));
    }
}
