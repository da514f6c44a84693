//! One line of the audit log.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What happened, before it has its place in the chain. Identifiers only; never a value.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it was decided: RFC 3339, UTC, milliseconds.
    pub time: String,
    /// What kind of thing happened.
    pub event: Event,
    /// Who, as a server authenticated it; never what the request said of itself.
    pub actor: Actor,
    /// The member that the decision was made for (a caller may have several memberships).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The vault, `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<String>,
    /// The Connection, `namespace/name`; what was asked for when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The Connection's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether `member` and `owner` differ: one identity used what another one owns.
    #[serde(default)]
    pub cross_identity: bool,
    /// The verb that was decided (`use`, `read`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// The door it came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// What was decided.
    pub decision: Decision,
    /// A stable word for why; absent when allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The group by which the actor broke glass: no membership allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
    /// The request's id: all records of one request share it.
    #[serde(default, rename = "requestID", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The epoch of the Envelope that is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_epoch: Option<i64>,
    /// Why it was asked for, in the requester's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Whether the request named no credential id, so that the actor may have been impersonated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub impersonation_possible: bool,
    /// Where the connection came from.
    #[serde(default, rename = "sourceIP", skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<IpAddr>,
    /// How many denials like this one were left out since the last record, because their rate is bounded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What kind of thing happened.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A credential was asked for.
    #[serde(rename = "release")]
    Release,
    /// A request without an accepted identity.
    #[serde(rename = "authentication")]
    Authentication,
    /// Records of the log were asked for.
    #[serde(rename = "audit.query")]
    Queried,
    /// The log itself was opened; `reason` says what had to be repaired.
    #[serde(rename = "audit.recovered")]
    Recovered,
    /// The oldest files of the log were deleted, as configured.
    #[serde(rename = "audit.pruned")]
    Pruned,
}

/// What was decided.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Released, or about to be: this record precedes the answer.
    Allowed,
    /// Not released.
    Denied,
    /// Was allowed (an earlier record with this request id says so), but nothing was released.
    Failed,
}

/// Who acted, as authenticated.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The kind of identity.
    pub kind: ActorKind,
    /// Its full name, as Kubernetes writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The pod that the token is bound to, `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The node that the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// The kind of identity.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// A Kubernetes ServiceAccount.
    ServiceAccount,
    /// A Kubernetes user.
    User,
    /// Nobody: no identity was accepted.
    Anonymous,
    /// The broker itself.
    Broker,
}

impl Actor {
    /// Nobody that the broker knows.
    pub const ANONYMOUS: Self =
        Self { kind: ActorKind::Anonymous, name: None, uid: None, pod: None, node: None };

    /// The replica of that name.
    pub fn broker(name: &str) -> Self {
        Self { kind: ActorKind::Broker, name: Some(name.to_owned()), uid: None, pod: None, node: None }
    }
}

impl Entry {
    /// A record of the log about itself.
    pub fn about_itself(event: Event, actor: Actor, time: String, reason: String) -> Self {
        Self {
            time,
            event,
            actor,
            member: None,
            vault: None,
            connection: None,
            owner: None,
            cross_identity: false,
            verb: None,
            door: None,
            decision: Decision::Allowed,
            reason: Some(reason),
            break_glass: None,
            request_id: None,
            key_epoch: None,
            purpose: None,
            impersonation_possible: false,
            source_ip: None,
            suppressed: 0,
        }
    }
}

/// An [`Entry`] at its place in the chain: the content of one line.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Counts the records of this replica's log, from 1, without gaps.
    pub seq: u64,
    /// SHA-256 of the line before, without its newline, in lowercase hexadecimal; 64 zeros before the first.
    pub prev_hash: String,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// `now` as records write it.
pub fn timestamp(now: jiff::Timestamp) -> String {
    format!("{now:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_with_the_documented_names_and_says_nothing_of_what_is_absent() {
        let entry = Entry {
            time: timestamp("2026-01-02T03:04:05.6789Z".parse().expect("a valid timestamp")),
            event: Event::Release,
            actor: Actor {
                kind: ActorKind::ServiceAccount,
                name: Some("system:serviceaccount:team-a:web".into()),
                uid: Some("u".into()),
                pod: Some("team-a/web-0".into()),
                node: Some("n1".into()),
            },
            member: Some("web".into()),
            vault: Some("team-a/main".into()),
            connection: Some("team-a/github".into()),
            owner: Some("alice".into()),
            cross_identity: true,
            verb: Some("use".into()),
            door: Some("workload".into()),
            decision: Decision::Allowed,
            reason: None,
            break_glass: Some("oncall".into()),
            request_id: Some("00".into()),
            key_epoch: Some(3),
            purpose: Some("on call".into()),
            impersonation_possible: true,
            source_ip: Some("10.0.0.7".parse().expect("a valid address")),
            suppressed: 0,
        };
        let record = Record { seq: 7, prev_hash: "ab".into(), entry };
        let line = serde_json::to_string(&record).expect("plain data serializes");
        assert_eq!(
            line,
            r#"{"seq":7,"prevHash":"ab","time":"2026-01-02T03:04:05.678Z","event":"release","actor":{"kind":"ServiceAccount","name":"system:serviceaccount:team-a:web","uid":"u","pod":"team-a/web-0","node":"n1"},"member":"web","vault":"team-a/main","connection":"team-a/github","owner":"alice","crossIdentity":true,"verb":"use","door":"workload","decision":"allowed","breakGlass":"oncall","requestID":"00","keyEpoch":3,"purpose":"on call","impersonationPossible":true,"sourceIP":"10.0.0.7"}"#
        );
        assert_eq!(serde_json::from_str::<Record>(&line).expect("it reads its own lines"), record);
    }
}
