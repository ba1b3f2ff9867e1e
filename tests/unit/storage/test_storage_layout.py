"""Names are written and read back, and foreign names are left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_api.contract.messages import GenerationId, MemberId, SaveId
from trainingjob_api.storage.layout import (
    Label,
    export_keys,
    is_a_jobs,
    log_key,
    manifest_key,
    parse_log_key,
    parse_run_log_key,
    parse_save_key,
    parse_shard_name,
    run_log_key,
    shard_key,
    shard_name,
)

NUMBERS = st.integers(0, 10**8)


@given(NUMBERS)
def test_a_log_key_reads_back(seq):
    assert parse_log_key(log_key(seq)) == seq


@given(NUMBERS, st.integers(0, 10**5), NUMBERS, NUMBERS, NUMBERS)
def test_a_shard_key_reads_back(step, rank, attempt, epoch, n):
    generation = GenerationId(attempt, epoch, n)
    label = Label.of(SaveId(generation=generation, step=step))
    assert label.generation() == generation
    assert parse_save_key(shard_key(label, shard_name(rank))) == (label, shard_name(rank))
    assert parse_save_key(manifest_key(label)) == (label, "manifest.json")
    assert parse_shard_name(shard_name(rank)) == rank


@given(NUMBERS, NUMBERS)
def test_the_order_of_names_is_the_order_of_numbers(one, other):
    if max(one, other) < 10**8:
        assert (log_key(one) < log_key(other)) == (one < other)


def test_a_run_log_key_reads_back():
    member = MemberId(3, 1, 0, 12)
    assert run_log_key(member) == "runs/3/1/0.12.log"
    assert parse_run_log_key(run_log_key(member)) == member


def test_the_names_are_as_documented():
    label = Label(1200, "a2e1n7")
    assert log_key(42) == "log/00000042.json"
    assert shard_key(label, shard_name(3)) == "saves/00001200-a2e1n7/00003.safetensors"
    assert export_keys(label) == ("export/00001200-a2e1n7/model.safetensors", "export/00001200-a2e1n7/model.json")


@pytest.mark.parametrize(
    "key", ["log/1.json", "log/000000001.json", "log/00000001.json.tmp", "log/../x", "log/0000000a.json", "saves/x", "log/٠٠٠٠٠٠٠١.json"]
)
def test_a_foreign_name_is_no_entry(key):
    assert parse_log_key(key) is None


@pytest.mark.parametrize("key", ["saves/1-a/m", "saves/00000001-A/m", "saves/00000001-a/b/c", "saves/00000001/m", "saves/../m"])
def test_a_foreign_name_is_no_save(key):
    assert parse_save_key(key) is None


@given(NUMBERS, st.integers(0, 10**5), NUMBERS, NUMBERS, NUMBERS)
def test_what_a_job_stores_is_a_jobs(step, rank, attempt, epoch, n):
    generation = GenerationId(attempt, epoch, n)
    label = Label.of(SaveId(generation=generation, step=step))
    run = run_log_key(MemberId(rank, attempt % 10, epoch % 10, n))
    for key in (
        log_key(n),
        shard_key(label, shard_name(rank)),
        manifest_key(label),
        run,
        *export_keys(label),
        f"probe/{generation.label()}",
    ):
        assert is_a_jobs(key), key


@pytest.mark.parametrize(
    "key",
    [
        "log/app.log",
        "runs/events.out.tfevents.1",
        "runs/Nov29_host/events.out.tfevents.1",
        "runs/01/0/0.0.log",
        "export/results.csv",
        "export/00001200-a2e1n7/notes.md",
        "export/20240101-best/model.pt",
        "saves/best.pt",
        "saves/20240101-best/model.pt",
        "probe/notes.md",
        "probe/answers",
        "mine.txt",
    ],
)
def test_a_foreign_name_is_no_jobs(key):
    assert not is_a_jobs(key)
