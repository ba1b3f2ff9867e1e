"""The journal: claims, attempts, commits, the end; each safe to repeat."""

import pytest

from storage_fakes import MemoryStore, losing_answers, write_shards
from trainingjob_api.contract.messages import GenerationId, Restore
from trainingjob_api.contract.runtime import CONTRACT_VERSION, OLDEST_CONTRACT
from trainingjob_api.status import FailureRecord
from trainingjob_api.storage.entries import Authority
from trainingjob_api.storage.layout import Label
from trainingjob_api.storage.manifest import parse_manifest
from trainingjob_storage.checkpoints import read_shards
from trainingjob_storage.errors import AttemptTaken, Corrupt, Fenced, NotWhole, OwnedByAnother, Unreachable
from trainingjob_storage.fronts import read_slices
from trainingjob_storage.journal import Journal

LATEST = Restore()


def generation(attempt, n=1, epoch=1):
    return GenerationId(attempt, epoch, n)


def journal(store, uid="u1", name="default/digits", adopt=False, identity=None):
    return Journal(store, uid, name, "build-1", adopt, lambda: 1000.5, identity)


def save(writer, store, step, by=None):
    return writer.commit(write_shards(store, by or generation(1), step), 1)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def opened(store):
    writer = journal(store)
    writer.open_attempt(generation(1), LATEST)
    return writer


def test_an_empty_log_has_no_position(store):
    position = journal(store).position()
    assert (position.seq, position.attempt, position.checkpoint, position.done) == (-1, 0, None, False)


def test_the_first_opening_claims_fences_and_starts_fresh(store):
    opening = journal(store).open_attempt(generation(1), LATEST)
    assert (opening.step, opening.manifest) == (None, None)
    assert sorted(store.objects) == ["log/00000000.json", "log/00000001.json"]
    assert (opening.position.attempt, opening.position.opened_attempt, opening.position.restored_step) == (1, 1, None)


def test_a_second_job_is_refused_naming_the_first(store, opened):
    with pytest.raises(OwnedByAnother, match=r"checkpoint\.adopt: true; it belongs to the job default/digits"):
        journal(store, "u2", "default/other").open_attempt(generation(1), LATEST)
    assert len(store.objects) == 2


def test_a_status_has_room_for_the_whole_refusal(store):
    first = f"{'n' * 40}/{'j' * 40}"
    journal(store, "u" * 36, first).open_attempt(generation(1), LATEST)
    with pytest.raises(OwnedByAnother) as refused:
        journal(store, "u2").open_attempt(generation(1), LATEST)
    record = FailureRecord(worker=31, cause="UserError", message=f"UserError: {refused.value}")
    assert "checkpoint.adopt: true" in record.message
    assert first in record.message


def test_adopting_takes_over_and_the_displaced_job_stands_down(store, opened):
    save(opened, store, 10)
    opened.done(Authority(1, 1), 10, {})
    heir = journal(store, "u2", "default/heir", adopt=True)
    assert heir.position().done is False
    with pytest.raises(AttemptTaken) as caught:
        heir.open_attempt(generation(1), LATEST)
    opening = heir.open_attempt(generation(caught.value.attempt + 1), LATEST)
    assert (opening.step, opening.position.done) == (10, False)
    with pytest.raises(Fenced, match="default/heir"):
        save(opened, store, 20)
    with pytest.raises(Fenced):
        journal(store, adopt=True).open_attempt(generation(9), LATEST)


def test_an_attempt_is_opened_once_but_its_opener_may_ask_again(store, opened):
    assert opened.open_attempt(generation(1), LATEST).position.seq == 1
    for other in (journal(store), opened):
        with pytest.raises(AttemptTaken) as caught:
            other.open_attempt(generation(1, n=2), LATEST)
        assert caught.value.attempt == 1


def test_a_committed_save_is_what_the_next_attempt_starts_from(store, opened):
    position = save(opened, store, 10)
    assert (position.checkpoint, position.checkpoints) == (10, (10,))
    opening = journal(store).open_attempt(generation(2), LATEST)
    assert opening.manifest is not None
    assert (opening.step, opening.manifest.position.digest, opening.manifest.build) == (10, "d10", "build-1")
    shards = dict(journal(store).read_checkpoint(opening.manifest))
    assert sorted(shards) == ["00000.safetensors", "00001.safetensors"]


