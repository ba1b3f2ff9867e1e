"""The `trainingjob` command: its commands by name. Effects are in the commands' own modules."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from trainingjob_cli import control, inspect, planned, predict, run
from trainingjob_cli.context import DEBUGGING, guarded

app = typer.Typer(
    name="trainingjob",
    help="Train on this machine, through failures, with the manifest that a cluster takes.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    run.run,
    planned.plan,
    inspect.get,
    inspect.describe,
    inspect.logs,
    inspect.checkpoints,
    control.rollback,
    control.suspend,
    control.resume,
    control.delete,
    predict.predict,
):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"trainingjob {metadata.version('trainingjob-operator')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a mistake.")]


@app.callback()
def options(debug: Debug = False, version: Version = False) -> None:
    """Train on this machine, through failures, with the manifest that a cluster takes."""
    DEBUGGING.on = debug


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    return guarded(lambda: app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="trainingjob"))


if __name__ == "__main__":
    sys.exit(main())
