"""Death at every single request, and damage to every single object: the newest committed checkpoint can always be loaded."""

from hypothesis import given, settings
from hypothesis import strategies as st

from storage_fakes import DiedError, MemoryStore, dying, shard_bytes, write_shards
from storage_world import assert_whole
from trainingjob_api.contract.messages import GenerationId, Restore
from trainingjob_api.storage.entries import Authority
from trainingjob_api.storage.layout import Label
from trainingjob_storage.journal import Journal
from trainingjob_storage.store import Store


class Memfds:
    """Keeps what it is given, as an agent does."""

    def begin(self, manifest):
        self.manifest, self.shards = manifest, {}

    def shard(self, name, data):
        self.shards[name] = data


def journal(store: Store) -> Journal:
    return Journal(store, "u1", "default/digits", "build", False, lambda: 0.0)


def live(store: Store, attempt: int, acknowledged: list[str]) -> None:
    """One life of a job: restore, train on with two saves, tidy up, roll back in a new attempt, finish."""
    generation, by = GenerationId(attempt, 1, 1), Authority(attempt, 1)
    writer = journal(store)
    step = writer.restore(generation, Restore(), Memfds()).step or 0
    for _ in range(2):
        step += 10
        writer.commit(write_shards(store, generation, step), 1)
        acknowledged.append(f"{step:08d}-{generation.label()}")
        writer.apply_retention(by, 2)
    first = writer.position().checkpoints[0]
    back = GenerationId(attempt + 1, 1, 1)
    writer.restore(back, Restore(kind="Step", step=first, request=f"r{attempt}"), Memfds())
    writer.export(Authority(attempt + 1, 1), Label(first, back.label()), b"model", "{}")
    writer.done(Authority(attempt + 1, 1), first, {"loss": 0.1})


def check(store: MemoryStore, acknowledged: list[str]) -> int:
    """Everything promised is there, and the newest checkpoint loads, byte for byte. Returns the next attempt."""
    seen = assert_whole(store)
    assert all(label in seen.checkpoints or label in seen.dropped for label in acknowledged)
    newest = seen.newest()
    memory = Memfds()
    opening = journal(store).restore(GenerationId(seen.attempt + 1, 1, 1), Restore(), memory)
    assert opening.step == (newest.step if newest else None)
    if newest is not None:
        made_by = Label.parse(newest.save).generation()
        assert memory.shards == {f"{rank:05d}.safetensors": shard_bytes(newest.step, rank, 2, made_by) for rank in range(2)}
    return seen.attempt + 2


def test_killing_it_at_any_request_leaves_the_newest_committed_checkpoint_loadable():
    deaths = 0
    for answered in (False, True):
        for request in range(10_000):
            store, acknowledged = MemoryStore(), []
            live(store, 1, acknowledged)
            attempt = check(store, acknowledged)
            try:
                live(dying(store, request, answered=answered), attempt, acknowledged)
            except DiedError:
                deaths += 1
            else:
                break
            attempt = check(store, acknowledged)
            live(store, attempt, acknowledged)
            check(store, acknowledged)
    assert deaths > 80


def test_a_job_that_dies_every_few_requests_gets_on():
    store, acknowledged, deaths, finished = MemoryStore(), [], 0, 0
    for turn in range(60):
        seen = assert_whole(store)
        # The log is read from its beginning in every life.
        patience = seen.seq + 5 * turn % 130
        try:
            live(dying(store, patience, answered=turn % 2 == 0), seen.attempt + 1, acknowledged)
        except DiedError:
            deaths += 1
        else:
            finished += 1
    assert deaths > 20
    assert finished > 5
    assert assert_whole(store).newest() is not None
    assert len(store.list("saves/")) < 60, "what deaths left behind is swept"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_objects_of_saves_are_damaged_the_newest_sound_one_is_restored(data):
    store, generation = MemoryStore(), GenerationId(1, 1, 1)
    writer = journal(store)
    writer.open_attempt(generation, Restore())
    for step in (10, 20, 30, 40):
        writer.commit(write_shards(store, generation, step), 1)
    keys = store.list("saves/")
    harmed = data.draw(st.sets(st.sampled_from(keys), min_size=1, max_size=4))
    for key in harmed:
        original = store.objects[key]
        position = data.draw(st.integers(0, len(original) - 1))
        store.objects[key] = data.draw(
            st.sampled_from(
                [original[:position], original + b"x", original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :]]
            )
        )
    sound = [step for step in (10, 20, 30, 40) if not any(f"saves/{step:08d}-" in key for key in harmed)]
    memory = Memfds()
    opening = journal(store).restore(GenerationId(2, 1, 1), Restore(), memory)
    assert opening.step == (max(sound) if sound else None)
    assert set(opening.position.quarantined) == {step for step in (10, 20, 30, 40) if not sound or step > max(sound)}
    if sound:
        assert memory.shards == {f"{rank:05d}.safetensors": shard_bytes(max(sound), rank, 2, generation) for rank in range(2)}
