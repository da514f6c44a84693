//! The krew manifest is one that krew takes, and names what is really there.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// The fields of krew's `Plugin`, `v1alpha2` (krew's docs, "Plugin manifest"): unknown ones are refused by it.
const SPEC: [&str; 6] = ["version", "homepage", "shortDescription", "description", "caveats", "platforms"];
const PLATFORM: [&str; 5] = ["selector", "uri", "sha256", "bin", "files"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("krew")
}

fn archive(folder: &Path, arch: &str, files: &[&str]) {
    for file in files {
        fs::write(folder.join(file), arch).unwrap();
    }
    let name = format!("kubectl-coffer_1.2.3_linux_{arch}.tar.gz");
    let status =
        Command::new("tar").arg("-czf").arg(folder.join(name)).arg("-C").arg(folder).args(files).status();
    assert!(status.unwrap().success());
}

fn filled(version: &str, archives: &Path) -> Output {
    let addresses = ["https://example.org/coffer", "https://example.org/coffer/v1.2.3"];
    let mut fill = Command::new(folder().join("fill.sh"));
    fill.arg(version).args(addresses).arg(archives).output().unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_filled_manifest_has_krews_form_and_the_archives_sums() {
    let archives = tempfile::tempdir().unwrap();
    for arch in ["amd64", "arm64"] {
        archive(archives.path(), arch, &["kubectl-coffer", "LICENSE"]);
    }
    let output = filled("1.2.3", archives.path());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("{{"), "{text}");
    let manifest: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(manifest["kind"], "Plugin");
    // The program is found by kubectl as kubectl-<name>.
    assert_eq!(manifest["metadata"]["name"], "coffer");
    let spec = &manifest["spec"];
    assert!(keys(spec).iter().all(|key| SPEC.contains(key)), "{:?}", keys(spec));
    assert_eq!(spec["version"], "v1.2.3");
    let short = spec["shortDescription"].as_str().unwrap();
    assert!(short.len() <= 50 && !short.ends_with('.') && !short.contains("kubectl"), "{short}");
    let platforms = spec["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for (platform, arch) in platforms.iter().zip(["amd64", "arm64"]) {
        assert!(keys(platform).iter().all(|key| PLATFORM.contains(key)), "{:?}", keys(platform));
        let labels = &platform["selector"]["matchLabels"];
        assert_eq!((labels["os"].as_str(), labels["arch"].as_str()), (Some("linux"), Some(arch)));
        let name = format!("kubectl-coffer_1.2.3_linux_{arch}.tar.gz");
        assert_eq!(platform["uri"], format!("https://example.org/coffer/v1.2.3/{name}"));
        let sum = Command::new("sha256sum").arg(archives.path().join(name)).output().unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        assert_eq!(platform["sha256"].as_str(), sum.split(' ').next());
        let files = platform["files"].as_array().unwrap();
        assert!(files.iter().any(|file| file["from"] == platform["bin"] && file["to"] == "."));
        // krew installs nothing without a licence.
        assert!(files.iter().any(|file| file["from"] == "LICENSE"));
    }
}

#[test]
fn a_version_or_an_archive_that_is_wrong_is_refused() {
    let archives = tempfile::tempdir().unwrap();
    archive(archives.path(), "amd64", &["kubectl-coffer", "LICENSE"]);
    let said = |output: Output| (output.status.success(), String::from_utf8(output.stderr).unwrap());
    let (done, text) = said(filled("v1.2.3", archives.path()));
    assert!(!done && text.contains("without a v"), "{text}");
    assert!(!said(filled("1.2.3", archives.path())).0, "one archive is missing");
    archive(archives.path(), "arm64", &["kubectl-coffer"]);
    let (done, text) = said(filled("1.2.3", archives.path()));
    assert!(!done && text.contains("has no LICENSE"), "{text}");
}
