//! A manifest that lies in Git, sealed again. Nothing in the cluster changes by it: that is for whoever applies it.

use std::{collections::BTreeMap, fs, path::Path};

use coffer_crds::Connection;
use serde_json::{Value, json};

use super::{
    Arguments,
    found::{Vaults, named, older_keys},
    sealed_again,
};
use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    home::unreadable,
    output::{self, Format},
};

/// Prints the manifest with its values sealed to the present key, if it says what the cluster has.
pub(super) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
    file: &Path,
) -> Result<(), Failure> {
    if desk.options.output == Format::Name {
        return Err(Failure::Usage(String::from("reseal -f prints a manifest: -o yaml or -o json")));
    }
    let text = read(desk, file)?;
    let manifest =
        Manifest::parse(&text).map_err(|problem| Failure::Usage(format!("{}: {problem}", file.display())))?;
    let name = &manifest.name;
    let namespace = manifest.namespace(desk.options.namespace.as_deref(), &cluster.namespace)?;
    let here = cluster.at(&namespace);
    let Some(live) = here.find::<Connection>(name).await? else {
        return Err(Failure::NotFound(format!(
            "there is no connection '{name}' in namespace '{namespace}', where the values are read: apply the manifest first"
        )));
    };
    manifest.is_of(&live)?;
    let mut vaults = Vaults::default();
    let believed = vaults.of(desk, &here, &live).await?;
    let present = believed.trusted.intake.kid();
    let older = older_keys(&manifest.sealed, present);
    if cluster.dry_run {
        let keys = if older.is_empty() { present.to_string() } else { named(&older) };
        return desk.say(&format!("Connection '{name}' is sealed to {keys}; the present key is {present}."));
    }
    if older.is_empty() {
        desk.note(&format!("Connection '{name}' is sealed to the present key, {present}, already."));
        return output::write(desk.answer, &text);
    }
    let sealed = sealed_again(desk, &here, arguments, believed, &live).await?;
    print(desk, &text, &manifest, &sealed)
}

fn read(desk: &mut Desk<'_>, file: &Path) -> Result<String, Failure> {
    let bytes = if file.as_os_str() == "-" {
        desk.person.standard_input().map(|typed| typed.expose().to_vec())
    } else {
        fs::read(file)
    };
    let bytes = bytes.map_err(|error| unreadable(file, &error))?;
    String::from_utf8(bytes).map_err(|_| Failure::Usage(format!("{}: is not UTF-8", file.display())))
}

/// With the same words wherever they can be kept, comments too: what changes in Git is what was sealed again.
fn print(
    desk: &mut Desk<'_>,
    text: &str,
    manifest: &Manifest,
    sealed: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let mut changed = manifest.value.clone();
    changed["spec"]["sealedData"] = json!(sealed);
    if desk.options.output == Format::Json {
        return output::value(Format::Json, &changed, desk.answer);
    }
    match exchanged(text, &manifest.sealed, sealed).filter(|text| parsed(text).is_ok_and(|it| it == changed))
    {
        Some(text) => output::write(desk.answer, &text),
        None => {
            desk.note("The manifest is written anew: its comments are not kept.");
            output::value(Format::Yaml, &changed, desk.answer)
        }
    }
}

/// The text with other values in place of those that are there; `None` where one is not written in one piece.
fn exchanged(
    text: &str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Option<String> {
    let mut text = text.to_owned();
    for (item, sealed) in before {
        if sealed.is_empty() || !text.contains(sealed.as_str()) {
            return None;
        }
        text = text.replace(sealed.as_str(), after.get(item)?);
    }
    Some(text)
}

fn parsed(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|at| format!(" (line {})", at.line())).unwrap_or_default();
        format!("is no YAML of one object{line}")
    })
}

/// The parts of a manifest that matter here.
struct Manifest {
    value: Value,
    name: String,
    namespace: Option<String>,
    owner: Option<String>,
    sealed: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads one Connection. What is wrong is told by field, without what stands there.
    fn parse(text: &str) -> Result<Self, String> {
        let value = parsed(text)?;
        let at = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(String::from);
        if at("/kind").as_deref() != Some("Connection") {
            return Err(String::from("kind: is no Connection; one Connection of coffer.dev is accepted"));
        }
        let name = at("/metadata/name").filter(|name| !name.is_empty());
        let name = name.ok_or("metadata.name: is missing; a Connection has one of its own")?;
        if value.pointer("/spec/stringData").is_some() {
            return Err(String::from(
                "spec.stringData: holds values in plain; spec.sealedData is accepted, as kubectl coffer seal makes it",
            ));
        }
        let sealed = value.pointer("/spec/sealedData").and_then(Value::as_object);
        let sealed = sealed.filter(|items| !items.is_empty()).ok_or(
            "spec.sealedData: is missing; accepted: sealed values by item, as kubectl coffer seal makes it",
        )?;
        let sealed = sealed.iter().map(|(item, value)| {
            let text = value.as_str().map(String::from);
            Ok((item.clone(), text.ok_or_else(|| format!("spec.sealedData[{item}]: is no text in base64"))?))
        });
        let sealed = sealed.collect::<Result<_, String>>()?;
        let (namespace, owner) = (at("/metadata/namespace"), at("/spec/owner"));
        Ok(Self { value, name, namespace, owner, sealed })
    }

