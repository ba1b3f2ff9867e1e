"""The training process's side of the socket to its agent. Effects: one socket, two threads.

Nobody waits for the agent to read: what the socket does not take at once is left to a writer thread, so that a slow agent costs no step.
A reader thread takes in what the agent says; everybody else waits on one condition. Nothing here knows what orders mean:
it keeps the newest ones, and wakes who waits. When the socket closes the agent is gone, and with it this process's reason to be.
"""

from __future__ import annotations

import itertools
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import BinaryIO

from trainingjob_api.contract.channel import (
    AGENT_TO_PROCESS,
    AgentToProcess,
    Arena,
    NeedArena,
    OpenAttempt,
    Opened,
    ProcessMessage,
    Released,
)
from trainingjob_api.contract.messages import Orders, StoreReply, StoreRequest

logger = logging.getLogger(__name__)

STORE_SLACK_SECONDS = 30.0
"""How much longer than its own time-out a store request is waited for: the way to the rendezvous and back."""


class Superseded(Exception):
    """What was waited for is no longer wanted: newer orders have come."""


class Channel:
    """The connection to the agent.

    Args:
        connection: a connected stream socket, owned from here on.
        lost: called in the reader thread when the agent has closed it; must not return to work (in production, os._exit).
    """

    def __init__(self, connection: socket.socket, lost: Callable[[], None]) -> None:
        self._connection = connection
        self._lost = lost
        self._changed = threading.Condition()
        self._writing = threading.Condition()
        self._unsent: deque[bytes] = deque()
        self._numbers = itertools.count(1)
        self._replies: dict[int, StoreReply | None] = {}
        self._opened: Opened | None = None
        self._arena: Arena | None = None
        self._released: dict[int, Released | None] = {}
        self._orders: Orders | None = None
        self._listener: Callable[[Orders], None] = lambda orders: None
        self._reader = threading.Thread(target=self._read, name="channel", daemon=True)
        self._writer = threading.Thread(target=self._write, name="channel-writer", daemon=True)

    def start(self) -> None:
        """Begin to read, and to write what the socket does not take at once."""
        self._reader.start()
        self._writer.start()

    def listen(self, listener: Callable[[Orders], None]) -> None:
        """From now on `listener` hears all Orders, in the reader thread, before anybody who waits: it must not block."""
        self._listener = listener

    @property
    def orders(self) -> Orders | None:
        """The newest orders, if any have come."""
        return self._orders

    def send(self, message: ProcessMessage) -> None:
        """Send the agent a message. Any thread; does not wait."""
        line = message.model_dump_json().encode() + b"\n"
        try:
            with self._writing:
                rest = line if self._unsent else line[self._send_some(line) :]
                if rest:
                    self._unsent.append(rest)
                    self._writing.notify_all()
        except OSError:
            self._lost()

    def flush(self, timeout: float) -> None:
        """Wait until all that was said is in the socket, or for `timeout` seconds."""
        with self._writing:
            self._writing.wait_for(lambda: not self._unsent, timeout)

    def _send_some(self, line: bytes) -> int:
        """As much as the socket takes at once; how many bytes."""
        try:
            return self._connection.send(line, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def _write(self) -> None:
        while True:
            with self._writing:
                self._writing.wait_for(lambda: bool(self._unsent))
                line = self._unsent[0]  # it stays there while it is being sent: whoever comes now must queue behind it
            try:
                self._connection.sendall(line)
            except OSError:
                self._lost()
                return
            with self._writing:
                self._unsent.popleft()
                self._writing.notify_all()

    def poke(self) -> None:
        """Wake who waits: something that a predicate looks at has changed outside the channel."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until `predicate()` holds; it is asked again after every message. False: the timeout (seconds) passed first."""
        with self._changed:
            return self._changed.wait_for(predicate, timeout)

    def ask_store(self, request: StoreRequest) -> StoreReply:
        """One call of the process groups' store; any thread. The request's id is chosen here.

        Raises:
            TimeoutError: no answer came.
        """
        with self._changed:
            number = next(self._numbers)
            self._replies[number] = None
        self.send(request.model_copy(update={"id": number}))
        with self._changed:
            self._changed.wait_for(lambda: self._replies[number] is not None, request.timeout_seconds + STORE_SLACK_SECONDS)
            reply = self._replies.pop(number)
        if reply is None:
            raise TimeoutError(f"the store did not answer {request.operation} {request.keys}")
        return reply

    def open_attempt(self, request: OpenAttempt, superseded: Callable[[], bool]) -> Opened:
        """Ask for the attempt's checkpoint and wait for it, as long as it takes.

        Raises:
            Superseded: newer orders came first.
        """
        with self._changed:
            self._opened = None
        self.send(request)

        def answered() -> bool:
            if self._opened is not None and self._opened.generation not in (None, request.generation):
                self._opened = None  # the late answer to a question of an earlier generation
            return self._opened is not None

        self.wait(lambda: answered() or superseded())
        if self._opened is None:
            raise Superseded
        return self._opened

    def need_arena(self, size: int, buffers: int) -> Arena:
        """Ask for the snapshot arena and wait for it: `buffers` buffers of at least `size` bytes. One thread at a time."""
        with self._changed:
            self._arena = None
        self.send(NeedArena(bytes=size, buffers=buffers))
        self.wait(lambda: self._arena is not None)
        assert self._arena is not None
        return self._arena

    def occupy(self, buffer: int) -> None:
        """Mark a buffer of the arena as being uploaded, until its Released comes."""
        with self._changed:
            self._released[buffer] = None

    def free(self, buffer: int) -> bool:
        """Whether the buffer may be written."""
        return buffer not in self._released or self._released[buffer] is not None

    def released(self, buffer: int) -> Released | None:
        """How the last upload from the buffer ended; None: it has not, or there was none."""
        return self._released.get(buffer)

    def _read(self) -> None:
        stream: BinaryIO = self._connection.makefile("rb")
        try:
            for line in stream:
                self._take(AGENT_TO_PROCESS.validate_json(line))
        except OSError:
            logger.exception("the socket to the agent failed")
        self._lost()

    def _take(self, message: AgentToProcess) -> None:
        if isinstance(message, Orders):
            self._orders = message
            self._listener(message)
        with self._changed:
            match message:
                case StoreReply() if message.id in self._replies:
                    self._replies[message.id] = message
                case Opened():
                    self._opened = message
                case Arena():
                    self._released |= dict.fromkeys(message.busy)
                    self._arena = message
                case Released():
                    self._released[message.buffer] = message
            self._changed.notify_all()
