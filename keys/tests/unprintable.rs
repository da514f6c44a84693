//! Secrets cannot be printed, serialized or copied: decided by the compiler, for every type that holds one.

mod secrets;

use coffer_keys::answer::EphemeralKey;
use coffer_keys::data_key::DataKey;
use coffer_keys::hierarchy::{BrokeredBranch, CustodianRoot, RootOfTrustKey, VaultKey};
use coffer_keys::intake::IntakeSecretKey;
use coffer_keys::member_key::MemberSecretKey;
use coffer_keys::signature::VaultSigningKey;
use coffer_keys::wrap::WrappingKey;
use coffer_keys::{SecretBytes, SecretKey};
use secrets::{implements_none, secret};

secret!(
    Clone;
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
