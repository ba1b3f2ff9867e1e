"""What whole rings of tests need before their first test: built outside a test's time, and while the rings before it run (`make test`)."""

from __future__ import annotations

import subprocess
from collections.abc import Generator

import pytest
from hypothesis import settings

from cluster import preflight
from local_job import ROOT

settings.register_profile("any machine", deadline=None)  # a property that takes its time on a busy machine still holds
settings.load_profile("any machine")

NEEDS = {
    "chart": "cluster-tools",
    "integration": "cluster-tools",
    "e2e/cluster": "cluster",
    "e2e/soak": "cluster",
    "e2e/documents": "cluster",
}
"""Folder -> the target that must have been made."""
LOG = ROOT / "build" / "ready.log"
_made: set[str] = set()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around the time limit of a test: a build may take longer than any test."""
    folder = item.path.relative_to(ROOT / "tests").as_posix()
    for needed in {target for part, target in NEEDS.items() if folder.startswith(f"{part}/")} - _made:
        _made.add(needed)
        if preflight.reason() is None:
            _make(needed, item.config)
    return (yield)


def _make(target: str, config: pytest.Config) -> None:
    """A build that fails is told by the tests that miss it; here its log is named."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("ab") as log:
        done = subprocess.run(["make", target], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    if done.returncode:
        terminal = config.pluginmanager.get_plugin("terminalreporter")
        assert terminal is not None
        terminal.write_line(f"\n`make {target}` failed:\n{LOG.read_text()[-2000:]}")
