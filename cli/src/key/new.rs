//! `kubectl coffer key new`.

use std::path::PathBuf;

use clap::Args;
use coffer_keys::{
    SecretBytes,
    member_key::{MemberKeyKind, MemberSecretKey},
};

use crate::{Failure, desk::Desk, home::write_private, local_key::passphrase_of, random};

/// Where, and whether with a passphrase.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where to write it; $XDG_CONFIG_HOME/coffer/key by default
    #[arg(long, value_name = "PATH")]
    pub key: Option<PathBuf>,
    /// Protect it by nothing but the file's mode
    #[arg(long, conflicts_with = "passphrase_file")]
    pub no_passphrase: bool,
    /// File with the passphrase, for where nobody is there to type it
    #[arg(long, value_name = "PATH")]
    pub passphrase_file: Option<PathBuf>,
}

/// Makes a key.
pub(super) fn run(desk: &mut Desk<'_>, arguments: &Arguments) -> Result<(), Failure> {
    let path = arguments.key.clone().unwrap_or_else(|| desk.home.key.clone());
    if path.exists() {
        return Err(taken(&path));
    }
    let passphrase = passphrase(desk, arguments)?;
    let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut random());
    save(desk, &path, &key, passphrase.as_ref())?;
    super::show::describe(desk, &path, key.public())
}

/// The passphrase of a new file; an empty one is none.
fn passphrase(desk: &mut Desk<'_>, arguments: &Arguments) -> Result<Option<SecretBytes>, Failure> {
    if arguments.no_passphrase {
        return Ok(None);
    }
    if let Some(file) = &arguments.passphrase_file {
        return passphrase_of(file).map(Some);
    }
    let instead = "give a file that holds it with --passphrase-file, or say --no-passphrase";
    let typed = desk.ask_hidden("New passphrase (empty for none)", instead)?;
    if typed.is_empty() {
        return Ok(None);
    }
    let again = desk.ask_hidden("The same again", instead)?;
    if typed.equals(&again) {
        Ok(Some(typed))
    } else {
        Err(Failure::Usage(String::from("the two are not the same; nothing was written")))
    }
}

/// Writes a key to a file of its own.
pub(super) fn save(
    desk: &mut Desk<'_>,
    path: &std::path::Path,
    key: &MemberSecretKey,
    passphrase: Option<&SecretBytes>,
) -> Result<(), Failure> {
    let file = key
        .to_file("coffer", passphrase.map(SecretBytes::expose), &mut random())
        .ok_or_else(|| Failure::Unexpected(String::from("the key cannot be written")))?;
    if desk.options.dry_run {
        return Ok(());
    }
    write_private(path, file.expose())
}

pub(super) fn taken(path: &std::path::Path) -> Failure {
    Failure::Conflict(format!(
        "{} is there already, and a key that is lost opens nothing any more: it is never overwritten. Move it away \
         first, or name another file with --key",
        path.display()
    ))
}
