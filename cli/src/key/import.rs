//! `kubectl coffer key import`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    Failure,
    desk::Desk,
    home::read_private,
    local_key::{Found, open_found},
};

/// What is taken over.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The private key file
    pub file: PathBuf,
    /// Where to write it; $XDG_CONFIG_HOME/coffer/key by default
    #[arg(long, value_name = "PATH")]
    pub key: Option<PathBuf>,
    /// File with the key's passphrase, for where nobody is there to type it
    #[arg(long, value_name = "PATH")]
    pub passphrase_file: Option<PathBuf>,
}

/// Copies a key to where it is found without being named. One with a passphrase is opened to see that it is usable,
/// and copied as it is.
pub(super) fn run(desk: &mut Desk<'_>, arguments: &Arguments) -> Result<(), Failure> {
    let missing = || Failure::NotFound(format!("there is no file {}", arguments.file.display()));
    let content = read_private(&arguments.file)?.ok_or_else(missing)?;
    let found = Found { path: arguments.file.clone(), content };
    let key = open_found(desk, &found, arguments.passphrase_file.as_deref())?;
    let path = arguments.key.clone().unwrap_or_else(|| desk.home.key.clone());
    if path.exists() {
        return Err(super::new::taken(&path));
    }
    if !desk.options.dry_run {
        crate::home::write_private(&path, found.content.expose())?;
    }
    super::show::describe(desk, &path, key.public())
}
