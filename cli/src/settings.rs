//! What a Connection says besides its values: scope and metadata, as they are typed.

use clap::{Args, builder::PossibleValuesParser};
use serde_json::{Map, Value, json};

use crate::{Failure, invite::lasting};

/// Kinds of credentials, as the API writes them.
const TYPES: [&str; 10] = [
    "opaque",
    "api-key",
    "access-token",
    "password",
    "basic-auth",
    "git-token",
    "ssh",
    "tls",
    "oauth2",
    "docker",
];

/// What may be set besides values.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Who may use it besides its owner: names of members, `*` for all (those added later too), `current` for those
    /// that there are today, an empty list for nobody. Replaces what was; without it what was stays
    #[arg(long, value_name = "MEMBER,…", value_delimiter = ',', num_args = 1)]
    pub members: Option<Vec<String>>,
    /// Whose service it is for, such as github
    #[arg(long)]
    pub provider: Option<String>,
    /// Tells several of one provider apart
    #[arg(long, value_name = "NAME")]
    pub connection_name: Option<String>,
    /// What paths in pods call it; its name by default
    #[arg(long)]
    pub alias: Option<String>,
    /// What kind of credential it is
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(TYPES))]
    pub kind: Option<String>,
    /// How long a value lasts, such as 90d
    #[arg(long, value_parser = lasting)]
    pub ttl: Option<String>,
    /// Pods get this item in this environment variable, too
    #[arg(long = "env", value_name = "VARIABLE=ITEM")]
    pub variables: Vec<String>,
}

impl Settings {
    /// The fields that were typed, as the spec holds them; `current` are the members that there are today, where that
    /// is known.
    pub(crate) fn fields(&self, current: Option<&[String]>) -> Result<Map<String, Value>, Failure> {
        let mut fields = Map::new();
        if let Some(members) = &self.members {
            fields.insert("members".into(), json!(scope(members, current)?));
        }
        for (field, value) in [
            ("provider", &self.provider),
            ("connectionName", &self.connection_name),
            ("alias", &self.alias),
            ("type", &self.kind),
            ("ttl", &self.ttl),
        ] {
            if let Some(value) = value {
                fields.insert(field.into(), json!(value));
            }
        }
        if !self.variables.is_empty() {
            let mut variables = Map::new();
            for typed in &self.variables {
                let (variable, item) = typed
                    .split_once('=')
                    .ok_or_else(|| Failure::Usage(format!("--env {typed}: write VARIABLE=ITEM")))?;
                variables.insert(variable.to_owned(), json!(item));
            }
            fields.insert("inject".into(), json!({"env": {"variables": variables}}));
        }
        Ok(fields)
    }

    /// Those that mean the same in every vault.
    pub(crate) fn but_members(&self) -> Result<Map<String, Value>, Failure> {
        Self { members: None, ..self.clone() }.fields(None)
    }
}

/// A list of members as it is typed. `*` stands alone (T31).
pub(crate) fn scope(typed: &[String], current: Option<&[String]>) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = Vec::new();
    for name in typed.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        match (name, current) {
            ("current", Some(current)) => names.extend(current.iter().cloned()),
            ("current", None) => {
                return Err(Failure::Usage(String::from(
                    "who the members are today is not known here: name them",
                )));
            }
            (name, _) => names.push(name.to_owned()),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    if names.len() > 1 && names.iter().any(|name| name == "*") {
        return Err(Failure::Usage(String::from(
            "'*' means every member and stands alone: write '*', or names only",
        )));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(list: &[&str]) -> Result<Vec<String>, u8> {
        let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
        let today = ["alice".to_owned(), "bob".to_owned()];
        scope(&list, Some(&today)).map_err(|failure| failure.exit_code())
    }

    /// C33.
    #[test]
    fn current_is_todays_list_and_a_star_is_everybody() {
        assert_eq!(typed(&["web", "ci", "web"]), Ok(vec!["web".into(), "ci".into()]));
        assert_eq!(typed(&["current", "ci"]), Ok(vec!["alice".into(), "bob".into(), "ci".into()]));
        assert_eq!(typed(&["*"]), Ok(vec!["*".into()]));
        assert_eq!(typed(&[""]), Ok(vec![]));
    }

    /// T31.
    #[test]
    fn a_star_with_names_is_refused() {
        assert_eq!(typed(&["*", "a"]), Err(Failure::USAGE));
    }
}
