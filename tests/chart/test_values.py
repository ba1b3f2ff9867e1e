"""Every value is documented, typed, and refused by its name where it is mistyped."""

import json
from collections.abc import Iterator
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


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object that a schema describes, at any depth."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for child in schema.values():
            yield from objects(child)


def test_no_object_of_the_schema_takes_keys_that_it_does_not_know():
    open_ones = [each for each in objects(SCHEMA) if each.get("additionalProperties", True) is True]

    assert open_ones == [SCHEMA["properties"]["global"]], "that one is helm's own"
    assert all(each["additionalProperties"] is False or "properties" not in each for each in objects(SCHEMA) if each not in open_ones)


def test_the_schema_knows_every_value_and_has_no_other():
    assert keys(VALUES, SCHEMA) == set(LEAVES)


@pytest.mark.parametrize("path", LEAVES)
def test_every_value_says_what_it_is_for(path: str):
    assert values_table.comments((OPERATOR / "values.yaml").read_text())[tuple(path.split("."))]


def test_the_readmes_table_is_current():
    assert values_table.table() in (OPERATOR / "README.md").read_text(), "run make generate"


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
        ("config.leaseSeconds", 2),
        ("config.interface", "a-name-that-is-too-long"),
        ("image.repository", "ghcr.io/trainingjob/operator@sha256:00"),
        ("image.digest", "sha256:123"),
        ("trainerImage.tag", "with space"),
        ("logLevel", "verbose"),
        ("fullnameOverride", "Capital"),
        ("imagePullSecrets", ["registry"]),
        ("tolerations", [{"keyy": "a"}]),
        ("topologySpreadConstraints", [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "Never"}]),
        ("affinity.nodeAffinity", {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerm": []}}),
        ("affinity.podAntiAffinity", {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0}]}),
        ("extraEnv", [{"name": "A", "valueFrom": {"secretKeyReff": {"name": "a", "key": "b"}}}]),
        ("replicas", -1),
        ("serviceMonitor.interval", "30 seconds"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_name(helm: Helm, path: str, value: Any):
    assert f"at '/{path.replace('.', '/')}" in helm.refusal(nested(path, value))


def test_the_chart_can_be_a_subchart(helm: Helm):
    assert helm.render({"global": {"team": "a"}}).all
