//! `kubectl coffer seal-key`: what to seal to, signed by the vault, to be kept where no cluster is.

use std::{fs, path::Path};

use clap::Args;
use coffer_crds::IntakeKey;
use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    facts,
    home::unreadable,
    output::{self, Format},
    pins::{self, Pin, Pins, Sight, Trusted},
};

/// Which vault's.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The vault; not needed where there is one
    pub vault: Option<String>,
}

/// A saved key: public, and worth nothing without the vault's signature, which is checked at each use.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SealKey {
    pub(crate) server: String,
    pub(crate) namespace: String,
    pub(crate) vault: String,
    #[serde(rename = "vaultID")]
    pub(crate) vault_id: String,
    pub(crate) custodian_key: String,
    pub(crate) intake_key: IntakeKey,
}

/// Prints it.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let vault = facts::vault(cluster, arguments.vault.as_deref()).await?;
    pins::trust(&desk.home.pins, cluster, &vault)?;
    let pin = Pin::of(&cluster.server, &vault)?;
    let intake_key = vault
        .status
        .and_then(|status| status.intake_key)
        .ok_or_else(|| Failure::NotNow(format!("vault '{}' has no intake key yet", pin.vault)))?;
    let key = SealKey {
        server: pin.server,
        namespace: pin.namespace,
        vault: pin.vault,
        vault_id: pin.vault_id,
        custodian_key: pin.custodian_key,
        intake_key,
    };
    let format = if desk.options.output == Format::Json { Format::Json } else { Format::Yaml };
    output::value(format, &key, desk.answer)
}

impl SealKey {
    /// Reads a saved one.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        Self::parse(&text).ok_or_else(|| {
            Failure::Usage(format!("{} is not what kubectl coffer seal-key prints", path.display()))
        })
    }

    /// Reads its text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_saphyr::from_str(text).ok()
    }
}

/// Compares a saved key with what was seen of its vault, and checks that the vault's own key vouches for it. A file
/// vouches for nothing by itself: of a vault that was never seen here, `said` is its key as its owners told it.
pub(crate) fn trust(path: &Path, key: &SealKey, said: Option<&str>) -> Result<Trusted, Failure> {
    let pin = Pin {
        server: key.server.clone(),
        namespace: key.namespace.clone(),
        vault: key.vault.clone(),
        vault_id: key.vault_id.clone(),
        custodian_key: key.custodian_key.clone(),
    };
    let trusted = pins::verified(&pin, Some(&key.intake_key))?;
    let not_the_vaults = |than: &str| {
        Failure::Conflict(format!(
            "the saved key is not of vault '{}' as {than}: save it again with kubectl coffer seal-key",
            key.vault
        ))
    };
    if said.is_some_and(|said| said != key.custodian_key) {
        return Err(not_the_vaults("--trust says"));
    }
    Pins::change(path, |pins| match (pins.compare(&pin), said) {
        (Sight::Same, _) => Ok(()),
        (Sight::First, _) if pins.knows(&pin) => Ok(()),
        (Sight::First, Some(_)) => {
            pins.remember(pin);
            Ok(())
        }
        (Sight::First, None) => Err(Failure::Denied(format!(
            "vault '{}' was never seen here, and whoever wrote the saved key may have put in their own: {}. Ask its \
             owners, by another way, what kubectl coffer trust {} shows; if it is the same, say --trust KEY",
            key.vault, key.custodian_key, key.vault
        ))),
        (Sight::Changed, _) => Err(not_the_vaults("it was first seen here")),
    })?;
    Ok(trusted)
}