def test_a_commit_may_be_repeated_by_anybody(store, opened):
    commit = write_shards(store, generation(1), 10)
    first = opened.commit(commit, 1)
    assert opened.commit(commit, 1) == first
    assert journal(store).commit(commit, 1).seq == first.seq
    later = commit.model_copy(update={"position": '{"step": 10, "digest": "other"}'})
    assert journal(store).commit(later, 1).seq == first.seq


def test_a_commit_after_a_lost_answer_finds_its_own_entry(store, opened):
    lossy, fired = losing_answers(store, {0, 1})
    writer = journal(lossy)
    commit = write_shards(store, generation(1), 10)
    for _ in range(2):
        with pytest.raises(Unreachable):
            writer.commit(commit, 1)
    assert fired == ["saves/00000010-a1e1n1/manifest.json", "log/00000002.json"]
    assert writer.commit(commit, 1).checkpoints == (10,)
    assert len([key for key in store.objects if key.startswith("log/")]) == 3


def test_a_fence_after_a_lost_answer_finds_its_own_entry(store):
    lossy, fired = losing_answers(store, {0, 1})
    writer = journal(lossy)
    for _ in range(2):
        with pytest.raises(Unreachable):
            writer.open_attempt(generation(1), LATEST)
    assert fired == ["log/00000000.json", "log/00000001.json"]
    assert writer.open_attempt(generation(1), LATEST).position.seq == 1


def test_a_commit_of_an_older_attempt_stands_down(store, opened):
    commit = write_shards(store, generation(1), 10)
    journal(store).open_attempt(generation(2), LATEST)
    with pytest.raises(Fenced, match="attempt 2"):
        opened.commit(commit, 1)
    assert journal(store).position().checkpoint is None


def test_a_commit_for_an_older_rendezvous_stands_down_and_an_adopted_generation_goes_on(store, opened):
    opened.commit(write_shards(store, generation(1), 10), 2)
    with pytest.raises(Fenced, match="epoch 2"):
        journal(store).commit(write_shards(store, generation(1), 20), 1)
    assert opened.commit(write_shards(store, generation(1), 30), 2).checkpoints == (10, 30)


@pytest.mark.parametrize("fronts", [True, False])
@pytest.mark.parametrize("damage", ["missing shard", "hole"])
def test_a_save_that_is_not_whole_stays_invisible(store, opened, damage, fronts):
    commit = write_shards(store, generation(1), 10, fronts=fronts)
    if damage == "missing shard":
        store.delete(["saves/00000010-a1e1n1/00001.safetensors"])
    else:
        commit = commit.model_copy(update={"shards": commit.shards[:1]})
    with pytest.raises(NotWhole, match="00001.safetensors" if damage == "missing shard" else r"model/w\[\d+:\d+\]"):
        opened.commit(commit, 1)
    assert opened.position().checkpoint is None


@pytest.mark.parametrize("entries", ["{", "those of another"])
def test_a_save_whose_commit_lists_no_slices_stays_invisible(store, opened, entries):
    commit = write_shards(store, generation(1), 10, fronts=False)
    first, second = commit.shards
    foreign = second.model_copy(update={"entries": "{" if entries == "{" else first.entries})
    with pytest.raises(NotWhole):
        opened.commit(commit.model_copy(update={"shards": (first, foreign)}), 1)
    assert opened.position().checkpoint is None


