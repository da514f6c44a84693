//! The operator's side of an Envelope: opened through the custodian's slot, and the one that comes next.

use crate::access::{Access, Change};
use crate::encoding::{base64, decode32, whole_seconds, wrap};
use crate::error::{EnvelopeError, SealError};
use crate::keyring::OpenKeyring;
use crate::open::OpenedItems;
use crate::parsed::Parsed;
use crate::{access, signed};
use coffer_crds::{
    Advised, Author, EnvelopeConnection, EnvelopeItem, EnvelopeScope, EnvelopeSpec, HistoryEntry, Slot,
    SlotRecipient, conditions::reason,
};
use coffer_keys::context::{ItemContext, SlotContext, SlotTo, ValuesContext};
use coffer_keys::data_key::DataKey;
use coffer_keys::signature::CheckedSignatures;
use coffer_keys::wrap::{OpenWith, WrapTo};
use coffer_keys::{OpenError, SecretBytes, Suite, VERSION};
use jiff::Timestamp;
use rand_core::CryptoRng;
use std::collections::BTreeMap;

/// How many versions `history` remembers.
const HISTORY: usize = 20;

/// The value of one item, and the SHA-256 of the sealed bytes that it came from.
pub struct Item {
    /// The value.
    pub value: SecretBytes,
    /// SHA-256 of the item's bytes in `Connection.spec.sealedData`, decoded.
    pub sealed_sha256: [u8; 32],
}

/// The first Envelope of a Connection.
pub struct NewEnvelope<'a> {
    /// The Connection.
    pub connection: EnvelopeConnection,
    /// Its first version: 1, or above all that were seen when there was an Envelope before.
    pub version: i64,
    /// Who made the Connection.
    pub created_by: String,
    /// Who wrote these values.
    pub writer: Author,
    /// When.
    pub now: Timestamp,
    /// Who may open it.
    pub access: Access<'a>,
    /// The items by name.
    pub items: BTreeMap<String, Item>,
}

/// New values of a Connection that has an Envelope.
pub struct NewVersion<'a> {
    /// Who wrote these values.
    pub writer: Author,
    /// When.
    pub now: Timestamp,
    /// Who may open it.
    pub access: Access<'a>,
    /// All items by name, also those that stay as they were.
    pub items: BTreeMap<String, Item>,
}

/// What of an Envelope may change without touching items or slots.
#[derive(Debug, Clone, PartialEq)]
pub struct Notes {
    /// SHA-256 of each item's sealed bytes: others when the same value was sealed again.
    pub sealed_sha256: BTreeMap<String, [u8; 32]>,
    /// Who made the operator advise a rotation at the provider.
    pub advised: Vec<Advised>,
}

/// An Envelope whose signature holds and whose data key the custodian's slot gave.
pub struct OpenEnvelope<'k, 's> {
    keyring: &'k OpenKeyring,
    parsed: Parsed<'s>,
    data_key: DataKey,
    /// uid of the Connection object that it is written for from now on, if that is another one.
    adopted_by: Option<String>,
}

