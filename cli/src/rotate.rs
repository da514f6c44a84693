//! `kubectl coffer rotate`: turn a vault's keys over now.

use clap::Args;
use coffer_crds::{MemberPhase, Vault};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    facts::Facts,
    wait::{self, Look, Waiting},
};

/// Which vault.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The vault; not needed where there is one
    pub vault: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Asks for new keys, and watches everything being sealed under them.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let facts = Facts::of(cluster, arguments.vault.as_deref()).await?;
    let name = facts.name();
    let cost = Cost::of(&facts);
    if cluster.dry_run {
        desk.say(&cost.told(&name))?;
    } else {
        desk.confirm(&format!("{}\nTurn them over?", cost.told(&name)), arguments.yes)?;
    }
    let rotation = facts.vault.spec.rotation.clone();
    let interval = rotation.and_then(|rotation| rotation.interval);
    let wanted = json!({"rotation": {"interval": interval, "requestedAt": soon()}});
    cluster.change(&facts.vault, &wanted).await?;
    turned_over(desk, cluster, arguments.waiting, &facts.vault).await?;
    let mark = desk.mark();
    let waited = !arguments.waiting.no_wait && !cluster.dry_run;
    desk.say(&match waited {
        true => format!("Vault '{name}': everything is sealed under new keys{mark}."),
        false => format!("Vault '{name}': new keys are asked for{mark}."),
    })
}

/// The moment to ask for: the next whole second, as the API keeps times, so that it is after the present keys were made.
fn soon() -> String {
    Timestamp::from_second(Timestamp::now().as_second() + 1).unwrap_or_default().to_string()
}

/// Waits until everything is sealed in a later epoch than before.
pub(crate) async fn turned_over(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    waiting: Waiting,
    before: &Vault,
) -> Result<(), Failure> {
    let epoch = before.status.as_ref().and_then(|status| status.key_epoch);
    let look = |vault: Option<&Vault>| {
        let Some(status) = vault.and_then(|vault| vault.status.as_ref()) else { return Look::Done };
        match &status.rotation {
            Some(rotation) => {
                let all = status.connections.unwrap_or_default();
                let members = status.members.as_ref().map_or(0, |members| members.active);
                let wrapped = rotation.members_wrapped.unwrap_or_default();
                let sealed = rotation.connections_resealed.unwrap_or_default();
                match sealed {
                    0 => {
                        let said = format!("new keys: {wrapped} of {members} members hold them");
                        Look::Part(wrapped, members, said)
                    }
                    sealed => {
                        let said = format!("new keys: {sealed} of {all} connections are sealed under them");
                        Look::Part(sealed, all, said)
                    }
                }
            }
            None if status.key_epoch > epoch => Look::Done,
            None => Look::NotYet(String::from("new keys: waiting for the operator")),
        }
    };
    wait::until(desk, cluster, waiting, &before.name_any(), look).await.map(drop)
}

/// What a turn-over writes.
struct Cost {
    epoch: i64,
    members: usize,
    connections: i64,
}

impl Cost {
    fn of(facts: &Facts) -> Self {
        let status = facts.vault.status.clone().unwrap_or_default();
        let active = |member: &&coffer_crds::VaultMember| {
            let status = member.status.as_ref();
            status.is_some_and(|status| {
                status.phase == Some(MemberPhase::Active) && !status.wrapped_keys.is_empty()
            })
        };
        Self {
            epoch: status.key_epoch.unwrap_or_default(),
            members: facts.members().filter(active).count(),
            connections: status.connections.unwrap_or_default(),
        }
    }

    fn told(&self, vault: &str) -> String {
        format!(
            "Vault '{vault}', epoch {} → {}: the keys of {} members are wrapped anew, {} connections are sealed anew. \
             No value changes, and nobody who reads one notices.",
            self.epoch,
            self.epoch + 1,
            self.members,
            self.connections
        )
    }
}
