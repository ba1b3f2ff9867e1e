"""What whole rings of tests need before their first test: built outside a test's time, and while the rings before it run (`make test`)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext

import pytest
from hypothesis import settings

import rings
from cluster import preflight
from local_job import ROOT
from turns import Turns

settings.register_profile("any machine", deadline=None)  # a property that takes its time on a busy machine still holds
settings.load_profile("any machine")

LOG = ROOT / "build" / "ready.log"
TURNS = pytest.StashKey[Turns]()
_made: set[str] = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --lanes."""
    parser.addoption("--lanes", action="store_true", help="run all rings, each lane of them in a process of its own")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads its own options
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Have pytest-xdist start a process for each lane, which runs all that it collects."""
    if config.option.lanes and not hasattr(config, "workerinput"):
        config.option.dist, config.option.tx = "each", [f"popen//id={lane}" for lane in rings.LANES]
        config.option.maxworkerrestart = "0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What has to be alone comes last: by then nothing is built any more."""
    items.sort(key=_is_alone)


def pytest_configure(config: pytest.Config) -> None:
    """A lane collects its own rings; the process that is none says what all of them took."""
    if lane := rings.lane_of(config):
        os.nice(rings.NICE.get(lane, 0))
        config.stash[TURNS] = Turns(LOG.parent)
        config.args = [str(ROOT / "tests" / folder) for folder in rings.folders(lane)]
    elif not hasattr(config, "workerinput"):
        config.pluginmanager.register(rings.Times(), "ring times")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Around the time limit of a test: a build, or another lane, may take longer than any test."""
    ring = rings.ring_of(item.path.relative_to(ROOT).as_posix())
    if ring and ring.needs and ring.needs not in _made:
        _made.add(ring.needs)
        if preflight.reason() is None:
            _make(ring.needs, item.config)
    with _turn(item, nextitem):
        return (yield)


def _turn(item: pytest.Item, nextitem: pytest.Item | None) -> AbstractContextManager[None]:
    """The lane's turn at the machine; without lanes nobody is to be waited for."""
    if not rings.lane_of(item.config) or item.get_closest_marker("steady"):
        return nullcontext()
    return item.config.stash[TURNS].turn(alone=_is_alone(item), keep=nextitem is not None and _is_alone(nextitem))


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _make(target: str, config: pytest.Config) -> None:
    """A build that fails is told by the tests that miss it; here the end of its log is shown."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("ab") as log:
        done = subprocess.run(["make", target], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    if done.returncode:
        capture = config.pluginmanager.get_plugin("capturemanager")
        assert capture is not None
        with capture.global_and_fixture_disabled():
            print(f"\n`make {target}` failed:\n{LOG.read_text()[-2000:]}", file=sys.stderr, flush=True)
