//! `kubectl coffer doctor`: whether everything is as it should be, and what to do where it is not.

use coffer_crds::{Vault, VaultMember};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, ResourceExt as _, api::PostParams};

use crate::{
    Failure,
    cluster::{Cluster, within},
    desk::Desk,
    local_key::{self, KeyOptions},
    output,
    pins::{Pin, Pins, Sight},
};

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    Good(String),
    /// Not wrong, and worth a word.
    Remark(String),
    Bad(String),
}

/// Looks at one thing after the other, and fails if one of them is wrong.
pub(crate) async fn run(desk: &mut Desk<'_>, key: &KeyOptions) -> Result<(), Failure> {
    let mut findings = vec![local(desk, key), pinned(desk)];
    match Cluster::connect(&desk.options).await {
        Err(failure) => findings.push(Finding::Bad(format!("kubeconfig: {failure}"))),
        Ok(cluster) => findings.extend(of_cluster(desk, &cluster).await),
    }
    let mut wrong = 0;
    for finding in &findings {
        let (mark, text) = match finding {
            Finding::Good(text) => ("ok     ", text),
            Finding::Remark(text) => ("remark ", text),
            Finding::Bad(text) => ("WRONG  ", text),
        };
        wrong += usize::from(matches!(finding, Finding::Bad(_)));
        desk.say(&format!("{mark}{text}"))?;
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::Unexpected(String::from("one thing is wrong"))),
        _ => Err(Failure::Unexpected(format!("{wrong} things are wrong"))),
    }
}

fn local(desk: &Desk<'_>, key: &KeyOptions) -> Finding {
    match local_key::find(&desk.home, key) {
        Ok(None) => Finding::Remark(String::from(
            "key: none on this machine; with one of your own nobody else opens what is wrapped for you: kubectl coffer \
             key new",
        )),
        Ok(Some(found)) => match local_key::public(&found) {
            Ok(public) => Finding::Good(format!("key: {} ({})", found.path.display(), public.fingerprint())),
            Err(failure) => Finding::Bad(format!("key: {failure}")),
        },
        Err(failure) => Finding::Bad(format!("key: {failure}")),
    }
}

fn pinned(desk: &Desk<'_>) -> Finding {
    match Pins::load(&desk.home.pins) {
        Ok(_) => Finding::Good(String::from("keys of vaults seen before: readable, by you alone")),
        Err(failure) => Finding::Bad(format!("keys of vaults seen before: {failure}")),
    }
}

async fn of_cluster(desk: &Desk<'_>, cluster: &Cluster) -> Vec<Finding> {
    let mut findings = Vec::new();
    match cluster.caller().await {
        Err(failure) => {
            findings.push(Finding::Bad(format!("API server: {failure}")));
            return findings;
        }
        Ok(caller) if !caller.is_identified() => {
            findings
                .push(Finding::Bad(String::from("identity: none; the API server does not know who you are")));
        }
        Ok(caller) => findings.push(Finding::Good(format!("identity: {}", caller.as_subject()))),
    }
    match cluster.all::<Vault>().await {
        Err(failure) => findings.push(Finding::Bad(format!("vaults: {failure}"))),
        Ok(vaults) => {
            findings.push(Finding::Good(format!(
                "vaults: {} in namespace {}",
                vaults.len(),
                cluster.namespace
            )));
            let pins = Pins::load(&desk.home.pins).unwrap_or_default();
            findings.extend(vaults.iter().map(|vault| of_vault(vault, &pins, &cluster.server)));
            findings.extend(vaults.iter().filter_map(older_roots));
        }
    }
    match cluster.all::<VaultMember>().await {
        Ok(members) => findings.extend(members.iter().filter_map(of_member)),
        Err(failure) => findings.push(Finding::Remark(format!("members: {failure}"))),
    }
    findings.push(may(cluster, "get", "keyrings", false).await);
    findings.push(may(cluster, "list", "releases", false).await);
    findings
}