impl OpenKeyring {
    /// Opens the Envelope that lies at `namespace`/`name`: signature, custodian's slot, commitment.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn open_envelope<'k, 's>(
        &'k self,
        namespace: &str,
        name: &str,
        spec: &'s EnvelopeSpec,
    ) -> Result<OpenEnvelope<'k, 's>, EnvelopeError> {
        let parsed = Parsed::new(spec)?;
        self.owns(parsed.vault_id)?;
        if spec.connection.namespace != namespace || spec.connection.name != name {
            return Err(EnvelopeError::Displaced);
        }
        parsed.verify(self.public_key(), &CheckedSignatures::default())?;
        let slot = parsed.slot(SlotTo::Custodian).ok_or(OpenError)?;
        let other = self.key_of_another_root(&slot.wrap.kid)?;
        let with = OpenWith::Key(other.as_ref().unwrap_or_else(|| self.custodian_wrapping_key()));
        let data_key = parsed.open_slot(with, SlotTo::Custodian, self.public_key(), slot)?;
        Ok(OpenEnvelope { keyring: self, parsed, data_key, adopted_by: None })
    }

    /// Seals the first Envelope of a Connection in the current epoch: revision 1, one entry of history.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_envelope(
        &self,
        new: NewEnvelope<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<EnvelopeSpec, SealError> {
        let now = whole_seconds(new.now);
        let history =
            vec![HistoryEntry { version: new.version, at: now.into(), writer: new.writer.username.clone() }];
        let spec = EnvelopeSpec {
            v: u32::try_from(VERSION).expect("version 1 fits"),
            suite: Suite::Symmetric.as_str().to_owned(),
            vault_id: self.vault_id().to_string(),
            connection: new.connection,
            owner: new.access.owner.clone(),
            version: new.version,
            revision: 1,
            epoch: self.current(),
            members: new.access.scope.clone(),
            members_digest: String::new(),
            commitment: String::new(),
            items: BTreeMap::new(),
            slots: Vec::new(),
            created_at: now.into(),
            created_by: new.created_by,
            writer: new.writer,
            history,
            advised: Vec::new(),
            signature: String::new(),
        };
        self.fill(spec, &new.access, new.items, rng)
    }

    /// Fills a spec with freshly sealed items, their slots and the signature.
    fn fill(
        &self,
        mut spec: EnvelopeSpec,
        access: &Access<'_>,
        items: BTreeMap<String, Item>,
        rng: &mut impl CryptoRng,
    ) -> Result<EnvelopeSpec, SealError> {
        let data_key = DataKey::generate(rng);
        spec.owner = access.owner.clone();
        spec.epoch = self.current();
        spec.commitment = base64(data_key.commitment().as_bytes());
        let values = values(self, &spec)?;
        let sealed = items.into_iter().map(|(name, item)| {
            let ct = data_key.seal_item(&ItemContext { values, item: &name }, item.value.expose());
            (name, EnvelopeItem { ct: base64(&ct), sealed_sha256: base64(&item.sealed_sha256) })
        });
        let items = sealed.collect();
        spec.items = items;
        self.slot_and_sign(spec, access, &data_key, rng)
    }

    /// Makes every slot anew for one access, and signs.
    fn slot_and_sign(
        &self,
        mut spec: EnvelopeSpec,
        access: &Access<'_>,
        data_key: &DataKey,
        rng: &mut impl CryptoRng,
    ) -> Result<EnvelopeSpec, SealError> {
        let digest = access::digest(&access.scope)?;
        if let EnvelopeScope::Listed(members) = &access.scope
            && !members.contains(&access.owner)
        {
            return Err(SealError::OwnerOutsideScope(access.owner.name.clone()));
        }
        spec.members = access.scope.clone();
        spec.members_digest = base64(digest.as_bytes());
        let mut slots = Vec::new();
        let mut add = |to: SlotTo<'_>, with: WrapTo<'_>| -> Result<(), SealError> {
            let context = SlotContext {
                values: values(self, &spec)?,
                epoch: self.current_key().epoch(),
                members: &digest,
                commitment: data_key.commitment(),
                signing_key: self.public_key(),
                to,
            };
            slots.push(slot(to, wrap(&data_key.seal_slot(with, &context, rng))));
            Ok(())
        };
        add(SlotTo::Custodian, WrapTo::Key(self.custodian_wrapping_key()))?;
        if matches!(access.scope, EnvelopeScope::All(_)) {
            add(SlotTo::Vault, WrapTo::Key(self.current_key().wrapping_key()))?;
        }
        let mut recipients = access.recipients.clone();
        recipients.sort_by(|a, b| a.member.name.cmp(&b.member.name));
        recipients.dedup_by(|a, b| a.member.name == b.member.name);
        for recipient in &recipients {
            let (name, uid) = (&recipient.member.name, &recipient.member.uid);
            if !access::scope_contains(&access.scope, name, uid) {
                return Err(SealError::RecipientOutsideScope(name.clone()));
            }
            add(SlotTo::Member { name, uid }, self.member_kek(recipient)?.wrap_to())?;
        }
        spec.slots = slots;
        self.sign_envelope(spec)
    }

    fn sign_envelope(&self, mut spec: EnvelopeSpec) -> Result<EnvelopeSpec, SealError> {
        spec.signature = signed::encode(&self.signing().sign(&signed::envelope(&spec)?));
        Ok(spec)
    }
}

impl OpenEnvelope<'_, '_> {
    /// Binds whatever is written next to another Connection object of the same name: a restore, which the caller has
    /// found to be allowed.
    #[must_use]
    pub fn adopted_by(self, connection_uid: &str) -> Self {
        Self { adopted_by: Some(connection_uid.to_owned()), ..self }
    }

    /// The Envelope as it was read.
    pub fn spec(&self) -> &EnvelopeSpec {
        self.parsed.spec
    }

