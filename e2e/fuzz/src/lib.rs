//! T44: every parser of outside bytes, as a function of bytes that must not panic, with a committed corpus.
//!
//! Two things drive the same functions: `make check` replays the corpus and mutates it a bounded number of times from
//! a fixed seed (`tests/replay.rs`, stable toolchain); `make fuzz` lets libFuzzer look for new paths by coverage
//! (`libfuzzer/`, nightly toolchain and cargo-fuzz). Whatever either finds becomes a file of the corpus and a unit test
//! beside the parser.

mod admission;
mod doors;
mod formats;
mod specs;
mod wire;

/// One parser, or a few that read the same bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is also its folder in `corpus/` and its binary in `libfuzzer/`.
    pub name: &'static str,
    /// Reads any bytes. A panic is a finding.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 21] = [
    Target { name: "key_texts", run: formats::key_texts },
    Target { name: "key_file", run: formats::key_file },
    Target { name: "typed_files", run: coffer_cli::parsers::read_all },
    Target { name: "sealed_input", run: formats::sealed_input },
    Target { name: "envelope", run: formats::envelope },
    Target { name: "keyring", run: formats::keyring },
    Target { name: "custody", run: formats::custody },
    Target { name: "admission_review", run: admission::review },
    Target { name: "pod_annotations", run: admission::pod_annotations },
    Target { name: "admit_pod", run: |data| drop(doors::pod(data)) },
    Target { name: "admit_vault", run: |data| drop(doors::vault(data)) },
    Target { name: "admit_vault_member", run: |data| drop(doors::vault_member(data)) },
    Target { name: "admit_access_token", run: |data| drop(doors::access_token(data)) },
    Target { name: "admit_restored", run: |data| drop(doors::restored(data)) },
    Target { name: "specs", run: specs::specs },
    Target { name: "short_forms", run: specs::short_forms },
    Target { name: "release_request", run: wire::release_request },
    Target { name: "released", run: wire::released },
    Target { name: "people_answer", run: wire::people_answer },
    Target { name: "csi_volume", run: wire::csi_volume },
    Target { name: "pod_token", run: wire::pod_token },
];

/// The target of that name, for `libfuzzer/`.
///
/// # Panics
/// When there is none: a target without its function is a mistake in `libfuzzer/`.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("libfuzzer/ names a target of TARGETS").run)(data);
}
