#!/bin/bash
# What deny.toml allows in the dependency tree, checked by cargo-deny, which is
# built once for this machine and kept outside the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
if [ "$(id -u)" -eq 0 ]; then default=/var/cache; else default=$HOME/.cache; fi
tool=${XDG_CACHE_HOME:-$default}/coffer/cargo-deny-$version

if [ ! -x "$tool/bin/cargo-deny" ]; then
  echo "==> building cargo-deny $version (about 2 minutes, once on this machine)" >&2
  build=$(mktemp -d)
  trap 'rm -rf "$build"' EXIT
  # Not optimised: it runs for two seconds and would build for eight minutes.
  cargo install --quiet --locked --debug --version "$version" --root "$tool" --target-dir "$build" cargo-deny
fi
# What the lock file names for other systems too: building brought only what this one needs.
cargo fetch --quiet --locked
# Offline: advisories are another job.
"$tool/bin/cargo-deny" --offline --locked check --hide-inclusion-graph bans licenses sources