    /// Opens one item.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn item(&self, name: &str) -> Result<SecretBytes, EnvelopeError> {
        self.parsed.open_item(&self.data_key, name)
    }

    /// Opens every item.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn items(&self) -> Result<OpenedItems, EnvelopeError> {
        self.spec().items.keys().map(|name| Ok((name.clone(), self.item(name)?))).collect()
    }

    /// What it needs so that exactly this access holds in the current epoch. While an epoch waits, a custodian's slot of an
    /// older root is left alone: that epoch seals everything anew, under the newest.
    ///
    /// # Errors
    /// [`SealError`] when a recipient is outside the scope or has no key.
    pub fn change(&self, access: &Access<'_>) -> Result<Change, SealError> {
        let keyring = self.keyring;
        let present = self.parsed.slot(SlotTo::Custodian).filter(|_| keyring.newest() > keyring.current());
        let custodian = present.map(|slot| slot.wrap.kid.clone());
        let custodian = custodian.unwrap_or_else(|| keyring.custodian_wrapping_key().kid().to_string());
        access.change(self.spec(), keyring.current(), &custodian, keyring.branch_generation())
    }

    /// The next version: new values under a new data key, in the current epoch. The advice to rotate at the
    /// provider ends with them.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn next_version(
        &self,
        new: NewVersion<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<EnvelopeSpec, SealError> {
        let mut spec = self.next_revision();
        spec.version += 1;
        spec.advised.clear();
        spec.history.push(HistoryEntry {
            version: spec.version,
            at: whole_seconds(new.now).into(),
            writer: new.writer.username.clone(),
        });
        let forgotten = spec.history.len().saturating_sub(HISTORY);
        spec.history.drain(..forgotten);
        spec.writer = new.writer;
        self.keyring.fill(spec, &new.access, new.items, rng)
    }

    /// The same values under a new data key in the current epoch, for another access: a narrowing, another owner, a
    /// new epoch, another key of a member. The version stays. `lost` are members that may know these values and lose
    /// access to them; who is noted already is not noted twice, but for having read what it only could have read before.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn reseal(
        &self,
        access: &Access<'_>,
        lost: &[Advised],
        rng: &mut impl CryptoRng,
    ) -> Result<EnvelopeSpec, SealError> {
        let mut items = BTreeMap::new();
        for (name, value) in self.items()? {
            let sealed = &self.spec().items[&name].sealed_sha256;
            let sealed_sha256 = decode32("items.sealedSHA256", sealed)?;
            items.insert(name, Item { value, sealed_sha256 });
        }
        let mut spec = self.next_revision();
        for lost in lost {
            let lost = Advised { at: whole_seconds(lost.at.0).into(), ..lost.clone() };
            match spec.advised.iter_mut().find(|known| known.member == lost.member) {
                None => spec.advised.push(lost),
                // Back for a while, it did read what it only could have before.
                Some(known) if lost.reason == reason::MEMBER_DID_READ && known.reason != lost.reason => {
                    *known = lost;
                }
                Some(_) => {}
            }
        }
        self.keyring.fill(spec, access, items, rng)
    }

    /// Other slots beside the same items, byte for byte: someone gains access and nobody loses it.
    ///
    /// # Errors
    /// [`SealError::NeedsNewKey`] when somebody would lose access: that takes [`OpenEnvelope::reseal`].
    pub fn reslot(&self, access: &Access<'_>, rng: &mut impl CryptoRng) -> Result<EnvelopeSpec, SealError> {
        match self.change(access)? {
            Change::Reseal => Err(SealError::NeedsNewKey),
            Change::None | Change::Reslot => {
                self.keyring.slot_and_sign(self.next_revision(), access, &self.data_key, rng)
            }
        }
    }

    /// The same items and slots with other notes, signed anew.
    ///
    /// # Errors
    /// [`SealError::OtherItems`] when the notes name other items than there are.
    pub fn touch(&self, edit: impl FnOnce(&mut Notes)) -> Result<EnvelopeSpec, SealError> {
        let mut spec = self.next_revision();
        let mut notes = Notes { sealed_sha256: BTreeMap::new(), advised: spec.advised };
        for (name, item) in &spec.items {
            notes.sealed_sha256.insert(name.clone(), decode32("items.sealedSHA256", &item.sealed_sha256)?);
        }
        edit(&mut notes);
        if !notes.sealed_sha256.keys().eq(spec.items.keys()) {
            return Err(SealError::OtherItems);
        }
        for (item, digest) in spec.items.values_mut().zip(notes.sealed_sha256.values()) {
            item.sealed_sha256 = base64(digest);
        }
        spec.advised = notes.advised;
        for advised in &mut spec.advised {
            advised.at = whole_seconds(advised.at.0).into();
        }
        self.keyring.sign_envelope(spec)
    }

    fn next_revision(&self) -> EnvelopeSpec {
        let mut spec = self.spec().clone();
        spec.revision += 1;
        if let Some(uid) = &self.adopted_by {
            spec.connection.uid.clone_from(uid);
        }
        spec
    }
}

/// What items and slots of a spec that is being made are bound to.
fn values<'a>(keyring: &OpenKeyring, spec: &'a EnvelopeSpec) -> Result<ValuesContext<'a>, SealError> {
    Ok(ValuesContext {
        vault_id: keyring.vault_id(),
        namespace: &spec.connection.namespace,
        connection: &spec.connection.name,
        owner_name: &spec.owner.name,
        owner_uid: &spec.owner.uid,
        version: crate::encoding::number("version", spec.version)?,
    })
}

fn slot(to: SlotTo<'_>, wrap: coffer_crds::Wrap) -> Slot {
    match to {
        SlotTo::Vault => Slot { to: SlotRecipient::Vault, name: None, uid: None, wrap },
        SlotTo::Custodian => Slot { to: SlotRecipient::Custodian, name: None, uid: None, wrap },
        SlotTo::Member { name, uid } => {
            Slot { to: SlotRecipient::Member, name: Some(name.to_owned()), uid: Some(uid.to_owned()), wrap }
        }
    }
}
