"""Whose doing an exception is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainingjob_trainer.checks.imports import import_task
from trainingjob_trainer.checks.mistakes import blame


def raising(module: str, code: str) -> BaseException:
    """The exception that `code` raises, as if it stood in `module`."""
    names: dict[str, Any] = {"__name__": module, "torch": torch}
    with pytest.raises(Exception) as caught:
        exec(compile(code, f"/opt/task/{module.replace('.', '/')}.py", "exec"), names)
    return caught.value


def test_the_users_code_is_named_with_its_line() -> None:
    found = blame(raising("mine.model", "def loss():\n    return {}['a']\nloss()"), "mine.task")
    assert found.message == "KeyError: 'a' (model.py:2, in loss)"
    assert found.where == "model.py:2 KeyError"


def test_the_line_is_the_users_though_a_library_raised() -> None:
    found = blame(raising("spirals", "def loss():\n    return torch.ones(2) @ torch.ones(3)\nloss()"), "spirals")
    assert found.message.endswith("(spirals.py:2, in loss)")
    assert found.where == "spirals.py:2 RuntimeError"


def test_words_of_several_lines_become_one() -> None:
    assert blame(raising("mine", "raise ValueError('a\\n  b')"), "mine").message.startswith("ValueError: a b (mine.py:1")


@pytest.mark.parametrize("code", ["open('/nowhere/at/all')", "raise MemoryError", "raise torch.OutOfMemoryError('CUDA')"])
def test_what_the_machine_may_have_done_is_named_and_not_blamed(code: str) -> None:
    found = blame(raising("mine", code), "mine")
    assert "mine.py:1" in found.message
    assert found.where == ""


@pytest.mark.parametrize(
    ("module", "task"), [("json", "mine"), ("trainingjob_trainer.loop", "trainingjob_trainer.tasks.digits"), ("m", "")]
)
def test_what_is_not_of_the_users_code_is_nobodys(module: str, task: str) -> None:
    assert blame(raising(module, "1 / 0"), task).where == ""


def test_the_tasks_that_come_along_count_as_the_users() -> None:
    found = blame(raising("trainingjob_trainer.tasks.digits", "1 / 0"), "trainingjob_trainer.tasks.iris")
    assert found.where == "digits.py:1 ZeroDivisionError"


def test_standard_error_is_a_whole_stream_while_a_task_is_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    words = "import sys\nsys.stderr.reconfigure(line_buffering=True)\nsys.stderr.buffer.write(b'')\n"
    (tmp_path / "whole_stream.py").write_text(words)
    assert import_task("whole_stream").__name__ == "whole_stream"
