//! What holds keys or values cannot be printed or serialized: decided by the compiler.

#[path = "../../keys/tests/secrets/mod.rs"]
mod secrets;

use coffer_envelope::custody::RootOfTrust;
use coffer_envelope::{
    Branches, Custodian, Item, NewEnvelope, NewVersion, OpenEnvelope, OpenKeyring, SelfMember,
};
use secrets::{implements_none, secret};

secret!(
    Default;
    RootOfTrust,
    Custodian,
    Branches,
    OpenKeyring,
    OpenEnvelope<'static, 'static>,
    Item,
    NewEnvelope<'static>,
    NewVersion<'static>,
    SelfMember<'static>,
);

#[test]
fn errors_name_the_part_and_never_a_value() {
    let error = coffer_envelope::EnvelopeError::from(coffer_keys::OpenError);
    assert_eq!(
        error.to_string(),
        "Envelope does not open: not sealed by this vault for this place, or altered"
    );
}
