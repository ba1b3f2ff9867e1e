"""What `--output` chooses between, and objects as JSON and YAML. Pure."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from trainingjob_api.resource import GROUP, SINGULAR
from trainingjob_cli.reading.scalars import meaning


class Output(StrEnum):
    """The forms of what `get` prints."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class Form(StrEnum):
    """The forms of what the other commands print."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class Objects(StrEnum):
    """The forms of what `plan` prints."""

    YAML = "yaml"
    JSON = "json"
    NAME = "name"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="What to print: a table, or for programs.")]
FormOption = Annotated[Form, typer.Option("--output", "-o", help="What to print: a table, or for programs.")]
ObjectsOption = Annotated[Objects, typer.Option("--output", "-o", help="What to print: the objects, or their names.")]


def resource_name(name: str) -> str:
    """Return how `kubectl get -o name` calls a TrainingJob."""
    return f"{SINGULAR}.{GROUP}/{name}"


def as_list(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several objects as one, as kubectl does."""
    return {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": list(items)}


def as_json(value: Any) -> str:
    """Return a value as JSON that people can read, with a line's end."""
    return json.dumps(value, indent=4, ensure_ascii=False) + "\n"


class _Representer(SafeRepresenter):
    """Puts a text in quotes where kubectl would read another thing."""

    def text(self, value: str) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=None if isinstance(meaning(value), str) else "'")


_Representer.add_representer(str, _Representer.text)


def as_yaml(manifests: Sequence[Any], *, begun: bool = True) -> str:
    """Return YAML documents. With `begun`, each begins with a line of dashes."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.representer.ignore_aliases = lambda _: True  # the same map twice is written twice: anchors are hard to read
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # kind and name first, as people write them
    out = io.StringIO()
    for manifest in manifests:
        out.write("---\n" if begun else "")
        yaml.dump(manifest, out)
    return out.getvalue()
