"""The key-value store through which a process group finds itself, over the agent's authenticated connection. Effects: the channel.

torch offers TCPStore, which is one more open port without any authentication. This one listens nowhere: each call is a
StoreRequest that the agent relays to the rendezvous, under the generation's label.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import timedelta

from torch._C._distributed_c10d import Store

from trainingjob_api.contract.messages import StoreReply, StoreRequest

Ask = Callable[[StoreRequest], StoreReply]


class StoreError(RuntimeError):
    """The store said no: the generation is over, or a key did not come in time."""


class ChannelStore(Store):
    """A torch.distributed.Store of one generation. Its methods are called from the library's threads.

    Args:
        ask: sends a request and waits for its reply.
        prefix: the generation's label.
        timeout: how long get and wait wait for a key.
    """

    def __init__(self, ask: Ask, prefix: str, timeout: timedelta) -> None:
        super().__init__()
        self._ask = ask
        self._prefix = prefix
        self._timeout = timeout

    def set(self, key: str, value: str | bytes) -> None:
        """Keep a value."""
        data = value.encode() if isinstance(value, str) else bytes(value)
        self._call("set", [key], base64.b64encode(data).decode())

    def get(self, key: str) -> bytes:
        """A key's value; waits for it. What `add` keeps is decimal text."""
        return base64.b64decode(self._call("get", [key]))

    def add(self, key: str, amount: int) -> int:
        """Add to a counter; its new value."""
        return int(self._call("add", [key], str(int(amount))))

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all keys are there."""
        return self._call("check", keys) == "1"

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there."""
        self._call("wait", keys, timeout=timeout)

    def delete_key(self, key: str) -> bool:
        """Forget a key; whether it was there."""
        return self._call("delete", [key]) == "1"

    def num_keys(self) -> int:
        """Not offered: nothing here counts keys."""
        raise NotImplementedError("this store does not count its keys")

    @property
    def timeout(self) -> timedelta:
        """How long get and wait wait."""
        return self._timeout

    def set_timeout(self, timeout: timedelta) -> None:
        """Change it."""
        self._timeout = timeout

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """Several values; waits for them."""
        return [self.get(key) for key in keys]

    def multi_set(self, keys: Sequence[str], values: Sequence[str | bytes]) -> None:
        """Keep several values."""
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)

    def has_extended_api(self) -> bool:
        """No: the library then keeps to single calls."""
        return False

    def clone(self) -> ChannelStore:
        """A store for another thread: this one, since the channel may be used from any."""
        return self

    def _call(self, operation: str, keys: Sequence[str], value: str = "", timeout: timedelta | None = None) -> str:
        request = StoreRequest.model_validate(
            {
                "id": 0,
                "operation": operation,
                "prefix": self._prefix,
                "keys": tuple(keys),
                "value": value,
                "timeout_seconds": (self._timeout if timeout is None else timeout).total_seconds(),
            }
        )
        reply = self._ask(request)
        if reply.value is None:
            raise StoreError(f"store {operation} {', '.join(keys)}: {reply.error or 'refused'}")
        return reply.value
