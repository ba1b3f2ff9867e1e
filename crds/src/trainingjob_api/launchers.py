"""Launchers that a script's command may be, and how they go together with several workers. Pure.

torchrun reads PET_* from its environment, where the agent puts what makes all workers one job. Others know nothing of it: each would
train by itself, without a word. They are refused with the line to write instead; so is a torchrun that is told otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TORCHRUN = "torchrun"
_MODULES = {
    "torch.distributed.run": TORCHRUN,
    "torch.distributed.launch": TORCHRUN,
    "accelerate.commands.launch": "accelerate launch",
    "accelerate.commands.accelerate_cli": "accelerate launch",
    "deepspeed.launcher.runner": "deepspeed",
}
_PROGRAMS = {"torchrun": TORCHRUN, "accelerate-launch": "accelerate launch", "deepspeed": "deepspeed", "deepspeed.pt": "deepspeed"}
_BEFORE_A_PROGRAM = ("env", "exec", "nice", "nohup", "time", "stdbuf", "uv", "run")
_SHELLS = ("sh", "bash", "dash", "zsh")
_PYTHON = re.compile(r"python[\d.]*$")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_COMMANDS_OF_A_SHELL = re.compile(r"&&|\|\||[;|&\n()]")
_ALONE = {"--standalone"}
_OF_THE_NODE = {"--node-rank", "--node_rank", "--master-addr", "--master_addr", "--master-port", "--master_port"}
_NODES = "--nnodes"
_SHOWN = 4
"""Words of a command that a message repeats."""


@dataclass(frozen=True)
class Launcher:
    """A launcher in a command."""

    name: str
    """torchrun, accelerate launch or deepspeed."""
    arguments: tuple[str, ...]
    """What follows it."""


def find(command: Sequence[str]) -> Launcher | None:
    """Return the launcher that a command starts, itself or by a shell's -c; None if it starts none."""
    return next((found for words in _commands(command) if (found := _launcher(words)) is not None), None)


def problem(command: Sequence[str], workers: int, processes: int) -> tuple[str, str] | None:
    """Return why a command would not train as one job, as (field below the spec, reason with the fix); None if it would.

    Args:
        command: the script's.
        workers: of the job.
        processes: of each worker: the command is started so often in it.
    """
    launcher = find(command)
    if launcher is None or workers * processes == 1:
        return None
    if launcher.name != TORCHRUN:
        return "training.script.command", (
            f"{launcher.name} would train in each of the {workers * processes} processes by itself; write {_plain(launcher)}: "
            "the script finds RANK, WORLD_SIZE and MASTER_ADDR, and is started processesPerWorker times in each worker"
        )
    if processes > 1:
        return "workers.processesPerWorker", (
            f"would start {processes} torchruns in each worker; set it to 1, and write torchrun --nproc-per-node {processes}"
        )
    option = next((option for option in _options(launcher.arguments) if _contradicts(option, workers)), None)
    if option is None:
        return None
    return "training.script.command", (
        f"{option[0]} keeps the {workers} workers from being one job; leave it out: "
        "torchrun finds PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT"
    )


def _commands(command: Sequence[str]) -> Iterator[list[str]]:
    """The command itself, and those in the text that a shell is given."""
    words = list(command)
    yield words
    for index, word in enumerate(words):
        if _base(word) in _SHELLS:
            text = next((after for flag, after in zip(words[index + 1 :], words[index + 2 :], strict=False) if _takes_text(flag)), "")
            yield from (part.split() for part in _COMMANDS_OF_A_SHELL.split(text))
            return


def _takes_text(flag: str) -> bool:
    return flag.startswith("-") and not flag.startswith("--") and flag.endswith("c")


def _launcher(words: Sequence[str]) -> Launcher | None:
    """The launcher that is the program of these words, behind what only sets up its environment."""
    for index, word in enumerate(words):
        program, rest = _base(word), tuple(words[index + 1 :])
        if _PYTHON.match(program):
            return _of_module(rest)
        if program == "accelerate" and rest[:1] == ("launch",):
            return Launcher("accelerate launch", rest[1:])
        if program in _PROGRAMS:
            return Launcher(_PROGRAMS[program], rest)
        if program not in _BEFORE_A_PROGRAM and not _ASSIGNMENT.match(word) and not word.startswith("-"):
            return None
    return None


def _of_module(rest: Sequence[str]) -> Launcher | None:
    """A launcher that Python is to run as a module, behind options of its own."""
    for index, word in enumerate(rest):
        if word == "-m":
            module = rest[index + 1] if index + 1 < len(rest) else ""
            name = "deepspeed" if module == "deepspeed" else _MODULES.get(module)
            return Launcher(name, tuple(rest[index + 2 :])) if name else None
        if not word.startswith("-") and not (index and rest[index - 1] in ("-X", "-W")):
            return None
    return None


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, value) of the launcher's own options: those before its script."""
    for index, word in enumerate(arguments):
        if word.startswith("--"):
            name, _, value = word.partition("=")
            following = arguments[index + 1] if index + 1 < len(arguments) else ""
            yield name, value or (following if not following.startswith("-") else "")
        elif word.endswith(".py"):
            return


def _contradicts(option: tuple[str, str], workers: int) -> bool:
    """Whether a torchrun with that option would not be one of `workers`. A value with a variable in it is the user's own affair."""
    name, value = option
    if "$" in value:
        return False
    return name in _ALONE or name in _OF_THE_NODE or (name == _NODES and value != str(workers))


def _plain(launcher: Launcher) -> str:
    """The command without its launcher, as far as it can be told."""
    words = launcher.arguments
    at = next((index for index, word in enumerate(words) if word.endswith(".py")), None)
    if at is None:
        return "[python, SCRIPT, …]"
    return f"[python, {', '.join(words[at : at + _SHOWN])}{', …' if len(words) > at + _SHOWN else ''}]"


def _base(word: str) -> str:
    return word.rpartition("/")[2]
