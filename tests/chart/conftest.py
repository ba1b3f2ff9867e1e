"""The real helm for the charts' tests."""

import pytest

from chart.charts import Helm, Objects, find_helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The helm command."""
    return Helm(find_helm(), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def rendered(helm: Helm) -> Objects:
    """The operator's chart with its defaults."""
    return helm.render()
