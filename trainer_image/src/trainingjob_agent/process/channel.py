"""The agent's end of the socket to one training process: JSON lines both ways. Effects: one socket.

It parses and passes on; it decides nothing. A process that speaks nonsense is its owner's to end.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from pydantic import ValidationError

from trainingjob_api.contract.channel import PROCESS_MESSAGE, Arena, Opened, ProcessMessage, Released
from trainingjob_api.contract.messages import Orders, StoreReply

MAX_LINE_BYTES = 16 << 20
"""A longer line of a training process ends it."""
MAX_UNREAD_BYTES = 64 << 20
"""A training process that leaves more than this unread has its channel closed."""


class ChannelBrokenError(Exception):
    """The training process broke the contract of the channel; the message says how."""


class Channel:
    """Lines to and from one life of a training process."""

    def __init__(self) -> None:
        self._own, child = socket.socketpair()
        self._child: socket.socket | None = child
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def child_descriptor(self) -> int:
        """What the training process inherits; valid until `connect`."""
        assert self._child is not None
        return self._child.fileno()

    async def connect(self) -> None:
        """Take the agent's end into use. Call it once the process has been started: from here on it can be told something."""
        self._release_child()
        self._reader, self._writer = await asyncio.open_connection(sock=self._own, limit=MAX_LINE_BYTES)

    async def serve(self, receive: Callable[[ProcessMessage], None]) -> None:
        """Hand on what the process says until it closes its end.

        Raises:
            ChannelBrokenError: a line is too long or no known message.
        """
        assert self._reader is not None
        while line := await _read_line(self._reader):
            try:
                message = PROCESS_MESSAGE.validate_json(line)
            except ValidationError as error:
                raise ChannelBrokenError(f"a message that is not in the contract: {error.errors()[0]['msg']}: {line[:200]!r}") from None
            receive(message)

    def send(self, message: Orders | StoreReply | Opened | Arena | Released) -> None:
        """Tell the process; nothing happens if it is gone."""
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            writer.transport.abort()
            return
        writer.write(message.model_dump_json(exclude_none=True).encode() + b"\n")

    def _release_child(self) -> None:
        """Close the agent's copy of the process's end, or the end of the process would go unnoticed."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def close(self) -> None:
        """Close both ends."""
        self._release_child()
        if self._writer is not None:
            self._writer.close()
        else:
            self._own.close()


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        raise ChannelBrokenError(f"a line of more than {MAX_LINE_BYTES} bytes") from None
    except ConnectionError:
        return b""
