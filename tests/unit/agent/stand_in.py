"""Stands in for the training process: a puppet on the strings of a test, which holds the other end of FAKE_SOCKET."""

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path


def main() -> None:  # noqa: C901
    channel = socket.socket(fileno=int(os.environ["TRAININGJOB_CHANNEL"]))
    strings = socket.socket(socket.AF_UNIX)
    strings.connect(os.environ["FAKE_SOCKET"])
    lock = threading.Lock()

    def tell(what: str, value: object) -> None:
        with lock:
            strings.sendall(json.dumps({what: value}).encode() + b"\n")

    def relay() -> None:
        for line in channel.makefile("rb"):
            tell("heard", json.loads(line))
        tell("closed", True)

    tell("born", {"pid": os.getpid(), "environ": dict(os.environ), "argv": sys.argv})
    threading.Thread(target=relay, daemon=True).start()
    for line in strings.makefile("rb"):
        (verb, value), *_ = json.loads(line).items()
        match verb:
            case "say":
                channel.sendall(json.dumps(value).encode() + b"\n")
            case "raw":
                channel.sendall(value.encode())
            case "print":
                print(value, flush=True)
            case "write":
                descriptor = os.open(value["path"], os.O_RDWR)
                with mmap.mmap(descriptor, os.fstat(descriptor).st_size) as memory:
                    data = bytes.fromhex(value["hex"])
                    memory[value["offset"] : value["offset"] + len(data)] = data
                os.close(descriptor)
                tell("written", True)
            case "read":
                tell("content", Path(value).read_bytes().hex())
            case "stamp":
                from trainingjob_agent.stamp import StampWriter
                from trainingjob_api.contract.messages import GenerationId, Phase

                writer = StampWriter(int(os.environ["TRAININGJOB_STAMP"]))
                writer.mark(Phase(value["phase"]), generation=GenerationId(*value["generation"]), step=value["step"])
                tell("stamped", True)
            case "leave behind":
                tell("left behind", subprocess.Popen(value, close_fds=False).pid)
            case "ignore":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case "exit":
                sys.stdout.flush()
                os._exit(value)


main()
