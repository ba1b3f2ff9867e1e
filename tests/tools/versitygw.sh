#!/usr/bin/env bash
# Builds versitygw, the S3 server that the storage tests talk to, once into the cache, and prints the binary's path.
# Safe to run twice, and twice at once: the finished folder appears by one rename.
# The binary is static, so that it is an image by itself.
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

go=$("$(dirname "$0")/go.sh")
CGO_ENABLED=0 GOBIN=$scratch/bin "$go" install "github.com/versity/versitygw/cmd/versitygw@$version" >&2
mv -T "$scratch/bin" "$target" 2>/dev/null || [ -x "$target/versitygw" ]
printf '%s\n' "$target/versitygw"
