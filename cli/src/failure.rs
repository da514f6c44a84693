//! What goes wrong, in the user's words, and the exit code that tells a script which kind it was.

use coffer_policy::Refusal;
use kube::{Error, config::KubeconfigError};

/// Why a verb did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The kubeconfig or a flag does not make sense.
    #[error("{0}")]
    Usage(String),
    /// The API server knows who is asking, or does not, and says no.
    #[error("{0}")]
    Denied(String),
    /// There is no such thing, or it is not shown.
    #[error("{0}")]
    NotFound(String),
    /// An invite, a membership or a credential has run out.
    #[error("{0}")]
    Expired(String),
    /// Somebody else was faster, it is there already, or it is not what it was.
    #[error("{0}")]
    Conflict(String),
    /// No answer from the API server.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// An answer, and it is that it is not so yet, or not now.
    #[error("{0}")]
    NotNow(String),
    /// A command that was run ended so.
    #[error("the command ended with {0}")]
    Ended(u8),
    /// A defect, here or there.
    #[error("{0}")]
    Unexpected(String),
}

impl Failure {
    /// A defect.
    pub const UNEXPECTED: u8 = 1;
    /// The command line or the configuration is wrong.
    pub const USAGE: u8 = 2;
    /// 401 or 403.
    pub const DENIED: u8 = 3;
    /// 404.
    pub const NOT_FOUND: u8 = 4;
    /// An invite, a membership or a credential has run out.
    pub const EXPIRED: u8 = 5;
    /// 409.
    pub const CONFLICT: u8 = 6;
    /// No connection, or no answer in time.
    pub const UNREACHABLE: u8 = 7;

    /// The same, and one sentence more.
    pub(crate) fn with(self, more: &str) -> Self {
        let longer = |text: String| format!("{text}. {more}");
        match self {
            Self::Usage(text) => Self::Usage(longer(text)),
            Self::Denied(text) => Self::Denied(longer(text)),
            Self::NotFound(text) => Self::NotFound(longer(text)),
            Self::Expired(text) => Self::Expired(longer(text)),
            Self::Conflict(text) => Self::Conflict(longer(text)),
            Self::Unreachable(text) => Self::Unreachable(longer(text)),
            Self::NotNow(text) => Self::NotNow(longer(text)),
            Self::Unexpected(text) => Self::Unexpected(longer(text)),
            Self::Ended(code) => Self::Ended(code),
        }
    }

    /// The documented exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => Self::USAGE,
            Self::Denied(_) => Self::DENIED,
            Self::NotFound(_) => Self::NOT_FOUND,
            Self::Expired(_) => Self::EXPIRED,
            Self::Conflict(_) => Self::CONFLICT,
            Self::Unreachable(_) | Self::NotNow(_) => Self::UNREACHABLE,
            Self::Ended(code) => *code,
            Self::Unexpected(_) => Self::UNEXPECTED,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Error::Api(status) = error {
            return Self::answered(status.code, status.message);
        }
        let text = chain(&error);
        if matches!(error, Error::HyperError(_) | Error::Service(_)) {
            Self::Unreachable(text)
        } else if matches!(error, Error::Auth(_)) {
            Self::Denied(text)
        } else {
            Self::Unexpected(text)
        }
    }
}

impl Failure {
    fn answered(code: u16, message: String) -> Self {
        // The webhook's own words need no announcement.
        let message = match message.split_once(" denied the request: ") {
            Some((before, words)) if before.starts_with("admission webhook ") => words.to_owned(),
            Some(_) | None => message,
        };
        match code {
            400 | 422 => Self::Usage(message),
            401 | 403 => Self::Denied(message),
            // A missing kind has no object to name.
            404 if message.contains("page not found") || message.contains("requested resource") => {
                Self::NotFound(
                    "this cluster does not know Coffer's kinds: is the chart installed?".to_owned(),
                )
            }
            404 => Self::NotFound(message),
            409 => Self::Conflict(message),
            429 | 503 | 504 => Self::Unreachable(message),
            _ => Self::Unexpected(message),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Denied(refusal.message)
    }
}

impl From<KubeconfigError> for Failure {
    fn from(error: KubeconfigError) -> Self {
        Self::Usage(chain(&error))
    }
}

/// An error with its causes on one line; a cause that the text before it already holds is left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn answered(code: u16, message: &str) -> Failure {
        Error::Api(Box::new(Status { code, message: message.to_owned(), ..Status::default() })).into()
    }

    #[test]
    fn each_kind_of_answer_has_its_exit_code() {
        for (code, expected) in
            [(400, 2), (422, 2), (401, 3), (403, 3), (404, 4), (409, 6), (429, 7), (503, 7), (500, 1)]
        {
            assert_eq!(answered(code, "text").exit_code(), expected, "status {code}");
        }
    }

    #[test]
    fn the_webhooks_words_are_told_without_their_announcement() {
        let said =
            answered(403, "admission webhook \"write.coffer.dev\" denied the request: ask an owner (alice)");
        assert_eq!((said.exit_code(), said.to_string()), (3, String::from("ask an owner (alice)")));
    }

    #[test]
    fn a_cluster_without_coffer_is_told_apart_from_a_missing_object() {
        assert!(
            answered(404, "the server could not find the requested resource")
                .to_string()
                .contains("installed")
        );
        assert_eq!(
            answered(404, "vaults.coffer.dev \"a\" not found").to_string(),
            "vaults.coffer.dev \"a\" not found"
        );
    }
}
