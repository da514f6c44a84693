//! The object under admission, and the JSON patch (RFC 6902) that makes of it what will be stored.
//!
//! The patch is written by hand and not by comparing two objects: it holds `add` and `remove` only, never a `test`
//! or an old value, so nothing that the caller sent can come back in it.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    refusal::Refusal,
    review::{Confidential, wipe},
};

/// One step of a JSON patch. `add` replaces what is there (RFC 6902, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// Sets a member, or appends to an array at `…/-`.
    Add {
        /// JSON pointer (RFC 6901).
        path: String,
        /// What is put there.
        value: Value,
    },
    /// Takes a member away.
    Remove {
        /// JSON pointer (RFC 6901).
        path: String,
    },
}

/// An object that is being changed, and the changes so far. Reads see the changes.
pub struct Draft {
    object: Confidential,
    patch: Vec<Op>,
}

impl Draft {
    /// Begins with the object as the caller sent it.
    pub fn new(object: Confidential) -> Self {
        Self { object, patch: Vec::new() }
    }

    /// The object with the changes made so far.
    pub fn object(&self) -> &Value {
        self.object.expose()
    }

    /// What is at `path`; `null` counts as absent.
    pub fn get<'a>(&self, path: impl AsRef<[&'a str]>) -> Option<&Value> {
        self.object().pointer(&pointer(path.as_ref())).filter(|value| !value.is_null())
    }

    /// The string at `path`.
    pub fn text<'a>(&self, path: impl AsRef<[&'a str]>) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// Sets what is at `path`; parents that are missing are made. Nothing is recorded when it is there already.
    ///
    /// # Errors
    /// When something on the way is there and no object.
    pub fn set<'a>(&mut self, path: impl AsRef<[&'a str]>, value: Value) -> Result<(), Refusal> {
        let path = path.as_ref();
        let Some((name, parents)) = path.split_last() else {
            return Ok(());
        };
        for depth in 1..=parents.len() {
            self.ensure_object(&parents[..depth])?;
        }
        let parent = self.object_at(parents)?;
        if parent.get(*name) == Some(&value) {
            return Ok(());
        }
        if let Some(mut before) = parent.insert((*name).to_owned(), value.clone()) {
            wipe(&mut before);
        }
        self.patch.push(Op::Add { path: pointer(path), value });
        Ok(())
    }

    /// Appends to the array at `path`, which is made when missing.
    ///
    /// # Errors
    /// When what is there is no array.
    pub fn push<'a>(&mut self, path: impl AsRef<[&'a str]>, value: Value) -> Result<(), Refusal> {
        let path = path.as_ref();
        if self.get(path).is_none() {
            return self.set(path, Value::Array(vec![value]));
        }
        let at = pointer(path);
        match self.object.expose_mut().pointer_mut(&at) {
            Some(Value::Array(items)) => items.push(value.clone()),
            _ => return Err(Refusal::field(path.join("."), "must be a list")),
        }
        self.patch.push(Op::Add { path: at + "/-", value });
        Ok(())
    }

    /// Takes away what is at `path`, if anything is.
    pub fn remove<'a>(&mut self, path: impl AsRef<[&'a str]>) {
        let path = path.as_ref();
        let Some((name, parents)) = path.split_last() else { return };
        let Some(Value::Object(parent)) = self.object.expose_mut().pointer_mut(&pointer(parents)) else {
            return;
        };
        if let Some(mut before) = parent.remove(*name) {
            wipe(&mut before);
            self.patch.push(Op::Remove { path: pointer(path) });
        }
    }

    /// The changes, in order.
    pub fn into_patch(self) -> Vec<Op> {
        self.patch
    }

    fn ensure_object(&mut self, path: &[&str]) -> Result<(), Refusal> {
        match self.object().pointer(&pointer(path)) {
            Some(Value::Object(_) | Value::Array(_)) => Ok(()),
            None | Some(Value::Null) => self.set(path, Value::Object(Map::new())),
            Some(_) => Err(Refusal::field(path.join("."), "must be an object")),
        }
    }

    fn object_at(&mut self, path: &[&str]) -> Result<&mut Map<String, Value>, Refusal> {
        match self.object.expose_mut().pointer_mut(&pointer(path)) {
            Some(Value::Object(fields)) => Ok(fields),
            _ => Err(Refusal::field(path.join("."), "must be an object")),
        }
    }
}

/// RFC 6901, section 3: `~` and `/` in a name are escaped.
fn pointer(path: &[&str]) -> String {
    path.iter().fold(String::new(), |mut at, name| {
        at.push('/');
        at.push_str(&name.replace('~', "~0").replace('/', "~1"));
        at
    })
}

#[cfg(test)]
mod tests;
