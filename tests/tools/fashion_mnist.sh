#!/usr/bin/env bash
# Puts Debian's dataset-fashion-mnist where the tests find it, and prints that folder. Runs again for nothing.
set -euo pipefail
installed=/usr/share/datasets/fashion-mnist
cached="${TRAININGJOB_CACHE:-$HOME/.cache/trainingjob}/fashion-mnist"
if [ -d "$installed" ]; then echo "$installed"; exit 0; fi
if [ -d "$cached$installed" ]; then echo "$cached$installed"; exit 0; fi
command -v apt-get >/dev/null || { echo "Fashion-MNIST is Debian's package dataset-fashion-mnist; this is not Debian" >&2; exit 1; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
# Only the package's files are wanted, so nothing is installed into the system; the package lists may be missing on a fresh machine.
apt-get download -q dataset-fashion-mnist >&2 2>/dev/null || { apt-get update -q >&2; apt-get download -q dataset-fashion-mnist >&2; }
dpkg -x dataset-fashion-mnist_*.deb files
mkdir -p "$(dirname "$cached")"
rm -rf "$cached"; mv files "$cached"
echo "$cached$installed"
