//! The installation's own certificates: when to make which (pure), and the making.
//!
//! One authority signs the serving certificates of webhook and broker. Whoever calls them trusts the *bundle*: the
//! present authority and those before it that have not ended. A new authority is in the bundle for a while before
//! it signs, so that nobody meets a certificate of an authority that it has not heard of.

use std::collections::BTreeSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

pub use issue::{IssueError, Issued, issue_authority, issue_serving};
pub use read::{AuthorityFacts, ServingFacts, Trusted, read_authority, read_serving};

mod issue;
mod read;

/// How long an authority lasts: ten years.
pub const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 3650);

/// An authority is followed by a new one this long before its end: longer than any serving certificate lasts.
const AUTHORITY_RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 365);

/// How long a serving certificate lasts: 90 days.
pub const SERVING_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 90);

/// A serving certificate is renewed this long before its end: 30 days, so that a month of trouble does no harm.
const SERVING_RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 30);

/// How long a new authority is only trusted before it signs: mounted ConfigMaps are refreshed within two minutes.
const SETTLE: SignedDuration = SignedDuration::from_mins(10);

/// Certificates begin this long before they are made, for callers whose clocks are behind.
pub const BACKDATE: SignedDuration = SignedDuration::from_hours(1);

/// A server that has a certificate of this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its Secret.
    pub secret: &'static str,
    /// The names it is called by.
    pub names: BTreeSet<String>,
}

impl Server {
    /// Webhook and broker of an installation in `namespace`.
    pub fn all(namespace: &str) -> Vec<Self> {
        let mut broker = service_names("coffer-broker", namespace);
        for headless in ["coffer-broker", "coffer-broker-peers"] {
            // A pod is called `<pod>.<headless service>…` where one replica must be met, not any.
            broker.insert(format!("*.{headless}.{namespace}.svc"));
            broker.insert(format!("*.{headless}.{namespace}.svc.cluster.local"));
        }
        vec![
            Self { secret: "coffer-webhook-tls", names: service_names("coffer-webhook", namespace) },
            Self { secret: "coffer-broker-tls", names: broker },
        ]
    }
}

fn service_names(service: &str, namespace: &str) -> BTreeSet<String> {
    BTreeSet::from([
        String::from(service),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ])
}

/// What to make now, and when to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether a new authority is to be made.
    pub new_authority: bool,
    /// PEM certificates of authorities from before that stay trusted, newest first; without one that is to be made.
    pub bundle: Vec<String>,
    /// The servers that get a new certificate, from the new authority if there is to be one.
    pub issue: Vec<Server>,
    /// When something is due next.
    pub next: Timestamp,
}

/// Decides what to make. `servers` come with what was found of their certificates.
pub fn plan(
    authority: Option<&AuthorityFacts>,
    servers: &[(Server, Option<ServingFacts>)],
    now: Timestamp,
) -> Plan {
    let current = authority.filter(|found| found.not_after > now && found.not_before <= now);
    let due = current.map(|found| found.not_after - AUTHORITY_RENEW_BEFORE);
    let new_authority = due.is_none_or(|due| due <= now);
    let trusted: Vec<&Trusted> =
        authority.into_iter().flat_map(|found| &found.trusted).filter(|ca| ca.not_after > now).collect();
    let signs = current.filter(|_| !new_authority);
    let settled = signs.map(|found| found.not_before + BACKDATE + SETTLE);

    let mut issue = Vec::new();
    let mut next = now + AUTHORITY_LIFETIME;
    if let Some(due) = due.filter(|due| *due > now) {
        next = next.min(due);
    }
    for (server, found) in servers {
        let good = found.as_ref().filter(|found| is_good(found, server, &trusted, now));
        let Some(found) = good else {
            issue.push(server.clone());
            next = next.min(now + SERVING_LIFETIME - SERVING_RENEW_BEFORE);
            continue;
        };
        let of_present = signs.is_some_and(|authority| authority.key_id == found.issuer_key_id);
        if of_present {
            next = next.min(found.not_after - SERVING_RENEW_BEFORE);
        } else if settled.is_some_and(|settled| settled <= now) {
            issue.push(server.clone());
            next = next.min(now + SERVING_LIFETIME - SERVING_RENEW_BEFORE);
        } else {
            next = next.min(settled.unwrap_or(now + SETTLE));
        }
    }
    let bundle = trusted.iter().map(|ca| ca.pem.clone()).collect();
    Plan { new_authority, bundle, issue, next }
}

/// Whether a certificate can go on serving: it is for these names, of an authority that is trusted, has begun, and
/// has a month left.
fn is_good(found: &ServingFacts, server: &Server, trusted: &[&Trusted], now: Timestamp) -> bool {
    found.names == server.names
        && found.not_before <= now
        && found.not_after - SERVING_RENEW_BEFORE > now
        && trusted.iter().any(|ca| ca.key_id == found.issuer_key_id)
}

/// The bundle as one PEM text: a new authority first.
pub fn bundle_pem(newest: Option<&str>, before: &[String]) -> String {
    let mut pem = String::new();
    for certificate in newest.into_iter().chain(before.iter().map(String::as_str)) {
        pem.push_str(certificate.trim_end());
        pem.push('\n');
    }
    pem
}

#[cfg(test)]
mod tests;
