//! What was seen of vaults before. A vault's custodian key is believed at first sight and never again by itself: who
//! can write the API's objects could otherwise put their own key there and read what is sealed next.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use coffer_crds::Vault;
use coffer_envelope::{Freshness, intake_public_key};
use coffer_keys::{VaultId, intake::IntakePublicKey, signature::VaultPublicKey};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    cluster::Cluster,
    home::{locked, read_private, replace_private},
};

/// All pins of this machine's user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pins {
    #[serde(default)]
    vaults: Vec<Pin>,
    /// The newest that was opened of each Connection, by its uid.
    #[serde(default)]
    seen: BTreeMap<String, Freshness>,
    /// Ids of the vaults in which this user has a key of its own: nothing is taken from a broker in the clear there.
    #[serde(default)]
    own: BTreeSet<String>,
}

/// One vault as it was first seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pin {
    /// The API server's address.
    pub(crate) server: String,
    /// The vault's namespace.
    pub(crate) namespace: String,
    /// The vault's name.
    pub(crate) vault: String,
    /// Its random id.
    #[serde(rename = "vaultID")]
    pub(crate) vault_id: String,
    /// The public half of its signing key.
    pub(crate) custodian_key: String,
}

/// Whether a vault is the one that was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Never seen.
    First,
    /// As before.
    Same,
    /// Another key, or another vault under the same name.
    Changed,
}

impl Pins {
    /// Reads the list; none is an empty one.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let Some(content) = read_private(path)? else { return Ok(Self::default()) };
        serde_json::from_slice(content.expose()).map_err(|error| {
            Failure::Usage(format!(
                "{} cannot be read ({error}): it holds the keys of vaults as they were first seen; restore it, or \
                 take it away to see them all for the first time again",
                path.display()
            ))
        })
    }

    /// Reads the list, changes it and writes it, while no other command of this user does. What fails leaves it as it was.
    pub(crate) fn change<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _lock = locked(path)?;
        let mut pins = Self::load(path)?;
        let before = pins.clone();
        let done = change(&mut pins)?;
        if pins != before {
            let text =
                serde_json::to_vec_pretty(&pins).map_err(|error| Failure::Unexpected(error.to_string()))?;
            replace_private(path, &text)?;
        }
        Ok(done)
    }

    /// How this vault compares with what was seen. An id that was seen elsewhere must have the same key here.
    pub(crate) fn compare(&self, seen: &Pin) -> Sight {
        let here = self.vaults.iter().find(|pin| pin.place() == seen.place());
        let elsewhere = self.vaults.iter().find(|pin| pin.vault_id == seen.vault_id);
        let same = |pin: &Pin| pin.vault_id == seen.vault_id && pin.custodian_key == seen.custodian_key;
        match (here, elsewhere) {
            (Some(pin), _) | (None, Some(pin)) if same(pin) => {
                if here.is_some() {
                    Sight::Same
                } else {
                    Sight::First
                }
            }
            (None, None) => Sight::First,
            (Some(_), _) | (None, Some(_)) => Sight::Changed,
        }
    }

    /// Whether a vault of this id and key was seen, be it at another address.
    pub(crate) fn knows(&self, seen: &Pin) -> bool {
        self.vaults.iter().any(|pin| pin.vault_id == seen.vault_id && pin.custodian_key == seen.custodian_key)
    }

    /// Puts a vault in, in place of what was there.
    pub(crate) fn remember(&mut self, seen: Pin) {
        self.vaults.retain(|pin| pin.place() != seen.place() && pin.vault_id != seen.vault_id);
        self.vaults.push(seen);
    }

    /// Takes note of what was opened of a Connection. What is older than what was seen before is a replay.
    pub(crate) fn advance(&mut self, uid: &str, freshness: Freshness) -> Result<(), Failure> {
        if self.seen.get(uid).is_some_and(|seen| *seen > freshness) {
            return Err(Failure::Conflict(String::from(
                "the answer is older than what was seen here before: somebody put an old state back. Ask the vault's \
                 owners whether a backup was restored",
            )));
        }
        self.seen.insert(uid.to_owned(), freshness);
        Ok(())
    }

    /// Whether this user has a key of its own in the vault of that id, as far as was seen here.
    pub(crate) fn has_own_key(&self, vault_id: &str) -> bool {
        self.own.contains(vault_id)
    }

    /// Takes note of that, or of the contrary.
    pub(crate) fn own_key(&mut self, vault_id: &str, is_own: bool) {
        if is_own {
            self.own.insert(vault_id.to_owned());
        } else {
            self.own.remove(vault_id);
        }
    }
}

impl Pin {
    /// A vault as its status shows it now.
    pub(crate) fn of(server: &str, vault: &Vault) -> Result<Self, Failure> {
        let status = vault.status.clone().unwrap_or_default();
        let (Some(vault_id), Some(custodian_key)) = (status.vault_id, status.custodian_key) else {
            return Err(Failure::NotNow(format!(
                "vault '{}' has no keys yet: see kubectl describe vault -n {} {}",
                vault.name_any(),
                vault.namespace().unwrap_or_default(),
                vault.name_any()
            )));
        };
        Ok(Self {
            server: server.to_owned(),
            namespace: vault.namespace().unwrap_or_default(),
            vault: vault.name_any(),
            vault_id,
            custodian_key,
        })
    }

    fn place(&self) -> (&str, &str, &str) {
        (&self.server, &self.namespace, &self.vault)
    }
}

