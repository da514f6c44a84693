//! What is sealed to an older key than its vault's present one.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::{Connection, Vault};
use coffer_keys::{Kid, intake::sealed_to};
use kube::ResourceExt as _;

use super::Arguments;
use crate::{
    Failure,
    cluster::{Cluster, Listed},
    desk::Desk,
    output::{self, Column},
    pins::{self, Trusted},
};

/// A vault whose keys are believed.
pub(super) struct Believed {
    pub(super) vault: Vault,
    pub(super) trusted: Trusted,
}

/// The vaults that were looked at, by namespace and name.
#[derive(Default)]
pub(super) struct Vaults(BTreeMap<(String, String), Believed>);

impl Vaults {
    /// The vault of a Connection, once its key is the one that was seen before.
    pub(super) async fn of(
        &mut self,
        desk: &Desk<'_>,
        cluster: &Cluster,
        connection: &Connection,
    ) -> Result<&Believed, Failure> {
        let name = connection.name_any();
        let reference = connection.spec.vault.clone().unwrap_or_default();
        let vault = reference
            .name
            .ok_or_else(|| Failure::Conflict(format!("connection '{name}' is in no vault yet")))?;
        let there = reference.namespace.or_else(|| connection.namespace());
        let key = (there.unwrap_or_else(|| cluster.namespace.clone()), vault);
        if !self.0.contains_key(&key) {
            let vault: Vault = cluster.at(&key.0).get(&key.1).await?;
            let trusted = pins::trust(&desk.home.pins, cluster, &vault)?;
            self.0.insert(key.clone(), Believed { vault, trusted });
        }
        self.0.get(&key).ok_or_else(|| Failure::Unexpected(String::from("a vault that was read is gone")))
    }
}

/// The older keys that something is sealed to, by their ids. What is no sealed input is not counted: nobody can seal it
/// again, and the Connection's own `Ready` tells of it.
pub(super) fn older_keys(sealed: &BTreeMap<String, String>, present: &Kid) -> Vec<Kid> {
    let sealed = sealed.values().filter_map(|text| STANDARD.decode(text).ok());
    let kids: BTreeSet<Kid> = sealed.filter_map(|bytes| sealed_to(&bytes).ok()).collect();
    // By root, then by generation.
    kids.into_iter().filter(|kid| kid < present).collect()
}

/// As people read them.
pub(super) fn named(kids: &[Kid]) -> String {
    kids.iter().map(Kid::to_string).collect::<Vec<_>>().join(",")
}

/// The Connections of the namespace that are sealed to an older key; of one vault alone, if one is named.
pub(super) async fn older(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
    vaults: &mut Vaults,
) -> Result<Vec<Connection>, Failure> {
    let listed = listed(desk, cluster, arguments, vaults).await?;
    Ok(listed.into_iter().filter_map(|(found, ..)| found.parsed.ok()).collect())
}

async fn listed(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
    vaults: &mut Vaults,
) -> Result<Vec<(Listed<Connection>, Row)>, Failure> {
    let mut older = Vec::new();
    for found in cluster.list::<Connection>(false).await? {
        let Ok(connection) = &found.parsed else { continue };
        let vault = connection.spec.vault.as_ref().and_then(|vault| vault.name.as_ref());
        let is_meant = arguments.names.is_empty() || arguments.names.contains(&connection.name_any());
        if !is_meant || arguments.asking.vault.as_ref().is_some_and(|wanted| vault != Some(wanted)) {
            continue;
        }
        let believed = match vaults.of(desk, cluster, connection).await {
            Ok(believed) => believed,
            Err(failure) => {
                desk.note(&format!("Connection '{}' is left out: {failure}", connection.name_any()));
                continue;
            }
        };
        let present = believed.trusted.intake.kid();
        let keys = older_keys(&connection.spec.sealed_data, present);
        if !keys.is_empty() {
            let row = Row {
                name: connection.name_any(),
                owner: connection.spec.owner.clone().unwrap_or_default(),
                vault: believed.vault.name_any(),
                keys: named(&keys),
                present: present.to_string(),
            };
            older.push((found, row));
        }
    }
    Ok(older)
}

/// One Connection that is sealed to an older key.
#[derive(Clone)]
struct Row {
    name: String,
    owner: String,
    vault: String,
    keys: String,
    present: String,
}

const COLUMNS: [Column<Row>; 5] = [
    Column::new("NAME", |r| r.name.clone()),
    Column::new("OWNER", |r| r.owner.clone()),
    Column::new("VAULT", |r| r.vault.clone()),
    Column::new("SEALED TO", |r| r.keys.clone()),
    Column::new("PRESENT KEY", |r| r.present.clone()),
];

/// Prints them: whoever may read and write one can seal it again.
pub(super) async fn print(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let listed = listed(desk, cluster, arguments, &mut Vaults::default()).await?;
    let (found, rows): (Vec<_>, Vec<_>) = listed.into_iter().unzip();
    let rows: BTreeMap<String, Row> = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
    let row = |connection: Connection| rows[&connection.name_any()].clone();
    let empty = format!("Nothing in namespace {} is sealed to an older key.", cluster.namespace);
    output::list(desk.options.output, found, &COLUMNS, &empty, row, (&mut *desk.answer, &mut *desk.notes))
}
