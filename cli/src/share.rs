//! `kubectl coffer share`: who may use a Connection.

use clap::Args;
use coffer_crds::Connection;
use coffer_policy::Scope;
use serde_json::json;

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    facts::Facts,
    output::{self, Format},
    set::in_effect,
    settings::scope,
    wait::Waiting,
};

/// What, and with whom.
#[derive(Clone, Debug, Default, Args)]
pub struct Arguments {
    /// The Connection
    pub name: String,
    /// Exactly these: names, `*` for every member (those added later too), an empty list for nobody
    #[arg(long, value_name = "MEMBER,…", value_delimiter = ',', num_args = 1, conflicts_with = "current")]
    pub members: Option<Vec<String>>,
    /// Everyone who is a member today, and nobody who comes later
    #[arg(long)]
    pub current: bool,
    /// These besides
    #[arg(long, value_name = "MEMBER,…", value_delimiter = ',')]
    pub add: Vec<String>,
    /// Not these any more
    #[arg(long, value_name = "MEMBER,…", value_delimiter = ',')]
    pub drop: Vec<String>,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Changes the scope; shows who gains and who loses.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let name = &arguments.name;
    if arguments.members.is_none()
        && !arguments.current
        && arguments.add.is_empty()
        && arguments.drop.is_empty()
    {
        return Err(Failure::Usage(String::from("say with whom: --members, --current, --add or --drop")));
    }
    let (before, facts) = Facts::with(cluster, name).await?;
    let owner = before.spec.owner.clone().unwrap_or_default();
    let was = facts.scope(&before);
    let members = wanted(arguments, &was, &facts.active())?;
    let is = Scope::of(Some(&members), facts.vault.spec.sharing);
    if was.same_as(&is, &owner) && before.spec.members.is_some() {
        return desk.say(&format!("Connection '{name}' is shared so already."));
    }
    let written: Connection = cluster.change(&before, &json!({"members": members})).await?;
    let format = desk.options.output;
    if let Format::Json | Format::Yaml | Format::Name = format {
        output::object(format, &written, desk.answer)?;
    } else {
        let mark = desk.mark();
        desk.say(&format!("Connection '{name}' is for {}{mark}.", shown(&is, &owner)))?;
        for line in changes(&facts.active(), &was, &is, &owner) {
            desk.say(&format!("  {line}"))?;
        }
    }
    unknown(desk, &facts, &members);
    in_effect(desk, cluster, arguments.waiting, &written).await?;
    if facts.active().iter().any(|member| was.holds(member, &owner) && !is.holds(member, &owner)) {
        desk.note(
            "Whoever loses it may know the value: change it at the provider, then with kubectl coffer set.",
        );
    }
    Ok(())
}

/// The list as it is to be.
fn wanted(arguments: &Arguments, was: &Scope, current: &[String]) -> Result<Vec<String>, Failure> {
    let mut names = match (&arguments.members, arguments.current, was) {
        (Some(members), _, _) => scope(members, Some(current))?,
        (None, true, _) => current.to_vec(),
        (None, false, Scope::Listed(names)) => names.clone(),
        (None, false, Scope::All) => {
            let text = match arguments.drop.is_empty() {
                true => "it is for every member already, those added later too",
                false => {
                    "it is for every member: to leave some out, begin with today's list (--current --drop NAME)"
                }
            };
            return Err(Failure::Usage(text.to_owned()));
        }
    };
    let add = scope(&arguments.add, Some(current))?;
    names.extend(add.into_iter().filter(|name| !was_listed(&names, name)).collect::<Vec<_>>());
    for name in &arguments.drop {
        let before = names.len();
        names.retain(|other| other != name);
        if names.len() == before {
            return Err(Failure::NotFound(format!("it is not shared with '{name}'")));
        }
    }
    scope(&names, None)
}

fn was_listed(names: &[String], name: &str) -> bool {
    names.iter().any(|other| other == name)
}

/// Who gains and who loses, of those who are members today.
fn changes(active: &[String], was: &Scope, is: &Scope, owner: &str) -> Vec<String> {
    let pick = |gained: bool| {
        let names = active.iter().filter(|name| {
            let (before, after) = (was.holds(name, owner), is.holds(name, owner));
            before != after && after == gained
        });
        names.cloned().collect::<Vec<_>>().join(", ")
    };
    let lines = [("gains", pick(true)), ("loses", pick(false))];
    lines
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {names}"))
        .collect()
}

fn shown(scope: &Scope, owner: &str) -> String {
    match scope {
        Scope::All => String::from("every member, those added later too"),
        Scope::Listed(names) if names.is_empty() => format!("its owner '{owner}' alone"),
        Scope::Listed(names) => names.join(", "),
    }
}

/// A word about names of a scope that are nobody's yet: they may be typing errors.
pub(crate) fn unknown(desk: &mut Desk<'_>, facts: &Facts, members: &[String]) {
    for name in members.iter().filter(|name| *name != "*") {
        if !facts.views.iter().any(|view| view.name == *name) {
            desk.note(&format!(
                "'{name}' is no member of vault '{}' yet, and gains nothing before it is.",
                facts.name()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn to(arguments: &Arguments, was: &Scope) -> Result<Vec<String>, u8> {
        wanted(arguments, was, &list(&["alice", "bob"])).map_err(|failure| failure.exit_code())
    }

    /// C33.
    #[test]
    fn a_scope_is_replaced_added_to_and_taken_from() {
        let listed = Scope::Listed(list(&["web"]));
        let exactly = Arguments { members: Some(list(&["*"])), ..Arguments::default() };
        assert_eq!(to(&exactly, &listed), Ok(list(&["*"])));
        let add = Arguments { add: list(&["ci", "web"]), ..Arguments::default() };
        assert_eq!(to(&add, &listed), Ok(list(&["web", "ci"])));
        assert_eq!(to(&add, &Scope::All), Err(Failure::USAGE));
        let drop = Arguments { drop: list(&["web"]), ..Arguments::default() };
        assert_eq!(to(&drop, &listed), Ok(list(&[])));
        assert_eq!(to(&drop, &Scope::Listed(list(&["ci"]))), Err(Failure::NOT_FOUND));
        assert_eq!(to(&drop, &Scope::All), Err(Failure::USAGE));
        let all_but_bob = Arguments { current: true, drop: list(&["bob"]), ..Arguments::default() };
        assert_eq!(to(&all_but_bob, &Scope::All), Ok(list(&["alice"])));
        let mixed = Arguments { members: Some(list(&["*"])), add: list(&["a"]), ..Arguments::default() };
        assert_eq!(to(&mixed, &listed), Err(Failure::USAGE), "T31");
    }

    #[test]
    fn who_gains_and_who_loses_is_told() {
        let active = list(&["alice", "bob", "web"]);
        let said = changes(&active, &Scope::Listed(list(&["web"])), &Scope::Listed(list(&["bob"])), "alice");
        assert_eq!(said, ["gains: bob", "loses: web"]);
        assert!(changes(&active, &Scope::All, &Scope::All, "alice").is_empty());
    }
}
