"""The rings of tests/rings.py hold every test, and lanes take turns."""

from __future__ import annotations

import threading
import tomllib
from pathlib import Path

import pytest

import rings
from local_job import ROOT
from turns import Turns


def test_every_test_is_in_one_ring() -> None:
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    assert [file for file in files if sum(file.startswith(f"tests/{ring.folder}/") for ring in rings.RINGS) != 1] == []


def test_what_runs_without_lanes_is_what_runs_in_them() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert sorted(settings["testpaths"]) == sorted({f"tests/{ring.folder.split('/')[0]}" for ring in rings.RINGS})


def test_every_target_that_a_ring_needs_is_in_the_makefile() -> None:
    text = (ROOT / "Makefile").read_text() + (ROOT / "tests/cluster/cluster.mk").read_text()
    assert all(f"\n{ring.needs}:" in text for ring in rings.RINGS if ring.needs)


def test_contributing_has_the_budgets() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert [ring.folder for ring in rings.RINGS if f"| `{ring.folder}` | {ring.lane} |" not in text] == []
    assert [ring.folder for ring in rings.RINGS if f"| {ring.minutes} |" not in text.split(f"| `{ring.folder}` |")[1].splitlines()[0]] == []


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)], ids=["alone first", "alone second"])
def test_a_test_that_is_alone_runs_beside_no_other(tmp_path: Path, first: bool, second: bool) -> None:
    one, other = Turns(tmp_path), Turns(tmp_path)
    entered = threading.Event()

    def enter() -> None:
        with other.turn(alone=second):
            entered.set()

    waits = threading.Thread(target=enter)
    with one.turn(alone=first):
        waits.start()
        assert not entered.wait(0.2)
    assert entered.wait(60)
    waits.join()


def test_two_that_follow_each_other_let_nobody_between_them(tmp_path: Path) -> None:
    one, other = Turns(tmp_path), Turns(tmp_path)
    entered = threading.Event()

    def enter() -> None:
        with other.turn(alone=False):
            entered.set()

    waits = threading.Thread(target=enter)
    with one.turn(alone=True, keep=True):
        waits.start()
    with one.turn(alone=True):
        assert not entered.wait(0.2)
    assert entered.wait(60)
    waits.join()


def test_others_run_beside_each_other(tmp_path: Path) -> None:
    one, other = Turns(tmp_path), Turns(tmp_path)
    with one.turn(alone=False), other.turn(alone=False):
        pass


def test_the_time_of_a_ring_is_held_against_its_budget() -> None:
    ring = rings.Ring("unit", "rules", 8)
    slow, quick = rings.Spent(tests=2, began=60.0, ended=660.0), rings.Spent(tests=1, began=0.0, ended=30.0)
    assert [line.split() for line in rings.table([(ring, slow), (rings.Ring("chart", "jobs", 1), quick)], began=0.0)] == [
        ["ring", "lane", "tests", "began", "minutes", "budget"],
        ["chart", "jobs", "1", "0.0", "0.5", "1.0"],
        ["unit", "rules", "2", "1.0", "10.0", "8.0", "over"],
    ]