fn of_vault(vault: &Vault, pins: &Pins, server: &str) -> Finding {
    let name = vault.name_any();
    let conditions = vault.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    if output::ready(&conditions) != "True" {
        let (reason, message) = (output::reason(&conditions), output::message(&conditions));
        return Finding::Bad(format!("vault '{name}' is not ready: {reason} {message}"));
    }
    let Ok(seen) = Pin::of(server, vault) else {
        return Finding::Bad(format!("vault '{name}' has no keys"));
    };
    let vouched = crate::pins::verified(&seen, vault.status.as_ref().and_then(|s| s.intake_key.as_ref()));
    match (pins.compare(&seen), vouched) {
        (_, Err(failure)) => Finding::Bad(failure.to_string()),
        (Sight::Changed, Ok(_)) => Finding::Bad(format!(
            "vault '{name}' shows another key than when it was first seen here: kubectl coffer trust {name}"
        )),
        (Sight::First | Sight::Same, Ok(_)) => {
            Finding::Good(format!("vault '{name}' is ready, its keys hold"))
        }
    }
}

/// What keeps an older custodian root from being taken out.
fn older_roots(vault: &Vault) -> Option<Finding> {
    let status = vault.status.as_ref()?;
    let needing = status.sealed_to_older_roots.filter(|count| *count > 0)?;
    let name = vault.name_any();
    Some(Finding::Remark(if status.rotation.is_some() {
        format!(
            "vault '{name}': {needing} connections need an older custodian root; its keys are being turned over"
        )
    } else {
        format!(
            "vault '{name}': {needing} connections need an older custodian root: kubectl coffer reseal --dry-run lists those \
             that are sealed to it"
        )
    }))
}

fn of_member(member: &VaultMember) -> Option<Finding> {
    let conditions = member.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    let reason = output::reason(&conditions);
    let wrong = [
        "NotAuthorized",
        "KeyRefused",
        "AcceptanceRefused",
        "SubjectMissing",
        "SubjectChanged",
        "UnknownRole",
    ];
    wrong.contains(&reason.as_str()).then(|| {
        Finding::Remark(format!("member '{}': {reason}: {}", member.name_any(), output::message(&conditions)))
    })
}

/// What nobody but Coffer itself should be able to do, and a cluster administrator is.
async fn may(cluster: &Cluster, verb: &str, resource: &str, expected: bool) -> Finding {
    let attributes = ResourceAttributes {
        group: Some("coffer.dev".to_owned()),
        resource: Some(resource.to_owned()),
        verb: Some(verb.to_owned()),
        namespace: Some(cluster.namespace.clone()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = within(async { Ok(api.create(&PostParams::default(), &review).await?) }).await;
    match answer.map(|review| review.status.is_some_and(|status| status.allowed)) {
        Err(failure) => Finding::Remark(format!("rights: {failure}")),
        Ok(allowed) if allowed == expected => {
            Finding::Good(format!("you may not {verb} {resource}, as nobody should"))
        }
        Ok(_) => Finding::Remark(format!(
            "you may {verb} {resource}: your RBAC rights are a cluster administrator's; work with fewer"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_crds::{RotationStatus, VaultSpec, VaultStatus};

    #[test]
    fn what_needs_an_older_custodian_root_is_worth_a_word_and_not_wrong() {
        let mut vault = Vault::new("team", VaultSpec::default());
        assert_eq!(older_roots(&vault), None);
        for (needing, rotation, text) in [
            (None, None, None),
            (Some(0), None, None),
            (
                Some(3),
                None,
                Some("3 connections need an older custodian root: kubectl coffer reseal --dry-run"),
            ),
            (Some(3), Some(RotationStatus::default()), Some("being turned over")),
        ] {
            vault.status =
                Some(VaultStatus { sealed_to_older_roots: needing, rotation, ..VaultStatus::default() });
            match (older_roots(&vault), text) {
                (None, None) => {}
                (Some(Finding::Remark(said)), Some(text)) => assert!(said.contains(text), "{said}"),
                (found, _) => panic!("{needing:?}: {found:?}"),
            }
        }
    }
}
