//! Identities as they are typed: `user:alice`, `group:devs`, `sa:ci/builder`, `external:laptop`.

use coffer_crds::{ExternalSubject, NamedSubject, ServiceAccountSubject, Subject};

/// A subject on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) subject: Subject,
    /// The name that was given to somebody without a Kubernetes identity.
    pub(crate) label: Option<String>,
}

/// What is accepted, for messages.
const FORMS: &str = "write user:NAME, group:NAME, sa:NAMESPACE/NAME (or sa:NAME, of the vault's namespace), or \
                     external:NAME";

/// Reads a subject. What kind it is always stands before it: a user may be called like a group.
pub(crate) fn parse(text: &str) -> Result<Typed, String> {
    let refuse = || Err(format!("'{text}' names no identity: {FORMS}"));
    let Some((kind, name)) = text.split_once(':') else { return refuse() };
    if name.is_empty() || name == "*" {
        return refuse();
    }
    let named = NamedSubject { name: name.to_owned() };
    let subject = match kind {
        "user" => Subject::User(named),
        "group" => Subject::Group(named),
        "sa" | "serviceaccount" => match name.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                account(Some(namespace), name)
            }
            None => account(None, name),
            Some(_) => return refuse(),
        },
        "external" => {
            return Ok(Typed {
                subject: Subject::External(ExternalSubject {}),
                label: Some(name.to_owned()),
            });
        }
        _ => return refuse(),
    };
    Ok(Typed { subject, label: None })
}

fn account(namespace: Option<&str>, name: &str) -> Subject {
    Subject::ServiceAccount(ServiceAccountSubject {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    })
}

/// A subject as it is typed.
pub(crate) fn show(subject: &Subject, own_namespace: &str) -> String {
    match subject {
        Subject::ServiceAccount(account) => {
            format!("sa:{}/{}", account.namespace.as_deref().unwrap_or(own_namespace), account.name)
        }
        Subject::User(user) => format!("user:{}", user.name),
        Subject::Group(group) => format!("group:{}", group.name),
        Subject::External(_) => "external".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_is_shown() {
        for text in ["user:alice", "user:oidc:alice@example.com", "group:devs", "sa:ci/builder"] {
            assert_eq!(parse(text).map(|typed| show(&typed.subject, "team")), Ok(text.to_owned()));
        }
        assert_eq!(parse("sa:web").map(|typed| show(&typed.subject, "team")), Ok("sa:team/web".to_owned()));
        let laptop = parse("external:laptop").map(|typed| (show(&typed.subject, "team"), typed.label));
        assert_eq!(laptop, Ok(("external".to_owned(), Some("laptop".to_owned()))));
    }

    /// T25: nothing stands for everybody.
    #[test]
    fn anything_else_is_refused_with_the_accepted_forms() {
        for text in ["", "alice", "user:", "user:*", "group:*", "sa:a/b/c", "sa:/b", "sa:a/", "robot:x"] {
            let message = parse(text).map(|_| ()).map_err(|text| text.contains("user:NAME"));
            assert_eq!(message, Err(true), "{text}");
        }
    }
}
