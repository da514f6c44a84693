//! The caller's own key: where it is found, and how it is opened.

use std::path::{Path, PathBuf};

use clap::Args;
use coffer_keys::{
    SecretBytes,
    member_key::{KeyFileError, MemberPublicKey, MemberSecretKey, public_half},
};

use crate::{
    Failure,
    desk::Desk,
    home::{Home, read_private},
};

/// Which key.
#[derive(Clone, Debug, Default, Args)]
pub struct KeyOptions {
    /// Key file; by default the one of `key new`, else ~/.ssh/id_ed25519
    #[arg(long, value_name = "PATH", env = "COFFER_KEY")]
    pub key: Option<PathBuf>,
    /// File with the key's passphrase, for where nobody is there to type it
    #[arg(long, value_name = "PATH", env = "COFFER_KEY_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// A key file that was found, not opened yet.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) content: SecretBytes,
}

/// The key file that is used, if there is one. One that is named must be there.
pub(crate) fn find(home: &Home, options: &KeyOptions) -> Result<Option<Found>, Failure> {
    let read = |path: &Path| {
        let content = read_private(path)?;
        Ok(content.map(|content| Found { path: path.to_owned(), content }))
    };
    if let Some(path) = &options.key {
        let missing = || Failure::NotFound(format!("there is no key file {}", path.display()));
        return read(path)?.ok_or_else(missing).map(Some);
    }
    match read(&home.key)? {
        Some(found) => Ok(Some(found)),
        None => read(&home.ssh_key),
    }
}

/// The key that is used, opened; a passphrase is asked for where it needs one.
pub(crate) fn open(desk: &mut Desk<'_>, options: &KeyOptions) -> Result<MemberSecretKey, Failure> {
    let found = find(&desk.home, options)?.ok_or_else(|| {
        Failure::NotFound(format!(
            "there is no key on this machine (looked for {} and {}): make one with kubectl coffer key new",
            desk.home.key.display(),
            desk.home.ssh_key.display()
        ))
    })?;
    open_found(desk, &found, options.passphrase_file.as_deref())
}

/// Opens a key file that was found.
pub(crate) fn open_found(
    desk: &mut Desk<'_>,
    found: &Found,
    passphrase_file: Option<&Path>,
) -> Result<MemberSecretKey, Failure> {
    match MemberSecretKey::from_file(found.content.expose(), None) {
        Ok(key) => return Ok(key),
        Err(KeyFileError::NeedsPassphrase) => {}
        Err(error) => return Err(unusable(&found.path, error)),
    }
    let passphrase = match passphrase_file {
        Some(file) => passphrase_of(file)?,
        None => desk.ask_hidden(
            &format!("Passphrase of {}", found.path.display()),
            "give a file that holds it with --passphrase-file",
        )?,
    };
    MemberSecretKey::from_file(found.content.expose(), Some(passphrase.expose()))
        .map_err(|error| unusable(&found.path, error))
}

/// The public half, which needs no passphrase.
pub(crate) fn public(found: &Found) -> Result<MemberPublicKey, Failure> {
    public_half(found.content.expose()).map_err(|error| unusable(&found.path, error))
}

/// The first line of a file that nobody else may read.
pub(crate) fn passphrase_of(file: &Path) -> Result<SecretBytes, Failure> {
    let missing = || Failure::NotFound(format!("there is no file {}", file.display()));
    let content = read_private(file)?.ok_or_else(missing)?;
    let line = content.expose().split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(SecretBytes::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
}

fn unusable(path: &Path, error: KeyFileError) -> Failure {
    let text = format!("{} {error}", path.display());
    match error {
        KeyFileError::WrongPassphrase => Failure::Denied(text),
        KeyFileError::UnknownForm
        | KeyFileError::PublicKey
        | KeyFileError::OtherAlgorithm
        | KeyFileError::HardwareKey
        | KeyFileError::NeedsPassphrase
        | KeyFileError::Damaged => Failure::Usage(text),
    }
}
