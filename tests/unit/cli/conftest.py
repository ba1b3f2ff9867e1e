"""A folder with a manifest in it, and a state folder beside it."""

from pathlib import Path

import pytest

from unit.cli.stored import write_manifest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAININGJOB_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "160")
    write_manifest(tmp_path)
    return tmp_path
