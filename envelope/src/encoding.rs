//! Between the JSON forms of the kinds and the decoded values that contexts and signatures are made of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coffer_crds::Wrap;
use coffer_keys::FormatError;
use coffer_keys::wrap::{WrapParts, Wrapped};
use jiff::Timestamp;

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Standard base64 in its one canonical form.
pub(crate) fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, FormatError> {
    STANDARD.decode(text).map_err(|_| FormatError::malformed(part, "is not standard base64 with padding"))
}

/// Base64 of exactly 32 bytes.
pub(crate) fn decode32(part: &'static str, text: &str) -> Result<[u8; 32], FormatError> {
    decode(part, text)?
        .try_into()
        .map_err(|_| FormatError::malformed(part, "is not 32 bytes in standard base64"))
}

/// A count or generation of the API, never negative.
pub(crate) fn number(part: &'static str, value: i64) -> Result<u64, FormatError> {
    u64::try_from(value).map_err(|_| FormatError::malformed(part, "is negative"))
}

/// A list's length as a signature counts it.
pub(crate) fn length(length: usize) -> u64 {
    u64::try_from(length).expect("a list in memory has fewer than 2^64 elements")
}

/// Whole seconds: what the API server stores of a time, so that what is signed is what is read again.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("the second of a timestamp is a timestamp")
}

/// Seconds since 1970 of a time that has no fraction.
pub(crate) fn seconds(part: &'static str, time: Timestamp) -> Result<i64, FormatError> {
    if time.subsec_nanosecond() == 0 {
        Ok(time.as_second())
    } else {
        Err(FormatError::malformed(part, "has a fraction of a second"))
    }
}

/// A wrap as the kinds write it.
pub(crate) fn wrap(wrapped: &Wrapped) -> Wrap {
    Wrap {
        v: u32::try_from(wrapped.v()).expect("version 1 fits"),
        suite: wrapped.suite().as_str().to_owned(),
        kid: wrapped.kid().to_string(),
        salt: wrapped.salt().map(base64),
        enc: wrapped.enc().map(base64),
        ct: base64(wrapped.ct()),
    }
}

/// A wrap as the keys read it.
pub(crate) fn unwrap(wrap: &Wrap) -> Result<Wrapped, FormatError> {
    let salt = wrap.salt.as_deref().map(|salt| decode("wrap.salt", salt)).transpose()?;
    let enc = wrap.enc.as_deref().map(|enc| decode("wrap.enc", enc)).transpose()?;
    let ct = decode("wrap.ct", &wrap.ct)?;
    Wrapped::from_parts(&WrapParts {
        v: u64::from(wrap.v),
        suite: &wrap.suite,
        kid: &wrap.kid,
        salt: salt.as_deref(),
        enc: enc.as_deref(),
        ct: &ct,
    })
}
