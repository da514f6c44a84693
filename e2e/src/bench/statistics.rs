//! Numbers out of many measurements.

use std::time::Duration;

/// The nearest-rank percentile of sorted times; zero if there are none.
#[must_use]
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// A time in milliseconds.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A count as a figure.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts and sizes here are far below 2^52")]
pub fn count(count: usize) -> f64 {
    count as f64
}

/// A number with about three digits that count, and thousands apart.
#[must_use]
pub fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 || size == 0.0 || (size >= 10.0 && size.fract() == 0.0) => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match rest {
        Some(rest) if rest.bytes().any(|digit| digit != b'0') => format!("{grouped}.{rest}"),
        _ => grouped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times: Vec<_> = (1..=30).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(15));
        assert_eq!(percentile(&times, 99), Duration::from_millis(30));
        assert_eq!(percentile(&times[..1], 50), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn numbers_are_written_as_people_read_them() {
        for (value, text) in [
            (0.0, "0"),
            (0.254, "0.25"),
            (8.0, "8"),
            (30.0, "30"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (8123.4, "8,123"),
            (-12.34, "-12.3"),
            (-123.0, "-123"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
