//! `coffer-node verify`: whether a pod has the file that it should have. The chart's `helm test` runs it.

use std::path::{Path, PathBuf};

/// Arguments of `coffer-node verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// The file
    pub file: PathBuf,
    /// All that it should hold: for values that are no secret, since a command line is none
    pub text: String,
}

/// A file that is not as it should be. Neither variant has anything of what was read.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is absent, or may not be read.
    #[error("read {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{0} holds {1} bytes, and not the text that was expected")]
    Differs(PathBuf, usize),
}

/// Compares the file with the text.
///
/// # Errors
/// If it cannot be read or is anything else.
pub fn verify(file: &Path, text: &str) -> Result<(), VerifyError> {
    let found = std::fs::read(file).map_err(|source| VerifyError::Read { file: file.into(), source })?;
    if found == text.as_bytes() { Ok(()) } else { Err(VerifyError::Differs(file.into(), found.len())) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn only_the_very_text_passes_and_a_refusal_shows_nothing_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        assert!(verify(&file, "released").unwrap_err().to_string().starts_with("read "));
        std::fs::write(&file, "released").unwrap();
        verify(&file, "released").unwrap();
        std::fs::write(&file, "released\n").unwrap();
        let said = verify(&file, "released").unwrap_err().to_string();
        assert!(said.ends_with("holds 9 bytes, and not the text that was expected"), "{said}");
        assert!(!said.contains("released"), "{said}");
    }
}
