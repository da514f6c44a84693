//! Rate limits as users write them: `30/60s`.

use std::fmt;
use std::str::FromStr;

/// The pattern of a rate limit in the schema.
pub const PATTERN: &str = "^[1-9][0-9]{0,5}/[1-9][0-9]{0,4}s$";

/// At most `count` requests in any `window_seconds` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Requests, 1 to 999,999.
    pub count: u32,
    /// Length of the sliding window in seconds, 1 to 99,999.
    pub window_seconds: u32,
}

/// A text that is no rate limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no rate limit: write requests per seconds as N/Ws, such as 30/60s")]
pub struct ParseRateLimitError {
    /// What was written, cut after 32 characters.
    pub text: String,
}

impl FromStr for RateLimit {
    type Err = ParseRateLimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseRateLimitError { text: text.chars().take(32).collect() };
        let (count, window) =
            text.strip_suffix('s').and_then(|rest| rest.split_once('/')).ok_or_else(refuse)?;
        Ok(Self {
            count: positive(count, 6).ok_or_else(refuse)?,
            window_seconds: positive(window, 5).ok_or_else(refuse)?,
        })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.count, self.window_seconds)
    }
}

fn positive(digits: &str, longest: usize) -> Option<u32> {
    let plain = !digits.is_empty()
        && digits.len() <= longest
        && !digits.starts_with('0')
        && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::RateLimit;

    /// C18: validated when written.
    #[test]
    fn a_limit_reads_and_prints_the_same_form() {
        let limit = "30/60s".parse::<RateLimit>();
        assert_eq!(limit, Ok(RateLimit { count: 30, window_seconds: 60 }));
        assert_eq!(limit.map(|l| l.to_string()), Ok("30/60s".to_owned()));
    }

    #[test]
    fn anything_else_is_refused_with_the_accepted_form() {
        for text in
            ["", "30", "30/60", "30/s", "/60s", "0/60s", "30/0s", "-1/60s", "30/1m", "30/60ss", "1234567/1s"]
        {
            let message = text.parse::<RateLimit>().map_err(|e| e.to_string());
            assert!(matches!(&message, Err(m) if m.contains("30/60s")), "{text}: {message:?}");
        }
    }
}