/// A vault whose keys are believed.
#[derive(Debug)]
pub(crate) struct Trusted {
    pub(crate) id: VaultId,
    /// The public half of its signing key.
    pub(crate) custodian: VaultPublicKey,
    /// What to seal to.
    pub(crate) intake: IntakePublicKey,
}

/// Compares a vault with what was seen before, remembers it if it is new, and checks that its own key vouches for the
/// key to seal to.
pub(crate) fn trust(path: &Path, cluster: &Cluster, vault: &Vault) -> Result<Trusted, Failure> {
    let seen = Pin::of(&cluster.server, vault)?;
    let name = vault.name_any();
    Pins::change(path, |pins| match pins.compare(&seen) {
        Sight::Same => Ok(()),
        Sight::First => {
            pins.remember(seen.clone());
            Ok(())
        }
        Sight::Changed => Err(Failure::Conflict(format!(
            "vault '{name}' shows another key than when it was first seen here. If it was deleted and made again, say \
             so with: kubectl coffer trust {name} -n {}. If not, somebody may be trying to read what you seal: ask its \
             owners",
            seen.namespace
        ))),
    })?;
    verified(&seen, vault.status.as_ref().and_then(|status| status.intake_key.as_ref()))
}

/// The key to seal to, once the vault's own key vouches for it.
pub(crate) fn verified(pin: &Pin, key: Option<&coffer_crds::IntakeKey>) -> Result<Trusted, Failure> {
    let wrong = |what: String| {
        Failure::Conflict(format!("the intake key of vault '{}' is not used: {what}", pin.vault))
    };
    let id = VaultId::parse(&pin.vault_id).map_err(|error| wrong(error.to_string()))?;
    let custodian = VaultPublicKey::parse(&pin.custodian_key).map_err(|error| wrong(error.to_string()))?;
    let key = key.ok_or_else(|| Failure::NotNow(format!("vault '{}' has no intake key yet", pin.vault)))?;
    let intake = intake_public_key(&id, &custodian, key)
        .map_err(|_| wrong(String::from("the vault's own key did not sign it")))?;
    Ok(Trusted { id, custodian, intake })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a failed expectation is the test's failure")]
    use super::*;

    fn pin(server: &str, vault: &str, id: &str, key: &str) -> Pin {
        Pin {
            server: server.into(),
            namespace: "team".into(),
            vault: vault.into(),
            vault_id: id.into(),
            custodian_key: key.into(),
        }
    }

    #[test]
    fn a_vault_is_believed_at_first_sight_and_afterwards_only_as_it_was() {
        let mut pins = Pins::default();
        assert_eq!(pins.compare(&pin("a", "team", "1", "k")), Sight::First);
        pins.remember(pin("a", "team", "1", "k"));
        assert_eq!(pins.compare(&pin("a", "team", "1", "k")), Sight::Same);
        assert_eq!(pins.compare(&pin("a", "team", "1", "other")), Sight::Changed);
        assert_eq!(pins.compare(&pin("a", "team", "2", "k")), Sight::Changed, "another vault of this name");
        assert_eq!(pins.compare(&pin("b", "team", "2", "k2")), Sight::First, "another cluster");
        assert_eq!(pins.compare(&pin("b", "team", "1", "other")), Sight::Changed, "the id has another key");
        pins.remember(pin("a", "team", "2", "k2"));
        assert_eq!(pins.compare(&pin("a", "team", "2", "k2")), Sight::Same);
    }

    /// T22: an old Envelope is a valid one, and is not taken for the present one.
    #[test]
    fn what_is_older_than_what_was_seen_is_refused() {
        let mut pins = Pins::default();
        let at = |epoch, version, revision| Freshness { epoch, version, revision };
        for step in [at(1, 1, 1), at(1, 1, 2), at(1, 2, 2), at(1, 2, 2), at(2, 2, 1)] {
            assert!(pins.advance("uid", step).is_ok(), "{step:?}");
        }
        assert!(pins.advance("uid", at(1, 9, 9)).is_err());
        assert!(pins.advance("another", at(1, 1, 1)).is_ok());
    }

    #[test]
    fn pins_come_back_from_their_file_and_stay_as_they_were_when_a_change_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state/vaults.json");
        for name in ["team", "other"] {
            Pins::change(&path, |pins| {
                pins.remember(pin("a", name, name, "k"));
                Ok(())
            })
            .expect("a file");
        }
        let failed = Pins::change(&path, |pins| {
            pins.remember(pin("a", "third", "third", "k"));
            Err::<(), _>(Failure::Unexpected(String::new()))
        });
        assert!(failed.is_err());
        let read = Pins::load(&path).expect("a list");
        for (name, sight) in [("team", Sight::Same), ("other", Sight::Same), ("third", Sight::First)] {
            assert_eq!(read.compare(&pin("a", name, name, "k")), sight, "{name}");
        }
    }

    /// Two commands at once: without the lock each would write back what it read, and one pin would be lost.
    #[test]
    fn what_several_commands_note_at_once_is_all_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state/vaults.json");
        std::thread::scope(|scope| {
            for command in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for step in 0..20 {
                        let first = Freshness { epoch: 1, version: 1, revision: 1 };
                        let uid = format!("{command}-{step}");
                        let noted = Pins::change(path, |pins| pins.advance(&uid, first));
                        noted.expect("a change");
                    }
                });
            }
        });
        assert_eq!(Pins::load(&path).expect("a list").seen.len(), 160);
    }
}
