"""Answers for given rows with an exported model: `python -m trainingjob_trainer.predict MODEL [--rows FILE]`. Effects: reads, and answers.

MODEL is a folder or URI that holds model.json and model.safetensors, or the storage of a job, whose newest export is taken.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from trainingjob_api.storage.entries import BadEntry, Export, parse_entry
from trainingjob_api.storage.layout import LOG_PREFIX, parse_log_key
from trainingjob_storage.errors import NotFound, StorageError
from trainingjob_storage.store import Store, open_store
from trainingjob_trainer.checks.imports import find_users_modules
from trainingjob_trainer.checks.mistakes import blame
from trainingjob_trainer.export import FORMAT, MODEL_FILE, WEIGHTS_FILE, ModelCard
from trainingjob_trainer.rows import read_rows
from trainingjob_trainer.task import Answer, Task, load_task

ROWS_AT_ONCE = 1024


class ModelError(ValueError):
    """There is no model, or it cannot be used; the message says why."""


@dataclass(frozen=True)
class Model:
    """An exported model, ready to answer."""

    card: ModelCard
    task: Task
    module: nn.Module

    def answer(self, rows: Sequence[Sequence[float]]) -> list[Answer]:
        """One answer a row; each row has the numbers that `task.columns()` names."""
        answers: list[Answer] = []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = torch.tensor(rows[start : start + ROWS_AT_ONCE], dtype=torch.float32)
            with _code_of(self.card.task):
                answers += self.task.predict(self.module, part)
        return answers


def open_model(store: Store) -> Model:
    """The model in `store`, or the newest export of the job whose storage it is.

    Raises:
        ModelError: there is none, it is damaged, or its task's class is not what it was made with.
        StorageError: the storage cannot be read.
    """
    try:
        folder, card = "", store.get(MODEL_FILE)
    except NotFound:
        folder = _newest_export(store)
        card = _get(store, folder + MODEL_FILE)
    known = _parse(card, store.uri)
    with _code_of(known.task):
        task = load_task(known.task, known.parameters)
        module = task.model()
    _load(module, _get(store, folder + WEIGHTS_FILE), known)
    return Model(known, task, module.eval())


@contextmanager
def _code_of(task: str) -> Iterator[None]:
    """Around the code of the class `task`: what it raises becomes one sentence with the place."""
    try:
        yield
    except Exception as error:
        raised = blame(error, task.partition(":")[0])
        if isinstance(error, ValueError) and not raised.where:
            raise  # the product's own word on the class
        raise ModelError(f"{task}: {raised.message}") from error


def _newest_export(store: Store) -> str:
    """The folder that the newest export entry of the job's log names."""
    numbered = [(seq, key) for key in store.list(LOG_PREFIX) if (seq := parse_log_key(key)) is not None]
    for seq, key in sorted(numbered, reverse=True):
        try:
            entry = parse_entry(store.get(key), seq)
        except BadEntry as error:
            raise ModelError(f"the log at {store.uri} is damaged: {error}") from None
        if isinstance(entry, Export):
            return entry.folder.rstrip("/") + "/"
    if numbered:
        raise ModelError(f"the job at {store.uri} has not exported a model yet: it does so when its training is done")
    raise ModelError(f"there is no model at {store.uri}: neither {MODEL_FILE} nor a job's log is there")


def _get(store: Store, key: str) -> bytes:
    try:
        return store.get(key)
    except NotFound:
        raise ModelError(f"there is no model at {store.uri}: {key} is missing") from None


def _parse(data: bytes, uri: str) -> ModelCard:
    try:
        card = ModelCard.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ModelError(
            f"{MODEL_FILE} at {uri} cannot be read: {'.'.join(map(str, first['loc']))} {first['msg']}".replace("  ", " ")
        ) from None
    if card.format != FORMAT:
        raise ModelError(f"{MODEL_FILE} at {uri} has the format {card.format!r}; this version reads {FORMAT!r}")
    return card


def _load(module: nn.Module, weights: bytes, card: ModelCard) -> None:
    if card.sha256 is not None and hashlib.sha256(weights).hexdigest() != card.sha256:
        raise ModelError(f"{WEIGHTS_FILE} is damaged: its checksum is not the one in {MODEL_FILE}")
    try:
        module.load_state_dict(load(weights))
    except SafetensorError as error:
        raise ModelError(f"{WEIGHTS_FILE} is damaged: {error}") from None
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise ModelError(f"the weights do not fit the model that {card.task} makes; has the class changed since? {detail}") from None


def as_table(answers: Sequence[Answer]) -> str:
    """The answers below their names, with the number of each row, from 1."""
    names = list(answers[0])
    lines = [["row", *names]]
    lines += [[str(number), *(_cell(answer[name]) for name in names)] for number, answer in enumerate(answers, start=1)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(names) + 1)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines) + "\n"


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _location(model: str) -> str:
    """A plain path as the URI that the store wants."""
    return model if "://" in model else Path(model).absolute().as_uri()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="predict", description="Answer for given rows with an exported model.")
    parser.add_argument("model", metavar="MODEL", help="folder or URI of an exported model, or of a job's storage")
    parser.add_argument("--rows", default="-", metavar="FILE", help="CSV (header optional) or JSON lines; - is standard input, the default")
    parser.add_argument("--output", choices=("table", "json"), default="table", help="json: one object a line")
    parser.add_argument("--endpoint-url", help="the S3 server, where it is not Amazon's")
    parser.add_argument("--region", help="the bucket's region")
    return parser


def run(arguments: Sequence[str], environ: Mapping[str, str], stdin: TextIO, stdout: TextIO) -> None:
    """Read, answer, write.

    Raises:
        ValueError: the model or the rows cannot be used; the message says what to mend.
        StorageError: the model cannot be read.
        OSError: the file of rows cannot be read.
    """
    chosen = _arguments().parse_args(arguments)
    model = open_model(open_store(_location(chosen.model), chosen.endpoint_url, chosen.region, environ))
    text = stdin.read() if chosen.rows == "-" else Path(chosen.rows).read_text(encoding="utf-8")
    with _code_of(model.card.task):
        columns = model.task.columns()
    answers = model.answer(read_rows(text, columns))
    stdout.write("".join(json.dumps(answer) + "\n" for answer in answers) if chosen.output == "json" else as_table(answers))


def main() -> int:
    """The program. Exit codes: 0 answered, 2 what was given cannot be used."""
    find_users_modules(os.environ.get("TRAININGJOB_IMPORT_PATH", ""))
    try:
        run(sys.argv[1:], os.environ, sys.stdin, sys.stdout)
    except UnicodeDecodeError:
        sys.stderr.write("trainingjob: the rows are not text in UTF-8\n")
    except OSError as error:
        sys.stderr.write(f"trainingjob: {error.filename or 'rows'}: {error.strerror or error}\n")
    except (ValueError, StorageError) as error:
        if os.environ.get("TRAININGJOB_DEBUG"):
            raise
        sys.stderr.write(f"trainingjob: {error}\n")
    else:
        return 0
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
