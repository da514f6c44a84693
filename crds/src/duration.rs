//! Durations as users write them: `90d`, `12w`, `6m`, `24h`.

use jiff::SignedDuration;

/// The pattern of a duration in the schema.
pub const PATTERN: &str = "^[1-9][0-9]{0,5}(h|d|w|m)$";

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no duration: write a whole number above 0 and h, d, w or m (m is 30 days), such as 24h, 90d, 12w or 6m"
)]
pub struct ParseDurationError {
    /// What was written, cut after 32 characters.
    pub text: String,
}

/// Reads `<number><unit>`: `h` hours, `d` days of 24 hours, `w` weeks, `m` months of 30 days.
///
/// # Errors
/// [`ParseDurationError`], which names the accepted form, for anything else, for zero and for more than six digits.
pub fn parse(text: &str) -> Result<SignedDuration, ParseDurationError> {
    let refuse = || ParseDurationError { text: text.chars().take(32).collect() };
    let unit = match text.as_bytes().last() {
        Some(b'h') => HOUR,
        Some(b'd') => DAY,
        Some(b'w') => 7 * DAY,
        Some(b'm') => 30 * DAY,
        _ => return Err(refuse()),
    };
    let digits = &text[..text.len() - 1];
    if digits.len() > 6 || digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refuse());
    }
    let count: i64 = digits.parse().map_err(|_| refuse())?;
    Ok(SignedDuration::from_secs(count * unit))
}

#[cfg(test)]
mod tests {
    use super::parse;

    /// C17: `90d`, `12w`, `6m` (30 days each).
    #[test]
    fn units_are_hours_days_weeks_and_months_of_thirty_days() {
        for (text, hours) in [("24h", 24), ("90d", 90 * 24), ("12w", 12 * 7 * 24), ("6m", 6 * 30 * 24)] {
            assert_eq!(parse(text).map(|d| d.as_secs()), Ok(hours * 3600), "{text}");
        }
    }

    /// C17: the error names the accepted form.
    #[test]
    fn anything_else_is_refused_with_the_accepted_form() {
        for text in
            ["", "d", "0d", "07d", "-1d", "+1d", "1.5d", "1D", "90 d", "90", "1y", "1234567h", "９d", "é"]
        {
            let message = parse(text).map(|_| ()).map_err(|e| e.to_string());
            assert!(matches!(&message, Err(m) if m.contains("90d")), "{text}: {message:?}");
        }
    }
}
