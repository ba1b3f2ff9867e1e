"""The arena and the stamp page."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_job import until
from trainingjob_agent.arena import ArenaOwner, Lease, SharedFiles
from trainingjob_agent.stamp import PHASES, StampPage, StampWriter, outward
from trainingjob_api.contract.messages import GenerationId, MemberId, Phase
from trainingjob_api.procfs import is_stopped


def test_what_is_written_through_the_path_is_what_is_uploaded() -> None:
    owner = ArenaOwner("test")
    lease = owner.lease(5000, 2)
    descriptor = os.open(lease.arena.path, os.O_RDWR)
    with mmap.mmap(descriptor, os.fstat(descriptor).st_size) as memory:
        memory[lease.arena.offsets[1] : lease.arena.offsets[1] + 3] = b"abc"
    os.close(descriptor)
    assert bytes(lease.view(1, 3)) == b"abc"
    owner.close()


def test_buffers_are_lent_again_and_keep_their_pages() -> None:
    owner = ArenaOwner("test")
    first = owner.lease(5000, 2)
    assert owner.lease(4000, 2).arena.offsets == first.arena.offsets
    owner.close()


def test_a_larger_arena_replaces_a_smaller_one_whose_upload_goes_on() -> None:
    owner = ArenaOwner("test")
    small = owner.lease(100, 1)
    with small.held(0), small.view(0, 100) as view:
        large = owner.lease(mmap.PAGESIZE + 1, 1)
        assert large.arena.path != small.arena.path
        assert bytes(view) == bytes(100)
    owner.close()


@given(held=st.sets(st.integers(0, 3)), count=st.integers(1, 5), first=st.integers(0, 7))
def test_a_buffer_under_upload_is_lent_as_busy_until_the_upload_ends(held: set[int], count: int, first: int) -> None:
    owner = ArenaOwner("test")
    old = owner.lease(1, 4)
    freed: list[int] = []
    with ExitStack() as uploads:
        for buffer in held:
            uploads.enter_context(old.held(buffer))
        new = owner.lease(1, count, first)
        assert len(set(new.arena.offsets)) == count
        offsets = {old.arena.offsets[buffer] for buffer in held}
        assert {new.arena.offsets[number - first] for number in new.arena.busy} == offsets & set(new.arena.offsets)
        assert len(new.arena.busy) == max(0, len(held) - max(0, 4 - count)), "what is free is lent first"
        for number in new.arena.busy:
            new.when_free(number, lambda number=number: freed.append(number))
        assert freed == []
    assert sorted(freed) == sorted(new.arena.busy)
    owner.close()


def memory_of(name: str) -> int:
    """Bytes of all arenas of that name that this process holds; a mapping holds a descriptor of its own."""
    sizes: dict[int, int] = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if f"memfd:arena-{name} " in str(link.readlink()):
                sizes[link.stat().st_ino] = link.stat().st_size
    return sum(sizes.values())


def test_lives_that_end_while_a_store_hangs_cost_no_memory_beyond_two_buffers() -> None:
    owner = ArenaOwner("lives")
    with ExitStack() as uploads:
        for _ in range(5):
            lease = owner.lease(mmap.PAGESIZE, 2)
            for buffer in (0, 1):
                uploads.enter_context(lease.held(buffer))
        assert memory_of("lives") == 2 * mmap.PAGESIZE
    owner.close()
    del lease
    assert memory_of("lives") == 0


def test_memory_that_has_become_too_small_is_given_back_when_its_upload_ends() -> None:
    owner = ArenaOwner("grows")
    small = owner.lease(mmap.PAGESIZE, 2)
    with small.held(1):
        owner.lease(4 * mmap.PAGESIZE, 2)
        assert memory_of("grows") == (2 + 8) * mmap.PAGESIZE
    del small
    assert memory_of("grows") == 8 * mmap.PAGESIZE
    owner.close()


def lease_while(meanwhile: Callable[[], None], owner: ArenaOwner, monkeypatch: pytest.MonkeyPatch) -> Future[Lease]:
    """Lease two buffers in a thread; `meanwhile` runs while the first of them is being made."""
    making, done = threading.Event(), threading.Event()

    def prefault(memory: mmap.mmap) -> None:
        making.set()
        assert done.wait(60)

    monkeypatch.setattr("trainingjob_agent.arena.prefault", prefault)
    with ThreadPoolExecutor(1) as pool:
        lease = pool.submit(owner.lease, mmap.PAGESIZE, 2)
        assert making.wait(60)
        monkeypatch.setattr("trainingjob_agent.arena.prefault", lambda memory: None)
        try:
            meanwhile()
        finally:
            done.set()
    return lease


def test_a_life_that_asks_while_memory_is_made_for_the_one_before_gets_two_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    # Both threads made a buffer at the same offset, and a later life wrote a snapshot onto one that was being uploaded.
    owner = ArenaOwner("overlaps")
    leases: list[Lease] = []
    next_life = threading.Thread(target=lambda: leases.append(owner.lease(mmap.PAGESIZE, 2)))

    def ask() -> None:
        next_life.start()
        next_life.join(0.2)  # it waits for the other; without that it is through in no time

    lease_while(ask, owner, monkeypatch).result()
    next_life.join()
    assert leases[0].arena.offsets == (0, mmap.PAGESIZE)
    with leases[0].held(0):
        third = owner.lease(mmap.PAGESIZE, 2).arena
    assert [third.offsets[number] for number in third.busy] == [0], "what is being uploaded is lent as busy, and only once"
    owner.close()


def test_memory_that_is_made_while_its_owner_closes_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = ArenaOwner("closes")
    lease = lease_while(owner.close, owner, monkeypatch)
    assert len(lease.result().buffers) == 2
    del lease
    assert memory_of("closes") == 0


@pytest.mark.parametrize(("buffer", "length"), [(2, 1), (-1, 1), (0, 0), (0, mmap.PAGESIZE + 1)])
def test_a_snapshot_outside_the_arena_is_refused(buffer: int, length: int) -> None:
    owner = ArenaOwner("test")
    lease = owner.lease(100, 2)
    with pytest.raises(ValueError, match="is not in an arena"):
        lease.view(buffer, length)
    owner.close()


def test_shared_files_are_read_by_their_path_until_closed() -> None:
    files = SharedFiles()
    path = files.add("00000.safetensors", [b"abc", b"def"])
    with open(path, "rb") as file:  # noqa: PTH123
        assert file.read() == b"abcdef"
    files.close()
    assert not os.path.exists(path)  # noqa: PTH110


def test_a_page_that_nobody_wrote_says_starting() -> None:
    page = StampPage("test")
    stamp = page.read()
    assert (stamp.phase, stamp.generation, stamp.step, stamp.changed_ns) == (Phase.STARTING, None, None, 0)
    page.close()


def test_the_page_says_what_was_stamped_last_and_who_is_inside_a_collective() -> None:
    page = StampPage("test")
    writer = StampWriter(page.descriptor)
    writer.mark(Phase.STEPPING, generation=GenerationId(2, 1, 9), step=3)
    writer.enter()
    writer.leave()
    writer.step(4)
    writer.enter()
    writer.close()
    stamp = page.read()
    assert (stamp.phase, stamp.generation, stamp.step, stamp.entered, stamp.left) == (Phase.STEPPING, (2, 1, 9), 4, 2, 1)
    assert stamp.changed_ns > 0
    assert stamp.calling == ""
    page.close()


def test_a_stamp_names_the_collective_of_the_tasks_own_code_until_the_next_one() -> None:
    page = StampPage("test")
    writer = StampWriter(page.descriptor)
    writer.enter("all_gather_into_tensor 12345678")
    member = MemberId(1, 0, 0, 0)
    assert outward(member, page.read(), 0, 0.1, None).calling == "all_gather_into_tensor 12345678"
    writer.leave()
    writer.enter()
    assert page.read().calling == ""
    writer.close()
    page.close()


WRITES = """
import sys
from trainingjob_agent.stamp import StampWriter
from trainingjob_api.contract.messages import GenerationId, Phase
writer = StampWriter(int(sys.argv[1]))
writer.mark(Phase.STEPPING, generation=GenerationId(1, 1, 1), step=1)
while True:
    writer.enter()
    writer.leave()
"""


def test_a_process_that_is_held_up_in_the_middle_of_a_stamp_is_not_taken_for_one_that_never_stamped() -> None:
    # Throttled for a moment while it wrote, it seemed to have been starting ever since its birth, and was killed for it after half an hour.
    page = StampPage("test")
    writer = subprocess.Popen([sys.executable, "-c", WRITES, str(page.descriptor)], pass_fds=[page.descriptor])
    try:
        until("it steps", lambda: page.read().phase is Phase.STEPPING)
        for _ in range(60):
            writer.send_signal(signal.SIGSTOP)
            until("it stands still", lambda: is_stopped(writer.pid))
            stamp = page.read()
            assert (stamp.phase, stamp.generation, stamp.step) == (Phase.STEPPING, (1, 1, 1), 1)
            assert stamp.changed_ns > 0
            assert stamp.entered - stamp.left in (0, 1)
            writer.send_signal(signal.SIGCONT)
            until("it goes on", lambda seen=stamp.entered: page.read().entered > seen)
    finally:
        writer.kill()
        writer.wait()
        page.close()


def test_every_phase_has_a_code() -> None:
    assert set(PHASES) == set(Phase)
