//! How an answer is printed: a table for people, JSON, YAML and names for programs.

use std::io::Write;

use clap::ValueEnum;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Resource, api::DynamicObject};
use serde::Serialize;
use serde_json::json;

use crate::{Failure, cluster::Listed};

/// What `-o` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns that are asked for first
    #[default]
    Table,
    /// All columns
    Wide,
    /// The objects as JSON
    Json,
    /// The objects as YAML
    Yaml,
    /// One kind/name a line
    Name,
}

/// One column: its heading and what stands in it.
pub(crate) struct Column<T> {
    heading: &'static str,
    /// Shown with `-o wide` only.
    wide: bool,
    cell: fn(&T) -> String,
}

impl<T> Column<T> {
    pub(crate) const fn new(heading: &'static str, cell: fn(&T) -> String) -> Self {
        Self { heading, wide: false, cell }
    }

    pub(crate) const fn wide(heading: &'static str, cell: fn(&T) -> String) -> Self {
        Self { heading, wide: true, cell }
    }
}

/// Prints a list of objects. Rows are made from what could be read; what could not is named in `notes`.
///
/// `empty` is said when there is nothing, as a remark and not as an answer.
pub(crate) fn list<K, Row>(
    format: Format,
    objects: Vec<Listed<K>>,
    columns: &[Column<Row>],
    empty: &str,
    row: impl Fn(K) -> Row,
    (answer, notes): (&mut dyn Write, &mut dyn Write),
) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Yaml => {
            let items: Vec<DynamicObject> = objects.into_iter().map(|object| object.raw).collect();
            value(format, &json!({"apiVersion": "v1", "kind": "List", "items": items}), answer)
        }
        Format::Name => {
            for object in objects {
                write(answer, &format!("{}\n", resource_name(&object.raw)))?;
            }
            Ok(())
        }
        Format::Table | Format::Wide => {
            let nothing = objects.is_empty();
            let mut rows = Vec::new();
            for object in objects {
                match object.parsed {
                    Ok(read) => rows.push(row(read)),
                    Err(problem) => write(notes, &format!("warning: {problem}\n"))?,
                }
            }
            if nothing { write(notes, &format!("{empty}\n")) } else { table(format, &rows, columns, answer) }
        }
    }
}

/// Prints one value as JSON or YAML; both end with a line break.
pub(crate) fn value(format: Format, value: &impl Serialize, answer: &mut dyn Write) -> Result<(), Failure> {
    let text = if format == Format::Yaml {
        serde_saphyr::to_string(value).map_err(|error| error.to_string())
    } else {
        serde_json::to_string_pretty(value).map_err(|error| error.to_string())
    };
    let text = text.map_err(Failure::Unexpected)?;
    write(answer, &format!("{}\n", text.trim_end()))
}

/// Prints one object for programs: without managed fields, as lists are.
pub(crate) fn object<K>(format: Format, object: &K, answer: &mut dyn Write) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let (kind, group) = (K::kind(&()), K::group(&()));
    if format == Format::Name {
        let name = object.meta().name.as_deref().unwrap_or_default();
        return write(answer, &format!("{}.{group}/{name}\n", kind.to_lowercase()));
    }
    let mut shown = serde_json::to_value(object).map_err(|error| Failure::Unexpected(error.to_string()))?;
    if let Some(metadata) = shown.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    value(format, &shown, answer)
}

/// What is known of one thing: names on the left, values on the right; what is empty is left out.
#[derive(Debug, Default)]
pub(crate) struct Sheet(Vec<(String, String)>);

impl Sheet {
    pub(crate) fn row(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((format!("{name}:"), value));
        }
    }

    /// Several values, one a line; `none` says so.
    pub(crate) fn list(&mut self, name: &str, values: &[String]) {
        self.row(name, if values.is_empty() { String::from("none") } else { values.join("\n") });
    }

    pub(crate) fn text(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default() + 2;
        let indent = format!("\n{:width$}", "");
        self.0
            .iter()
            .map(|(name, value)| {
                format!("{name:<width$}{}\n", harmless(value.as_bytes()).replace('\n', &indent))
            })
            .collect()
    }
}

/// Bytes as a terminal may show them: what would steer it, or turn the writing round, is spelled out. Lines and tabs stay.
pub(crate) fn harmless(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if steers(letter) {
                shown.extend(letter.escape_unicode());
            } else {
                shown.push(letter);
            }
        }
        chunk.invalid().iter().for_each(|byte| shown.extend(byte.escape_ascii().map(char::from)));
    }
    shown
}

