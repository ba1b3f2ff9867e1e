"""Every value is documented, typed, and refused by its name where it is mistyped."""

import json
from typing import Any

import pytest

from chart import values_table
from chart.charts import OPERATOR, Helm, load

SCHEMA = json.loads((OPERATOR / "values.schema.json").read_text())
VALUES = load(OPERATOR / "values.yaml")
LEAVES = [".".join(path) for path in values_table.leaves(SCHEMA)]


def keys(found: dict[str, Any], schema: dict[str, Any], path: str = "") -> set[str]:
    """The paths of values.yaml down to where the schema leaves the keys open."""
    if not schema.get("properties") or path in values_table.WHOLE:
        return {path}
    start = f"{path}." if path else ""
    return set().union(*(keys(child, schema["properties"].get(name, {}), start + name) for name, child in found.items()))


def nested(path: str, value: Any) -> dict[str, Any]:
    """{"a": {"b": value}} of "a.b"."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def test_the_schema_knows_every_value_and_has_no_other():
    assert keys(VALUES, SCHEMA) == set(LEAVES)


@pytest.mark.parametrize("path", LEAVES)
def test_every_value_says_what_it_is_for(path: str):
    assert values_table.comments((OPERATOR / "values.yaml").read_text())[tuple(path.split("."))]


def test_the_readmes_table_is_current():
    assert values_table.table() in (OPERATOR / "README.md").read_text(), "run python tests/chart/values_table.py"


@pytest.mark.parametrize("path", [*LEAVES, "affinity.nodeAffinity", "resources.limits"])
def test_a_misspelt_key_is_refused_by_its_name(helm: Helm, path: str):
    misspelt = f"{path}X"

    assert f"'{misspelt.rpartition('.')[2]}' not allowed" in helm.refusal(nested(misspelt, "x"))


@pytest.mark.parametrize("path", LEAVES)
def test_a_value_of_the_wrong_type_is_refused_by_its_name(helm: Helm, path: str):
    assert f"at '/{path.replace('.', '/')}" in helm.refusal(nested(path, {"x": ["y"]}))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("config.rendezvousPort", 80),
        ("config.progressSeconds", -1),
        ("config.terminationGraceSeconds", 1.5),
        ("config.interface", "a-name-that-is-too-long"),
        ("image.repository", "ghcr.io/trainingjob/operator@sha256:00"),
        ("image.digest", "sha256:123"),
        ("trainerImage.tag", "with space"),
        ("logLevel", "verbose"),
        ("fullnameOverride", "Capital"),
        ("imagePullSecrets", ["registry"]),
        ("tolerations", [{"keyy": "a"}]),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_name(helm: Helm, path: str, value: Any):
    assert f"at '/{path.replace('.', '/')}" in helm.refusal(nested(path, value))


def test_the_chart_can_be_a_subchart(helm: Helm):
    assert helm.render({"global": {"team": "a"}}).all
