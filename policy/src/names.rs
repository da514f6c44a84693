//! The names that operator and webhook must derive alike.

use crate::identity::with_namespace;
use coffer_crds::{Subject, Vault, VaultMember};

/// The longest DNS-1123 label.
const LONGEST: usize = 63;

/// The name of the VaultMember that stands for an entry of `Vault.spec.owners`: the subject's own name as a DNS-1123
/// label (`alice`), `<vault>-alice` if that is taken, else `<vault>-alice-<8 hex digits of the subject>`.
///
/// `taken` says whether a VaultMember of that name in the vault's namespace belongs to another vault or another
/// subject; one that belongs to this vault and subject is this very member.
pub fn owner_member_name(vault: &str, subject: &Subject, taken: impl Fn(&str) -> bool) -> String {
    let base = label(subject_name(subject), LONGEST);
    if !taken(&base) {
        return base;
    }
    let longer = label(&format!("{vault}-{base}"), LONGEST);
    if !taken(&longer) {
        return longer;
    }
    let digest = fingerprint(subject);
    format!("{}-{digest:08x}", label(&longer, LONGEST - 9))
}

/// The VaultMember that stands for one entry of `Vault.spec.owners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerMember {
    /// The entry, with a ServiceAccount's namespace filled in.
    pub subject: Subject,
    /// The VaultMember's name: the existing one's, else by [`owner_member_name`].
    pub name: String,
    /// Whether that VaultMember exists.
    pub exists: bool,
}

/// The VaultMembers that stand for `Vault.spec.owners`, in its order, each subject once. `members` should be all
/// VaultMembers of the vault's namespace; those of other namespaces are ignored.
pub fn owner_members(vault: &Vault, members: &[VaultMember]) -> Vec<OwnerMember> {
    let namespace = vault.metadata.namespace.as_deref().unwrap_or_default();
    let vault_name = vault.metadata.name.as_deref().unwrap_or_default();
    let here = || members.iter().filter(|m| m.metadata.namespace.as_deref() == Some(namespace));
    let is_for = |m: &VaultMember, subject: &Subject| {
        m.spec.vault == vault_name && with_namespace(&m.spec.subject, namespace) == *subject
    };
    let mut owners: Vec<OwnerMember> = Vec::new();
    for subject in vault.spec.owners.iter().map(|owner| with_namespace(owner, namespace)) {
        if owners.iter().any(|o| o.subject == subject) {
            continue;
        }
        let existing = here().find(|m| is_for(m, &subject)).and_then(|m| m.metadata.name.clone());
        let exists = existing.is_some();
        let name = existing.unwrap_or_else(|| {
            owner_member_name(vault_name, &subject, |name| {
                owners.iter().any(|o| o.name == name)
                    || here().any(|m| m.metadata.name.as_deref() == Some(name))
            })
        });
        owners.push(OwnerMember { subject, name, exists });
    }
    owners
}

fn subject_name(subject: &Subject) -> &str {
    match subject {
        Subject::ServiceAccount(account) => &account.name,
        Subject::User(named) | Subject::Group(named) => &named.name,
        Subject::External(_) => "external",
    }
}

/// Lower case; every other character becomes `-`; no `-` at either end; never empty.
fn label(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(longest);
    let trimmed = out.trim_end_matches('-');
    if trimmed.is_empty() { "owner".to_owned() } else { trimmed.to_owned() }
}

/// FNV-1a, 32 bit: tells names apart, protects nothing.
fn fingerprint(subject: &Subject) -> u32 {
    let (kind, namespace) = match subject {
        Subject::ServiceAccount(account) => {
            ("serviceAccount", account.namespace.as_deref().unwrap_or_default())
        }
        Subject::User(_) => ("user", ""),
        Subject::Group(_) => ("group", ""),
        Subject::External(_) => ("external", ""),
    };
    let text = [kind, namespace, subject_name(subject)].join("\0");
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
