//! `kubectl coffer trust`: believe a vault whose key is another than before.

use clap::Args;
use coffer_crds::Vault;

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    facts,
    pins::{self, Pin, Pins, Sight},
};

/// Which vault.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The vault; not needed where there is one
    pub vault: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Shows the vault's key, and takes it for the right one from now on.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let vault: Vault = facts::vault(cluster, arguments.vault.as_deref()).await?;
    let seen = Pin::of(&cluster.server, &vault)?;
    pins::verified(&seen, vault.status.as_ref().and_then(|status| status.intake_key.as_ref()))?;
    let pins = Pins::load(&desk.home.pins)?;
    let (name, key) = (seen.vault.clone(), seen.custodian_key.clone());
    desk.say(&format!("Vault '{name}' in namespace '{}' has the key {key}.", seen.namespace))?;
    match pins.compare(&seen) {
        Sight::Same => return desk.say("It is the one that was seen before."),
        Sight::First => {}
        Sight::Changed => desk.confirm(
            "It is another than before. Take it for the right one? Ask its owners first, by another way.",
            arguments.yes,
        )?,
    }
    if desk.options.dry_run {
        return Ok(());
    }
    Pins::change(&desk.home.pins, |pins| {
        pins.remember(seen);
        Ok(())
    })?;
    desk.say("It is taken for the right one from now on.")
}
