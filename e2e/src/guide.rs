//! Papers that are tests: each of their blocks is typed as it is written, by whom it says.
//!
//! A block is a fence of the language `console` below a comment that names who types it:
//!
//! ```text
//! <!-- as alice -->
//! ```

use crate::cluster::Cluster;
use crate::terminal::Person;
use crate::wait;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use std::fs;

/// Who types what.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    who: String,
    script: String,
}

/// Somebody whom the API server knows by this name, in these groups.
pub type Named<'a> = (&'a str, &'a [&'a str]);

/// Types every block of a page, in order; what they said together.
///
/// `people` are those who appear in it besides `admin`, the cluster's administrator. `namespaces` are those that it
/// makes: they are taken away before it begins, and after it has ended or failed.
///
/// # Errors
/// If a block fails, with all that was said before it; if nobody is named for one.
pub async fn follow(
    cluster: &Cluster,
    page: &str,
    people: &[Named<'_>],
    namespaces: &[&str],
) -> Result<String> {
    let text = fs::read_to_string(cluster.layout().checkout().join(page)).with_context(|| page.to_owned())?;
    let blocks = blocks(&text).with_context(|| page.to_owned())?;
    let mut present = vec![("admin", Person::admin(cluster)?)];
    for (name, groups) in people {
        present.push((name, Person::new(cluster, name, groups)?));
    }
    gone(cluster, namespaces).await?;
    let told = type_all(&blocks, &present).await;
    let left = gone(cluster, namespaces).await;
    told.and_then(|told| left.map(|()| told))
}

async fn type_all(blocks: &[Block], present: &[(&str, Person)]) -> Result<String> {
    let mut told = String::new();
    for Block { who, script } in blocks {
        let person = present.iter().find(|(name, _)| name == who);
        let (_, person) = person.with_context(|| format!("nobody here is '{who}'"))?;
        let said = person.done(script).await.with_context(|| format!("{who}, after: {told}"))?;
        told.push_str(&said);
    }
    Ok(told)
}

/// The page's blocks; each must say who types it.
fn blocks(page: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut parts = page.split("```console\n");
    let mut before = parts.next().unwrap_or_default();
    for part in parts {
        let (script, after) = part.split_once("```").context("a block does not end")?;
        let who = before.trim_end().rsplit_once("<!-- as ").and_then(|(_, rest)| rest.strip_suffix(" -->"));
        let who = who.with_context(|| format!("nobody is named for: {script}"))?;
        blocks.push(Block { who: who.to_owned(), script: script.to_owned() });
        before = after;
    }
    ensure!(!blocks.is_empty(), "there is no block");
    Ok(blocks)
}

/// Takes namespaces away, and waits until they are.
async fn gone(cluster: &Cluster, names: &[&str]) -> Result<()> {
    let client = cluster.client().await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for name in names {
        // Pods first and at once: a shell does not listen to SIGTERM and would be waited for.
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let pods: Api<Pod> = Api::namespaced(client.clone(), name);
        let _ = pods.delete_collection(&at_once, &ListParams::default()).await;
        let _ = namespaces.delete(name, &DeleteParams::default()).await;
        wait::absent(&namespaces, name, wait::SOON * 2).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(who: &str, script: &str) -> Block {
        Block { who: who.to_owned(), script: script.to_owned() }
    }

    #[test]
    fn a_page_is_read_into_who_types_what() {
        let page = "# A\n\n<!-- as alice -->\n```console\na\nb\n```\n\n```yaml\nx: y\n```\n<!-- as bob -->\n```console\nc\n```\n";
        assert_eq!(blocks(page).ok(), Some(vec![block("alice", "a\nb\n"), block("bob", "c\n")]));
    }

    #[test]
    fn a_block_that_nobody_is_named_for_and_a_page_without_any_are_refused() {
        let forgotten = "<!-- as alice -->\n```console\na\n```\n\n```console\nb\n```\n";
        assert!(blocks(forgotten).is_err_and(|error| error.to_string() == "nobody is named for: b\n"));
        assert!(blocks("# A\n").is_err());
        assert!(blocks("<!-- as alice -->\n```console\na\n").is_err());
    }
}
