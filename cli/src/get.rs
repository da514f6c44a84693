//! `kubectl coffer get`: values, for whoever may read them.

mod reveal;

use clap::Args;
use coffer_broker_api::{ItemValue, ReleasedConnection};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::{
    Failure,
    asking::{self, Asking},
    cluster::Cluster,
    desk::Desk,
    output::{self, Format},
};

/// Which values.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The Connection, by alias or name
    pub name: String,
    /// The item; all of them by default
    pub item: Option<String>,
    /// Show values on a terminal, for 30 seconds
    #[arg(long)]
    pub reveal: bool,
    /// With --reveal: control characters as they are, which a terminal obeys; they are spelled out otherwise
    #[arg(long, requires = "reveal")]
    pub raw: bool,
    /// How it is asked.
    #[command(flatten)]
    pub asking: Asking,
}

/// Prints values: as they are into pipes and files, masked on a terminal.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let format = desk.options.output;
    let is_seen = desk.person.sees_the_answer();
    let as_objects = matches!(format, Format::Json | Format::Yaml);
    if as_objects && is_seen && !arguments.reveal {
        return Err(Failure::Usage(String::from(
            "on a terminal this would show values: say --reveal if you mean it",
        )));
    }
    let items: Vec<String> = arguments.item.iter().cloned().collect();
    let wanted = asking::wanted(&arguments.name, &items);
    let mut released = asking::ask(desk, cluster, &arguments.asking, vec![wanted]).await?;
    let connection =
        released.pop().ok_or_else(|| Failure::Unexpected(String::from("the answer is empty")))?;
    match (is_seen, arguments.reveal) {
        (true, true) => {
            let text = Zeroizing::new(shown(&connection, |value| {
                if arguments.raw {
                    String::from_utf8_lossy(value.expose()).into_owned()
                } else {
                    output::harmless(value.expose())
                }
            }));
            reveal::briefly(&text).await
        }
        (true, false) => {
            desk.say(shown(&connection, masked).trim_end())?;
            desk.note("Masked: --reveal shows it for 30 seconds; into a pipe it goes as it is.");
            Ok(())
        }
        (false, _) if as_objects => output::value(format, &objects(&connection), desk.answer),
        (false, _) => raw(desk, &connection),
    }
}

/// One value as it is.
fn raw(desk: &mut Desk<'_>, connection: &ReleasedConnection) -> Result<(), Failure> {
    let mut values = connection.items.values();
    match (values.next(), values.next()) {
        (Some(value), None) => desk
            .answer
            .write_all(value.expose())
            .map_err(|error| Failure::Unexpected(format!("cannot print: {error}"))),
        (None, _) => Err(Failure::NotFound(format!("'{}' holds no item", connection.name))),
        (Some(_), Some(_)) => {
            let names: Vec<_> = connection.items.keys().map(String::as_str).collect();
            Err(Failure::Usage(format!(
                "'{}' has several items ({}): name one, or say -o json",
                connection.name,
                names.join(", ")
            )))
        }
    }
}

fn shown(connection: &ReleasedConnection, value: impl Fn(&ItemValue) -> String) -> String {
    let width = connection.items.keys().map(String::len).max().unwrap_or_default();
    let name = |item: &str| output::harmless(item.as_bytes());
    connection
        .items
        .iter()
        .map(|(item, held)| format!("{:<width$}   {}\n", name(item), value(held)))
        .collect()
}

/// Enough to tell two values apart, and no more.
fn masked(value: &ItemValue) -> String {
    let bytes = value.expose();
    let begin: String = match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().count() >= 20 && !text.contains('\n') => text.chars().take(4).collect(),
        Ok(_) | Err(_) => String::new(),
    };
    format!("{}******** ({} bytes)", output::harmless(begin.as_bytes()), bytes.len())
}

/// For programs. What is no text is in base64, under another name.
fn objects(connection: &ReleasedConnection) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let (mut texts, mut bytes) = (Map::new(), Map::new());
    for (item, value) in &connection.items {
        match std::str::from_utf8(value.expose()) {
            Ok(text) => drop(texts.insert(item.clone(), json!(text))),
            Err(_) => drop(bytes.insert(item.clone(), json!(STANDARD.encode(value.expose())))),
        }
    }
    json!({"name": connection.name, "namespace": connection.namespace, "version": connection.version,
        "items": texts, "base64Items": bytes})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C28.
    #[test]
    fn a_masked_value_shows_little_and_never_all() {
        let mask = |text: &str| masked(&ItemValue::new(text.as_bytes().to_vec()));
        assert_eq!(mask("hunter2"), "******** (7 bytes)");
        assert_eq!(mask("ghp_0123456789abcdefghij"), "ghp_******** (24 bytes)");
        assert_eq!(mask("\u{1b}[2J0123456789abcdefghij"), "\\u{1b}[2J******** (24 bytes)");
        assert_eq!(mask("-----BEGIN KEY-----\nAAAA"), "******** (24 bytes)");
    }
}
