#!/bin/bash
# Everything that needs no cluster. Ends at the first thing that is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

part() { echo "==> $*" >&2; }

part "format"
cargo fmt --all --check
unformatted=$(gofmt -l $(git ls-files -co --exclude-standard '*.go'))
[ -z "$unformatted" ] || { echo "gofmt: $unformatted" >&2; exit 1; }

part "lints"
cargo clippy --locked --workspace --all-targets -- -D warnings

part "unit, property and mock-API tests"
cargo test --locked --workspace --exclude e2e
cargo test --locked --package e2e --lib --bins

part "generated files are fresh"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
cargo run --quiet --locked --package coffer-crds --bin crdgen -- "$fresh"
cargo run --quiet --locked --package coffer-reference --bin referencegen -- "$fresh"
(cd "$fresh" && find . -type f) | while read -r file; do
  diff -u "$file" "$fresh/$file" || { echo "$file is not fresh: make generate" >&2; exit 1; }
done

part "the formats, opened by an independent implementation"
# The same flags as for the cluster's programs, so that Go's build cache serves both.
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' GOTOOLCHAIN=local
(cd keys/interop && go vet ./... && go run . verify ../vectors/*.json)

part "the chart"
cargo run --quiet --locked --package e2e --bin coffer-e2e -- build-programs --only helm
export HELM="$PWD/target/bin/helm"
"$HELM" lint --strict charts/coffer
# Helm reads the chart, not the test, so Go cannot tell whether a result is old.
for tests in policies certmanager; do
  (cd "charts/coffer/ci/$tests" && go vet ./... && go test -count=1 ./...)
done

part "the supply chain"
e2e/supply-chain.sh
