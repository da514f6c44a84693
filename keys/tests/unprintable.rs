//! Secrets cannot be printed, serialized or copied: decided by the compiler, for every type that holds one.

use coffer_keys::answer::EphemeralKey;
use coffer_keys::data_key::DataKey;
use coffer_keys::hierarchy::{BrokeredBranch, CustodianRoot, RootOfTrustKey, VaultKey};
use coffer_keys::intake::IntakeSecretKey;
use coffer_keys::member_key::MemberSecretKey;
use coffer_keys::signature::VaultSigningKey;
use coffer_keys::wrap::WrappingKey;
use coffer_keys::{SecretBytes, SecretKey};

/// Fails to compile when the type implements any of the traits: the call would then be ambiguous.
macro_rules! implements_none {
    ($type:ty: $($trait:path),+) => {
        const _: fn() = || {
            trait Ambiguous<A> {
                fn decide() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            $({
                #[allow(dead_code, reason = "only a mark for the trait at hand")]
                struct Mark;
                impl<T: ?Sized + $trait> Ambiguous<Mark> for T {}
            })+
            let _ = <$type as Ambiguous<_>>::decide;
        };
    };
}

macro_rules! secret {
    ($($type:ty),+ $(,)?) => {$(
        implements_none!(
            $type: std::fmt::Debug, std::fmt::Display, std::fmt::LowerHex, serde::Serialize, Clone, PartialEq, std::hash::Hash
        );
    )+};
}

secret!(
    SecretBytes,
    SecretKey,
    WrappingKey,
    RootOfTrustKey,
    CustodianRoot,
    BrokeredBranch,
    VaultKey,
    DataKey,
    VaultSigningKey,
    IntakeSecretKey,
    MemberSecretKey,
    EphemeralKey,
);

#[test]
fn errors_of_opening_say_nothing_but_that_it_does_not_open() {
    let printed = format!("{} {:?}", coffer_keys::OpenError, coffer_keys::OpenError);
    assert_eq!(printed, "does not open: not sealed by this vault for this place, or altered OpenError");
}
