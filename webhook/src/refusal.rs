//! Why a request is not admitted: the one error of this program, and its one mapping to the outside.

use http::StatusCode;

/// What the caller is told. The text is one sentence that names field, problem and accepted form; it never holds a
/// value of `stringData`, and nothing that the caller could not see for himself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is no AdmissionReview that this program can read.
    #[error("{0}")]
    ReadReview(String),
    /// A field does not hold what it may hold.
    #[error("{field}: {problem}")]
    AcceptField {
        /// Path of the field, such as `spec.stringData.token`.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The author may not do this.
    #[error("{0}")]
    Authorize(String),
    /// Another object already is what this one wants to be.
    #[error("{0}")]
    BeUnique(String),
    /// Something that the request needs is not there yet; the same request may succeed later.
    #[error("{0}")]
    AwaitReadiness(String),
    /// The caller asks faster than one caller may.
    #[error("{0}")]
    SlowDown(String),
}

impl Refusal {
    /// [`Refusal::AcceptField`] in one line.
    pub fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::AcceptField { field: field.into(), problem: problem.into() }
    }

    /// The status of an AdmissionReview's answer: HTTP code and Kubernetes reason.
    pub fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::ReadReview(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::AcceptField { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            Self::Authorize(_) => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::BeUnique(_) => (StatusCode::CONFLICT, "Conflict"),
            Self::AwaitReadiness(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::SlowDown(_) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        }
    }

    /// The value of the metric label `outcome`.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::ReadReview(_) => "malformed",
            Self::AcceptField { .. } => "invalid",
            Self::Authorize(_) => "forbidden",
            Self::BeUnique(_) => "conflict",
            Self::AwaitReadiness(_) => "not_ready",
            Self::SlowDown(_) => "too_fast",
        }
    }
}
