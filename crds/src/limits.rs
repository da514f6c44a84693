//! Limits and forms of names (DESIGN §10): the schema states them, and the webhook checks the same ones where the
//! schema cannot.

/// Items of one Connection.
pub const MAX_ITEMS: usize = 64;
/// Bytes of one item's value.
pub const MAX_ITEM_BYTES: usize = 64 * 1024;
/// Bytes of all values of one Connection.
pub const MAX_CONNECTION_BYTES: usize = 256 * 1024;
/// Members that one Connection lists.
pub const MAX_LISTED_MEMBERS: usize = 256;
/// Members of one vault whose role covers only some Connections: each takes a slot in every `*` Envelope.
pub const MAX_RESTRICTED_MEMBERS: usize = 256;
/// How many uids of before its restores the register remembers of a member.
pub const MAX_FORMER_UIDS: usize = 16;
/// Bytes that sealing adds at most: version, suite, key id, 1,120 bytes of encapsulated key, 16 of tag, five lengths.
pub const SEALING_OVERHEAD_BYTES: usize = 1280;
/// Characters of one item of `sealedData`: standard base64 of a value of [`MAX_ITEM_BYTES`], sealed.
pub const MAX_SEALED_CHARS: usize = (MAX_ITEM_BYTES + SEALING_OVERHEAD_BYTES).div_ceil(3) * 4;
/// Characters of a Release's `status.result` as stored: 1 MiB.
pub const MAX_RESULT_CHARS: usize = 1024 * 1024;
/// Answers of one AuditQuery: one of each replica of the broker.
pub const MAX_AUDIT_ANSWERS: usize = 16;
/// Characters of one of them as stored: all together are 1 MiB.
pub const MAX_AUDIT_RESULT_CHARS: usize = MAX_RESULT_CHARS / MAX_AUDIT_ANSWERS;
/// Characters of an X-Wing public key: standard base64 of 1,216 bytes.
pub const XWING_PUBLIC_KEY_CHARS: usize = 1624;

/// A DNS-1123 label: names of objects, members and roles.
pub const LABEL_PATTERN: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
/// A DNS-1123 label or `*`.
pub const SCOPE_PATTERN: &str = r"^(\*|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$";
/// A glob over labels, in which `*` stands for any run of characters.
pub const GLOB_PATTERN: &str = r"^[-a-z0-9*]{1,63}$";
/// An alias.
pub const ALIAS_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";
/// An item's key.
pub const ITEM_PATTERN: &str = "^[A-Za-z0-9._-]{1,253}$";
/// A vault id: 16 random bytes in hex.
pub const VAULT_ID_PATTERN: &str = "^[0-9a-f]{32}$";
/// A SHA-256 in hex.
pub const SHA256_HEX_PATTERN: &str = "^[0-9a-f]{64}$";

/// Whether this is a DNS-1123 label of at most 63 characters.
pub fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| inner(*b) || *b == b'-')
        && bytes.first().copied().is_some_and(inner)
        && bytes.last().copied().is_some_and(inner)
}

/// Whether this is an item key: `[A-Za-z0-9._-]{1,253}`, and not `.` or `..`, since it becomes a file name.
pub fn is_item_key(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether this is an alias: `[A-Za-z0-9_-]{1,64}`.
pub fn is_alias(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Whether this is a glob over labels: `[-a-z0-9*]{1,63}`.
pub fn is_glob(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_dns_1123() {
        let longest = "a".repeat(63);
        for good in ["a", "a-b", "0", "web-1", longest.as_str()] {
            assert!(is_label(good), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "*", "é", too_long.as_str()] {
            assert!(!is_label(bad), "{bad}");
        }
    }

    /// An item becomes a file: no path may hide in its name.
    #[test]
    fn item_keys_never_lead_out_of_their_folder() {
        for good in ["token", "tls.crt", "A_b-9", "..."] {
            assert!(is_item_key(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\0", "é"] {
            assert!(!is_item_key(bad), "{bad}");
        }
    }

    #[test]
    fn aliases_have_no_dots() {
        assert!(is_alias("github_pat") && is_alias("A-1"));
        assert!(!is_alias("a.b") && !is_alias("") && !is_alias(&"a".repeat(65)));
    }

    #[test]
    fn a_sealed_item_of_full_size_fits_the_schema() {
        assert_eq!(MAX_SEALED_CHARS, 89_088);
    }
}
