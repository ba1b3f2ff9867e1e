"""Reads a TrainingJob from a YAML file. Effect: reads that file, and nothing else.

YAML 1.2, as JSON means it: `1e-3` is a number, `yes` is a text, a key that is there twice is a mistake. Every mistake of the
user's is a ManifestError whose message names the place and the fix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from trainingjob_api.resource import API_VERSION, KIND, TrainingJob
from trainingjob_api.spec.errors import explain

MAX_BYTES = 1 << 20
"""A longer file is no manifest of ours."""


class _Constructor(SafeConstructor):
    """YAML's safe types, without times: they are texts to JSON."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_scalar)


class ManifestError(ValueError):
    """The manifest cannot be used; the message says where and why, one line for each mistake."""


def load(path: str | Path) -> TrainingJob:
    """Read the one TrainingJob in the file at `path`.

    Raises:
        ManifestError: when there is no such file, it is no YAML, or it is no TrainingJob that can work.
    """
    return parse(read(Path(path)), str(path))


def read(path: Path) -> str:
    """The file's text, or a ManifestError."""
    try:
        if path.is_dir():
            raise ManifestError(f"{path} is a folder; name the manifest in it")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ManifestError(f"{path} has {len(content)} bytes; a TrainingJob has at most {MAX_BYTES}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ManifestError(f"{path}, line {line}: is not UTF-8 text; save it as UTF-8") from None


def parse(text: str, source: str) -> TrainingJob:
    """The one TrainingJob in `text`; `source` names it in messages.

    Raises:
        ManifestError: as `load` does.
    """
    body = _one_document(text, source)
    _check_kind(body, source)
    try:
        return TrainingJob.model_validate(body)
    except ValidationError as error:
        lines = explain(error, TrainingJob)
    raise ManifestError("\n".join([f"{source} cannot be used:", *(f"  {line}" for line in lines)]))


def _one_document(text: str, source: str) -> dict[str, Any]:
    loader = YAML(typ="safe", pure=True)
    loader.Constructor = _Constructor
    try:
        documents = [document for document in loader.load_all(text) if document is not None]
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
    if not documents:
        raise ManifestError(f"{source} is empty; docs/api.md says what a TrainingJob looks like")
    if len(documents) > 1:
        raise ManifestError(f"{source} holds {len(documents)} documents; put each TrainingJob into a file of its own")
    if not isinstance(documents[0], dict):
        raise ManifestError(f"{source} holds no map of fields; it should begin with apiVersion: {API_VERSION}")
    return documents[0]


def _check_kind(body: dict[str, Any], source: str) -> None:
    for field, wanted in (("kind", KIND), ("apiVersion", API_VERSION)):
        if field not in body:
            raise ManifestError(f"{source}: {field} is missing; add {field}: {wanted}")
        if body[field] != wanted:
            raise ManifestError(f"{source}: {field} is {body[field]!r}; it must be {wanted}")


def _line(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return "" if mark is None else f", line {mark.line + 1}"


def _problem(error: MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem or error.context or "").split())
    if "'\\t'" in problem:
        return "a tab cannot indent; use spaces"
    return problem


def _duplicate(error: MarkedYAMLError) -> str:
    """The loader's `found duplicate key "a" with value …`, without the values."""
    words = str(error.problem).split(" with value", 1)[0]
    return words.replace("found duplicate key", "the key is there twice:")


def _code(error: ReaderError) -> int:
    return error.character if isinstance(error.character, int) else ord(error.character)
