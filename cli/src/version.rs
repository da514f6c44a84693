//! `kubectl coffer version`.

use std::io::Write;

use serde_json::json;

use crate::{
    Failure,
    output::{self, Format},
};

/// The API that this program speaks.
const API: &str = "coffer.dev/v1alpha1";

/// Prints this program's version and API.
pub(crate) fn print(format: Format, answer: &mut dyn Write) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match format {
        Format::Json | Format::Yaml => {
            output::value(format, &json!({"version": version, "api": API}), answer)
        }
        Format::Table | Format::Wide | Format::Name => {
            output::write(answer, &format!("kubectl-coffer {version} ({API})\n"))
        }
    }
}
