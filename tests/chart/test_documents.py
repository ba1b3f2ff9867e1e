"""The values that docs/installing.md shows are values that the chart takes."""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml import YAML

from chart.charts import OPERATOR, ROOT, Helm, load

KEYS = set(load(OPERATOR / "values.yaml"))


def shown() -> list[dict[str, Any]]:
    """The YAML blocks that are values, and no objects."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/installing.md").read_text(), re.DOTALL | re.MULTILINE)
    return [values for block in blocks if "apiVersion" not in (values := next(YAML(typ="safe").load_all(block)))]


def test_every_block_of_values_is_taken(helm: Helm):
    assert len(shown()) == 3
    for values in shown():
        assert values.keys() <= KEYS
        assert helm.render(values).all


def test_the_values_for_owners_of_namespaces_leave_no_object_of_the_clusters(helm: Helm):
    last = shown()[-1]

    assert {each["metadata"].get("namespace") for each in helm.render(last).all} == {*last["watchNamespaces"], "trainingjob-system"}


def test_every_value_that_the_page_names_is_one():
    text = (ROOT / "docs/installing.md").read_text().partition("## Values that matter")[2].partition("## No cluster at hand")[0]
    named = {word.split(".")[0] for word in re.findall(r"`([a-z]\w+(?:\.\w+)+)`", text)}

    assert {"admissionPolicies", "config", "serviceMonitor"} <= named & KEYS
    assert named - KEYS <= {"spec", "status", "values", "template", "checkpoint"}
