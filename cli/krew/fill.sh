#!/bin/bash
# Prints the krew manifest of a release: fill.sh VERSION HOMEPAGE DOWNLOADS FOLDER
#
# FOLDER holds kubectl-coffer_VERSION_linux_{amd64,arm64}.tar.gz as they are published below the address DOWNLOADS, each
# with kubectl-coffer and LICENSE in it. Try the result with: kubectl krew install --manifest=coffer.yaml
set -euo pipefail

[ $# = 4 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
version=$1 homepage=$2 downloads=$3 folder=$4

[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "VERSION: write 1.2.3, without a v" >&2; exit 2; }
for address in "$homepage" "$downloads"; do
  [[ $address =~ ^https://[A-Za-z0-9./_-]+$ ]] || { echo "$address: write an address that begins with https://" >&2; exit 2; }
done

sum() {
  local archive="$folder/kubectl-coffer_${version}_linux_$1.tar.gz" content
  content=$(tar -tzf "$archive")
  for file in kubectl-coffer LICENSE; do
    grep -qx "\(\./\)\?$file" <<<"$content" || { echo "$archive has no $file in it" >&2; return 1; }
  done
  sha256sum "$archive" | cut -d ' ' -f 1
}
amd64=$(sum amd64)
arm64=$(sum arm64)

sed -e '/^# /d' -e "s|{{VERSION}}|$version|g" -e "s|{{HOMEPAGE}}|$homepage|" -e "s|{{DOWNLOADS}}|$downloads|" \
  -e "s|{{SHA256_LINUX_AMD64}}|$amd64|" -e "s|{{SHA256_LINUX_ARM64}}|$arm64|" "$(dirname "$0")/coffer.yaml"
