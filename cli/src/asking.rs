//! Asking for values: a Release object, answered by a broker, sealed to a key that lives as long as the question. For a
//! member with a key of its own the answer holds only what that key opens, here.

mod custody;
mod delivery;

use std::time::Duration;

use clap::Args;
use coffer_broker_api::{
    ReleasedConnection,
    people::{Delivered, Denied, PendingRelease, Progress, WrappedConnection},
};
use coffer_crds::{Connection, Release, ReleaseConnection, Vault};
use coffer_envelope::Freshness;
use coffer_policy::release::expires_at;
use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::time::{Instant, sleep};

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    facts,
    local_key::{self, KeyOptions},
    pins::{self, Pins, Trusted},
    random,
};

/// A broker answers within a tenth of a second.
const LOOK: Duration = Duration::from_millis(40);

/// How it is asked.
#[derive(Clone, Debug, Default, Args)]
pub struct Asking {
    /// The vault; not needed where there is one
    #[arg(long)]
    pub vault: Option<String>,
    /// Why, for the audit log
    #[arg(long)]
    pub reason: Option<String>,
    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub timeout: u64,
    /// Take values that the broker opened although you have a key of your own in this vault: a group's, say
    #[arg(long, conflicts_with_all = ["key", "passphrase_file"])]
    pub brokered: bool,
    /// The key.
    #[command(flatten)]
    pub key: KeyOptions,
}

/// One Connection as it is typed: an alias or name, after a namespace if it is elsewhere.
pub(crate) fn wanted(typed: &str, items: &[String]) -> ReleaseConnection {
    let (namespace, name) = match typed.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name.to_owned()),
        None => (None, typed.to_owned()),
    };
    ReleaseConnection { name, namespace, items: items.to_vec() }
}

/// Asks, waits, opens, and takes the question away again.
pub(crate) async fn ask(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    asking: &Asking,
    wanted: Vec<ReleaseConnection>,
) -> Result<Vec<ReleasedConnection>, Failure> {
    if cluster.dry_run {
        return Err(Failure::Usage(String::from(
            "a question cannot be asked by way of trial: leave --dry-run out",
        )));
    }
    let vault = facts::vault(cluster, asking.vault.as_deref()).await?;
    let trusted = pins::trust(&desk.home.pins, cluster, &vault)?;
    let names: Vec<String> = wanted.iter().map(|wanted| wanted.name.clone()).collect();
    let pending = PendingRelease::new(
        &cluster.namespace,
        &vault.name_any(),
        wanted.clone(),
        asking.reason.clone(),
        &mut random(),
    );
    let stored: Release = cluster.make(&pending.object()).await?;
    let answered = answered(desk, cluster, &pending, asking.timeout).await;
    // It lives a minute at most without this.
    let _ = cluster.delete(&stored).await;
    let answer = pending.open(&answered?).map_err(|error| Failure::Conflict(error.to_string()))?;
    let delivered = match answer.granted() {
        Ok(delivered) => delivered,
        Err(denied) => return Err(refused(cluster, denied, &names).await),
    };
    delivery::check(cluster, &vault, &wanted, &delivered).await?;
    if !asking.brokered && delivered.iter().any(|one| matches!(one, Delivered::Items(_))) {
        let pins = Pins::load(&desk.home.pins)?;
        custody::check_plain(cluster, &vault, &trusted.id.to_string(), &pins, &names).await?;
    }
    open(desk, asking, &vault, &trusted, (&wanted, delivered))
}

async fn answered(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    pending: &PendingRelease,
    timeout: u64,
) -> Result<Release, Failure> {
    let end = Instant::now() + Duration::from_secs(timeout);
    let mut told = None;
    loop {
        let release: Release = cluster.get(pending.name()).await?;
        match pending.progress(&release) {
            Progress::Answered => return Ok(release),
            Progress::Failed(text) => return Err(Failure::NotNow(text)),
            Progress::Waiting(waits) => {
                if waits != told {
                    desk.note(waits.as_deref().unwrap_or_default());
                    told = waits;
                }
            }
        }
        if Instant::now() >= end {
            return Err(Failure::NotNow(format!("no broker has answered within {timeout} s")));
        }
        sleep(LOOK).await;
    }
}

/// A refusal in the broker's words, with the exit code for it. That a credential has expired is no secret to whoever
/// sees the Connection, and a script wants to tell it from a denial.
async fn refused(cluster: &Cluster, denied: Denied, names: &[String]) -> Failure {
    let text = match denied.retry_after_seconds {
        Some(seconds) => format!("{}; ask again in {seconds} s", denied.message),
        None => denied.message,
    };
    match denied.code {
        404 => Failure::NotFound(text),
        400 | 413 => Failure::Usage(text),
        429 | 503 => Failure::NotNow(text),
        401 | 403 => {
            for name in names {
                let found = cluster.find::<Connection>(name).await.ok().flatten();
                if found.and_then(|found| expires_at(&found)).is_some_and(|end| end <= Timestamp::now()) {
                    return Failure::Expired(text);
                }
            }
            Failure::Denied(text)
        }
        _ => Failure::Unexpected(text),
    }
}

fn open(
    desk: &mut Desk<'_>,
    asking: &Asking,
    vault: &Vault,
    trusted: &Trusted,
    (wanted, delivered): (&[ReleaseConnection], Vec<Delivered>),
) -> Result<Vec<ReleasedConnection>, Failure> {
    let mut key = None;
    let mut released = Vec::with_capacity(delivered.len());
    let mut seen: Vec<(String, Freshness)> = Vec::new();
    for (wanted, one) in wanted.iter().zip(delivered) {
        let connection = match one {
            Delivered::Items(connection) => connection,
            Delivered::Wrapped(mut own) => {
                let own_key = match key.take() {
                    Some(key) => key,
                    None => local_key::open(desk, &asking.key)?,
                };
                // What is opened is what was asked for, whatever the answer says of that.
                own.items.clone_from(&wanted.items);
                let connection = opened(vault, trusted, &own, &own_key)?;
                seen.push((own.connection.uid.clone(), Freshness::of(&own.envelope)));
                key = Some(own_key);
                connection
            }
        };
        delivery::check_items(wanted, &connection)?;
        released.push(connection);
    }
    if !seen.is_empty() {
        Pins::change(&desk.home.pins, |pins| {
            pins.own_key(&trusted.id.to_string(), true);
            seen.into_iter().try_for_each(|(uid, freshness)| pins.advance(&uid, freshness))
        })?;
    }
    Ok(released)
}

/// Opens with the caller's own key, believing only the vault's key that was pinned.
fn opened(
    vault: &Vault,
    trusted: &Trusted,
    own: &WrappedConnection,
    key: &coffer_keys::member_key::MemberSecretKey,
) -> Result<ReleasedConnection, Failure> {
    let name = &own.connection.name;
    if own.vault_id != trusted.id.to_string() {
        return Err(Failure::Conflict(format!("the answer is of another vault than '{}'", vault.name_any())));
    }
    own.open(key, &trusted.custodian).map_err(|error| {
        Failure::Denied(format!(
            "'{name}' does not open with your key {}: {error}. kubectl coffer members show {} says which key is yours",
            key.public().fingerprint(),
            own.member.name
        ))
    })
}
