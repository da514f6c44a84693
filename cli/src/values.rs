//! Where values come from: a prompt, a file, standard input, an env file. Never from the command line, which every
//! process of the machine can read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use coffer_crds::limits::{MAX_CONNECTION_BYTES, MAX_ITEM_BYTES, MAX_ITEMS, is_item_key};
use coffer_keys::SecretBytes;
use zeroize::Zeroizing;

use crate::{Failure, desk::Desk, home::unreadable};

/// Values by item.
pub(crate) type Values = BTreeMap<String, SecretBytes>;

/// Where the values come from.
#[derive(Clone, Debug, Default, Args)]
pub struct Sources {
    /// Ask for this item's value, which is not shown while it is typed
    #[arg(long = "item", value_name = "ITEM")]
    pub items: Vec<String>,
    /// Take an item's value from a file; `-` is standard input, whose last line break is left out
    #[arg(long, value_name = "ITEM=PATH")]
    pub from_file: Vec<String>,
    /// Take items from lines NAME=VALUE; `-` is standard input
    #[arg(long, value_name = "PATH")]
    pub from_env_file: Vec<PathBuf>,
}

impl Sources {
    /// Whether no value is named.
    pub(crate) fn are_none(&self) -> bool {
        self.items.is_empty() && self.from_file.is_empty() && self.from_env_file.is_empty()
    }

    /// Reads all of them. Everything that can be wrong with the names is told before anybody types anything.
    pub(crate) fn read(&self, desk: &mut Desk<'_>) -> Result<Values, Failure> {
        let files = self.files()?;
        let readers = files.iter().filter(|(_, path)| is_standard_input(path)).count()
            + self.from_env_file.iter().filter(|path| is_standard_input(path)).count();
        if readers > 1 {
            return Err(Failure::Usage(String::from("standard input (-) can be read once")));
        }
        let mut values = Values::new();
        for path in &self.from_env_file {
            let content = content(desk, path)?;
            let parsed = env_file(content.expose())
                .map_err(|problem| Failure::Usage(format!("{}: {problem}", path.display())))?;
            for (item, value) in parsed {
                insert(&mut values, item, value)?;
            }
        }
        for (item, path) in files {
            let content = content(desk, &path)?;
            let whole = !is_standard_input(&path);
            let value = if whole { content } else { SecretBytes::new(chomp(content.expose()).to_vec()) };
            insert(&mut values, item, value)?;
        }
        for item in &self.items {
            let instead = format!(
                "give it in a file (--from-file {item}=PATH) or on standard input (--from-file {item}=-)"
            );
            let value = desk.ask_hidden(&format!("Value of '{item}'"), &instead)?;
            if value.is_empty() {
                return Err(Failure::Usage(format!("nothing was typed for '{item}'")));
            }
            insert(&mut values, item.clone(), value)?;
        }
        check_sizes(&values)?;
        Ok(values)
    }

    fn files(&self) -> Result<Vec<(String, PathBuf)>, Failure> {
        for item in &self.items {
            check_name(item)?;
        }
        let mut files = Vec::new();
        for typed in &self.from_file {
            let (item, path) = match typed.split_once('=') {
                Some((item, path)) => (item.to_owned(), PathBuf::from(path)),
                None if typed == "-" => {
                    return Err(Failure::Usage(String::from("name the item: --from-file ITEM=-")));
                }
                None => {
                    let path = PathBuf::from(typed);
                    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                    (name.unwrap_or_default(), path)
                }
            };
            check_name(&item)?;
            files.push((item, path));
        }
        Ok(files)
    }
}

/// Never repeats what stands behind a `=`: it may be the value.
fn check_name(item: &str) -> Result<(), Failure> {
    if is_item_key(item) {
        return Ok(());
    }
    if let Some((name, _)) = item.split_once('=') {
        return Err(Failure::Usage(format!(
            "values are not taken from the command line, where others can see them: name the item alone (--item \
             {name}) and type the value, or use --from-file {name}=PATH"
        )));
    }
    Err(Failure::Usage(String::from(
        "an item's name has 1 to 253 letters, digits, '.', '_' or '-', and is not '.' or '..'",
    )))
}

fn insert(values: &mut Values, item: String, value: SecretBytes) -> Result<(), Failure> {
    if values.contains_key(&item) {
        return Err(Failure::Usage(format!("item '{item}' is given twice")));
    }
    values.insert(item, value);
    Ok(())
}

