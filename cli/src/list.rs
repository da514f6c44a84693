//! `kubectl coffer list`: credentials, never their values.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use clap::Args;
use coffer_crds::{Connection, Sharing, Vault};
use coffer_policy::Scope;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    Failure,
    cluster::{Cluster, Listed},
    command::Everywhere,
    memberships::{Own, memberships},
    output::{self, Column, Format},
};

/// Which credentials.
#[derive(Clone, Debug, Default, Args)]
pub struct Arguments {
    /// Only those of this vault
    #[arg(long)]
    pub vault: Option<String>,
    /// Only those that you own
    #[arg(long)]
    pub mine: bool,
    /// How far.
    #[command(flatten)]
    pub everywhere: Everywhere,
}

struct Row {
    namespace: String,
    name: String,
    scope: String,
    age: String,
    connection: Connection,
}

const NAMESPACE: Column<Row> = Column::new("NAMESPACE", |r| r.namespace.clone());
const COLUMNS: [Column<Row>; 11] = [
    Column::new("NAME", |r| r.name.clone()),
    Column::new("OWNER", |r| r.connection.spec.owner.clone().unwrap_or_default()),
    Column::new("SCOPE", |r| r.scope.clone()),
    Column::new("VERSION", |r| {
        let version = r.connection.status.as_ref().and_then(|status| status.version);
        version.map_or_else(|| "-".to_owned(), |version| version.to_string())
    }),
    Column::new("READY", |r| {
        r.connection.status.as_ref().map_or_else(|| "Unknown".to_owned(), |s| output::ready(&s.conditions))
    }),
    Column::new("AGE", |r| r.age.clone()),
    Column::wide("VAULT", |r| vault_of(&r.connection).unwrap_or_default().to_owned()),
    Column::wide("PROVIDER", |r| r.connection.spec.provider.clone().unwrap_or_default()),
    Column::wide("ALIAS", |r| r.connection.spec.alias.clone().unwrap_or_else(|| r.name.clone())),
    Column::wide("ITEMS", |r| r.connection.status.as_ref().map(|s| s.items.join(",")).unwrap_or_default()),
    Column::wide("REASON", |r| {
        r.connection.status.as_ref().map(|s| output::reason(&s.conditions)).unwrap_or_default()
    }),
];

/// Prints the credentials of a namespace, or of all.
pub(crate) async fn print(
    cluster: &Cluster,
    arguments: &Arguments,
    format: Format,
    answer: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<(), Failure> {
    let everywhere = arguments.everywhere.all_namespaces;
    let mut connections = cluster.list::<Connection>(everywhere).await?;
    if let Some(wanted) = &arguments.vault {
        connections.retain(|c| c.parsed.as_ref().is_ok_and(|read| vault_of(read) == Some(wanted)));
    }
    if arguments.mine {
        let own = own(cluster, &connections, everywhere).await?;
        connections.retain(|c| c.parsed.as_ref().is_ok_and(|read| own.iter().any(|own| owns(own, read))));
    }
    // What a Connection without `members` means is its vault's to say.
    let sharing = match format {
        Format::Table | Format::Wide => sharing(&cluster.list::<Vault>(everywhere).await?),
        Format::Json | Format::Yaml | Format::Name => BTreeMap::new(),
    };
    let now = Timestamp::now();
    let row = |connection: Connection| Row {
        namespace: connection.namespace().unwrap_or_default(),
        name: connection.name_any(),
        scope: scope(&connection, &sharing),
        age: output::age(connection.metadata.creation_timestamp.as_ref(), now),
        connection,
    };
    let columns: Vec<_> = everywhere.then_some(NAMESPACE).into_iter().chain(COLUMNS).collect();
    let whose = if arguments.mine { "connections of yours" } else { "connections" };
    let empty = match everywhere {
        true => format!("No {whose} found."),
        false => format!("No {whose} found in namespace {}.", cluster.namespace),
    };
    output::list(format, connections, &columns, &empty, row, (answer, notes))
}

/// The caller's memberships in the vaults of these Connections, which need not be in their namespace.
async fn own(
    cluster: &Cluster,
    connections: &[Listed<Connection>],
    everywhere: bool,
) -> Result<Vec<Own>, Failure> {
    let caller = cluster.caller().await?;
    if everywhere {
        return memberships(cluster, &caller, true).await;
    }
    let read = connections.iter().filter_map(|connection| connection.parsed.as_ref().ok());
    let namespaces: BTreeSet<String> = read.map(namespace_of_vault).collect();
    let mut own = Vec::new();
    for namespace in namespaces {
        own.extend(memberships(&cluster.at(&namespace), &caller, false).await?);
    }
    Ok(own)
}

fn owns(own: &Own, connection: &Connection) -> bool {
    own.namespace == namespace_of_vault(connection)
        && Some(own.vault.as_str()) == vault_of(connection)
        && connection.spec.owner.as_ref() == Some(&own.view.name)
}

fn namespace_of_vault(connection: &Connection) -> String {
    let named = connection.spec.vault.as_ref().and_then(|vault| vault.namespace.clone());
    named.or_else(|| connection.namespace()).unwrap_or_default()
}

/// Sharing by the vault's namespace and name.
fn sharing(vaults: &[Listed<Vault>]) -> BTreeMap<(String, String), Sharing> {
    let read = vaults.iter().filter_map(|vault| vault.parsed.as_ref().ok());
    read.map(|vault| ((vault.namespace().unwrap_or_default(), vault.name_any()), vault.spec.sharing))
        .collect()
}

fn vault_of(connection: &Connection) -> Option<&str> {
    connection.spec.vault.as_ref()?.name.as_deref()
}

/// `*`, the names, or `<vault>` when that is for the vault to say and the vault is not seen from here.
fn scope(connection: &Connection, sharing: &BTreeMap<(String, String), Sharing>) -> String {
    let namespace = namespace_of_vault(connection);
    let known = vault_of(connection).and_then(|name| sharing.get(&(namespace, name.to_owned())));
    let scope = match (known, &connection.spec.members) {
        (None, None) => return "<vault>".to_owned(),
        // With `members` given the sharing makes no difference.
        (sharing, _) => Scope::of_connection(connection, sharing.copied().unwrap_or_default()),
    };
    match scope {
        Scope::All => "*".to_owned(),
        Scope::Listed(names) if names.is_empty() => "<owner>".to_owned(),
        Scope::Listed(names) => names.join(","),
    }
}
