"""Why a program ended, read from what it printed; and what is kept of lines that are drawn over."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainingjob_agent.process.output import CAP_BYTES, Console, LifeLog
from trainingjob_agent.process.reason import find

TRACEBACK = """Traceback (most recent call last):
  File "/home/me/train.py", line 12, in main
    raise ValueError("the third label is not there")
  File "/usr/lib/python3.11/json/decoder.py", line 340, in decode
    raise JSONDecodeError(s)
ValueError: the third label is not there"""


def read(text: str) -> str:
    return find([line for line in text.splitlines() if line.strip()])


def run(code: str, tmp_path: Path, *arguments: str) -> str:
    """What a real interpreter prints of a program's end, read."""
    (tmp_path / "train.py").write_text(code)
    ended = subprocess.run([sys.executable, "train.py", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    return read(ended.stdout + ended.stderr)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import atexit\natexit.register(print, 'wandb: synced')\nraise ValueError('x')", "ValueError: x (train.py, line 3)"),
        ("def main():\n    raise KeyError('lr')\nmain()", "KeyError: 'lr' (train.py, line 2, in main)"),
        ("try:\n    1 / 0\nexcept Exception as e:\n    raise RuntimeError('batch 7') from e", "RuntimeError: batch 7 (train.py, line 4)"),
        ("try:\n    1 / 0\nexcept Exception:\n    raise RuntimeError('batch 8')", "RuntimeError: batch 8 (train.py, line 4)"),
        ("import json\njson.loads('{')", "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: "),
        ("x = = 3", "SyntaxError: invalid syntax (train.py, line 1)"),
        (
            "try:\n    raise ValueError('one of them')\nexcept ValueError as e:\n    raise ExceptionGroup('all', [e])",
            "ValueError: one of them (train.py, line 2)",
        ),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (train.py, line 1)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (train.py, line 1)"),
        ("import sys; sys.exit('RuntimeError: once')", "RuntimeError: once"),
        ("import atexit\natexit.register(lambda: 1 / 0)\nraise ValueError('first')", "ValueError: first (train.py, line 3)"),
    ],
)
def test_the_exception_is_the_reason_whatever_is_printed_around_it(tmp_path: Path, code: str, said: str) -> None:
    assert run(code, tmp_path).startswith(said)


def test_the_place_of_a_library_frame_is_the_line_that_called_it(tmp_path: Path) -> None:
    assert run("import json\ndef load():\n    json.loads('{')\nload()", tmp_path).endswith("(train.py, line 3, in load)")


def test_a_long_exception_leaves_room_for_its_place(tmp_path: Path) -> None:
    said = run("raise ValueError('x' * 1000)", tmp_path)
    assert (said.startswith("ValueError: xxx"), said.endswith("x… (train.py, line 1)"), len(said.encode()) <= 160) == (True, True, True)


def test_a_thread_that_died_earlier_is_not_the_reason(tmp_path: Path) -> None:
    code = "import threading, sys\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()\nsys.exit('no data in /data')"
    assert run(code, tmp_path) == "no data in /data"


def test_a_refusal_of_argparse_comes_before_what_is_printed_after_it(tmp_path: Path) -> None:
    code = """import argparse, atexit
atexit.register(print, "bye")
parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.parse_args()"""
    assert run(code, tmp_path) == "train.py: error: the following arguments are required: --data"


def test_torchs_prefix_and_colours_are_no_part_of_the_exception() -> None:
    prefixed = "\n".join(f"[rank1]: {line}" for line in TRACEBACK.splitlines())
    assert read(f"\x1b[31m{prefixed}\x1b[0m\nsynced") == "ValueError: the third label is not there (train.py, line 12, in main)"


def test_below_torchrun_the_process_s_exception_is_the_reason_not_torchrun_s() -> None:
    launcher = """Traceback (most recent call last):
  File "/usr/bin/torchrun", line 8, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED"""
    assert read(f"{TRACEBACK}\n{launcher}") == "ValueError: the third label is not there (train.py, line 12, in main)"
    assert read(launcher).startswith("torch.distributed.elastic.multiprocessing.errors.ChildFailedError")


@pytest.mark.parametrize(
    ("text", "said"), [("", ""), ("loss 0.3\nloss 0.2", "loss 0.2"), ("Traceback (most recent call last):\n  cut", "cut")]
)
def test_without_an_exception_the_last_line_is_told(text: str, said: str) -> None:
    assert read(text) == said


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[LifeLog]:
    console = Console(io.BytesIO())
    log = LifeLog(tmp_path / "0.0.log", "", console, clock)
    yield log
    log.close()
    console.close()


def kept(log: LifeLog) -> list[str]:
    return log.path.read_text().splitlines()


def test_a_progress_bar_is_kept_line_by_line_about_once_a_second(log: LifeLog, clock: Clock) -> None:
    for percent in range(0, 101, 4):
        log.feed(f"\r{percent:3d}%|bar".encode())
        clock.now += 0.125
    assert kept(log) == ["  0%|bar", " 32%|bar", " 64%|bar", " 96%|bar"]
    log.feed(b"\n")
    assert kept(log)[4:] == ["100%|bar"]


def test_a_bar_that_ends_without_a_line_s_end_is_kept_as_it_was_last(log: LifeLog) -> None:
    log.feed(b"\r  0%\r 50%\r 99%")
    log.feed(b"\r100%")
    log.finish()
    assert kept(log) == [" 99%", "100%"]


def test_lines_of_windows_and_lines_that_come_in_pieces_stay_whole(log: LifeLog) -> None:
    log.feed(b"one\r\ntw")
    log.feed(b"o\n\nthree")
    log.finish()
    assert kept(log) == ["one", "two", "", "three"]


def test_the_end_of_a_line_that_was_shown_already_adds_none(log: LifeLog) -> None:
    log.feed(b"\r100%")
    log.feed(b"\nnext\n")
    assert kept(log) == ["100%", "next"]


def test_bars_of_several_lines_are_kept_without_the_moves_of_the_cursor(log: LifeLog) -> None:
    log.feed(b"\router 1%\n\rinner 5%\x1b[A\router 2%\n")
    assert kept(log) == ["outer 1%", "outer 2%"]


def test_a_state_without_end_is_bounded(log: LifeLog) -> None:
    log.feed(b"\r" + b"x" * (1 << 17))
    log.feed(b"\r" + b"y" * (1 << 17))
    assert sum(map(len, kept(log))) <= CAP_BYTES
    assert len(kept(log)) == 2
