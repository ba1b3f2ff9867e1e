#!/usr/bin/env bash
# Makes a Debian base image without a registry: base.sh FOLDER SUITE FILE unpacks the suite in FOLDER and packs it as FILE.
set -euo pipefail
folder=$1 suite=$2 file=$3
clean() { rm -rf --one-file-system "$folder"; }
clean; trap clean EXIT
# What debootstrap mounts goes with it, however it ends.
unshare --mount debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$folder" >"$file.log" 2>&1 || { tail -n 20 "$file.log"; exit 1; }
# What no container reads, and what debootstrap takes from this machine. The packages' licences stay.
cd "$folder"
rm -rf etc/hostname etc/resolv.conf var/cache/* var/lib/apt/lists/* var/log/* usr/share/man usr/share/info usr/share/locale dev/*
find usr/share/doc -type f ! -name copyright -delete
find usr/share/doc -type d -empty -delete
tar --numeric-owner -cf "$file.new" .
mv "$file.new" "$file"
