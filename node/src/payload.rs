//! What goes into a volume: released credentials, checked for being a set of files.

use std::collections::BTreeMap;

use coffer_broker_api::{ItemValue, Released, ReleasedConnection};

/// The most files in one volume. Every file takes a page of the tmpfs, however small it is.
pub const MAX_ITEMS: usize = 4096;

/// The content of a volume, by folder. Holds plaintext: no `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// Alias to folder.
    pub folders: BTreeMap<String, Folder>,
}

/// One Connection's folder. Holds plaintext: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Folder {
    /// The Connection as the volume asks for it.
    pub connection: String,
    /// Counts the Connection's values.
    pub version: i64,
    /// File name to content.
    pub items: BTreeMap<String, ItemValue>,
}

/// Why what was released cannot be a set of files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Two Connections claim one folder.
    #[error("alias '{alias}': both {first} and {second} use it; give one of them another `spec.alias`")]
    SameAlias {
        /// The folder.
        alias: String,
        /// The Connection that has it.
        first: String,
        /// The Connection that wants it as well.
        second: String,
    },
    /// A folder name that could leave its place.
    #[error("{0}: its alias must be 1 to 64 characters of [A-Za-z0-9_-]")]
    MalformedAlias(String),
    /// A file name that could leave its place.
    #[error("{0}: item names must be 1 to 253 characters of [A-Za-z0-9._-], and not `.` or `..`")]
    MalformedItem(String),
    /// Too many files.
    #[error("more than {MAX_ITEMS} items in one volume; ask for fewer Connections")]
    TooManyItems,
    /// The broker's answer is not one Connection per request entry.
    #[error("the broker answered about other Connections than it was asked for")]
    OtherConnections,
}

impl Payload {
    /// Takes over what was released for `connections`, in that order.
    ///
    /// # Errors
    /// When it cannot be a set of files.
    pub fn from_released(connections: &[String], released: Released) -> Result<Self, PayloadError> {
        if released.connections.len() != connections.len() {
            return Err(PayloadError::OtherConnections);
        }
        let mut payload = Self::default();
        for (connection, released) in connections.iter().zip(released.connections) {
            payload.add(connection, released)?;
        }
        Ok(payload)
    }

    /// Adds one released Connection.
    ///
    /// # Errors
    /// When it cannot be a folder beside those that are there.
    pub fn add(&mut self, connection: &str, released: ReleasedConnection) -> Result<(), PayloadError> {
        if !is_alias(&released.alias) {
            return Err(PayloadError::MalformedAlias(connection.to_owned()));
        }
        if !released.items.keys().all(|item| is_item(item)) {
            return Err(PayloadError::MalformedItem(connection.to_owned()));
        }
        let folder =
            Folder { connection: connection.to_owned(), version: released.version, items: released.items };
        self.insert(released.alias, folder)
    }

    /// Adds a folder, such as one that is kept.
    ///
    /// # Errors
    /// When its alias is taken, or there would be too many items.
    pub fn insert(&mut self, alias: String, folder: Folder) -> Result<(), PayloadError> {
        if let Some(there) = self.folders.get(&alias) {
            let (first, second) = (there.connection.clone(), folder.connection);
            return Err(PayloadError::SameAlias { alias, first, second });
        }
        let items: usize = self.folders.values().map(|folder| folder.items.len()).sum();
        if items + folder.items.len() > MAX_ITEMS {
            return Err(PayloadError::TooManyItems);
        }
        self.folders.insert(alias, folder);
        Ok(())
    }

    /// The folder of a Connection, as the volume asks for it.
    pub fn folder_of(&self, connection: &str) -> Option<(&String, &Folder)> {
        self.folders.iter().find(|(_, folder)| folder.connection == connection)
    }
}

/// `[A-Za-z0-9_-]{1,64}`: no dot, so no folder can be taken for one of ours, which begin with two.
pub(crate) fn is_alias(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// `[A-Za-z0-9._-]{1,253}`, and not a folder's own or parent's name.
pub(crate) fn is_item(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && text != "."
        && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released(alias: &str, items: &[&str]) -> ReleasedConnection {
        ReleasedConnection {
            namespace: "team-a".into(),
            name: "github".into(),
            alias: alias.into(),
            type_: "opaque".into(),
            version: 1,
            items: items.iter().map(|item| ((*item).to_owned(), ItemValue::new(b"v".to_vec()))).collect(),
        }
    }

    #[test]
    fn two_credentials_that_claim_one_folder_are_refused_by_both_names() {
        let mut payload = Payload::default();
        assert_eq!(payload.add("team-a/one", released("github", &["token"])), Ok(()));
        let error = payload.add("team-a/two", released("github", &["token"])).expect_err("the same folder");
        assert!(error.to_string().contains("team-a/one") && error.to_string().contains("team-a/two"));
    }

    #[test]
    fn no_name_can_leave_its_folder() {
        for alias in ["", ".", "..", "a/b", "..data", "a.b", "ä", "a\0", &"a".repeat(65)] {
            let refused = Payload::default().add("c", released(alias, &["token"]));
            assert_eq!(refused, Err(PayloadError::MalformedAlias("c".into())), "{alias:?}");
        }
        for item in ["", ".", "..", "a/b", "../x", "a\n", &"a".repeat(254)] {
            let refused = Payload::default().add("c", released("github", &[item]));
            assert_eq!(refused, Err(PayloadError::MalformedItem("c".into())), "{item:?}");
        }
        assert_eq!(Payload::default().add("c", released("g", &["..x", ".npmrc", "id_ed25519.pub"])), Ok(()));
    }

    #[test]
    fn an_answer_about_other_connections_is_refused() {
        let released = Released { connections: vec![released("github", &["token"])] };
        let asked = ["a".to_owned(), "b".to_owned()];
        assert!(Payload::from_released(&asked, released).err() == Some(PayloadError::OtherConnections));
    }

    #[test]
    fn a_volume_holds_no_more_files_than_its_memory_has_pages_for() {
        let names: Vec<String> = (0..=MAX_ITEMS).map(|n| format!("i{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(Payload::default().add("c", released("g", &names[1..])), Ok(()));
        assert_eq!(Payload::default().add("c", released("g", &names)), Err(PayloadError::TooManyItems));
    }
}
