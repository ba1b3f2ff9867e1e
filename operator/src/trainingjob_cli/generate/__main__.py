"""Writes what is generated: the CustomResourceDefinition, the API reference, the definition as a chart's template, the operator's rules.

`python -m trainingjob_cli.generate crds/trainingjob.yaml docs/api.md helm/trainingjob-crds/templates/trainingjob.yaml
helm/trainingjob-operator/templates/_rules.tpl`. Effect: writes the files it is told; the same models always give the same bytes.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from ruamel.yaml import YAML

from trainingjob_api.crd.definition import definition
from trainingjob_api.crd.reference import reference
from trainingjob_cli.generate.rules import rules_text

HEADER = "# Generated from the models in crds/src/trainingjob_api by `make generate`; do not edit.\n"
_CHART_METADATA = """\
  annotations:
    helm.sh/resource-policy: keep
  labels:
    {{- include "trainingjob-crds.labels" . | nindent 4 }}
"""
"""What the chart adds to the definition's metadata: `helm uninstall` leaves the definition, and with it every job, alone."""


def definition_text() -> str:
    """The CustomResourceDefinition as YAML."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None, read as a bool
    writer.representer.ignore_aliases = lambda data: True
    writer.width = 140
    stream = io.StringIO()
    writer.dump(definition(), stream)
    return HEADER + stream.getvalue()


def chart_text() -> str:
    """The CustomResourceDefinition as the template of its Helm chart."""
    name = f"  name: {definition()['metadata']['name']}\n"
    text = definition_text().replace("{{", '{{ "{{" }}')
    return text.replace(name, name + _CHART_METADATA, 1)


def main(arguments: list[str]) -> int:
    """Write the files; the exit code."""
    if len(arguments) not in (2, 3, 4):
        print("usage: python -m trainingjob_cli.generate DEFINITION.yaml REFERENCE.md [CHART_TEMPLATE.yaml [RULES.tpl]]", file=sys.stderr)
        return 2
    for path, text in zip(arguments, (definition_text(), reference(), chart_text(), rules_text()), strict=False):
        Path(path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
