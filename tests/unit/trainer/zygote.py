"""Forks training processes that have torch imported already, so that a test can lose many of them. Run by path.

It reads one request at a time from the socket whose descriptor is its argument, and tells there who has ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    import torch

    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    import trainingjob_trainer.__main__ as program

    waker, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    control.sendall(b'{"ready": true}\n')
    while True:
        readable, _, _ = select.select([control, waker], [], [])
        if waker in readable:
            os.read(waker, 4096)
            tell_ended(control)
        if control in readable:
            data, descriptors, _, _ = socket.recv_fds(control, 65536, 3)
            if not data:
                os._exit(0)  # past torch's own tidying up, which takes seconds
            pid = os.fork()
            if pid == 0:
                become(program, control, json.loads(data), descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            control.sendall(json.dumps({"started": pid}).encode() + b"\n")


def tell_ended(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        control.sendall(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


def become(program, control: socket.socket, environ: dict[str, str], descriptors: list[int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    control.close()
    channel, stamp, output = descriptors
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    code = 1
    try:
        code = program.main({**environ, "TRAININGJOB_CHANNEL": str(channel), "TRAININGJOB_STAMP": str(stamp)})
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
