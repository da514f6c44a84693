//! The writer: a description of an image becomes an archive of the format of `docker save`.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// One thing in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file that anyone may read and run.
    File {
        /// Absolute path in the image.
        path: String,
        /// The file on this machine.
        source: PathBuf,
    },
    /// A symbolic link.
    Link {
        /// Absolute path in the image.
        path: String,
        /// What it points to.
        target: String,
    },
    /// A folder; only needed for those that are empty or have other rights than `0755`.
    Folder {
        /// Absolute path in the image.
        path: String,
        /// Its rights.
        mode: u32,
    },
}

/// An image of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Name and tag.
    pub name: String,
    /// What runs.
    pub entrypoint: Vec<String>,
    /// As whom, `uid` or `uid:gid`; absent = root.
    pub user: Option<String>,
    /// What it says of itself.
    pub labels: BTreeMap<String, String>,
    /// What is in it.
    pub entries: Vec<Entry>,
}

impl Image {
    /// The SHA-256 of the image's configuration, which names its content: equal for equal images.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn digest(&self) -> Result<String> {
        Ok(hex_sha256(self.config(&self.layer_digest()?).as_bytes()))
    }

    /// Write the archive.
    ///
    /// # Errors
    /// If a file cannot be read, or the archive not be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let layer = self.layer_digest()?;
        let config = self.config(&layer);
        let config_file = format!("{}.json", hex_sha256(config.as_bytes()));
        let layer_file = format!("{layer}/layer.tar");
        let manifest = json!([{"Config": config_file, "RepoTags": [self.name], "Layers": [layer_file]}]);
        let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
        let mut archive = Builder::new(BufWriter::new(file));
        append(&mut archive, &config_file, config.as_bytes())?;
        // Twice through the layer instead of keeping it: an archive needs the length first.
        let mut header = file_header(&layer_file, self.layer_length()?)?;
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || self.layer(writer));
            header.set_cksum();
            archive.append(&header, reader).context("write the layer")?;
            writing.join().map_err(|_| anyhow::anyhow!("the layer's writer panicked"))?
        })?;
        append(&mut archive, "manifest.json", manifest.to_string().as_bytes())?;
        archive
            .into_inner()
            .context("end the archive")?
            .flush()
            .with_context(|| format!("write {}", path.display()))
    }

    fn config(&self, layer: &str) -> String {
        let mut run = json!({"Entrypoint": self.entrypoint, "Env": ["PATH=/bin:/usr/bin:/"]});
        if let Some(user) = &self.user {
            run["User"] = Value::from(user.as_str());
        }
        if !self.labels.is_empty() {
            run["Labels"] = json!(self.labels);
        }
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
            "history": [{"created": "2026-01-01T00:00:00Z"}],
        })
        .to_string()
    }

    fn layer_digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        self.layer(Sink(|bytes: &[u8]| hash.update(bytes)))?;
        Ok(hex(&hash.finalize()))
    }

    fn layer_length(&self) -> Result<u64> {
        let mut length = 0;
        self.layer(Sink(|bytes: &[u8]| length += bytes.len() as u64))?;
        Ok(length)
    }

    /// The layer's bytes: the same for the same content, whoever writes it and when.
    fn layer(&self, out: impl Write) -> Result<()> {
        let mut layer = Builder::new(out);
        let mut folders: Vec<String> = Vec::new();
        for entry in &self.entries {
            let path = match entry {
                Entry::File { path, .. } | Entry::Link { path, .. } | Entry::Folder { path, .. } => path,
            };
            for folder in parents(path) {
                if !folders.contains(&folder) {
                    append_folder(&mut layer, &folder, 0o755)?;
                    folders.push(folder);
                }
            }
            match entry {
                Entry::File { path, source } => {
                    let file = File::open(source).with_context(|| format!("open {}", source.display()))?;
                    let length =
                        file.metadata().with_context(|| format!("look at {}", source.display()))?.len();
                    let mut header = file_header(relative(path), length)?;
                    header.set_cksum();
                    layer
                        .append(&header, BufReader::new(file).take(length))
                        .with_context(|| format!("add {path}"))?;
                }
                Entry::Link { path, target } => {
                    let mut header = plain_header(0o777);
                    header.set_entry_type(EntryType::Symlink);
                    layer
                        .append_link(&mut header, relative(path), target)
                        .with_context(|| format!("add {path}"))?;
                }
                Entry::Folder { path, mode } => {
                    append_folder(&mut layer, path, *mode)?;
                    folders.push(path.clone());
                }
            }
        }
        layer.into_inner().context("end the layer")?.flush().context("end the layer")
    }
}