fn steers(letter: char) -> bool {
    const MARKS: [char; 3] = ['\u{61c}', '\u{200e}', '\u{200f}'];
    (letter.is_control() && !['\n', '\t'].contains(&letter))
        || MARKS.contains(&letter)
        || ('\u{202a}'..='\u{202e}').contains(&letter)
        || ('\u{2066}'..='\u{2069}').contains(&letter)
}

/// Writes text as it is.
pub(crate) fn write(to: &mut dyn Write, text: &str) -> Result<(), Failure> {
    to.write_all(text.as_bytes()).map_err(|error| Failure::Unexpected(format!("cannot print: {error}")))
}

/// Prints rows under their headings.
pub(crate) fn table<Row>(
    format: Format,
    rows: &[Row],
    columns: &[Column<Row>],
    answer: &mut dyn Write,
) -> Result<(), Failure> {
    let shown: Vec<&Column<Row>> = columns.iter().filter(|c| format == Format::Wide || !c.wide).collect();
    let mut lines: Vec<Vec<String>> = vec![shown.iter().map(|c| c.heading.to_owned()).collect()];
    // Much of it was written by others.
    lines.extend(rows.iter().map(|row| shown.iter().map(|c| harmless((c.cell)(row).as_bytes())).collect()));
    let widths: Vec<usize> = (0..shown.len())
        .map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or_default())
        .collect();
    for line in lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        write(answer, &format!("{}\n", padded.join("   ").trim_end()))?;
    }
    Ok(())
}

/// `vault.coffer.dev/team`, as kubectl prints it.
fn resource_name(object: &DynamicObject) -> String {
    let (kind, group) = match &object.types {
        Some(types) => (
            types.kind.to_lowercase(),
            types.api_version.split_once('/').map(|(group, _)| group).unwrap_or_default(),
        ),
        None => (String::new(), ""),
    };
    format!("{kind}.{group}/{}", object.metadata.name.as_deref().unwrap_or_default())
}

/// `True`, `False` or `Unknown`, as the condition `Ready` says.
pub(crate) fn ready(conditions: &[Condition]) -> String {
    condition(conditions).map_or_else(|| "Unknown".to_owned(), |c| c.status.clone())
}

/// Why it is not ready: the condition's reason; empty when it is.
pub(crate) fn reason(conditions: &[Condition]) -> String {
    condition(conditions).filter(|c| c.status != "True").map(|c| c.reason.clone()).unwrap_or_default()
}

/// The sentence that says why it is not ready; empty when it is.
pub(crate) fn message(conditions: &[Condition]) -> String {
    condition(conditions).filter(|c| c.status != "True").map(|c| c.message.clone()).unwrap_or_default()
}

fn condition(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == coffer_crds::conditions::READY)
}

/// How long ago, as kubectl prints ages: the two largest units while they say something.
pub(crate) fn age(since: Option<&Time>, now: Timestamp) -> String {
    let Some(Time(since)) = since else { return "<unknown>".to_owned() };
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, sub: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{sub}") }
    };
    match seconds {
        ..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000.. => two(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_like_kubectls() {
        let now = Timestamp::from_second(100_000_000).expect("a valid time");
        for (seconds, expected) in [
            (5, "5s"),
            (119, "119s"),
            (125, "2m5s"),
            (180, "3m"),
            (3_000, "50m"),
            (10_800, "3h"),
            (11_460, "3h11m"),
            (86_400, "24h"),
            (180_000, "2d2h"),
            (864_000, "10d"),
            (69_000_000, "2y68d"),
        ] {
            let then = Time(Timestamp::from_second(100_000_000 - seconds).expect("a valid time"));
            assert_eq!(age(Some(&then), now), expected, "{seconds} s");
        }
        assert_eq!(age(None, now), "<unknown>");
    }

    /// Whoever writes a value or a name does not drive the reader's terminal with it.
    #[test]
    fn what_steers_a_terminal_is_spelled_out() {
        assert_eq!(harmless(b"a\x1b]52;c;x\x07b\r\n\tc"), "a\\u{1b}]52;c;x\\u{7}b\\u{d}\n\tc");
        assert_eq!(harmless("a\u{9b}31m\u{202e}b\u{e9}".as_bytes()), "a\\u{9b}31m\\u{202e}b\u{e9}");
        assert_eq!(harmless(b"\xff\x00ok"), "\\xff\\u{0}ok");
    }

    #[test]
    fn a_clock_behind_the_servers_shows_no_negative_age() {
        let now = Timestamp::from_second(10).expect("a valid time");
        assert_eq!(age(Some(&Time(Timestamp::from_second(20).expect("a valid time"))), now), "0s");
    }
}