    /// Where its Connection is.
    fn namespace(&self, asked: Option<&str>, here: &str) -> Result<String, Failure> {
        match (&self.namespace, asked) {
            (Some(said), Some(asked)) if said != asked => Err(Failure::Usage(format!(
                "metadata.namespace is '{said}', and --namespace says '{asked}': leave one of them out"
            ))),
            (Some(said), _) => Ok(said.clone()),
            (None, _) => Ok(here.to_owned()),
        }
    }

    /// Refuses one that says anything else than the cluster: its values would not be those that are printed.
    fn is_of(&self, live: &Connection) -> Result<(), Failure> {
        let name = &self.name;
        let owner = live.spec.owner.as_deref().unwrap_or_default();
        if let Some(said) = self.owner.as_deref().filter(|said| *said != owner) {
            return Err(Failure::Conflict(format!(
                "spec.owner of connection '{name}' is '{said}' in the manifest and '{owner}' in the cluster: what is sealed \
                 for one does not open for the other. Bring them in line first"
            )));
        }
        let there = &live.spec.sealed_data;
        let mut items: Vec<&str> = self.sealed.keys().chain(there.keys()).map(String::as_str).collect();
        items.sort_unstable();
        items.dedup();
        items.retain(|item| self.sealed.get(*item) != there.get(*item));
        if items.is_empty() {
            return Ok(());
        }
        Err(Failure::Conflict(format!(
            "spec.sealedData of connection '{name}' is not the same in the manifest and in the cluster (items: {}). Apply \
             the manifest and wait until it is Ready, or take over what the cluster has, and run it again",
            items.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "\
# Rotated by the platform team.
apiVersion: coffer.dev/v1alpha1
kind: Connection
metadata: {name: github, namespace: team}
spec:
  vault: {name: team}
  owner: alice
  sealedData:
    token: b2xkLXRva2Vu # the fleet's
    user: b2xkLXVzZXI=
";

    fn items(token: &str, user: &str) -> BTreeMap<String, String> {
        [("token", token), ("user", user)].map(|(item, text)| (item.to_owned(), text.to_owned())).into()
    }

    #[test]
    fn only_what_is_sealed_is_another_afterwards() -> Result<(), String> {
        let manifest = Manifest::parse(MANIFEST)?;
        assert_eq!((manifest.name.as_str(), manifest.namespace.as_deref()), ("github", Some("team")));
        let new = items("bmV3LXRva2Vu", "bmV3LXVzZXI=");
        let text = exchanged(MANIFEST, &manifest.sealed, &new).ok_or("all are in one piece")?;
        assert_eq!(
            text,
            MANIFEST.replace("b2xkLXRva2Vu", "bmV3LXRva2Vu").replace("b2xkLXVzZXI=", "bmV3LXVzZXI=")
        );
        assert_eq!(exchanged(MANIFEST, &items("b2xkLXRva2Vu", "ZWxzZQ=="), &new), None);
        Ok(())
    }

    #[test]
    fn what_is_no_sealed_connection_is_refused_by_field_and_not_repeated() {
        for (from, to, said) in [
            ("kind: Connection", "kind: Vault", "kind: is no Connection"),
            ("name: github, ", "", "metadata.name"),
            ("  sealedData:", "  stringData:", "spec.stringData: holds values in plain"),
            ("  sealedData:", "  other:", "spec.sealedData: is missing"),
            ("token: b2xkLXRva2Vu", "token: [b2xkLXRva2Vu]", "spec.sealedData[token]"),
            ("spec:", "spec: [", "is no YAML of one object"),
        ] {
            let problem = Manifest::parse(&MANIFEST.replace(from, to)).err().unwrap_or_default();
            assert!(problem.contains(said) && !problem.contains("b2xk"), "{to}: {problem}");
        }
    }
}
