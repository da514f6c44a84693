//! `kubectl coffer why-not`: one member's standing towards one Connection, explained.

use clap::Args;
use coffer_crds::conditions;
use serde_json::json;

use crate::{
    Failure,
    cluster::Cluster,
    decision::{Question, why_not},
    desk::Desk,
    facts::Facts,
    output::{self, Format},
};

/// Who, and about which Connection.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The member
    pub member: String,
    /// The Connection
    pub name: String,
    /// What is done
    #[arg(long, value_enum, default_value = "use")]
    pub verb: Question,
}

/// Prints the decision, and what its text is at the door.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let (connection, facts) = Facts::with(cluster, &arguments.name).await?;
    let member = facts.member(&arguments.member)?;
    let denied = why_not(&facts, member, &connection, arguments.verb);
    let format = desk.options.output;
    if let Format::Json | Format::Yaml = format {
        let value = json!({"member": arguments.member, "connection": arguments.name,
            "can": denied.is_none(), "why": denied});
        return output::value(format, &value, desk.answer);
    }
    let verb = format!("{:?}", arguments.verb).to_lowercase();
    match denied {
        Some(why) => {
            desk.say(&format!("Member '{}' cannot {verb} '{}': {why}", arguments.member, arguments.name))
        }
        None => {
            desk.say(&format!("Member '{}' can {verb} '{}'.", arguments.member, arguments.name))?;
            let status = connection.status.clone().unwrap_or_default();
            let ready = status.conditions.iter().find(|condition| condition.type_ == conditions::READY);
            if let Some(ready) = ready.filter(|condition| condition.status != "True") {
                desk.note(&format!("But the Connection is not ready: {}: {}", ready.reason, ready.message));
            }
            Ok(())
        }
    }
}
