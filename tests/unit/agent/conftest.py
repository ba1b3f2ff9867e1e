from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from unit.agent.scene import STAND_IN, Puppets, Rendezvous, Scene


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr("trainingjob_agent.process.slot.TRAINER", STAND_IN)
    rendezvous = Rendezvous()
    await rendezvous.start()
    with tempfile.TemporaryDirectory(prefix="strings") as short:  # a Unix socket's path is short
        async with Puppets(Path(short) / "socket").listening() as puppets:
            yield Scene(tmp_path, rendezvous, puppets)
    await rendezvous.stop()
