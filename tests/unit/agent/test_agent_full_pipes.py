"""Nobody who reads slowly, and no disk that is full, holds up an agent or a training process."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import io
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from trainingjob_agent.process.output import Console, LifeLog
from trainingjob_api.contract.channel import PROCESS_MESSAGE, Pace
from trainingjob_api.contract.messages import Beat, MemberReport
from trainingjob_trainer.channel import Channel
from unit.agent.scene import DEADLINE, Scene


def full_pipe() -> tuple[int, int]:
    """A pipe that takes nothing more: its ends to read and to write."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    try:
        while True:
            os.write(writes, bytes(65536))
    except BlockingIOError:
        os.set_blocking(writes, True)
    assert fcntl.fcntl(writes, fcntl.F_GETFL) & os.O_NONBLOCK == 0
    return reads, writes


async def test_an_agent_whose_output_nobody_reads_beats_restarts_its_process_and_ends(scene: Scene) -> None:
    reads, writes = full_pipe()
    try:
        agent = await scene.process(stdout=writes)
        first = await scene.puppets.next()
        os.kill(first.pid, signal.SIGKILL)
        await scene.puppets.next()  # the agent has logged that the first one ended
        life = await scene.rendezvous.next(MemberReport, lambda report: report.member.life == 1)
        heard = len(scene.rendezvous.heard)
        await scene.rendezvous.next(Beat, after=heard)
        agent.send_signal(signal.SIGTERM)
        agent.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            await agent.wait()
        assert life.failure is None
        assert scene.last_words().code == 0
    finally:
        os.close(reads)
        os.close(writes)


def test_a_disk_that_is_full_loses_lines_and_the_process_goes_on_printing(tmp_path: Path) -> None:
    (tmp_path / "0.0.log").symlink_to("/dev/full")
    log = LifeLog(tmp_path / "0.0.log", "", Console(io.BytesIO()))
    for number in range(3):
        log.feed(f"line {number}\n".encode())
    log.finish()
    log.note("the process ended with 0")
    assert log.reason == "line 2"
    log.close()
    with Path("/dev/full").open("ab", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        full.write(b"the disk was full")


def test_a_training_process_does_not_wait_for_an_agent_that_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs, lost=lambda: None)
    channel.start()
    said = 20_000
    told = threading.Thread(target=lambda: [channel.send(Pace(step=step, total_steps=said)) for step in range(said)], daemon=True)
    told.start()
    told.join(DEADLINE)
    assert not told.is_alive(), "all was said"
    channel.flush(0.0)
    ours.settimeout(DEADLINE)
    stream = ours.makefile("rb")
    heard = [PROCESS_MESSAGE.validate_json(stream.readline()).step for _ in range(said)]
    assert heard == list(range(said)), "in order, and whole"
    channel.flush(DEADLINE)
    stream.close()
    ours.close()


class FullFile(io.BytesIO):
    """A file on a disk that has no room for the first line."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = threading.Event()

    def write(self, data: Any) -> int:
        if not self.refused.is_set():
            self.refused.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_an_agent_whose_log_has_no_room_goes_on_with_it_once_there_is_room() -> None:
    file = FullFile()
    console = Console(file)
    console.print(b"lost\n")
    assert file.refused.wait(DEADLINE)
    console.print(b"kept\n")
    console.close(DEADLINE)
    assert file.getvalue() == b"kept\n"
