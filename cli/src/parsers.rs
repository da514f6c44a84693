//! The parsers of files that others may have written, for whoever tries them with any bytes (`e2e/fuzz`). None of them
//! may panic.

use crate::{backup::file::Backup, pins::Pins, seal_key::SealKey, values};

/// Reads bytes as each file that is given to this program: `--from-env-file`, `--seal-key`, a backup, the list of
/// vaults that were seen.
pub fn read_all(bytes: &[u8]) {
    let _ = values::env_file(bytes);
    let _ = serde_json::from_slice::<Pins>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = SealKey::parse(text);
        let _ = Backup::parse(text);
    }
}