@pytest.mark.parametrize("fronts", [True, False])
@pytest.mark.parametrize("contract", range(OLDEST_CONTRACT, CONTRACT_VERSION + 1))
def test_shards_are_read_as_they_were_written_or_are_damaged(store, opened, contract, fronts):
    commit = write_shards(store, generation(1), 10, contract=contract, fronts=fronts)
    opened.commit(commit, 1)
    manifest = parse_manifest(store.get("saves/00000010-a1e1n1/manifest.json"))
    written = [(shard.name, store.get(f"saves/00000010-a1e1n1/{shard.name}")) for shard in commit.shards]
    assert list(read_shards(store, manifest)) == written
    assert [piece.name for piece in read_slices(store, manifest)] == ["model/w", "model/w"]
    name, data = written[1]
    store.put(f"saves/00000010-a1e1n1/{name}", bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(Corrupt, match=rf"{name}: {len(data)} bytes with another checksum"):
        list(read_shards(store, manifest))
    store.put(f"saves/00000010-a1e1n1/{name}", data[: len(data) // 2])
    with pytest.raises(Corrupt, match=rf"{name} is torn"):
        list(read_shards(store, manifest))


def test_another_save_under_the_same_label_is_refused(store, opened):
    commit = write_shards(store, generation(1), 10)
    store.put("saves/00000010-a1e1n1/manifest.json", b"{}")
    with pytest.raises(Corrupt):
        opened.commit(commit, 1)


def test_a_rollback_is_carried_out_once_per_request(store, opened):
    for step in (10, 20, 30):
        save(opened, store, step)
    back = Restore(kind="Step", step=10, request="r1")
    opening = journal(store).open_attempt(generation(2), back)
    assert (opening.step, opening.position.request, opening.position.checkpoints) == (10, "r1", (10,))
    writer = journal(store)
    with pytest.raises(AttemptTaken):
        writer.open_attempt(generation(2), back)
    save(journal(store), store, 20, generation(2))
    opening = writer.open_attempt(generation(3), back)
    assert (opening.step, opening.position.request) == (20, "r1")


def test_a_rollback_whose_checkpoint_is_gone_starts_from_the_newest_one_and_says_so(store, opened):
    save(opened, store, 10)
    save(opened, store, 20)
    opening = journal(store).open_attempt(generation(2), Restore(kind="Step", step=15, request="r1"))
    assert (opening.step, opening.position.opened_attempt) == (20, 2)
    assert (opening.position.request, opening.position.missing_request) == (None, "r1")
    assert journal(store).history().rollback is None


def test_a_rollback_without_a_request_id_is_carried_out(store, opened):
    save(opened, store, 10)
    save(opened, store, 20)
    assert journal(store).open_attempt(generation(2), Restore(kind="Step", step=10)).step == 10


def test_export_and_done_are_said_once(store, opened):
    save(opened, store, 10)
    label = Label(10, generation(1).label())
    opened.export(Authority(1, 1), label, memoryview(b"weights"), '{"task": "digits"}')
    position = opened.done(Authority(1, 1), 10, {"accuracy": 0.97, "bad": float("nan")})
    assert (position.done, position.result) == (True, {"accuracy": 0.97})
    assert position.exported == "file:///memory/export/00000010-a1e1n1/"
    assert store.get("export/00000010-a1e1n1/model.safetensors") == b"weights"
    again = journal(store)
    again.export(Authority(1, 1), label, b"other", "{}")
    assert again.done(Authority(1, 1), 10, {"accuracy": 0.1}).seq == position.seq
    assert store.get("export/00000010-a1e1n1/model.safetensors") == b"weights"
    assert journal(store).open_attempt(generation(2), LATEST).position.done is False


def test_a_hole_or_rubbish_in_the_log_stops_everybody(store, opened):
    for step in (10, 20):
        save(opened, store, step)
    entry = store.objects.pop("log/00000001.json")
    with pytest.raises(Corrupt, match=r"log/00000001\.json"):
        journal(store).position()
    store.put("log/00000001.json", entry[:-3])
    with pytest.raises(Corrupt, match=r"log/00000001\.json"):
        journal(store).open_attempt(generation(2), LATEST)


def test_the_position_reads_new_entries_only(store, opened):
    save(opened, store, 10)
    asked = []

    class Counting(MemoryStore):
        def get(self, key):
            asked.append(key)
            return store.get(key)

        def list(self, prefix):
            return store.list(prefix)

    reader = journal(Counting())
    reader.position()
    asked.clear()
    save(opened, store, 20)
    assert reader.position().checkpoints == (10, 20)
    assert asked == ["log/00000003.json", "log/00000004.json"]
