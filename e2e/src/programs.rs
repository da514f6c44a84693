//! The programs that the cluster is made of, built from their pinned Go modules.
//!
//! Each module's programs are kept outside the checkout under a key made from
//! the module's files and the toolchain, so that a machine builds them once.

use crate::layout::{Layout, create_folder};
use crate::lock::Lock;
use crate::progress::{note, step};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// One program out of a module.
struct Program {
    /// The file it becomes, below the module's folder.
    file: &'static str,
    /// The package, or `.` for the module's own, or a C file.
    source: &'static str,
    /// Whether it is linked with C.
    cgo: bool,
    /// Build tags.
    tags: &'static str,
    /// Linker flags besides those that leave out symbols.
    link: &'static str,
}

/// A folder of `e2e/cluster/` and what is built from it.
struct Module {
    folder: &'static str,
    title: &'static str,
    programs: &'static [Program],
}

const PLAIN: Program = Program { file: "", source: ".", cgo: false, tags: "", link: "" };
const CONTAINERD_TAGS: &str = "no_btrfs,no_zfs,no_aufs,no_devmapper";

const MODULES: [Module; 6] = [
    Module {
        folder: "kube",
        title: "Kubernetes 1.37.2 and etcd (about 10 minutes, once on this machine)",
        programs: &[Program {
            file: "kube",
            link: "-X k8s.io/component-base/version.gitVersion=v1.37.2 \
                   -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 \
                   -X k8s.io/client-go/pkg/version.gitVersion=v1.37.2",
            ..PLAIN
        }],
    },
    Module {
        folder: "node",
        title: "containerd 2.4.2, runc and the CNI plugins (about 2 minutes)",
        programs: &[
            Program {
                file: "containerd",
                source: "github.com/containerd/containerd/v2/cmd/containerd",
                tags: CONTAINERD_TAGS,
                link: "-X github.com/containerd/containerd/v2/version.Version=2.4.2",
                ..PLAIN
            },
            Program {
                file: "containerd-shim-runc-v2",
                source: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                tags: CONTAINERD_TAGS,
                ..PLAIN
            },
            Program {
                file: "ctr",
                source: "github.com/containerd/containerd/v2/cmd/ctr",
                tags: CONTAINERD_TAGS,
                ..PLAIN
            },
            Program {
                file: "cni/host-local",
                source: "github.com/containernetworking/plugins/plugins/ipam/host-local",
                ..PLAIN
            },
            Program {
                file: "cni/bridge",
                source: "github.com/containernetworking/plugins/plugins/main/bridge",
                ..PLAIN
            },
            Program {
                file: "runc",
                source: "github.com/opencontainers/runc",
                cgo: true,
                tags: "netgo,osusergo,seccomp",
                ..PLAIN
            },
        ],
    },
    Module {
        folder: "helm",
        title: "Helm 4.3.1 (about 3 minutes)",
        programs: &[Program {
            file: "helm",
            source: "helm.sh/helm/v4/cmd/helm",
            link: "-X helm.sh/helm/v4/internal/version.version=v4.3.1",
            ..PLAIN
        }],
    },
    Module {
        folder: "coredns",
        title: "CoreDNS 1.15.0 (about 1 minute)",
        programs: &[Program { file: "coredns", ..PLAIN }],
    },
    Module {
        folder: "csi-sanity",
        title: "csi-sanity 5.6.0",
        programs: &[Program {
            file: "csi-sanity",
            source: "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity",
            ..PLAIN
        }],
    },
    Module {
        folder: "pause",
        title: "the pause program",
        programs: &[Program { file: "pause", source: "pause.c", ..PLAIN }],
    },
];

/// Where the built programs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    folders: BTreeMap<&'static str, PathBuf>,
}

impl Programs {
    /// Where they are or will be, for this checkout's modules and this machine's toolchain.
    ///
    /// # Errors
    /// If a module's files cannot be read, or there is no Go toolchain.
    pub fn locate(layout: &Layout) -> Result<Self> {
        let toolchain = std::process::Command::new("go")
            .args(["env", "GOVERSION", "GOARCH"])
            .env("GOTOOLCHAIN", "local")
            .output()
            .context("start go: the Go toolchain is needed, see README.md")?;
        let folders = MODULES
            .iter()
            .map(|module| {
                let key = key(&layout.sources().join(module.folder), module, &toolchain.stdout)?;
                Ok((module.folder, layout.cache().join(format!("{}-{key}", module.folder))))
            })
            .collect::<Result<_>>()?;
        Ok(Self { folders })
    }

    /// Build what is missing.
    ///
    /// # Errors
    /// If a build fails, with the compiler's last words.
    pub async fn ensure(layout: &Layout) -> Result<Self> {
        Self::ensure_some(layout, |_| true).await
    }

    /// Build what is missing of the modules whose folders are `wanted`.
    ///
    /// # Errors
    /// If a build fails, with the compiler's last words.
    pub async fn ensure_some(layout: &Layout, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let programs = Self::locate(layout)?;
        let missing =
            || MODULES.iter().filter(|it| wanted(it.folder) && !programs.folder(it.folder).exists());
        if missing().next().is_none() {
            return Ok(programs);
        }
        create_folder(layout.cache())?;
        let _alone =
            Lock::acquire(&layout.cache().join("lock"), "another build of the cluster's programs").await?;
        let missing: Vec<&Module> = missing().collect();
        for module in missing {
            step(&format!("building {}", module.title), programs.build(layout, module)).await?;
        }
        Ok(programs)
    }

