"""Several writers on one store, one request at a time, in the order that the test chooses; and what must hold between any two requests."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from storage_fakes import DiedError, MemoryStore, Watched
from trainingjob_api.storage.entries import Authority, Claim, Entry, parse_entry
from trainingjob_api.storage.layout import log_key
from trainingjob_api.storage.log import History
from trainingjob_storage.checkpoints import read_manifest, read_shards
from trainingjob_storage.errors import StorageError, Unreachable


@dataclass
class Fate:
    """What befalls one writer's requests, by their number."""

    dies_before: int = -1
    dies_after: int = -1
    lost: frozenset[int] = frozenset()
    """These are not carried out, and fail."""
    unanswered: frozenset[int] = frozenset()
    """These are carried out, and fail."""


@dataclass
class Writer:
    """A thread that stops before every request until it is its turn."""

    name: str
    fate: Fate = field(default_factory=Fate)
    waiting: bool = False
    ended: bool = False
    requests: int = 0
    fired: list[str] = field(default_factory=list)
    crashed: BaseException | None = None


class World:
    """A store in memory and its writers."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self._writers: list[Writer] = []
        self._threads: list[threading.Thread] = []
        self._turn: Writer | None = None
        self._changed = threading.Condition()

    def add(self, name: str, fate: Fate, work: Callable[[Watched], None]) -> Writer:
        """Start a writer; `work` gets its view of the store, and ends quietly by DiedError."""
        writer = Writer(name, fate)
        view = Watched(
            self.store, lambda operation, key: self._before(writer, operation), lambda operation, key: self._after(writer, operation)
        )

        def body() -> None:
            try:
                work(view)
            except DiedError:
                pass
            except BaseException as error:
                writer.crashed = error
            with self._changed:
                writer.ended = True
                self._release(writer)

        self._writers.append(writer)
        self._threads.append(threading.Thread(target=body, daemon=True))
        self._threads[-1].start()
        return writer

    def run(self, choose: Callable[[int], int], check: Callable[[], None]) -> None:
        """Give turns until all writers have ended; `check` is asked between the requests."""
        while True:
            with self._changed:
                assert self._changed.wait_for(lambda: all(writer.waiting or writer.ended for writer in self._writers), 30)
                ready = [writer for writer in self._writers if not writer.ended]
                if not ready:
                    break
                self._turn = ready[choose(len(ready)) % len(ready)]
                self._turn.waiting = False
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self._turn is None, 30)
            check()
        for writer in self._writers:
            if writer.crashed is not None:
                raise writer.crashed

    def _before(self, writer: Writer, operation: str) -> None:
        with self._changed:
            self._release(writer)
            writer.waiting = True
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._turn is writer, 60)
            number, writer.requests = writer.requests, writer.requests + 1
        if number == writer.fate.dies_before:
            writer.fired.append("died")
            raise DiedError(writer.name)
        if number in writer.fate.lost:
            writer.fired.append("lost")
            raise Unreachable("the request was lost")

    def _after(self, writer: Writer, operation: str) -> None:
        number = writer.requests - 1
        if number == writer.fate.dies_after:
            writer.fired.append("died")
            raise DiedError(writer.name)
        if number in writer.fate.unanswered and operation != "get":
            writer.fired.append("unanswered")
            raise Unreachable("the answer was lost")

    def _release(self, writer: Writer) -> None:
        if self._turn is writer:
            self._turn = None
            self._changed.notify_all()


def log_of(store: MemoryStore) -> list[Entry]:
    """The log as it lies in the store."""
    return [parse_entry(store.objects[key], seq) for seq, key in enumerate(sorted(key for key in store.objects if key.startswith("log/")))]


def history(store: MemoryStore) -> History:
    """The log as it lies in the store, checked to be one history."""
    entries = log_of(store)
    assert [log_key(entry.seq) for entry in entries] == store.list("log/"), "without gaps"
    highest = Authority(0, 0)
    for entry in entries:
        if isinstance(entry, Claim):
            highest = Authority(highest.attempt, entry.epoch)
        assert entry.attempt >= highest.attempt, f"{entry} after {highest}"
        assert entry.epoch >= highest.epoch, f"{entry} after {highest}"
        highest = entry.authority()
    assert len({(entry.kind, entry.nonce) for entry in entries}) == len(entries), "nothing was appended twice"
    return History().extend(entries)


def assert_whole(store: MemoryStore) -> History:
    """Every visible checkpoint is whole, the newest among them."""
    seen = history(store)
    for kept in seen.visible():
        try:
            assert len(list(read_shards(store, read_manifest(store, kept.entry)))) > 0
        except StorageError as error:
            raise AssertionError(f"{kept.save} is visible, but {error}") from error
    return seen
