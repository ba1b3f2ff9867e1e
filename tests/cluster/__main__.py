"""`python -m cluster`: start, stop and disturb the test cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cluster import access, lifecycle, network, node_images, preflight, tools
from cluster.commands import Failed
from cluster.layout import ENVIRONMENT, node

CANNOT = 3


def main(argv: list[str]) -> int:
    """Do what was asked for; 3 if this machine cannot run the cluster."""
    options = _parser().parse_args(argv)
    try:
        return options.act(options)
    except (Failed, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, act, text in (
        ("preflight", _preflight, "can this machine run the cluster? exit code 0, or 3 with the reason"),
        ("up", _up, "have a healthy cluster"),
        ("down", _down, "remove every trace of it"),
        ("status", _status, "show how it is"),
    ):
        commands.add_parser(name, help=text).set_defaults(act=act)
    load = commands.add_parser("load", help="bring images from archives of `docker save` into every node")
    load.add_argument("archives", nargs="+", type=Path)
    load.set_defaults(act=_load)
    for name, act, text in (("partition", network.partition, "cut a node off"), ("heal", network.heal, "connect it again")):
        command = commands.add_parser(name, help=text)
        command.add_argument("node", type=node)
        command.set_defaults(act=lambda options, act=act: act(options.node) or 0)
    return parser


def _preflight(_: argparse.Namespace) -> int:
    reason = preflight.reason()
    print(reason or "this machine can run the test cluster")
    return CANNOT if reason else 0


def _up(_: argparse.Namespace) -> int:
    if reason := preflight.unfit():
        print(reason, file=sys.stderr)
        return CANNOT
    print(preflight.plan(), end="", flush=True)
    if reason := preflight.reason():
        print(f"Nothing was done. {reason}", file=sys.stderr)
        return 1
    preflight.install()
    programs = lifecycle.up()
    print(f"\nThe cluster is up. To use it: source {ENVIRONMENT}, which is:\n{access.exports(programs)}", end="")
    return 0


def _down(_: argparse.Namespace) -> int:
    lifecycle.down()
    return 0


def _status(_: argparse.Namespace) -> int:
    print(lifecycle.status(tools.programs()))
    return 0


def _load(options: argparse.Namespace) -> int:
    node_images.load(options.archives)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