    async fn build(&self, layout: &Layout, module: &Module) -> Result<()> {
        let folder = self.folder(module.folder);
        let draft = folder.with_extension("draft");
        if draft.exists() {
            fs::remove_dir_all(&draft).with_context(|| format!("remove {}", draft.display()))?;
        }
        for program in module.programs {
            let out = draft.join(program.file);
            create_folder(out.parent().unwrap_or(&draft))?;
            let source = layout.sources().join(module.folder);
            build(&source, program, &out).await.with_context(|| format!("build {}", program.file))?;
        }
        fs::rename(&draft, &folder).with_context(|| format!("keep {}", folder.display()))?;
        Ok(())
    }

    fn folder(&self, module: &str) -> PathBuf {
        self.folders.get(module).cloned().unwrap_or_default()
    }

    /// One binary with every part of Kubernetes.
    #[must_use]
    pub fn kube(&self) -> PathBuf {
        self.folder("kube").join("kube")
    }

    /// The folder of containerd, its shim and ctr.
    #[must_use]
    pub fn node(&self) -> PathBuf {
        self.folder("node")
    }

    /// containerd.
    #[must_use]
    pub fn containerd(&self) -> PathBuf {
        self.node().join("containerd")
    }

    /// containerd's own client, which imports images.
    #[must_use]
    pub fn ctr(&self) -> PathBuf {
        self.node().join("ctr")
    }

    /// runc.
    #[must_use]
    pub fn runc(&self) -> PathBuf {
        self.node().join("runc")
    }

    /// The folder of CNI plugins.
    #[must_use]
    pub fn cni(&self) -> PathBuf {
        self.node().join("cni")
    }

    /// Helm.
    #[must_use]
    pub fn helm(&self) -> PathBuf {
        self.folder("helm").join("helm")
    }

    /// CoreDNS.
    #[must_use]
    pub fn coredns(&self) -> PathBuf {
        self.folder("coredns").join("coredns")
    }

    /// The conformance tests for CSI drivers.
    #[must_use]
    pub fn csi_sanity(&self) -> PathBuf {
        self.folder("csi-sanity").join("csi-sanity")
    }

    /// The first process of each pod.
    #[must_use]
    pub fn pause(&self) -> PathBuf {
        self.folder("pause").join("pause")
    }

    /// One line that changes when any program does.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let names: Vec<_> = self.folders.values().filter_map(|folder| folder.file_name()?.to_str()).collect();
        names.join(" ")
    }
}

/// A short name for the module's files, how they are built, and what builds them.
fn key(source: &Path, module: &Module, toolchain: &[u8]) -> Result<String> {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(toolchain);
    let mut files: Vec<PathBuf> = fs::read_dir(source)
        .with_context(|| format!("look into {}", source.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.sort();
    for file in files {
        part(file.file_name().unwrap_or_default().as_encoded_bytes());
        part(&fs::read(&file).with_context(|| format!("read {}", file.display()))?);
    }
    for program in module.programs {
        for text in [program.file, program.source, program.tags, program.link] {
            part(text.as_bytes());
        }
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

async fn build(source: &Path, program: &Program, out: &Path) -> Result<()> {
    let mut command = if Path::new(program.source).extension().is_some_and(|extension| extension == "c") {
        let mut gcc = Command::new("gcc");
        gcc.args(["-static", "-O2", "-s", "-Wall", "-o"]).arg(out).arg(program.source);
        gcc
    } else {
        let mut go = Command::new("go");
        go.args(["build", "-trimpath", "-buildvcs=false", "-tags", program.tags])
            .arg("-ldflags")
            .arg(format!("-s -w {}", program.link).trim_end())
            .arg("-o")
            .arg(out)
            .arg(program.source)
            .env("CGO_ENABLED", if program.cgo { "1" } else { "0" })
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off");
        go
    };
    let output = command
        .current_dir(source)
        .stdin(Stdio::null())
        .output()
        .await
        .context("start the compiler: Go and gcc are needed, see README.md")?;
    if !output.status.success() {
        bail!("{}", last_lines(&String::from_utf8_lossy(&output.stderr), 30));
    }
    note(format!("built {}", program.file));
    Ok(())
}

/// The end of a long output.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_changed_module_file_or_toolchain_gives_another_key() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("go.mod"), "module one").unwrap();
        let module = &MODULES[0];
        let first = key(folder.path(), module, b"go1.26").unwrap();
        assert_eq!(first, key(folder.path(), module, b"go1.26").unwrap());
        assert_ne!(first, key(folder.path(), module, b"go1.27").unwrap());
        assert_ne!(first, key(folder.path(), &MODULES[1], b"go1.26").unwrap());
        fs::write(folder.path().join("go.mod"), "module two").unwrap();
        assert_ne!(first, key(folder.path(), module, b"go1.26").unwrap());
    }

    #[test]
    fn every_module_folder_is_in_the_checkout() {
        for module in &MODULES {
            assert!(Layout::new().sources().join(module.folder).is_dir(), "{}", module.folder);
        }
    }
}
