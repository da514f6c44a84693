//! The reference of the command line, from the command line itself: man pages and `docs/reference/cli.md`.

use std::{fmt::Write as _, fs, path::Path};

use clap::{Command, CommandFactory};

use crate::{Cli, Failure};

/// Writes `kubectl-coffer.1` and one page for each verb into a folder.
pub(crate) fn man(folder: &Path) -> Result<usize, Failure> {
    let failed = |error: std::io::Error| Failure::Usage(format!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut root = Cli::command().bin_name("kubectl-coffer").name("kubectl-coffer");
    root.build();
    let mut written = 0;
    for (command, name) in commands(&root) {
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
        fs::write(folder.join(format!("{}.1", name.replace(' ', "-"))), page).map_err(failed)?;
        written += 1;
    }
    Ok(written)
}

/// Every command that people type, with its whole name.
fn commands(root: &Command) -> Vec<(&Command, String)> {
    let mut found = vec![(root, root.get_name().to_owned())];
    let mut at = 0;
    while let Some((command, name)) = found.get(at).cloned() {
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
        found.extend(verbs.map(|verb| (verb, format!("{name} {}", verb.get_name()))));
        at += 1;
    }
    found
}

const OPENING: &str = "\
<!-- Generated from the command line itself by `make generate`; do not edit. -->
# Command line reference

`kubectl coffer VERB --help` says the same. kubectl finds the program `kubectl-coffer` in the PATH.

| exit code | means |
| --- | --- |
| 0 | done |
| 1 | a defect, here or there |
| 2 | the command line or the configuration is wrong, or nobody said yes |
| 3 | denied |
| 4 | no such thing, or it is not shown |
| 5 | an invite, a membership or a credential has expired |
| 6 | somebody was faster, it is there already, or it is not what it was |
| 7 | no answer, or not in time |
";

/// `docs/reference/cli.md`.
#[must_use]
pub fn reference() -> String {
    let mut root = Cli::command().bin_name("kubectl coffer").name("kubectl coffer");
    root.build();
    let mut page = OPENING.to_owned();
    for (command, name) in commands(&root) {
        if command.has_subcommands() && name != "kubectl coffer" {
            continue;
        }
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let title = if name == "kubectl coffer" { String::from("Flags of every verb") } else { name.clone() };
        let _ = write!(page, "\n## {title}\n");
        if name != "kubectl coffer" {
            let _ = write!(page, "\n{about}.\n\n```\n{}\n```\n", usage(command, &name));
        }
        arguments(&mut page, command, name == "kubectl coffer");
        if let Some(after) = command.get_after_help().filter(|_| name != "kubectl coffer") {
            examples(&mut page, &after.to_string());
        }
    }
    page
}

fn usage(command: &Command, name: &str) -> String {
    let mut usage = name.to_owned();
    for position in command.get_positionals() {
        if position.is_last_set() {
            usage.push_str(" --");
        }
        let word = position.get_id().as_str().to_uppercase().replace('_', "-");
        let word = if position.is_required_set() { word } else { format!("[{word}]") };
        let more = position.get_num_args().is_some_and(|count| count.max_values() > 1);
        let _ = write!(usage, " {word}{}", if more { "…" } else { "" });
    }
    usage
}

fn arguments(page: &mut String, command: &Command, global: bool) {
    let shown: Vec<_> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && (arg.is_global_set() == global || arg.is_positional()))
        .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
        .collect();
    if shown.is_empty() {
        return;
    }
    page.push_str("\n| argument | meaning |\n| --- | --- |\n");
    for arg in shown {
        let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
        let values: Vec<_> =
            arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if !values.is_empty() && arg.get_action().takes_values() {
            let _ = write!(meaning, ": {}", values.join(", "));
        }
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !defaults.is_empty() && arg.get_action().takes_values() {
            let _ = write!(meaning, " (default: {})", defaults.join(", "));
        }
        if let Some(variable) = arg.get_env() {
            let _ = write!(meaning, " (${})", variable.to_string_lossy());
        }
        let _ = writeln!(page, "| {} | {meaning} |", written(arg));
    }
}

fn written(arg: &clap::Arg) -> String {
    if arg.is_positional() {
        return format!("`{}`", arg.get_id().as_str().to_uppercase().replace('_', "-"));
    }
    let value = arg.get_action().takes_values().then(|| {
        let names = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        format!(" {}", names.unwrap_or_else(|| arg.get_id().as_str().to_uppercase()))
    });
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let long = arg.get_long().unwrap_or_default();
    format!("`{short}--{long}{}`", value.unwrap_or_default()).replace('|', "\\|")
}

fn examples(page: &mut String, after: &str) {
    let Some((_, examples)) = after.split_once("Examples:\n") else {
        let _ = write!(page, "\n{after}\n");
        return;
    };
    let (lines, rest) = examples.split_once("\n\n").unwrap_or((examples, ""));
    page.push_str("\n```console\n");
    for line in lines.lines() {
        let _ = writeln!(page, "{}", line.trim());
    }
    page.push_str("```\n");
    if !rest.is_empty() {
        let _ = write!(page, "\n{}\n", rest.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_man_page_and_a_place_in_the_reference() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let written = man(folder.path()).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(written > 25, "{written}");
        assert!(folder.path().join("kubectl-coffer-members-remove.1").exists());
        let page = reference();
        for verb in ["invite", "members remove", "set", "why-not"] {
            assert!(page.contains(&format!("## kubectl coffer {verb}\n")), "{verb}");
        }
        assert!(!page.contains("__complete"));
    }

    /// Short, and with examples, as people read them.
    #[test]
    fn every_verb_that_takes_something_shows_an_example() {
        let mut root = Cli::command();
        root.build();
        for (command, name) in commands(&root) {
            let takes = command.get_positionals().next().is_some();
            let shows = command.get_after_help().is_some_and(|after| after.to_string().contains("Examples:"));
            assert!(!takes || shows || command.has_subcommands(), "{name} has no example");
        }
    }
}
