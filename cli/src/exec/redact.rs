//! Takes values out of a stream of output, also encoded ones and ones that are cut by the borders of its chunks (T30).

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use zeroize::Zeroizing;

/// What stands in the place of a value.
const MARK: &[u8] = b"[redacted]";
/// What is shorter is everywhere, and taking it out would only show where it is.
const SHORTEST: usize = 4;
/// Lines of a value that are shorter are not taken out by themselves.
const SHORTEST_LINE: usize = 12;

/// Everything that is taken out: the values, and what common encodings make of them. Wiped when dropped.
pub(crate) struct Patterns {
    /// By first byte, the longest first.
    by_first: Vec<Vec<Zeroizing<Vec<u8>>>>,
}

impl Patterns {
    pub(crate) fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut by_first: Vec<Vec<Zeroizing<Vec<u8>>>> = std::iter::repeat_with(Vec::new).take(256).collect();
        for value in values {
            let mut plain: Vec<&[u8]> = vec![value, value.trim_ascii()];
            // A key of several lines is often printed line by line.
            plain.extend(
                value
                    .split(|byte| *byte == b'\n')
                    .map(<[u8]>::trim_ascii)
                    .filter(|line| line.len() >= SHORTEST_LINE),
            );
            for form in plain.into_iter().filter(|form| form.len() >= SHORTEST).flat_map(forms) {
                let found = by_first.get_mut(usize::from(form.first().copied().unwrap_or_default()));
                if let Some(list) = found.filter(|list| !list.contains(&form)) {
                    list.push(form);
                }
            }
        }
        for list in &mut by_first {
            list.sort_by_key(|form| std::cmp::Reverse(form.len()));
        }
        Self { by_first }
    }

    /// Looks at the beginning of `rest`.
    fn at(&self, rest: &[u8], is_all: bool) -> Look {
        let Some(candidates) = rest.first().and_then(|first| self.by_first.get(usize::from(*first))) else {
            return Look::Plain;
        };
        for form in candidates {
            if rest.starts_with(form) {
                return Look::Value(form.len());
            }
            if !is_all && form.len() > rest.len() && form.starts_with(rest) {
                return Look::Undecided;
            }
        }
        Look::Plain
    }
}

/// A value and its encodings.
fn forms(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let text = |text: String| Zeroizing::new(text.into_bytes());
    let mut forms = vec![
        Zeroizing::new(value.to_vec()),
        text(STANDARD.encode(value)),
        text(STANDARD_NO_PAD.encode(value)),
        text(URL_SAFE_NO_PAD.encode(value)),
        text(STANDARD_NO_PAD.encode(STANDARD.encode(value))),
        text(hex(value, false)),
        text(hex(value, true)),
        text(url_encoded(value, false, false)),
        text(url_encoded(value, true, false)),
        text(url_encoded(value, false, true)),
        text(url_encoded(value, true, true)),
    ];
    // `base64` breaks its lines at 76 columns, PEM at 64.
    let encoded = Zeroizing::new(STANDARD.encode(value));
    for width in [64, 76].into_iter().filter(|width| encoded.len() > *width) {
        let lines = encoded.as_bytes().chunks(width).filter(|line| line.len() >= SHORTEST_LINE);
        forms.extend(lines.map(|line| Zeroizing::new(line.to_vec())));
    }
    // Inside a longer base64 text the value begins anywhere in a group of three, and so it ends: what of it is sure.
    for (skipped, first) in [(0, 0), (1, 2), (2, 3)] {
        let mut shifted = vec![0; skipped];
        shifted.extend_from_slice(value);
        let encoded = Zeroizing::new(STANDARD_NO_PAD.encode(Zeroizing::new(shifted).as_slice()));
        let sure = encoded.get(first..encoded.len().saturating_sub(2)).unwrap_or_default();
        forms.push(Zeroizing::new(sure.as_bytes().to_vec()));
    }
    if let Ok(json) = std::str::from_utf8(value).map(|value| serde_json::to_string(value).unwrap_or_default())
    {
        forms.push(text(json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_owned()));
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

fn hex(value: &[u8], upper: bool) -> String {
    value.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
}

/// RFC 3986, or as HTML forms do it.
fn url_encoded(value: &[u8], lower: bool, form: bool) -> String {
    let one = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(*byte).to_string(),
        b' ' if form => String::from("+"),
        byte if lower => format!("%{byte:02x}"),
        byte => format!("%{byte:02X}"),
    };
    value.iter().map(one).collect()
}

enum Look {
    /// A value of this length.
    Value(usize),
    /// What follows decides.
    Undecided,
    Plain,
}

/// One stream of output.
pub(crate) struct Redactor<'a> {
    patterns: &'a Patterns,
    /// What may be the beginning of a value.
    held: Zeroizing<Vec<u8>>,
}

impl<'a> Redactor<'a> {
    pub(crate) fn new(patterns: &'a Patterns) -> Self {
        Self { patterns, held: Zeroizing::new(Vec::new()) }
    }

