#!/bin/bash
# libFuzzer on every parser of outside bytes, FUZZ_SECONDS each (default 20), from the committed corpus. What it finds
# anew stays in target/fuzz/; a finding is left in target/fuzz/artifacts/ and ends the run.
#
# cargo-fuzz is built once for this machine and kept outside the checkout. No sanitizer: everything that is fuzzed is
# safe Rust, and without one the stable toolchain will do.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.13.2
if [ "$(id -u)" -eq 0 ]; then default=/var/cache; else default=$HOME/.cache; fi
tool=${XDG_CACHE_HOME:-$default}/coffer/cargo-fuzz-$version

if [ ! -x "$tool/bin/cargo-fuzz" ]; then
  echo "==> building cargo-fuzz $version (about a minute, once on this machine)" >&2
  build=$(mktemp -d)
  trap 'rm -rf "$build"' EXIT
  cargo install --quiet --locked --debug --version "$version" --root "$tool" --target-dir "$build" cargo-fuzz
fi

fuzz() {
  CARGO_TARGET_DIR=$PWD/target/fuzz/build "$tool/bin/cargo-fuzz" "$1" --fuzz-dir e2e/fuzz/libfuzzer --sanitizer none "${@:2}"
}

mkdir -p target/fuzz/artifacts
fuzz build
for target in e2e/fuzz/libfuzzer/targets/*.rs; do
  target=$(basename "$target" .rs)
  echo "==> $target" >&2
  mkdir -p "target/fuzz/corpus/$target"
  # The first folder takes what is new; the second is only read.
  fuzz run "$target" "target/fuzz/corpus/$target" "e2e/fuzz/corpus/$target" -- \
    "-max_total_time=${FUZZ_SECONDS:-20}" -rss_limit_mb=2048 -timeout=5 -print_final_stats=0 \
    "-artifact_prefix=target/fuzz/artifacts/$target-"
done
