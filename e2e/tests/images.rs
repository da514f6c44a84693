//! What is in the images that the cluster runs, as its container runtime has them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Result;
use e2e::images;
use e2e::install::{self, TAG};
use serde_json::{Value, json};

/// Every file of an archive, with its header.
fn files(archive: impl Read) -> BTreeMap<String, (tar::Header, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let (name, mut bytes) = (entry.path().unwrap().display().to_string(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        (name, (entry.header().clone(), bytes))
    });
    entries.collect()
}

/// An image's configuration, and what is in its only layer.
fn opened(archive: &Path) -> (Value, BTreeMap<String, (tar::Header, Vec<u8>)>) {
    let saved = files(File::open(archive).unwrap());
    let manifest: Value = serde_json::from_slice(&saved["manifest.json"].1).unwrap();
    let blob = |name: &Value| saved[name.as_str().unwrap()].1.as_slice();
    let layers = manifest[0]["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1, "{manifest}");
    (serde_json::from_slice(blob(&manifest[0]["Config"])).unwrap(), files(blob(&layers[0])))
}

/// Whether a program asks for a loader (ELF-64, a program header of type `PT_INTERP`).
fn is_dynamic(program: &[u8]) -> bool {
    assert_eq!(program[..5], [0x7f, b'E', b'L', b'F', 2]);
    let number = |at: usize| usize::from(u16::from_le_bytes([program[at], program[at + 1]]));
    let start = usize::try_from(u64::from_le_bytes(program[0x20..0x28].try_into().unwrap())).unwrap();
    let (size, count) = (number(0x36), number(0x38));
    (0..count).any(|index| program[start + index * size..][..4] == [3, 0, 0, 0])
}

/// Whether there is a private key in PEM: the words alone are in every program that reads such keys.
fn holds_private_key(program: &[u8]) -> bool {
    const HEAD: &[u8] = b"PRIVATE KEY-----\n";
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let starts = program.windows(HEAD.len()).enumerate().filter(|(_, window)| *window == HEAD);
    starts
        .map(|(at, _)| &program[at + HEAD.len()..])
        .any(|rest| rest.iter().take(40).filter(|byte| is_base64(byte)).count() == 40)
}

/// T24, T23: no shell, no second program, no credential; nothing that gives more rights than the pod has.
#[tokio::test]
async fn an_image_is_one_static_program_without_special_rights_and_nothing_else() -> Result<()> {
    let cluster = install::installed().await?;
    let folder = tempfile::tempdir()?;
    for (name, user) in
        [("operator", "65532:65532"), ("webhook", "65532:65532"), ("broker", "65532:65532"), ("node", "0:0")]
    {
        let archive = folder.path().join(format!("{name}.tar"));
        images::export(&cluster, &format!("coffer.dev/{name}:{TAG}"), &archive).await?;
        let (config, content) = opened(&archive);
        let program = format!("coffer-{name}");
        assert_eq!(content.keys().collect::<Vec<_>>(), [&program]);
        let (header, bytes) = &content[&program];
        assert!(header.entry_type().is_file(), "{program}");
        let mode = header.mode()?;
        assert_eq!(mode & 0o7022, 0, "{program} is setuid, setgid or anybody's to write: {mode:o}");
        assert_eq!((header.uid()?, header.gid()?), (0, 0), "{program} could be changed by whom it runs as");
        assert!(!is_dynamic(bytes), "{program} needs a loader and libraries");
        assert!(!holds_private_key(bytes), "{program}");
        assert!(bytes.len() < 25 << 20, "{program} has {} MiB", bytes.len() >> 20);

        let run = &config["config"];
        assert_eq!(run["Entrypoint"], json!([format!("/{program}")]));
        assert_eq!(run["User"], user, "only what mounts for pods is root");
        let environment: Vec<_> = run["Env"].as_array().into_iter().flatten().collect();
        assert!(environment.iter().all(|one| one.as_str().unwrap().starts_with("PATH=")), "{environment:?}");
        for nothing in ["Cmd", "Volumes", "ExposedPorts"] {
            assert!(run[nothing].is_null(), "{nothing}: {run}");
        }
        let labels = &run["Labels"];
        assert_eq!(labels["org.opencontainers.image.title"], program);
        assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
        std::fs::remove_file(&archive)?;
    }
    Ok(())
}
