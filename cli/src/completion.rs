//! `kubectl coffer completion`, and completion through kubectl itself.
//!
//! kubectl completes a plugin by running `kubectl_complete-<plugin>` from the PATH with the words after the plugin's
//! name. It expects what cobra's own programs print: one candidate a line, a tab and its description after it, then a
//! line with a directive.

use std::io::Write;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::{Cli, Failure, output};

/// What is printed for `kubectl_complete-coffer`: a file of this name in the PATH, executable.
const FOR_KUBECTL: &str = "#!/bin/sh\n# kubectl runs this for `kubectl coffer <TAB>`: kubectl_complete-coffer, in the PATH.\nexec kubectl-coffer __complete \"$@\"\n";

/// cobra's directive: no file names.
const NO_FILES: u8 = 4;
/// cobra's directive: file names where there is no candidate.
const DEFAULT: u8 = 0;

/// For whom a script is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum For {
    /// bash
    Bash,
    /// elvish
    Elvish,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
    /// zsh
    Zsh,
    /// kubectl itself, for `kubectl coffer <TAB>`
    Kubectl,
}

/// Prints a script. The shells' are for the program under its own name; they do not see through `kubectl coffer`.
pub(crate) fn print(wanted: For, answer: &mut dyn Write) -> Result<(), Failure> {
    let shell = match wanted {
        For::Bash => Shell::Bash,
        For::Elvish => Shell::Elvish,
        For::Fish => Shell::Fish,
        For::Powershell => Shell::PowerShell,
        For::Zsh => Shell::Zsh,
        For::Kubectl => return output::write(answer, FOR_KUBECTL),
    };
    let mut command = Cli::command().bin_name("kubectl-coffer").name("kubectl-coffer");
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "kubectl-coffer", &mut script);
    output::write(answer, &String::from_utf8_lossy(&script))
}

/// Prints what may stand in place of the last word.
pub(crate) fn complete(words: &[String], answer: &mut dyn Write) -> Result<(), Failure> {
    let mut root = Cli::command();
    root.build();
    let (candidates, directive) = candidates(&root, words);
    for (name, about) in candidates {
        let line = if about.is_empty() { name } else { format!("{name}\t{about}") };
        output::write(answer, &format!("{line}\n"))?;
    }
    output::write(answer, &format!(":{directive}\n"))
}

fn candidates(root: &Command, words: &[String]) -> (Vec<(String, String)>, u8) {
    let (last, before) = words.split_last().map_or(("", words), |(last, before)| (last.as_str(), before));
    let mut command = root;
    let mut positions = 0;
    let mut flag: Option<&clap::Arg> = None;
    for word in before {
        if flag.take().is_some() {
            continue;
        }
        if let Some(name) = word.strip_prefix('-') {
            let found = find_flag(command, name);
            flag = found.filter(|arg| arg.get_action().takes_values() && !word.contains('='));
        } else if let Some(next) = command.find_subcommand(word) {
            command = next;
            positions = 0;
        } else {
            positions += 1;
        }
    }
    if let Some(flag) = flag {
        return values(flag, last);
    }
    if last.starts_with('-') {
        let flags = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| {
            let name = format!("--{}", arg.get_long()?);
            name.starts_with(last).then(|| (name, about(arg.get_help())))
        });
        return (flags.collect(), NO_FILES);
    }
    let mut found: Vec<_> = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set() && verb.get_name().starts_with(last))
        .map(|verb| (verb.get_name().to_owned(), about(verb.get_about())))
        .collect();
    let position = command.get_positionals().nth(positions);
    match position {
        Some(position) if found.is_empty() => values(position, last),
        Some(_) | None => {
            found.retain(|(name, _)| name != "help");
            (found, NO_FILES)
        }
    }
}

fn find_flag<'a>(command: &'a Command, name: &str) -> Option<&'a clap::Arg> {
    let long = name.strip_prefix('-').map(|long| long.split('=').next().unwrap_or_default());
    command.get_arguments().find(|arg| match long {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short() == name.chars().next(),
    })
}

fn values(arg: &clap::Arg, last: &str) -> (Vec<(String, String)>, u8) {
    let possible = arg.get_possible_values();
    let found = possible
        .iter()
        .filter(|value| !value.is_hide_set() && value.get_name().starts_with(last))
        .map(|value| (value.get_name().to_owned(), about(value.get_help())));
    (found.collect(), if possible.is_empty() { DEFAULT } else { NO_FILES })
}

fn about(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(|text| text.to_string().lines().next().unwrap_or_default().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(words: &[&str]) -> (Vec<String>, u8) {
        let mut root = Cli::command();
        root.build();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (found, directive) = candidates(&root, &words);
        (found.into_iter().map(|(name, _)| name).collect(), directive)
    }

    #[test]
    fn kubectl_is_offered_verbs_flags_and_values() {
        assert_eq!(completed(&["memb"]).0, ["members"]);
        assert_eq!(completed(&["members", "su"]).0, ["suspend"]);
        assert!(completed(&["invite", "--fi"]).0.contains(&"--fingerprint".to_owned()));
        assert_eq!(completed(&["vaults", "-o", "y"]), (vec!["yaml".to_owned()], NO_FILES));
        assert_eq!(completed(&["-n", "team", "memb"]).0, ["members"]);
        assert_eq!(completed(&["who-can", "r"]).0, ["read"]);
        assert!(completed(&["__comp"]).0.is_empty(), "what people do not type is not offered");
    }

    #[test]
    fn a_path_is_left_to_the_shell() {
        assert_eq!(completed(&["key", "import", ""]), (Vec::new(), DEFAULT));
        assert_eq!(completed(&["set", "github", "--from-env-file", ""]), (Vec::new(), DEFAULT));
    }
}
