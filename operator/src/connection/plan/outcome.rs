//! What came of the look at one Connection, and the writes that follow from it.

use coffer_crds::{Connection, ConnectionStatus, Envelope, EnvelopeSpec, conditions::reason};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, api::ObjectMeta};

use super::{Plan, Write, status, status::Finding};
use crate::{
    apply::{MANAGED_BY, MANAGER},
    connection::fetch::Facts,
    reads::Loss,
    report::Notice,
};

/// What came of the look at one Connection.
#[derive(Default)]
pub(super) struct Outcome {
    /// The Envelope as it is to be, if it is to be another.
    pub(super) written: Option<EnvelopeSpec>,
    /// Why not all of the spec is in effect.
    pub(super) finding: Option<Finding>,
    /// Names in the scope that are no member, or another member than the one listed.
    pub(super) unknown: Vec<String>,
    /// What there is to say.
    pub(super) notices: Vec<Notice>,
    /// Members that lose access, of whom the audit logs were not asked yet.
    pub(super) unasked: Vec<Loss>,
}

impl Outcome {
    /// The writes that make it so, and the status that says so.
    pub(super) fn into_plan(self, facts: &Facts, now: Timestamp) -> Plan {
        if !self.unasked.is_empty() {
            return Plan { unasked: self.unasked, ..Plan::default() };
        }
        let mut plan = Plan { notices: self.notices, ..Plan::default() };
        plan.refused = self.finding.as_ref().is_some_and(|finding| finding.reason == reason::NOT_AUTHORIZED);
        let effective = match (&self.written, &facts.envelope) {
            (Some(written), _) => Some(written),
            (None, Some(read)) if !self.finding.as_ref().is_some_and(Finding::is_about_envelope) => {
                Some(&read.spec)
            }
            (None, _) => None,
        };
        let (status, next) = status::of(facts, effective, self.finding.as_ref(), &self.unknown, now);
        plan.next = next;
        match (self.written, facts.envelope.as_deref()) {
            (Some(spec), None) => {
                plan.writes.push(Write::CreateEnvelope(Box::new(object(&facts.connection, None, spec))))
            }
            (Some(spec), Some(read)) => {
                plan.writes.push(Write::ReplaceEnvelope(Box::new(object(
                    &facts.connection,
                    Some(read),
                    spec,
                ))));
            }
            (None, _) => {}
        }
        let before = facts.connection.status.clone().unwrap_or_default();
        if (ConnectionStatus { last_used_at: None, ..before }) != status {
            plan.writes.push(Write::Status(Box::new(status)));
        }
        plan
    }
}

/// The Envelope as it is to be written, with the state that it was read in.
fn object(connection: &Connection, read: Option<&Envelope>, spec: EnvelopeSpec) -> Envelope {
    let mut metadata = match read {
        Some(read) => read.metadata.clone(),
        None => ObjectMeta {
            name: connection.metadata.name.clone(),
            namespace: connection.metadata.namespace.clone(),
            labels: Some([(String::from(MANAGED_BY), String::from(MANAGER))].into()),
            ..ObjectMeta::default()
        },
    };
    metadata.owner_references = Some(connection.controller_owner_ref(&()).into_iter().collect());
    metadata.managed_fields = None;
    Envelope { metadata, spec }
}
