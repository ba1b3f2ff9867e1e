"""Launchers that a script's command may be, and how they go together with several workers. Pure.

torchrun reads PET_* from its environment, where the agent puts what makes all workers one job. Others know nothing of it: each would
train by itself, without a word. They are refused with the line to write instead; so is a torchrun that is told otherwise. A command that
works is never refused: where an option or a variable of the user's may make one job of all workers, the command is taken.
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
_RANK = {"--node-rank", "--node_rank"}
_OF_THE_NODE = _RANK | {"--master-addr", "--master_addr"}
_NODES = "--nnodes"
_WITHOUT_VALUE = {
    "--standalone",
    "--no-python",
    "--no_python",
    "--run-path",
    "--run_path",
    "--use-env",
    "--use_env",
    "-m",
    "--module",
    "--virtual-local-rank",
    "--virtual_local_rank",
}
"""Options of torchrun behind which the script may stand at once."""
_PLACED = ("machine_rank", "node_rank", "config_file")
"""How options of accelerate launch and deepspeed begin that say which of the workers this is, or where that is written."""
_CONTINUED = "\\\n"
_QUOTES = "\"'"
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
        return None if _is_placed(launcher) else ("training.script.command", _by_itself(launcher, workers * processes))
    if processes > 1 and any(name in _RANK and "$" in value for name, value in _options(launcher.arguments)):
        return None  # each process is a node of its own, and says which
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
            parts = _COMMANDS_OF_A_SHELL.split(text.replace(_CONTINUED, " "))
            yield from ([word.strip(_QUOTES) for word in part.split()] for part in parts)
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


def _own(arguments: Sequence[str]) -> Sequence[str]:
    """The launcher's own words: those before its script. A variable in the script's place is one of them: it may hold options."""
    for index, word in enumerate(arguments):
        before = arguments[index - 1] if index else ""
        is_value = before.startswith("-") and "=" not in before and before not in _WITHOUT_VALUE
        if word.endswith(".py"):
            return arguments[:index]
        if not word.startswith("-") and not is_value:
            return arguments[: index + ("$" in word)]
    return arguments


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, value) of the launcher's own options."""
    own = _own(arguments)
    for index, word in enumerate(own):
        if word.startswith("--"):
            name, _, value = word.partition("=")
            following = own[index + 1] if index + 1 < len(own) else ""
            yield name, value or (following if not following.startswith("-") else "")


def _contradicts(option: tuple[str, str], workers: int) -> bool:
    """Whether a torchrun with that option would not be one of `workers`. A value with a variable in it is the user's own affair."""
    name, value = option
    if "$" in value:
        return False
    return name in _ALONE or name in _OF_THE_NODE or (name == _NODES and value.rpartition(":")[2] != str(workers))


def _is_placed(launcher: Launcher) -> bool:
    """Whether accelerate launch or deepspeed may know which of the workers it is: by an option, a file, or a variable."""
    own = _own(launcher.arguments)
    return any("$" in word or word.lstrip("-").replace("-", "_").startswith(_PLACED) for word in own)


def _by_itself(launcher: Launcher, processes: int) -> str:
    return (
        f"{launcher.name} would train in each of the {processes} processes by itself; write {_plain(launcher)}: "
        "the script finds RANK, WORLD_SIZE and MASTER_ADDR, and is started processesPerWorker times in each worker"
    )


def _plain(launcher: Launcher) -> str:
    """The command without its launcher, as far as it can be told."""
    words = launcher.arguments
    at = next((index for index, word in enumerate(words) if word.endswith(".py")), None)
    if at is None:
        return "[python, SCRIPT, …]"
    return f"[python, {', '.join(words[at : at + _SHOWN])}{', …' if len(words) > at + _SHOWN else ''}]"


def _base(word: str) -> str:
    return word.rpartition("/")[2]
