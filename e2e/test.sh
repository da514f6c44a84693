#!/bin/bash
# The end-to-end tests: brings the cluster up and takes it down, unless it was
# up before; on failure keeps a dump in target/e2e-dumps/.
set -euo pipefail
cd "$(dirname "$0")/.."

harness() { cargo run --quiet --locked --package e2e --bin coffer-e2e -- "$@"; }

was_up=no
if harness status >/dev/null 2>&1; then was_up=yes; fi

finish() {
  status=$?
  if [ "$status" -ne 0 ]; then
    echo "==> failed; objects, events and logs are in: $(harness dump whole-cluster || echo 'no dump')" >&2
  fi
  if [ "$was_up" = no ]; then harness down || status=1; fi
  exit "$status"
}
trap finish EXIT

harness install
export COFFER_E2E_AS_INSTALLED=1
# Tests wait more than they work, so more of them run at once than there are cores.
cargo test --locked --package e2e --no-fail-fast --test '*' -- --test-threads 4
