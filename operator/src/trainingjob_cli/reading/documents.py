"""Reads the documents of a YAML text as kubectl does. Pure.

One thing differs on purpose: a key that is in a map twice is refused, where kubectl drops the first without a word.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

from trainingjob_cli.reading.scalars import Scalar, meaning, plain

_PLAIN, _MERGE = Tag(suffix="tag:trainingjob.dev,2026:plain"), Tag(suffix="tag:yaml.org,2002:merge")
_STANDARD = "tag:yaml.org,2002:"


class ManifestError(ValueError):
    """The manifest cannot be used; the message says where and why, one line for each mistake."""


class _Resolver(VersionedResolver):
    """Leaves it to the constructor what an unquoted word means."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0]:
            return _MERGE if value == "<<" else _PLAIN
        return super().resolve(kind, value, implicit)


class _Constructor(SafeConstructor):
    """Makes what JSON has: maps with texts for keys, lists, texts, numbers, true, false and null."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise ConstructorError(None, None, "expected a map", node.start_mark)
        found: dict[str, Any] = {}
        own: set[str] = set()
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE.trval:
                found |= self._merged(value_node)  # what stands before it gives way, as with kubectl
                continue
            key = self._key(key_node)
            if key in own:
                raise DuplicateKeyError("while constructing a map", node.start_mark, f'found duplicate key "{key}"', key_node.start_mark)
            own.add(key)
            found[key] = self.construct_object(value_node, deep=deep)
        return found

    def _merged(self, node: Node) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in reversed(node.value if isinstance(node, SequenceNode) else [node]):
            found |= self.construct_mapping(part, deep=True)
        return found

    def _key(self, node: Node) -> str:
        value = self.construct_object(node, deep=True)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str | int | float):
            return str(value)
        raise ConstructorError(None, None, "a key is neither a text nor a number", node.start_mark)

    def plain(self, node: Any) -> Scalar:
        return meaning(str(self.construct_scalar(node)))

    def tagged(self, node: Any) -> Scalar:
        """A word whose type is said: !!int, !!float, !!bool or !!null."""
        value = meaning(str(self.construct_scalar(node)))
        kind = str(node.tag).removeprefix(_STANDARD)
        fits = {
            "int": isinstance(value, int) and not isinstance(value, bool),
            "float": isinstance(value, int | float) and not isinstance(value, bool),
            "bool": isinstance(value, bool),
            "null": value is None,
        }
        if not fits[kind]:
            raise ConstructorError(None, None, f"{node.value!r} is no !!{kind}", node.start_mark)
        return plain(value) if isinstance(value, float) else value

    def binary(self, node: Any) -> str:
        try:
            return base64.b64decode("".join(str(self.construct_scalar(node)).split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ConstructorError(None, None, "!!binary is no base64 of a text", node.start_mark) from None


_Constructor.add_constructor(_PLAIN.trval, _Constructor.plain)
_Constructor.add_constructor(f"{_STANDARD}timestamp", SafeConstructor.construct_scalar)
_Constructor.add_constructor(_MERGE.trval, SafeConstructor.construct_scalar)
_Constructor.add_constructor(f"{_STANDARD}binary", _Constructor.binary)
for _kind in ("int", "float", "bool", "null"):
    _Constructor.add_constructor(_STANDARD + _kind, _Constructor.tagged)


def documents(text: str, source: str) -> list[Any]:
    """Return the documents of `text`, without empty ones; `source` names it in messages.

    Raises:
        ManifestError: it is not YAML, or a key is in a map twice.
    """
    loader = YAML(typ="safe", pure=True)
    loader.Constructor, loader.Resolver = _Constructor, _Resolver
    try:
        return [document for document in loader.load_all(text) if document is not None]
    except DuplicateKeyError as error:
        raise ManifestError(f"{source}{_line(error)}: {_duplicate(error)}; keep one of them") from None
    except MarkedYAMLError as error:
        raise ManifestError(f"{source}{_line(error)}: is not YAML: {_problem(error)}") from None
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ManifestError(
            f"{source}, line {line}: holds the character U+{_code(error):04X}, which YAML does not allow; remove it"
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(f"{source}: is not YAML: {error}") from None


def _line(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return "" if mark is None else f", line {mark.line + 1}"


def _problem(error: MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem or error.context or "").split())
    if "'\\t'" in problem:
        return "a tab cannot indent; use spaces"
    return problem


def _duplicate(error: MarkedYAMLError) -> str:
    return str(error.problem).replace("found duplicate key", "the key is there twice:")


def _code(error: ReaderError) -> int:
    return error.character if isinstance(error.character, int) else ord(error.character)