/// A writer that hands what it gets to a function.
struct Sink<F>(F);

impl<F: FnMut(&[u8])> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.0)(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The folders above a path, the highest first.
fn parents(path: &str) -> Vec<String> {
    let mut parents: Vec<String> = Path::new(path)
        .ancestors()
        .skip(1)
        .filter_map(|folder| folder.to_str())
        .filter(|folder| !matches!(*folder, "/" | ""))
        .map(str::to_owned)
        .collect();
    parents.reverse();
    parents
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn plain_header(mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn file_header(path: &str, length: u64) -> Result<Header> {
    let mut header = plain_header(0o755);
    header.set_entry_type(EntryType::Regular);
    header.set_size(length);
    header.set_path(path).with_context(|| format!("name {path}"))?;
    Ok(header)
}

fn append_folder(archive: &mut Builder<impl Write>, path: &str, mode: u32) -> Result<()> {
    let mut header = plain_header(mode);
    header.set_entry_type(EntryType::Directory);
    archive.append_data(&mut header, relative(path), std::io::empty()).with_context(|| format!("add {path}"))
}

fn append(archive: &mut Builder<impl Write>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = file_header(path, bytes.len() as u64)?;
    header.set_cksum();
    archive.append(&header, bytes).with_context(|| format!("add {path}"))
}

/// This machine's architecture as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The SHA-256 of bytes, in lower hex.
#[must_use]
pub fn hex_sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn sample(folder: &Path) -> Image {
        let source = folder.join("program");
        std::fs::write(&source, "binary").unwrap();
        Image {
            name: "coffer.dev/sample:1".into(),
            entrypoint: vec!["/opt/program".into()],
            user: Some("65532".into()),
            labels: BTreeMap::from([("org.opencontainers.image.title".into(), "a sample".into())]),
            entries: vec![
                Entry::Folder { path: "/tmp".into(), mode: 0o1777 },
                Entry::File { path: "/opt/program".into(), source },
                Entry::Link { path: "/opt/other".into(), target: "program".into() },
            ],
        }
    }

    #[test]
    fn an_archive_names_the_image_and_holds_its_layer_under_its_own_digest() {
        let folder = tempfile::tempdir().unwrap();
        let image = sample(folder.path());
        let path = folder.path().join("image.tar");
        image.write(&path).unwrap();

        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(File::open(&path).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(name, bytes);
        }
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "coffer.dev/sample:1");
        let config = &files[manifest[0]["Config"].as_str().unwrap()];
        assert_eq!(hex_sha256(config), image.digest().unwrap());
        let config: Value = serde_json::from_slice(config).unwrap();
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex_sha256(layer)));
        assert_eq!(config["config"]["User"], "65532");
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.title"], "a sample");

        let names: Vec<_> = tar::Archive::new(layer.as_slice())
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["tmp", "opt", "opt/program", "opt/other"]);
    }

    #[test]
    fn the_same_content_gives_the_same_digest_and_other_content_another() {
        let folder = tempfile::tempdir().unwrap();
        let image = sample(folder.path());
        let first = image.digest().unwrap();
        assert_eq!(first, image.digest().unwrap());
        std::fs::write(folder.path().join("program"), "changed").unwrap();
        assert_ne!(first, image.digest().unwrap());
    }
}
