"""Writes what is generated from the models: the CustomResourceDefinition and the API reference. Effect: writes the files it is told.

`python -m trainingjob_cli.generate crds/trainingjob.yaml docs/api.md`; the same models always give the same bytes.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from ruamel.yaml import YAML

from trainingjob_api.crd.definition import definition
from trainingjob_api.crd.reference import reference

HEADER = "# Generated from the models in crds/src/trainingjob_api by `make generate`; do not edit.\n"


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


def main(arguments: list[str]) -> int:
    """Write both files; the exit code."""
    if len(arguments) != 2:
        print("usage: python -m trainingjob_cli.generate DEFINITION.yaml REFERENCE.md", file=sys.stderr)
        return 2
    for path, text in zip(arguments, (definition_text(), reference()), strict=True):
        Path(path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
