"""`trainingjob predict`: answers of a trained model. Effects: a process of the trainer, which has torch; this program has not."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from trainingjob_api.contract.runtime import HASH_SEED, hash_seed
from trainingjob_cli.archive import credentials, read_history
from trainingjob_cli.context import DEBUGGING, Mistake, Namespace, StateDir, find, jobs_in, key_of
from trainingjob_operator.local import given
from trainingjob_operator.local.jobs import DIRECTORY_ANNOTATION

TRAINER = "trainingjob_trainer"

Model = Annotated[
    str, typer.Argument(metavar="NAME|MODEL", help="A finished local job, or a folder or URI of an exported model.", show_default=False)
]
Rows = Annotated[
    Path | None,
    typer.Option("--rows", metavar="FILE", help="The rows to answer for, as CSV or JSON lines; - is stdin.", show_default=False),
]

Output = Annotated[str, typer.Option("--output", help="table, or json: one object a line.")]
_OUTPUTS = ("table", "json")


def predict(
    model: Model, rows: Rows = None, output: Output = "table", namespace: Namespace = "default", state_dir: StateDir = None
) -> None:
    """Answer for given rows with a trained model."""
    if importlib.util.find_spec(TRAINER) is None:
        raise Mistake("predict needs the trainer beside this command: pip install trainingjob-trainer")
    if output not in _OUTPUTS:
        raise Mistake(f"--output {output}: must be {' or '.join(_OUTPUTS)}")
    if rows is not None and str(rows) != "-" and not rows.is_file():
        raise Mistake(f"--rows {rows}: there is no such file")
    if rows is None and sys.stdin.isatty():
        raise Mistake("predict: give --rows FILE (CSV or JSON lines), or rows on standard input")
    place, options, environ = _located(model, namespace, state_dir)
    environ["TRAININGJOB_IMPORT_PATH"] = ":".join(part for part in (environ.pop("PYTHONPATH", ""), str(Path.cwd())) if part)
    command = [sys.executable, "-Pm", f"{TRAINER}.predict", place, *options, "--rows", str(rows or "-"), "--output", output]
    if DEBUGGING.on:
        environ["TRAININGJOB_DEBUG"] = "1"
    raise typer.Exit(subprocess.run(command, env=environ, check=False).returncode)


def _located(model: str, namespace: str, state_dir: Path | None) -> tuple[str, list[str], dict[str, str]]:
    """Where the model is, the store's options, and the environment in which its task's class is found."""
    environ = dict(os.environ)
    if "/" in model or Path(model).is_dir():
        return model, [], environ
    jobs, key = jobs_in(state_dir), key_of(model, namespace)
    job, secrets = find(jobs, key), given.read(jobs.folder(key))
    storage = job.spec.checkpoint.storage
    environ |= credentials(storage, secrets)
    if job.status.model is None and read_history(storage, secrets).exported is None:
        raise Mistake(f"job {model} has no model yet: it is {job.status.phase or 'Pending'}; run it to its end first")
    directory = job.metadata.annotations.get(DIRECTORY_ANNOTATION, "")
    environ.setdefault(HASH_SEED, hash_seed(job.spec.training.seed))  # as in training: a vocabulary may be made from a set
    environ["PYTHONPATH"] = ":".join(part for part in (environ.get("PYTHONPATH", ""), directory) if part)
    place = (("--endpoint-url", storage.endpoint_url), ("--region", storage.region))
    return job.status.model or storage.uri, [word for name, value in place if value for word in (name, value)], environ
