#!/bin/bash
# Install the Debian packages that the cluster and its build need, if missing:
# iptables and iproute2 for the pods' network, libseccomp, pkg-config and gcc
# for runc and the pause program, a static busybox for the image with a shell;
# ssh-keygen and jq, which people of the guides use.
set -euo pipefail

packages=(iptables iproute2 libseccomp-dev pkg-config gcc libc6-dev busybox-static openssh-client jq)

if ! command -v dpkg-query >/dev/null; then
  echo "This is no Debian: make sure that iptables, ip, gcc, pkg-config, libseccomp's headers, a static busybox, ssh-keygen and jq are there." >&2
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "Missing packages: ${missing[*]}. Run this as root, or install them with: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "==> installing Debian packages: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2
apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
