//! Condition types and reasons: a public contract, documented in
//! `docs/reference/api.md`, which is generated from [`TYPES`] and [`reason::ALL`].

/// A documented condition type or reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Documented {
    /// The text in the object.
    pub name: &'static str,
    /// The kinds (for a type) or condition types (for a reason) that carry it.
    pub on: &'static str,
    /// What it says, and what to do about it.
    pub meaning: &'static str,
}

macro_rules! documented {
    ($(#[$all:meta])* $list:ident; $($ident:ident = $name:literal on $on:literal: $meaning:literal;)+) => {
        $(
            #[doc = $meaning]
            pub const $ident: &str = $name;
        )+
        $(#[$all])*
        pub const $list: &[Documented] = &[$(Documented { name: $name, on: $on, meaning: $meaning }),+];
    };
}

documented! {
    /// Every condition type.
    TYPES;
    READY = "Ready" on "Vault, VaultMember, Connection, AccessToken":
        "`True`: what the spec asks for is in effect. `False`: it is not, and the reason says why. `Unknown`: not looked at yet.";
    ROTATION_PENDING = "RotationPending" on "Vault, Connection":
        "Of a Vault `True`: a new epoch waits until every member holds its key; new values of Connections that all members share wait with it. Of a Connection `True`: its Envelope is not sealed in the vault's epoch. The reason is the cause.";
    ROTATING = "Rotating" on "Vault":
        "`True`: a turn-over of epochs is under way; counts are in `status.rotation`.";
    PROVIDER_ROTATION_ADVISED = "ProviderRotationAdvised" on "Connection":
        "`True`: somebody who may know the value lost access to it. Give it a new value at the provider, then here.";
    SCOPE_RESOLVED = "ScopeResolved" on "Connection":
        "`False`: the scope names members that do not exist (yet). They gain nothing before they do.";
    GUARDED = "Guarded" on "Vault":
        "`False`: the admission policies or webhooks that vouch for authors are not as shipped; changes are not applied until they are.";
}

/// Reasons.
pub mod reason {
    use super::Documented;

    documented! {
        /// Every reason.
        ALL;
        // --- Ready
        AVAILABLE = "Available" on "Ready":
            "All of the spec is in effect.";
        PENDING = "Pending" on "Ready":
            "Work on it has begun and is not done; nothing is wrong.";
        NOT_AUTHORIZED = "NotAuthorized" on "Ready":
            "The author of the change may not make it, so nothing was changed. The message says who may.";
        INVALID_SPEC = "InvalidSpec" on "Ready":
            "The spec cannot be understood. The message names the field and the accepted form.";
        DUPLICATE = "Duplicate" on "Ready":
            "An older object claims the same vault, owner, provider and connection name, the same alias, subject or default. The message names it.";
        UNKNOWN_VAULT = "UnknownVault" on "Ready":
            "The vault that it names does not exist, or none is named and there is no default vault.";
        VAULT_NOT_READY = "VaultNotReady" on "Ready":
            "The vault has no usable keys yet; it is tried again by itself.";
        NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed" on "Ready":
            "The vault's `access.namespaces` does not admit this namespace.";
        NOT_ADOPTED = "NotAdopted" on "Ready":
            "A Keyring or Envelope of this name belongs to an object with another uid. It is left as it is. After a restore: the message says how to have it adopted.";
        KEYRING_INVALID = "KeyringInvalid" on "Ready":
            "The Keyring's signature or contents do not verify. Restore it from a backup; nothing is written meanwhile.";
        ENVELOPE_INVALID = "EnvelopeInvalid" on "Ready":
            "The Envelope's signature or contents do not verify. Restore it from a backup, or delete it and give the Connection its values again.";
        CUSTODIAN_UNAVAILABLE = "CustodianUnavailable" on "Ready":
            "The custodian root cannot be opened. Nothing is replaced; restore the Secret or the root of trust.";
        UNKNOWN_OWNER = "UnknownOwner" on "Ready, ScopeResolved":
            "`spec.owner` is no Active member of the vault (any more). Its values stay usable for the others in scope; an owner of the vault can set `spec.owner` to a member that is.";
        UNKNOWN_ROLE = "UnknownRole" on "Ready":
            "`spec.role` is neither built in nor one of the vault's.";
        NO_ITEMS = "NoItems" on "Ready":
            "The Connection holds no item. Add one under `stringData` or `sealedData`.";
        SEALED_DATA_UNREADABLE = "SealedDataUnreadable" on "Ready":
            "An item of `sealedData` does not open: it was sealed for another vault, namespace, name, owner or item, to a custodian root that is gone, or it is damaged. Seal it again. The last good values stay.";
        TOO_LARGE = "TooLarge" on "Ready":
            "Over 64 items, 64 KiB an item or 256 KiB in all. The last good values stay.";
        EXPIRED = "Expired" on "Ready":
            "`expiresAt` (or `ttl`, or an invite's `inviteTTL`) has passed.";
        // --- Ready of members
        INVITED = "Invited" on "Ready of a VaultMember":
            "Waiting for the subject to accept.";
        ACCEPTED = "Accepted" on "Ready of a VaultMember":
            "Accepted; keys are about to be wrapped for it.";
        ACTIVE = "Active" on "Ready of a VaultMember":
            "A member: recorded in the register, keys wrapped.";
        DECLINED = "Declined" on "Ready of a VaultMember":
            "The subject declined.";
        SUSPENDED = "Suspended" on "Ready of a VaultMember":
            "`spec.suspended` is set; nothing is released to it.";
        SUBJECT_MISSING = "SubjectMissing" on "Ready of a VaultMember":
            "The ServiceAccount does not exist (any more).";
        SUBJECT_CHANGED = "SubjectChanged" on "Ready of a VaultMember":
            "The ServiceAccount was deleted and made again: a stranger, until accepted again.";
        ACCEPTANCE_REFUSED = "AcceptanceRefused" on "Ready of a VaultMember":
            "Whoever accepted is not the subject, or the proof of the key does not hold.";
        PROOF_REQUIRED = "ProofRequired" on "Ready of a VaultMember":
            "The key that was brought cannot sign: `status.challenge` waits to be opened with it and answered in `spec.acceptance.proof`.";
        KEY_REFUSED = "KeyRefused" on "Ready of a VaultMember":
            "The public key cannot be used: its kind, a weak point, another member's key, or not the fingerprint that the invite pins.";
        CUSTODY_REFUSED = "CustodyRefused" on "Ready of a VaultMember":
            "The vault is `custody: SelfOnly` and the member brought no key.";
        // --- RotationPending, Rotating
        UP_TO_DATE = "UpToDate" on "RotationPending, Rotating":
            "Nothing is to be turned over.";
        MEMBER_REMOVED = "MemberRemoved" on "RotationPending, Rotating":
            "A member was removed.";
        MEMBER_SUSPENDED = "MemberSuspended" on "RotationPending, Rotating":
            "A member was suspended.";
        MEMBER_EXPIRED = "MemberExpired" on "RotationPending, Rotating":
            "A membership expired.";
        SUBJECT_GONE = "SubjectGone" on "RotationPending, Rotating":
            "A member's ServiceAccount was deleted or made again.";
        ROLE_NARROWED = "RoleNarrowed" on "RotationPending, Rotating":
            "A member's role, or the role itself, covers less than before.";
        SCOPE_NARROWED = "ScopeNarrowed" on "RotationPending":
            "Members were taken out of the Connection's scope.";
        SHARING_NARROWED = "SharingNarrowed" on "RotationPending, Rotating":
            "`Vault.spec.sharing` became `Owner`.";
        KEY_CHANGED = "KeyChanged" on "RotationPending, Rotating":
            "A member's key or custody changed.";
        INTERVAL = "Interval" on "RotationPending, Rotating":
            "`spec.rotation.interval` has passed.";
        REQUESTED = "Requested" on "RotationPending, Rotating":
            "Somebody asked for it.";
        ROOT_GENERATION = "RootGeneration" on "RotationPending, Rotating":
            "The custodian root or the brokered branch has a new generation.";
        RESTORED = "Restored" on "RotationPending, Rotating":
            "The vault was restored from a backup.";
        // --- ProviderRotationAdvised
        MEMBER_DID_READ = "MemberDidRead" on "ProviderRotationAdvised":
            "A broker's audit log holds a release of the present value to somebody who lost access. `status.advised` says to whom.";
        MEMBER_COULD_READ = "MemberCouldRead" on "ProviderRotationAdvised":
            "Somebody who lost access could have read the present value; no audit log that answered in time holds that they did.";
        VALUE_CHANGED = "ValueChanged" on "ProviderRotationAdvised":
            "The value is newer than the last loss of access.";
        // --- ScopeResolved, Guarded
        ALL_KNOWN = "AllKnown" on "ScopeResolved":
            "Every listed member exists.";
        UNKNOWN_MEMBER = "UnknownMember" on "ScopeResolved":
            "The message lists the names that are no member.";
        AS_SHIPPED = "AsShipped" on "Guarded":
            "Policies, bindings and webhook configurations are in place.";
        GUARD_MISSING = "GuardMissing" on "Guarded; Ready of a Vault or Connection":
            "The message names the policy, binding or webhook configuration that is missing or changed. What was in effect stays so; changes wait, and are applied once `helm upgrade` has put the guards back.";
    }
}
