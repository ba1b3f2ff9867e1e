from __future__ import annotations

from collections.abc import Iterator

import pytest

from unit.trainer.processes import Zygote


@pytest.fixture(scope="session", autouse=True)
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    made = Zygote(tmp_path_factory.mktemp("trainees"))
    yield made
    made.close()