    /// The next chunk; gives what may be shown of all so far.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(chunk);
        self.take(false)
    }

    /// Nothing follows; gives the rest.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.take(true)
    }

    fn take(&mut self, is_all: bool) -> Vec<u8> {
        let mut shown = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while let Some(rest) = self.held.get(at..).filter(|rest| !rest.is_empty()) {
            match self.patterns.at(rest, is_all) {
                Look::Value(length) => {
                    shown.extend_from_slice(MARK);
                    at += length;
                }
                Look::Undecided => break,
                Look::Plain => {
                    shown.extend(rest.first());
                    at += 1;
                }
            }
        }
        self.held = Zeroizing::new(self.held.get(at..).unwrap_or_default().to_vec());
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"ghp_s3cret/+ value";

    fn redacted(output: &[u8], chunk: usize) -> String {
        let patterns = Patterns::of([SECRET]);
        let mut redactor = Redactor::new(&patterns);
        let mut shown: Vec<u8> = output.chunks(chunk).flat_map(|part| redactor.push(part)).collect();
        shown.extend(redactor.end());
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// T30, C32.
    #[test]
    fn a_value_is_taken_out_in_every_encoding_and_across_chunks() {
        let around = |inner: &str| format!("before {inner} after");
        for form in [
            String::from_utf8_lossy(SECRET).into_owned(),
            STANDARD.encode(SECRET),
            URL_SAFE_NO_PAD.encode(SECRET),
            STANDARD.encode(STANDARD.encode(SECRET)),
            hex(SECRET, false),
            hex(SECRET, true),
            url_encoded(SECRET, false, false),
            url_encoded(SECRET, true, false),
            url_encoded(SECRET, false, true),
        ] {
            let output = around(&form);
            for chunk in 1..=output.len() {
                let shown = redacted(output.as_bytes(), chunk);
                assert!(shown.contains("[redacted]"), "{form} in chunks of {chunk}: {shown}");
                assert!(shown.starts_with("before ") && shown.contains(" after"), "{shown}");
                assert!(!shown.contains("ghp_") && !shown.contains("s3cret"), "{shown}");
            }
        }
    }

    /// T30: `Authorization: Basic` holds the value in the middle of a base64 text.
    #[test]
    fn a_value_inside_a_longer_base64_text_is_taken_out() {
        for user in ["u:", "us:", "use:"] {
            let mut pair = user.as_bytes().to_vec();
            pair.extend_from_slice(SECRET);
            let encoded = STANDARD.encode(&pair);
            let shown = redacted(format!("Basic {encoded}").as_bytes(), 7);
            assert!(shown.contains("[redacted]"), "{user}: {shown}");
            assert!(shown.len() < "Basic ".len() + encoded.len(), "{shown}");
        }
    }

    /// T30: nested in JSON.
    #[test]
    fn a_value_inside_json_is_taken_out_with_its_escapes() {
        let value = b"line \"one\"\nline two of it";
        let patterns = Patterns::of([&value[..]]);
        let mut redactor = Redactor::new(&patterns);
        let mut shown = redactor.push(br#"{"a":{"b":"line \"one\"\nline two of it"}}"#);
        shown.extend(redactor.end());
        assert_eq!(String::from_utf8_lossy(&shown), r#"{"a":{"b":"[redacted]"}}"#);
    }

    /// T30: as `base64` prints what is long.
    #[test]
    fn a_long_value_in_base64_is_taken_out_line_by_line() {
        let value: Vec<u8> = (0..160_u8).map(|n| b'!' + n % 90).collect();
        let patterns = Patterns::of([value.as_slice()]);
        let encoded = STANDARD.encode(&value);
        for width in [64, 76] {
            let lines: Vec<&[u8]> = encoded.as_bytes().chunks(width).collect();
            let mut redactor = Redactor::new(&patterns);
            let mut shown = redactor.push(&lines.join(&b'\n'));
            shown.extend(redactor.end());
            let expected = vec!["[redacted]"; lines.len()].join("\n");
            assert_eq!(String::from_utf8_lossy(&shown), expected, "{width}");
        }
    }

    #[test]
    fn what_is_no_value_is_left_and_nothing_is_held_back_for_ever() {
        let text = "ghp_ ghp_s3cre almost, and then nothing ghp_s3c";
        for chunk in 1..text.len() {
            assert_eq!(redacted(text.as_bytes(), chunk), text);
        }
        let patterns = Patterns::of([SECRET]);
        assert_eq!(Redactor::new(&patterns).push(b"a prompt: "), b"a prompt: ", "shown at once");
    }

    #[test]
    fn each_line_of_a_key_is_taken_out_and_tiny_values_are_not() {
        let key = b"-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\n-----END KEY-----\n";
        let patterns = Patterns::of([&key[..], b"no"]);
        let mut redactor = Redactor::new(&patterns);
        let mut shown = redactor.push(b"no: AAAABBBBCCCCDDDD");
        shown.extend(redactor.end());
        assert_eq!(shown, b"no: [redacted]");
    }
}
