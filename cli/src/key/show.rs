//! `kubectl coffer key show`.

use std::path::Path;

use coffer_keys::member_key::MemberPublicKey;
use serde_json::json;

use crate::{
    Failure,
    desk::Desk,
    local_key::{self, KeyOptions},
    output::{self, Format},
};

/// Shows the public half of the key that is used.
pub(super) fn run(desk: &mut Desk<'_>, options: &KeyOptions) -> Result<(), Failure> {
    let found = local_key::find(&desk.home, options)?.ok_or_else(|| {
        Failure::NotFound(String::from(
            "there is no key on this machine: make one with kubectl coffer key new",
        ))
    })?;
    let public = local_key::public(&found)?;
    describe(desk, &found.path, &public)
}

/// Prints what may be known of a key.
pub(super) fn describe(desk: &mut Desk<'_>, path: &Path, key: &MemberPublicKey) -> Result<(), Failure> {
    let (fingerprint, text, format) = (key.fingerprint().to_string(), key.to_text(), desk.options.output);
    match format {
        Format::Json | Format::Yaml => {
            let value = json!({"file": path, "fingerprint": fingerprint, "publicKey": text});
            output::value(format, &value, desk.answer)
        }
        Format::Name => desk.say(&fingerprint),
        Format::Table | Format::Wide => {
            let shown = path.display();
            desk.say(&format!("File:         {shown}\nFingerprint:  {fingerprint}\nPublic key:   {text}"))
        }
    }
}
