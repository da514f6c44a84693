//! The annotations and labels that Coffer reads or writes, with what each means.
//! Documented for users in `docs/reference/api.md`, which is generated from [`ALL`].

/// One annotation or label, as documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key as written in `metadata`.
    pub name: &'static str,
    /// Whether it is an annotation or a label, and on what.
    pub on: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

macro_rules! keys {
    ($($ident:ident = $name:literal on $on:literal: $meaning:literal;)+) => {
        $(
            #[doc = $meaning]
            pub const $ident: &str = $name;
        )+
        /// Every key above, in the order in which it is documented.
        pub const ALL: &[Key] = &[$(Key { name: $name, on: $on, meaning: $meaning }),+];
    };
}

keys! {
    CONNECTIONS = "coffer.dev/connections" on "annotation of a Pod":
        "Which Connections the pod gets: `github, team-a/slack`. A bare word is an alias, else an object name. Absent: everything that the pod's ServiceAccount may use.";
    INJECT = "coffer.dev/inject" on "label of a Pod":
        "`true`: inject credentials into this pod although its namespace is not labelled.";
    INJECTION = "coffer.dev/injection" on "label of a Namespace":
        "`enabled`: inject credentials into every pod that is created here.";
    ON_REVOKE = "coffer.dev/on-revoke" on "annotation of a Pod":
        "What happens to a file whose credential is no longer allowed: `Keep` (default) or `Remove`.";
    ACCEPT = "coffer.dev/accept" on "annotation of a ServiceAccount":
        "`<vault-namespace>/<vault>`: this ServiceAccount, of another namespace than the vault's, accepts its invite there.";
    DEFAULT_VAULT = "coffer.dev/is-default-vault" on "annotation of a Vault":
        "`true`: Connections of this namespace that name no vault belong to this one; with `spec.access.namespaces` of `All` or a selector also those of these namespaces, where they have no default of their own. One per namespace, and one for others in the cluster.";
    RESTORE = "coffer.dev/restore" on "annotation of a Vault":
        "`<old uid>`, set by a restore user: the Keyring and Envelopes of the Vault that had this uid are adopted.";
    APPLIED_ITEMS = "coffer.dev/applied-items" on "annotation of a Connection":
        "Names of the items of `stringData` that client-side `kubectl apply` wrote last, so that items no longer listed are removed. Written by the webhook.";
}

/// What every name above begins with.
pub const PREFIX: &str = "coffer.dev/";
/// The value that switches injection on in a namespace ([`INJECTION`]).
pub const INJECTION_ENABLED: &str = "enabled";
