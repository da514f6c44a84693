//! `kubectl coffer members role`, `suspend` and `resume`.

use clap::Args;
use coffer_crds::{MemberPhase, VaultMember};
use serde_json::json;

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    wait::{self, Look, Waiting},
};

/// Whose role, and which.
#[derive(Debug, Args)]
pub struct Role {
    /// The member
    pub name: String,
    /// owner, admin, member, or a role of the vault's own
    pub role: String,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Whose membership.
#[derive(Debug, Args)]
pub struct Hold {
    /// The member
    pub name: String,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Gives another role.
pub(super) async fn role(desk: &mut Desk<'_>, cluster: &Cluster, arguments: &Role) -> Result<(), Failure> {
    let (name, role) = (&arguments.name, &arguments.role);
    let before: VaultMember = cluster.get(name).await?;
    if before.spec.role == *role {
        return desk.say(&format!("Member '{name}' has role '{role}' already."));
    }
    let written = cluster.change(&before, &json!({"role": role})).await?;
    settled(desk, cluster, arguments.waiting, &written, None).await?;
    let mark = desk.mark();
    desk.say(&format!("Member '{name}': role '{}' → '{role}'{mark}.", before.spec.role))
}

/// Puts on hold, or takes off it.
pub(super) async fn hold(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Hold,
    suspended: bool,
) -> Result<(), Failure> {
    let name = &arguments.name;
    let before: VaultMember = cluster.get(name).await?;
    let what = if suspended { "on hold" } else { "off hold" };
    if before.spec.suspended == suspended {
        return desk.say(&format!("Member '{name}' is {what} already."));
    }
    let written = cluster.change(&before, &json!({"suspended": suspended})).await?;
    let wanted = suspended.then_some(MemberPhase::Suspended);
    settled(desk, cluster, arguments.waiting, &written, wanted).await?;
    let mark = desk.mark();
    desk.say(&format!("Member '{name}' is {what}{mark}."))?;
    if suspended {
        desk.note("Nothing is released to it from now on. What it may have read before: kubectl coffer list -o wide");
    }
    Ok(())
}

/// Waits until the operator has taken the change up; `phase` is the one that it then has, else it is ready.
async fn settled(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    waiting: Waiting,
    written: &VaultMember,
    phase: Option<MemberPhase>,
) -> Result<(), Failure> {
    let name = written.metadata.name.clone().unwrap_or_default();
    let generation = written.metadata.generation;
    let look = |member: Option<&VaultMember>| {
        let Some(member) = member else {
            return Look::Never(Failure::NotFound(format!("member '{name}' was removed")));
        };
        let status = member.status.clone().unwrap_or_default();
        let seen = status.observed_generation >= generation;
        match phase {
            Some(phase) if seen && status.phase == Some(phase) => Look::Done,
            // Not accepted yet: there is nothing to wait for.
            None if seen && status.phase == Some(MemberPhase::Invited) => Look::Done,
            Some(_) => Look::NotYet(format!("member '{name}': waiting for the operator")),
            None => wait::ready(&format!("member '{name}'"), &status.conditions, generation),
        }
    };
    wait::until(desk, cluster, waiting, &name, look).await.map(drop)
}
