//! Which environment variable holds which item.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
};

use coffer_broker_api::ReleasedConnection;

use crate::Failure;

/// Variables by name. `as_is`: an item's name is the variable's; otherwise it is `ALIAS_ITEM` in capitals.
pub(super) fn of(
    connections: &[ReleasedConnection],
    as_is: bool,
) -> Result<BTreeMap<String, OsString>, Failure> {
    let mut variables = BTreeMap::new();
    for connection in connections {
        for (item, value) in &connection.items {
            let name = if as_is { item.clone() } else { name(&connection.alias, item) };
            let refuse = |problem: &str| {
                Err(Failure::Usage(format!("item '{item}' of '{}' {problem}", connection.name)))
            };
            if !is_variable(&name) {
                return refuse("has a name that no variable can have: leave --item-names out");
            }
            if steers_programs(&name) {
                return refuse(&format!(
                    "would be variable {name}, by which loaders, shells or git choose what they run: whoever may write \
                     the Connection would choose it for you"
                ));
            }
            if value.expose().contains(&0) {
                return refuse("holds a zero byte, which no variable can: it is for files");
            }
            let value = OsStr::from_bytes(value.expose()).to_owned();
            if variables.insert(name.clone(), value).is_some() {
                return refuse(&format!(
                    "would be variable {name}, and so would another: ask for one of both"
                ));
            }
        }
    }
    Ok(variables)
}

fn name(alias: &str, item: &str) -> String {
    let capital =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    let name: String = format!("{alias}_{item}").chars().map(capital).collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Whether a variable makes some program run something else. A credential is never named so by accident.
fn steers_programs(name: &str) -> bool {
    const NAMES: [&str; 15] = [
        "PATH",
        "HOME",
        "SHELL",
        "IFS",
        "ENV",
        "BASH_ENV",
        "PROMPT_COMMAND",
        "EDITOR",
        "VISUAL",
        "PAGER",
        "LESSOPEN",
        "NODE_OPTIONS",
        "RUBYOPT",
        "JAVA_TOOL_OPTIONS",
        "KUBECONFIG",
    ];
    const GIT: [&str; 8] =
        ["SSH", "SSH_COMMAND", "ASKPASS", "PROXY_COMMAND", "EXTERNAL_DIFF", "EDITOR", "PAGER", "EXEC_PATH"];
    NAMES.contains(&name)
        || ["LD_", "DYLD_", "PYTHON", "PERL5"].iter().any(|start| name.starts_with(start))
        || name.strip_prefix("GIT_").is_some_and(|rest| GIT.contains(&rest) || rest.starts_with("CONFIG"))
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_broker_api::ItemValue;

    fn released(alias: &str, items: &[(&str, &str)]) -> ReleasedConnection {
        let value = |text: &str| ItemValue::new(text.as_bytes().to_vec());
        ReleasedConnection {
            namespace: "team".into(),
            name: alias.into(),
            alias: alias.into(),
            type_: "opaque".into(),
            version: 1,
            items: items.iter().map(|(item, text)| ((*item).to_owned(), value(text))).collect(),
        }
    }

    fn names(connections: &[ReleasedConnection], as_is: bool) -> Result<Vec<String>, u8> {
        of(connections, as_is).map(|found| found.into_keys().collect()).map_err(|failure| failure.exit_code())
    }

    #[test]
    fn variables_are_named_by_alias_and_item_or_by_the_item_alone() {
        let github = released("github-pat", &[("token", "t"), ("user.name", "u")]);
        assert_eq!(
            names(&[github], false),
            Ok(vec!["GITHUB_PAT_TOKEN".into(), "GITHUB_PAT_USER_NAME".into()])
        );
        let app = released("app", &[("DATABASE_URL", "d")]);
        assert_eq!(names(std::slice::from_ref(&app), true), Ok(vec!["DATABASE_URL".into()]));
        assert_eq!(names(&[app.clone(), app], false), Err(Failure::USAGE), "the same twice");
        assert_eq!(names(&[released("x", &[("a.b", "v")])], true), Err(Failure::USAGE));
        assert_eq!(names(&[released("x", &[("a", "v\0")])], false), Err(Failure::USAGE));
        for (alias, item) in [
            ("git", "ssh-command"),
            ("git", "config_count"),
            ("ld", "preload"),
            ("bash", "env"),
            ("node", "options"),
        ] {
            assert_eq!(
                names(&[released(alias, &[(item, "v")])], false),
                Err(Failure::USAGE),
                "{alias} {item}"
            );
        }
        assert_eq!(names(&[released("x", &[("PATH", "v")])], true), Err(Failure::USAGE));
        assert_eq!(names(&[released("git", &[("token", "v")])], false), Ok(vec!["GIT_TOKEN".into()]));
        assert_eq!(names(&[released("1x", &[("a", "v")])], false), Ok(vec!["_1X_A".into()]));
    }
}
