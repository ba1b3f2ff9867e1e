"""What the log's entries mean together."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_api.storage.entries import (
    BadEntry,
    Checkpoint,
    Claim,
    Done,
    Drop,
    Export,
    Fence,
    Pin,
    Quarantine,
    Rollback,
    Unknown,
    parse_entry,
)
from trainingjob_api.storage.log import AlreadyOurs, Append, History, StandDown
from trainingjob_api.storage.retention import to_drop

SHA = "0" * 64


class Log:
    """Builds a history entry by entry."""

    def __init__(self):
        self.history = History()
        self.taken = []
        self.attempt = 0
        self.epoch = 1
        self.add(Claim, nonce="u1", owner_uid="u1", owner_name="default/digits")

    def make(self, model, **fields):
        seq = self.history.seq + 1
        frame = {"seq": seq, "nonce": f"n{seq}", "attempt": self.attempt, "epoch": self.epoch, "time": 0.0}
        return model(**(frame | fields))

    def add(self, model, **fields):
        self.taken.append(self.make(model, **fields))
        self.history = self.history.extend(self.taken[-1:])
        return self

    def fence(self):
        self.attempt += 1
        return self.add(Fence)

    def save(self, step, **fields):
        label = f"{step:08d}-a{self.attempt}e{self.epoch}n1"
        return self.add(Checkpoint, step=step, save=label, nonce=label, manifest_sha256=SHA, **fields)

    def label(self, step):
        return next(kept.save for kept in self.history.checkpoints.values() if kept.step == step)

    def steps(self):
        return [kept.step for kept in self.history.visible()]


def test_a_rollback_hides_what_is_past_its_target_and_was_there_before():
    log = Log().fence().save(10).save(20).save(30).fence().add(Rollback, step=10, request="r")
    assert log.steps() == [10]
    log.save(20)
    assert log.steps() == [10, 20]
    assert log.history.newest().save == "00000020-a2e1n1"


def test_quarantine_hides_one_and_drop_removes():
    log = Log().fence().save(10).save(20).save(30)
    log.add(Quarantine, step=30, save=log.label(30))
    assert log.steps() == [10, 20]
    assert log.history.quarantined == (30,)
    log.add(Drop, saves=(log.label(10),))
    assert log.steps() == [20]
    assert log.history.dropped == {"00000010-a1e1n1"}


def test_a_commit_that_comes_late_is_not_the_newest():
    assert Log().fence().save(20).save(10).history.newest().step == 20


def test_a_fence_revokes_done_and_keeps_the_export():
    log = Log().fence().add(Export, step=9, folder="export/x/").add(Done, step=9, result={"accuracy": 0.9})
    assert log.history.done.result == {"accuracy": 0.9}
    log.fence()
    assert log.history.done is None
    assert log.history.exported.folder == "export/x/"


def test_another_owner_inherits_checkpoints_but_neither_done_nor_the_epoch():
    log = Log().fence()
    log.epoch = 5
    log.save(10).add(Done, step=10)
    log.epoch = 0
    log.add(Claim, nonce="u2", owner_uid="u2", owner_name="default/other")
    assert (log.history.done, log.history.epoch, log.history.attempt, log.steps()) == (None, 0, 1, [10])


@pytest.mark.parametrize(("attempt", "epoch"), [(1, 3), (2, 1), (1, 1)], ids=["attempt", "epoch", "both"])
def test_nothing_lower_is_appended_after_a_higher_attempt_or_epoch(attempt, epoch):
    log = Log().fence().fence()
    log.epoch = 2
    log.save(10)
    stale = log.make(Pin, step=10, save=log.label(10), attempt=attempt, epoch=epoch)
    assert isinstance(log.history.may_append(stale, "u1"), StandDown)
    assert log.history.may_append(log.make(Pin, step=10, save=log.label(10)), "u1") == Append()


def test_what_is_there_already_is_ours():
    log = Log().fence().save(10)
    again = log.make(Checkpoint, step=10, save=log.label(10), nonce=log.label(10), manifest_sha256=SHA)
    assert log.history.may_append(again, "u1") == AlreadyOurs()
    log.fence()
    assert log.history.may_append(again, "u1") == AlreadyOurs()


def test_a_dropped_save_does_not_come_back():
    log = Log().fence().save(10).save(20)
    label = log.label(10)
    log.add(Drop, saves=(label,))
    again = log.make(Checkpoint, step=10, save=label, nonce="another", manifest_sha256=SHA)
    assert log.history.may_append(again, "u1") == AlreadyOurs()


def test_an_attempt_is_fenced_once():
    log = Log().fence()
    assert isinstance(log.history.may_append(log.make(Fence, nonce="other"), "u1"), StandDown)


def test_a_job_that_does_not_own_the_prefix_stands_down():
    log = Log().fence().save(10)
    verdict = log.history.may_append(log.make(Pin, step=10, save=log.label(10)), "u2")
    assert isinstance(verdict, StandDown)
    assert "default/digits" in verdict.reason
    assert isinstance(History().may_append(log.make(Fence, seq=0, attempt=1), "u1"), StandDown)


def test_a_job_that_was_displaced_does_not_take_the_prefix_back():
    log = Log().add(Claim, nonce="u2", owner_uid="u2", owner_name="default/other")
    assert isinstance(log.history.may_append(log.make(Claim, owner_uid="u1", owner_name="x"), "u1"), StandDown)
    assert log.history.may_append(log.make(Claim, owner_uid="u3", owner_name="x"), "u3") == Append()


@given(st.lists(st.sampled_from(["save", "fence", "rollback", "quarantine", "drop", "pin"]), max_size=25), st.data())
def test_folding_in_pieces_or_at_once_is_the_same(kinds, data):
    log = Log().fence()
    start = log.history
    for step, kind in enumerate(kinds, 1):
        labels = sorted(log.history.checkpoints)
        if kind == "save":
            log.save(step)
        elif kind == "fence":
            log.fence()
        elif kind == "rollback":
            log.add(Rollback, step=data.draw(st.integers(0, step)), request=f"r{step}")
        elif labels:
            label = data.draw(st.sampled_from(labels))
            extra = {"quarantine": Quarantine, "pin": Pin}
            log.add(Drop, saves=(label,)) if kind == "drop" else log.add(extra[kind], step=int(label[:8]), save=label)
    assert log.history == start.extend(log.taken[start.seq + 1 :]) == History().extend(log.taken)


# --- entries ------------------------------------------------------------------------------


def test_an_entry_reads_back():
    log = Log().fence().save(10)
    for entry in log.taken:
        assert parse_entry(entry.to_bytes(), entry.seq) == entry


def test_an_unknown_kind_of_a_newer_version_counts_with_its_attempt():
    data = json.dumps({"kind": "compact", "seq": 1, "nonce": "x", "attempt": 7, "epoch": 2, "time": 1.5, "new": True}).encode()
    entry = parse_entry(data, 1)
    assert isinstance(entry, Unknown)
    assert Log().history.extend([entry]).attempt == 7


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"kind": "fence"}',
        b'{"kind": "fence", "seq": 2, "nonce": "x", "time": 0}',
        b'{"kind": "fence", "seq": "1", "nonce": "x", "time": 0}',
        b'{"kind": "fence", "seq": 1, "nonce": "x", "time": NaN}',
        b'{"kind": "fence", "seq": 1, "nonce": "x", "time": 0, "attempt": -1}',
        b'{"kind": "drop", "seq": 1, "nonce": "x", "time": 0, "saves": ["../../x"]}',
        b'{"kind": ["fence"], "seq": 1, "time": 0}',
        b" " * 300_000 + b"{}",
        b"[" * 100_000,
    ],
)
def test_what_is_no_entry_is_refused(data):
    with pytest.raises(BadEntry):
        parse_entry(data, 1)


@given(st.binary(max_size=200))
def test_parsing_never_fails_otherwise(data):
    with pytest.raises(BadEntry):
        parse_entry(data, 1)


# --- retention ----------------------------------------------------------------------------


def dropped_steps(log, keep):
    return [int(label[:8]) for label in to_drop(log.history, keep)]


def test_the_newest_ones_stay_and_never_fewer_than_two():
    log = Log().fence().save(10).save(20).save(30).save(40)
    assert dropped_steps(log, 3) == [10]
    assert dropped_steps(log, 1) == [10, 20]
    assert dropped_steps(log, 0) == [10, 20]


def test_a_pinned_one_stays_until_a_rollback_or_the_first_fence_after_the_end():
    log = Log().fence().save(10).save(20).save(30).save(40)
    log.add(Pin, step=10, save=log.label(10))
    assert dropped_steps(log, 2) == [20]
    assert dropped_steps(log.fence(), 2) == [20], "a resume ends no pin"
    assert dropped_steps(log.add(Done), 2) == [20]
    assert dropped_steps(log.fence(), 2) == [10, 20]
    log.add(Pin, step=20, save=log.label(20))
    assert dropped_steps(log.fence().add(Rollback, step=20, request="r").save(50).save(60), 2) == [10, 20]


def test_the_newest_four_pins_hold_together_and_one_made_again_is_the_newest():
    log = Log().fence()
    for step in range(10, 90, 10):
        log.save(step)
    for step in (10, 20, 30, 40, 10, 50):
        log.add(Pin, step=step, save=log.label(step))
    assert dropped_steps(log, 2) == [20, 60]
    assert log.history.may_append(log.make(Pin, step=50, save=log.label(50)), "u1") == AlreadyOurs()
    assert log.history.may_append(log.make(Pin, step=40, save=log.label(40)), "u1") == Append()
    assert log.add(Rollback, step=60, request="r").history.pins == ()
    assert not [kept for kept in log.history.checkpoints.values() if kept.pinned]


def test_the_newest_healthy_one_stays():
    log = Log().fence().save(10).save(20).save(30, clean=False).save(40, finite=False, clean=False).save(50, clean=False)
    assert log.history.newest_healthy().step == 10
    assert dropped_steps(log, 2) == [30], "20 shows that 10 is healthy"
    assert Log().fence().save(10, finite=False).save(20).save(30).history.newest_healthy().step == 20
    assert Log().fence().save(10).history.newest_healthy() is None


def test_hidden_and_quarantined_ones_have_a_limit_of_their_own():
    log = Log().fence()
    for step in (10, 20, 30, 40, 50):
        log.save(step)
    log.fence().add(Rollback, step=10, request="r").save(60)
    assert dropped_steps(log, 2) == [20, 30]


@given(st.lists(st.sampled_from(["save", "bad", "fence", "rollback", "quarantine", "pin"]), max_size=30), st.integers(0, 5), st.data())
def test_retention_keeps_its_promises_and_comes_to_rest(kinds, keep, data):
    log = Log().fence()
    for step, kind in enumerate(kinds, 1):
        visible = log.history.visible()
        if kind in ("save", "bad"):
            log.save(step, finite=kind == "save")
        elif kind == "fence":
            log.fence()
        elif visible:
            kept = data.draw(st.sampled_from(visible))
            if kind == "rollback":
                log.add(Rollback, step=kept.step, request=f"r{step}")
            else:
                log.add(Quarantine if kind == "quarantine" else Pin, step=kept.step, save=kept.save)
    before = log.history
    drops = to_drop(before, keep)
    if drops:
        log.add(Drop, saves=tuple(drops))
    assert to_drop(log.history, keep) == []
    assert log.history.newest() == before.newest()
    assert log.history.newest_healthy() == before.newest_healthy()
    assert before.visible()[-2:] == log.history.visible()[-2:]
    assert all(kept.save in log.history.checkpoints for kept in before.checkpoints.values() if kept.pinned)
    assert sum(not kept.visible and not kept.pinned for kept in log.history.checkpoints.values()) <= 2
