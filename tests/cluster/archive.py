"""Write a container image without any tool: a few files in one layer, in the form that `docker load` reads."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def pack(archive: Path, image: str, files: Mapping[str, Path], entrypoint: Sequence[str]) -> Path:
    """Write an image of nothing but some programs, by their paths in it; the archive appears whole or not at all."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    scratch = archive.with_name(f".{archive.name}.{os.getpid()}")
    layer = scratch.with_suffix(".layer")
    try:
        digest = _layer(layer, files)
        config = _config(digest, entrypoint)
        with tarfile.open(scratch, "w") as tar:
            name = hashlib.sha256(config).hexdigest()
            tar.add(layer, "layer.tar")
            _text(tar, f"{name}.json", config)
            _text(tar, "manifest.json", json.dumps([{"Config": f"{name}.json", "RepoTags": [image], "Layers": ["layer.tar"]}]).encode())
        scratch.replace(archive)
    finally:
        layer.unlink(missing_ok=True)
        scratch.unlink(missing_ok=True)
    return archive


def _layer(file: Path, files: Mapping[str, Path]) -> str:
    """Write the layer: the files, executable and root's, and a /tmp for everybody; its digest."""
    with tarfile.open(file, "w") as tar:
        for folder in sorted({"tmp", *(str(parent) for path in files for parent in Path(path.lstrip("/")).parents if parent.name)}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for path, source in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.mode, entry.size = 0o755, source.stat().st_size
            with source.open("rb") as content:
                tar.addfile(entry, content)
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _config(layer: str, entrypoint: Sequence[str]) -> bytes:
    return json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        },
        sort_keys=True,
    ).encode()


def _text(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def contents(archive: Path) -> dict[str, str]:
    """What images an archive of that form holds: the digest of every tag, read without reading the layers."""
    with tarfile.open(archive) as tar:
        listing = tar.extractfile("manifest.json")
        assert listing is not None, archive
        entries = json.load(listing)
    return {tag: Path(entry["Config"]).name.removesuffix(".json") for entry in entries for tag in entry["RepoTags"] or []}
