"""The log in storage: reads what is new, and appends by creating the next number. Effects.

What the entries mean, and who may append, is decided in trainingjob_api.storage.log. This module makes that decision hold against second
writers, lost answers and death at any line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from trainingjob_api.storage.entries import BadEntry, Entry, parse_entry
from trainingjob_api.storage.layout import LOG_PREFIX, log_key, parse_log_key
from trainingjob_api.storage.log import Append, History, StandDown
from trainingjob_storage.errors import AlreadyExists, Corrupt, Fenced, NotFound, Unreachable
from trainingjob_storage.store import Store

READERS = 8
"""Entries fetched at once when a log is read from its beginning."""
CONTENTION_TRIES = 1000


class Appender:
    """One job's view of a log. Safe for use by several threads; keeps what it has read."""

    def __init__(self, store: Store, owner_uid: str) -> None:
        self._store = store
        self._owner_uid = owner_uid
        self._history = History()
        self._lock = threading.RLock()

    def refresh(self) -> History:
        """The log as it stands now; reads only entries that were not read before.

        Raises:
            Corrupt: an entry is missing from the middle, or unreadable.
        """
        with self._lock:
            if self._history.seq < 0:
                self._history = self._history.extend(self._read_all())
            while True:
                seq = self._history.seq + 1
                try:
                    data = self._store.get(log_key(seq))
                except NotFound:
                    return self._history
                self._history = self._history.extend([_parsed(data, seq)])

    def append(self, make: Callable[[History, int], Entry | None]) -> History:
        """Append the entry that `make` says, and return the log with it.

        Args:
            make: called with the newest history and the next number, again after each lost race; None: there is nothing to append.

        Raises:
            Fenced: a newer attempt or epoch, or another job, owns the log.
            Unreachable: the store failed; the entry may be in the log or not. The same call again finds out, by the nonce.
        """
        for _ in range(CONTENTION_TRIES):
            history = self.refresh()
            entry = make(history, history.seq + 1)
            if entry is None:
                return history
            verdict = history.may_append(entry, self._owner_uid)
            if isinstance(verdict, StandDown):
                raise Fenced(verdict.reason)
            if not isinstance(verdict, Append):
                return history
            try:
                self._store.create(log_key(entry.seq), entry.to_bytes())
            except AlreadyExists:
                # Perhaps it is our own, from a put whose answer was lost: the next round reads it and sees the nonce.
                continue
            return self._take(entry)
        raise Unreachable(f"{self._store.uri}/{LOG_PREFIX}: {CONTENTION_TRIES} entries of others came before ours")

    def _take(self, entry: Entry) -> History:
        with self._lock:
            if self._history.seq == entry.seq - 1:
                self._history = self._history.extend([entry])
            return self._history if self._history.seq >= entry.seq else self.refresh()

    def _read_all(self) -> list[Entry]:
        found = [seq for seq in map(parse_log_key, self._store.list(LOG_PREFIX)) if seq is not None]
        if not found:
            return []
        with ThreadPoolExecutor(READERS, thread_name_prefix="log") as pool:
            objects = list(pool.map(self._fetch, range(max(found) + 1)))
        return [_parsed(data, seq) for seq, data in enumerate(objects)]

    def _fetch(self, seq: int) -> bytes:
        try:
            return self._store.get(log_key(seq))
        except NotFound:
            raise Corrupt(
                f"{self._store.uri}/{log_key(seq)} is missing although later entries are there: the log was tampered with"
            ) from None


def _parsed(data: bytes, seq: int) -> Entry:
    try:
        return parse_entry(data, seq)
    except BadEntry as error:
        raise Corrupt(f"{log_key(seq)}: {error}") from None
