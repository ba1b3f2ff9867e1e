"""The table of words that the local reader is tested with is what kubectl itself says. No server is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from integration import programs
from unit.cli.scalars import READ, REFUSED

HEAD = "apiVersion: batch.trainingjob.dev/v1alpha1\nkind: TrainingJob\nmetadata: {name: table}\n"


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest) -> str | Path:
    """A kubectl: this machine's own, or the one that the tests of this ring have."""
    found = shutil.which("kubectl")
    if found is not None:
        return found
    tools: programs.Programs = request.getfixturevalue("tools")
    return tools.kubectl


def read(program: str | Path, text: str) -> subprocess.CompletedProcess[str]:
    """What kubectl would send to the API server."""
    command = [program, "annotate", "--local", "-f", "-", "read=yes", "-o", "json"]
    return subprocess.run(command, input=HEAD + text, capture_output=True, text=True, timeout=60, check=False)


def test_the_table_is_kubectls_own(program: str | Path) -> None:
    done = read(program, "".join(f"value{row}: {word}\n" for row, (word, _) in enumerate(READ)))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for row, (word, value) in enumerate(READ):
        assert (found[f"value{row}"], type(found[f"value{row}"])) == (value, type(value)), word


@pytest.mark.parametrize("word", REFUSED)
def test_kubectl_refuses_what_the_table_says(program: str | Path, word: str) -> None:
    assert read(program, f"value: {word}\n").returncode != 0
