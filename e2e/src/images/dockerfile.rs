//! The description of the product's images: the `FROM scratch` stages of the `Dockerfile`.
//!
//! Users' builders and this harness read the same lines, so that the images
//! that are tested are those that are shipped.

use super::archive::{Entry, Image};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;

/// The images that a `Dockerfile` describes; what it copies out of its build stage's `/out` comes from `built`.
///
/// # Errors
/// If a stage says something this reader does not know, naming the line: an image must not differ silently.
pub fn images(dockerfile: &str, built: &Path, tag: &str) -> Result<Vec<Image>> {
    let mut images: Vec<Image> = Vec::new();
    let mut inside = false;
    for (number, line) in dockerfile.lines().enumerate() {
        let line = line.trim();
        let told = || format!("Dockerfile, line {}: {line}", number + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["FROM", "scratch", "AS", name] => {
                inside = true;
                images.push(Image {
                    name: format!("coffer.dev/{name}:{tag}"),
                    entrypoint: Vec::new(),
                    user: None,
                    labels: BTreeMap::new(),
                    entries: Vec::new(),
                });
            }
            ["FROM", ..] => inside = false,
            _ if !inside || line.is_empty() || line.starts_with('#') => {}
            ["COPY", "--from=build", source, path] => {
                let file = source.strip_prefix("/out/").with_context(told)?;
                let entry = Entry::File { path: (*path).to_owned(), source: built.join(file) };
                images.last_mut().with_context(told)?.entries.push(entry);
            }
            ["USER", user] => images.last_mut().with_context(told)?.user = Some((*user).to_owned()),
            ["LABEL", ..] => {
                let (name, value) = line.trim_start_matches("LABEL").split_once('=').with_context(told)?;
                let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                let value = value.with_context(told)?.to_owned();
                images.last_mut().with_context(told)?.labels.insert(name.trim().to_owned(), value);
            }
            ["ENTRYPOINT", ..] => {
                let json = line.trim_start_matches("ENTRYPOINT");
                images.last_mut().with_context(told)?.entrypoint =
                    serde_json::from_str(json).with_context(told)?;
            }
            _ => bail!("{}: not understood by the harness's image writer", told()),
        }
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::layout::Layout;

    /// T24: nothing but the program is in an image, so no credential is either.
    #[test]
    fn our_dockerfile_describes_one_image_per_server_with_nothing_but_its_program() {
        let text = std::fs::read_to_string(Layout::new().checkout().join("Dockerfile")).unwrap();
        let images = images(&text, Path::new("/built"), "0.1.0").unwrap();
        let names: Vec<_> = images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "coffer.dev/operator:0.1.0",
                "coffer.dev/webhook:0.1.0",
                "coffer.dev/broker:0.1.0",
                "coffer.dev/node:0.1.0"
            ]
        );
        for image in images {
            let short = image.name.trim_start_matches("coffer.dev/").trim_end_matches(":0.1.0").to_owned();
            assert_eq!(image.entrypoint, [format!("/coffer-{short}")]);
            assert_eq!(
                image.entries,
                [Entry::File {
                    path: format!("/coffer-{short}"),
                    source: Path::new("/built").join(format!("coffer-{short}"))
                }]
            );
            assert_eq!(image.labels["org.opencontainers.image.title"], format!("coffer-{short}"));
            assert_eq!(image.labels["org.opencontainers.image.licenses"], "Apache-2.0");
            // Only what mounts for pods is root.
            assert_eq!(image.user.as_deref(), Some(if short == "node" { "0:0" } else { "65532:65532" }));
        }
    }

    #[test]
    fn a_line_that_the_writer_does_not_know_is_an_error_and_not_left_out() {
        let error = images("FROM scratch AS one\nVOLUME /data\n", Path::new("/built"), "1").unwrap_err();
        assert!(error.to_string().contains("line 2: VOLUME /data"), "{error}");
    }
}