fn check_sizes(values: &Values) -> Result<(), Failure> {
    if values.len() > MAX_ITEMS {
        return Err(Failure::Usage(format!(
            "{} items are given; a Connection has at most {MAX_ITEMS}",
            values.len()
        )));
    }
    for (item, value) in values {
        if value.len() > MAX_ITEM_BYTES {
            let (size, most) = (value.len().div_ceil(1024), MAX_ITEM_BYTES >> 10);
            return Err(Failure::Usage(format!(
                "item '{item}' has {size} KiB; an item has at most {most} KiB"
            )));
        }
    }
    let total: usize = values.values().map(SecretBytes::len).sum();
    if total > MAX_CONNECTION_BYTES {
        let (size, most) = (total.div_ceil(1024), MAX_CONNECTION_BYTES >> 10);
        return Err(Failure::Usage(format!(
            "the values together have {size} KiB; a Connection holds at most {most} KiB"
        )));
    }
    Ok(())
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn content(desk: &mut Desk<'_>, path: &Path) -> Result<SecretBytes, Failure> {
    let read = if is_standard_input(path) {
        desk.person.standard_input()
    } else {
        fs::read(path).map(SecretBytes::new)
    };
    read.map_err(|error| unreadable(path, &error))
}

/// Without one line break at the end, which `echo` and here-documents add.
fn chomp(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// Lines `NAME=VALUE`, as `docker --env-file` and most shells read them: `#` begins a comment line, `export` may stand
/// before, quotes around a value are taken off. Problems name the line and never its content.
pub(crate) fn env_file(content: &[u8]) -> Result<Vec<(String, SecretBytes)>, String> {
    let text = std::str::from_utf8(content).map_err(|_| String::from("is not UTF-8"))?;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let number = index + 1;
        let (name, value) = line.split_once('=').ok_or_else(|| format!("line {number} is not NAME=VALUE"))?;
        let name = name.trim_end();
        if !is_item_key(name) {
            return Err(format!("line {number}: the name before '=' can be no item's"));
        }
        let value =
            Zeroizing::new(unquoted(value.trim()).map_err(|problem| format!("line {number}: {problem}"))?);
        found.push((name.to_owned(), SecretBytes::new(value.as_bytes().to_vec())));
    }
    Ok(found)
}

fn unquoted(value: &str) -> Result<String, &'static str> {
    let Some(quote) = value.chars().next().filter(|first| ['"', '\''].contains(first)) else {
        return Ok(value.to_owned());
    };
    let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let inner = inner.ok_or("a quote is not closed")?;
    if quote == '\'' {
        return Ok(inner.to_owned());
    }
    let mut plain = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some('r') => plain.push('\r'),
                Some(other) => plain.push(other),
                None => return Err("a backslash stands alone"),
            },
            (letter, false) => plain.push(letter),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a failed expectation is the test's failure")]
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let found = env_file(text.as_bytes())?;
        let text = |value: &SecretBytes| String::from_utf8_lossy(value.expose()).into_owned();
        Ok(found.iter().map(|(name, value)| (name.clone(), text(value))).collect())
    }

    #[test]
    fn an_env_file_is_read_as_shells_read_it() {
        let text =
            "# comment\n\nA=1\nexport B = two words \nC='a \"b\" $x'\nD=\"line\\nnext\"\nE=\nF=a=b\r\n";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a \"b\" $x"),
            ("D", "line\nnext"),
            ("E", ""),
            ("F", "a=b"),
        ];
        let expected: Vec<_> = expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        assert_eq!(read(text), Ok(expected));
    }

    /// C27: what is wrong with a line is told without the line.
    #[test]
    fn a_broken_env_file_is_refused_by_line_and_without_its_content() {
        for text in ["A=1\nhunter2", "A=1\nhun ter=2", "A=1\nB='hunter2", "A=1\nB=\"hunter2\\"] {
            let problem = read(text).expect_err(text);
            assert!(problem.starts_with("line 2") && !problem.contains("hunter"), "{problem}");
        }
    }

    /// C27: nor is a value that somebody typed into the command line repeated.
    #[test]
    fn a_value_on_the_command_line_is_refused_and_not_repeated() {
        let sources = Sources { items: vec!["token=hunter2".into()], ..Sources::default() };
        let failure = sources.files().expect_err("a value in argv");
        assert_eq!(failure.exit_code(), Failure::USAGE);
        let text = failure.to_string();
        assert!(text.contains("--item token") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn files_are_named_by_item_or_by_their_own_name() {
        let sources =
            Sources { from_file: vec!["token=a/b".into(), "c/tls.crt".into()], ..Sources::default() };
        let files = sources.files().expect("two files");
        assert_eq!(
            files,
            [("token".into(), PathBuf::from("a/b")), ("tls.crt".into(), PathBuf::from("c/tls.crt"))]
        );
    }

    #[test]
    fn one_line_break_of_standard_input_is_left_out() {
        assert_eq!(chomp(b"a\n"), b"a");
        assert_eq!(chomp(b"a\r\n"), b"a");
        assert_eq!(chomp(b"a\n\n"), b"a\n");
        assert_eq!(chomp(b"a"), b"a");
    }

    #[test]
    fn limits_are_told_before_anything_is_sent() {
        let big = |bytes: usize| SecretBytes::new(vec![0; bytes]);
        let one = |bytes| check_sizes(&Values::from([("a".to_owned(), big(bytes))]));
        assert!(one(MAX_ITEM_BYTES).is_ok());
        assert!(one(MAX_ITEM_BYTES + 1).is_err());
        let five: Values = (0..5).map(|n| (n.to_string(), big(MAX_ITEM_BYTES))).collect();
        assert!(check_sizes(&five).is_err());
    }
}
