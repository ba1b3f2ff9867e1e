"""Builds the product's images from the working tree, and packs them for the nodes of a cluster.

An image is named for its content: what its Dockerfile copies, the base, and the build of torch. A second call with nothing changed
does nothing; of two calls at once one waits for the other. Beside each archive NAME.tar stands NAME.ref, the image's full reference.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from store import Store

HERE = Path(__file__).parent
TOP = HERE.parents[2]
SUITE = "bookworm"
DOCKERFILES = {"operator": "operator/Dockerfile", "trainer": "trainer_image/Dockerfile"}
REPOSITORY = "localhost/trainingjob"


@dataclass(frozen=True)
class Image:
    """One image to build: its files as they are now, and the name that follows from them."""

    name: str
    dockerfile: str
    files: dict[str, bytes]
    reference: str

    @classmethod
    def of(cls, name: str, also: str) -> Image:
        """The image `name`, whose content depends on its Dockerfile, on what that copies, and on `also`."""
        dockerfile = DOCKERFILES[name]
        files = {dockerfile: (TOP / dockerfile).read_bytes()}
        for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", files[dockerfile].decode(), re.MULTILINE):
            for source in sources.split():
                files |= _files(TOP / source)
        content = hashlib.sha256(also.encode())
        for path, data in sorted(files.items()):
            content.update(f"\n{path} {len(data)}\n".encode() + data)
        return cls(name, dockerfile, files, f"{REPOSITORY}/{name}:{content.hexdigest()[:12]}")

    def context(self, folder: Path) -> Path:
        """Write the files below `folder`, with one time for all: the layers depend on content alone."""
        for path, data in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            target.chmod(0o644)
            os.utime(target, (0, 0))
        return folder


def _files(source: Path) -> dict[str, bytes]:
    found = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(TOP)): path.read_bytes() for path in found}


class Builder:
    """The images in one folder of archives."""

    def __init__(self, folder: Path, wheels: Path | None) -> None:
        self._folder, self._wheels = folder, wheels
        self._store = Store(folder / "storage")
        recipe = f"{SUITE} {(HERE / 'base.sh').read_text()}"
        self._base = f"{REPOSITORY}/base:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
        builds = sorted(wheel.name for wheel in wheels.glob("torch-*.whl")) if wheels else []
        self._torch = hashlib.sha256(" ".join(builds).encode()).hexdigest()[:12] if builds else ""

    def build(self, name: str) -> bool:
        """Build and pack the image `name` if it is not there; whether it was not."""
        # The nodes' GPUs are only numbers, and this build of torch is for CPUs: it is not to look for any.
        environ = {"CUDA_VISIBLE_DEVICES": "-1"} if name == "trainer" and self._torch else {}
        also = [self._base, self._torch, *map("=".join, environ.items())] if name == "trainer" else [self._base]
        image = Image.of(name, " ".join(also))
        archive, reference = self._folder / f"{name}.tar", self._folder / f"{name}.ref"
        if archive.is_file() and reference.is_file() and reference.read_text().strip() == image.reference:
            print(f"{image.reference} is there")
            return False
        began = time.monotonic()
        self._store.prepare()
        if not self._store.has(self._base):
            self._make_base()
        print(f"building {image.reference} ...", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            context = image.context(Path(scratch) / "context")
            # By itself first, and tagged: an untagged layer would be pruned, and the next edit of the code would be slow.
            plain = f"{REPOSITORY}/{name}-plain:latest" if environ else image.reference
            for target, tag in (("dependencies", f"{REPOSITORY}/{name}-dependencies:latest"), (None, plain)):
                self._store.build(context, image.dockerfile, tag, target, self._arguments(), self._mounts(Path(scratch)))
        if environ:
            self._store.set(plain, environ, image.reference)
        built = time.monotonic()
        reference.unlink(missing_ok=True)
        self._store.save(image.reference, archive)
        reference.write_text(image.reference + "\n")
        packed = f"{archive.stat().st_size >> 20} MiB packed in {time.monotonic() - built:.0f} s"
        print(f"{image.reference}: built in {built - began:.0f} s, {packed}", flush=True)
        return True

    def prune(self) -> None:
        """Forget every image but the present ones and the layers they stand on."""
        current = {file.read_text().strip() for file in self._folder.glob("*.ref")} | {self._base}
        self._store.prune(lambda tag: tag in current or tag.endswith(":latest"))

    def _make_base(self) -> None:
        print(f"making {self._base} of Debian {SUITE}, once ...", flush=True)
        file = self._folder / "base.tar"
        subprocess.run([HERE / "base.sh", self._folder / "base", SUITE, file], check=True)
        self._store.from_files(file, self._base)
        file.unlink()

    def _arguments(self) -> dict[str, str]:
        # The folder's name tells one build of torch from another: it is part of what the layer is remembered by.
        return {"BASE_IMAGE": self._base} | ({"TORCH_FIND_LINKS": f"/mnt/torch-{self._torch}"} if self._torch else {})

    def _mounts(self, scratch: Path) -> dict[str, str]:
        """What a RUN sees of this machine, by its place inside: how pip reaches its index, a build of torch, and a data set."""
        mounts = _pip(scratch)
        if self._torch:
            mounts[f"/mnt/torch-{self._torch}"] = str(self._wheels)
        data = subprocess.run([TOP / "tests/tools/fashion_mnist.sh"], check=True, capture_output=True, text=True).stdout.strip()
        inside = "/usr/share/datasets/fashion-mnist"
        notice = "/usr/share/doc/dataset-fashion-mnist"
        return mounts | {inside: data, notice: data.removesuffix(inside) + notice}


def _pip(scratch: Path) -> dict[str, str]:
    """This machine's own way to the package index, for the length of a RUN."""
    wanted = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries", "cert")
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    # The environment's settings are listed last, and win.
    settings = {key: value for key, value in re.findall(r"^.*\.([a-z-]+)='(.*)'$", listed, re.MULTILINE) if key in wanted}
    certificates = settings.pop("cert", "/etc/ssl/certs/ca-certificates.crt")
    mounts = {}
    if Path(certificates).is_file():
        settings["cert"] = "/mnt/certificates.pem"
        mounts[settings["cert"]] = certificates
    config = scratch / "pip.conf"
    config.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    return mounts | {"/etc/pip.conf": str(config)}


def main() -> int:
    """Build what is asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="the archives go to CACHE/images")
    parser.add_argument("--wheels", type=Path, help="a folder with a CPU build of torch")
    parser.add_argument("names", nargs="*", default=list(DOCKERFILES))
    told = parser.parse_args()
    folder = told.cache.resolve() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        builder = Builder(folder, told.wheels.resolve() if told.wheels else None)
        built = [builder.build(name) for name in told.names]
        if any(built):
            builder.prune()
    return 0


if __name__ == "__main__":
    sys.exit(main())
