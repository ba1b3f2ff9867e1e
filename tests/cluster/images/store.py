"""Where images are made and kept: buildah, with a storage of its own. Effect: runs buildah."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

PACKAGES = ["buildah", "debootstrap"]


class Store:
    """The images in one folder, apart from those of the machine's user."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder.with_suffix(".log")

    def prepare(self) -> None:
        """See that the tools are there; they are installed only where that was agreed to. Begins a new log."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log.write_text("")
        if os.geteuid():
            sys.exit("The images are built as root: debootstrap and buildah unpack files of many owners.")
        if all(map(shutil.which, PACKAGES)):
            return
        install = ["install", "-yq", "--no-install-recommends", *PACKAGES]
        agreed = os.environ.get("TRAININGJOB_CLUSTER_CONSENT") == "yes" or os.environ.get("CI") == "true"
        if not (agreed and shutil.which("apt-get")):
            needed = f"{' and '.join(PACKAGES)} are needed. Set TRAININGJOB_CLUSTER_CONSENT=yes, or install them:"
            sys.exit(f"{needed}\n  apt-get {' '.join(install)}")
        for command in (["update", "-q"], install):
            subprocess.run(["apt-get", "-o", "DPkg::Lock::Timeout=600", *command], check=True, stdout=sys.stderr)

    def has(self, reference: str) -> bool:
        """Is there an image of this name?"""
        return reference in self._tags()

    def build(
        self, context: Path, dockerfile: str, tag: str, target: str | None, arguments: dict[str, str], mounts: dict[str, str]
    ) -> None:
        """Build an image of `context`. Chroot and the host's network: neither a container runtime nor a bridge is needed."""
        options = ["--isolation", "chroot", "--network", "host", "--layers"]
        options += [option for name, value in arguments.items() for option in ("--build-arg", f"{name}={value}")]
        options += [option for inside, here in mounts.items() for option in ("--volume", f"{here}:{inside}:ro")]
        options += ["--target", target] if target else []
        self._buildah("build", *options, "--file", str(context / dockerfile), "--tag", tag, str(context))

    def set(self, plain: str, environ: dict[str, str], tag: str) -> None:
        """Make an image of another and some variables. A build's own --env is lost where its steps come from the cache."""
        container = self._buildah("from", plain).strip()
        self._buildah("config", *(option for name, value in environ.items() for option in ("--env", f"{name}={value}")), container)
        self._buildah("commit", "--quiet", "--rm", container, tag)

    def from_files(self, file: Path, tag: str) -> None:
        """Make an image of one tar file."""
        container = self._buildah("from", "scratch").strip()
        self._buildah("add", container, str(file), "/")
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self._buildah("config", "--env", path, "--cmd", "python3", container)
        self._buildah("commit", "--quiet", "--rm", container, tag)

    def save(self, reference: str, archive: Path) -> None:
        """Pack an image as a file that containerd and docker load. The file is there whole or not at all."""
        new = archive.with_suffix(".new")
        new.unlink(missing_ok=True)
        self._buildah("push", "--quiet", reference, f"docker-archive:{new}:{reference}")
        new.rename(archive)

    def prune(self, kept: Callable[[str], bool]) -> None:
        """Remove every named image that is not `kept`, what a build that was cut left, and every layer that no named image stands on."""
        self._buildah("rm", "--all")
        for tag in self._tags():
            if not kept(tag):
                self._buildah("rmi", tag)
        self._buildah("rmi", "--prune")

    def _tags(self) -> set[str]:
        return {tag for image in json.loads(self._buildah("images", "--json")) or [] for tag in image["names"] or []}

    @cached_property
    def _driver(self) -> str:
        """Overlay; where the file system does not carry it (a container's own, say), whole copies."""
        storage = ["--root", str(self._folder), "--runroot", str(self._folder / "run")]
        tried = subprocess.run(["buildah", *storage, "--storage-driver", "overlay", "info"], capture_output=True, check=False)
        return "vfs" if tried.returncode else "overlay"

    def _buildah(self, *arguments: str) -> str:
        """What buildah answers. What it tells of its work goes to the log; of a build that is all."""
        storage = ["--root", str(self._folder), "--runroot", str(self._folder / "run"), "--storage-driver", self._driver]
        with self._log.open("a") as log:
            log.write(f"\n$ buildah {' '.join(arguments)}\n")
            log.flush()
            out = log if arguments[0] == "build" else subprocess.PIPE
            done = subprocess.run(["buildah", *storage, *arguments], stdout=out, stderr=log, text=True, check=False)
        if done.returncode:
            last = self._log.read_text(errors="replace").splitlines()[-30:]
            sys.exit("\n".join([*last, f"buildah's exit code is {done.returncode}; all of its work is told in {self._log}"]))
        return done.stdout or ""
