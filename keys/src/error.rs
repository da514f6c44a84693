/// What is wrong with the form of something, told by name: nothing here depends on a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `v` that this program does not know.
    #[error("format version {0} is unknown; this program reads version 1")]
    UnknownVersion(u64),
    /// A `suite` that this program does not know, or that does not belong here.
    #[error("suite '{found}' is unknown here; accepted: {accepted}")]
    UnknownSuite {
        /// The name that was found, shortened.
        found: String,
        /// The names that would do.
        accepted: &'static str,
    },
    /// A `kid` of no known form.
    #[error(
        "key id '{0}' is of no known form; accepted: custodian/N, intake/N/N, member/N, epoch/N, \
         pub/SHA256:…, root/NAME, data"
    )]
    UnknownKid(String),
    /// A part is missing, too many, too long or not in its one canonical form.
    #[error("{part}: {problem}")]
    Malformed {
        /// The name of the field.
        part: &'static str,
        /// What is wrong, and what form is accepted.
        problem: &'static str,
    },
}

impl FormatError {
    /// A malformed part, by name.
    pub fn malformed(part: &'static str, problem: &'static str) -> Self {
        Self::Malformed { part, problem }
    }

    /// Shortens a name for a message, so that a hostile object cannot flood a log.
    pub(crate) fn excerpt(found: &str) -> String {
        found.chars().filter(|c| !c.is_control()).take(64).collect()
    }
}

/// Something did not open. It does not say why: wrong key, moved, altered and replayed look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("does not open: not sealed by this vault for this place, or altered")]
pub struct OpenError;
