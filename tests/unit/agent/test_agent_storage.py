"""Snapshots, commits, restores and exports through a real agent into a real folder."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from blake3 import blake3

from trainingjob_agent.trouble import Trouble
from trainingjob_agent.uploads import retried
from trainingjob_api.contract.messages import (
    Beat,
    Commit,
    GenerationId,
    Keep,
    LogPosition,
    MemberId,
    MemberReport,
    Phase,
    Restore,
    Saved,
    SaveId,
)
from trainingjob_api.contract.runtime import ExitCode
from trainingjob_api.storage.manifest import Position, TensorSlice, slices_json
from trainingjob_storage.errors import Refused, Unreachable
from trainingjob_storage.journal import Journal
from trainingjob_storage.store import open_store
from unit.agent.scene import Puppet, Scene, make_generation, orders

DATA = bytes(range(200)) * 20
SAVE = SaveId(generation=GenerationId(1, 1, 1), step=4)
ENTRIES = slices_json(
    [TensorSlice(name="model/w", shard="00000.safetensors", global_shape=(10,), dtype="F32", start=0, stop=10, begin=0, end=40)]
)
POSITION = Position(step=4, digest="d4").model_dump_json()


async def with_arena(scene: Scene) -> tuple[Puppet, dict[str, Any]]:
    puppet = await scene.puppets.next()
    puppet.say("need_arena", bytes=len(DATA), buffers=2)
    return puppet, await puppet.hears("arena")


async def snapshot(puppet: Puppet, arena: dict[str, Any], *, buffer: int = 0, save: SaveId = SAVE) -> dict[str, Any]:
    puppet.do("write", {"path": arena["path"], "offset": arena["offsets"][buffer], "hex": DATA.hex()})
    await puppet.tells("written")
    puppet.say("snapshot", save=save.model_dump(), rank=0, buffer=buffer, length=len(DATA), entries=ENTRIES, position=POSITION)
    return await puppet.hears("released")


async def opened(puppet: Puppet, attempt: int = 1) -> dict[str, Any]:
    puppet.say("open", generation=[attempt, 1, attempt], restore={"kind": "Latest"})
    return await puppet.hears("opened")


def another_journal(scene: Scene, uid: str = "uid-1") -> Journal:
    store = open_store(f"file://{scene.storage}", None, None, {})
    return Journal(store, uid, "default/other", "build-1", False, lambda: 0.0)


def of_step(step: int) -> Callable[[Saved], bool]:
    return lambda saved: saved.save.step == step


async def commit(scene: Scene, saved: Saved) -> LogPosition:
    await scene.rendezvous.say(Commit(save=saved.save, world=1, shards=(saved.shard,), position=saved.position))
    return await scene.rendezvous.next(LogPosition, lambda position: position.checkpoint == saved.save.step)


async def test_a_snapshot_lies_in_storage_with_the_hash_that_is_told(scene: Scene) -> None:
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        assert (await snapshot(puppet, arena))["ok"]
        saved = await scene.rendezvous.next(Saved)
        kept = (scene.storage / "saves" / "00000004-a1e1n1" / "00000.safetensors").read_bytes()
        assert kept == DATA
        assert saved.shard.blake3 == blake3(DATA).hexdigest()
        assert (saved.member, saved.shard.bytes, saved.shard.rank) == (MemberId(0, 3, 0, 0), len(DATA), 0)


async def test_a_save_that_cannot_be_stored_is_void_and_training_goes_on(scene: Scene) -> None:
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        scene.storage.mkdir(exist_ok=True)
        (scene.storage / "saves").write_text("in the way")
        released = await snapshot(puppet, arena)
        assert (released["buffer"], released["ok"]) == (0, False)
        puppet.say("standing", phase="Stepping", generation=[1, 1, 1])
        await scene.rendezvous.next(MemberReport, lambda report: report.phase is Phase.STEPPING)
        assert not any(isinstance(message, Saved) for message in scene.rendezvous.heard)


async def test_what_keeps_it_from_storage_is_told_on_every_connection_until_a_checkpoint_is_there(scene: Scene) -> None:
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        scene.storage.mkdir(exist_ok=True)
        (scene.storage / "saves").write_text("in the way")
        await snapshot(puppet, arena)
        told = await scene.rendezvous.next(Beat, lambda beat: bool(beat.trouble))
        assert told.trouble.startswith("spec.checkpoint.storage.uri: ")
        assert "Not a directory" in told.trouble or "File exists" in told.trouble
        heard = len(scene.rendezvous.heard)
        await scene.rendezvous.stop()
        await scene.rendezvous.start()
        assert await scene.rendezvous.next(Beat, after=heard) == told
        (scene.storage / "saves").unlink()
        heard = len(scene.rendezvous.heard)
        assert (await snapshot(puppet, arena))["ok"]
        assert (await scene.rendezvous.next(Beat, lambda beat: beat != told, after=heard)).trouble == ""


async def test_the_arena_survives_the_process_and_is_lent_to_its_next_life(scene: Scene) -> None:
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        os.kill(puppet.pid, signal.SIGKILL)
        _, again = await with_arena(scene)
        assert again == arena


async def test_a_commit_makes_the_save_a_checkpoint_of_the_log(scene: Scene) -> None:
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        assert "manifest" not in await opened(puppet)
        fenced = await scene.rendezvous.next(LogPosition, lambda position: position.opened_attempt == 1)
        assert fenced.restored_step is None
        await snapshot(puppet, arena)
        position = await commit(scene, await scene.rendezvous.next(Saved))
        assert position.checkpoints == (4,)
    kinds = [json.loads(path.read_text())["kind"] for path in sorted((scene.storage / "log").iterdir())]
    assert kinds == ["claim", "fence", "checkpoint"]
    manifest = json.loads((scene.storage / "saves" / "00000004-a1e1n1" / "manifest.json").read_text())
    assert manifest["shards"][0]["blake3"] == blake3(DATA).hexdigest()


async def test_an_opened_attempt_hands_the_checkpoints_shards_over_until_the_next_standing(scene: Scene) -> None:
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        await opened(puppet)
        await snapshot(puppet, arena)
        await commit(scene, await scene.rendezvous.next(Saved))
        answer = await opened(puppet, attempt=2)
        assert json.loads(answer["manifest"])["step"] == 4
        assert answer["generation"] == [2, 1, 2]
        path = answer["files"]["00000.safetensors"]
        puppet.do("read", path)
        assert bytes.fromhex(await puppet.tells("content")) == DATA
        position = await scene.rendezvous.next(LogPosition, lambda position: position.opened_attempt == 2)
        assert position.restored_step == 4


async def test_an_attempt_that_cannot_be_opened_is_told_until_it_is(scene: Scene) -> None:
    another_journal(scene).open_attempt(GenerationId(1, 1, 1), Restore())
    first, away = scene.storage / "log" / "00000000.json", scene.storage / "away.json"
    first.rename(away)
    async with scene.agent():
        puppet = await scene.puppets.next()
        puppet.say("open", generation=[2, 1, 2], restore={"kind": "Latest"})
        told = await scene.rendezvous.next(Beat, lambda beat: beat.trouble != "")
        assert "log/00000000.json is missing although later entries are there" in told.trouble
        away.rename(first)
        assert (await puppet.hears("opened")).get("error") is None
        heard = len(scene.rendezvous.heard)
        await scene.rendezvous.next(Beat, lambda beat: beat.trouble == "", after=heard - 4)


async def test_an_attempt_that_is_taken_is_told_with_the_logs_position(scene: Scene) -> None:
    another_journal(scene).open_attempt(GenerationId(5, 1, 1), make_generation().restore)
    async with scene.agent():
        puppet = await scene.puppets.next()
        answer = await opened(puppet)
        assert "attempt 5" in answer["error"]
        assert (await scene.rendezvous.next(LogPosition)).attempt == 5


async def test_storage_of_another_job_is_told_with_the_field(scene: Scene) -> None:
    another_journal(scene, uid="uid-of-another").open_attempt(GenerationId(1, 1, 1), make_generation().restore)
    async with scene.agent() as running:
        puppet = await scene.puppets.next()
        puppet.say("open", generation=[1, 1, 1], restore={"kind": "Latest"})
        report = await scene.rendezvous.next(MemberReport, lambda report: report.phase is Phase.GONE)
        assert report.failure is not None
        assert report.failure.cause == "Fenced"
        assert report.failure.message.startswith("spec.checkpoint.storage.uri")
        await scene.rendezvous.say(orders(failed="for good"))
        assert (await running.words()).code == ExitCode.FENCED


async def test_a_rollback_whose_checkpoint_is_gone_starts_from_the_newest_one_and_is_told(scene: Scene) -> None:
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        await opened(puppet)
        await snapshot(puppet, arena)
        await commit(scene, await scene.rendezvous.next(Saved))
        puppet.say("open", generation=[2, 1, 1], restore={"kind": "Step", "step": 7, "request": "r"})
        answer = await puppet.hears("opened")
        assert json.loads(answer["manifest"])["step"] == 4
        position = await scene.rendezvous.next(LogPosition, lambda position: position.opened_attempt == 2)
        assert (position.restored_step, position.request, position.missing_request) == (4, None, "r")


async def test_a_checkpoint_that_a_rollback_waits_for_is_pinned_and_the_answer_is_told(scene: Scene) -> None:
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        await opened(puppet)
        await snapshot(puppet, arena)
        await commit(scene, await scene.rendezvous.next(Saved))
        for step, found in ((7, False), (4, True)):
            wanted = Keep(step=step, request="r")
            await scene.rendezvous.say(orders(keep=wanted))
            answer = await scene.rendezvous.next(LogPosition, lambda position, wanted=wanted: position.asked == wanted)  # type: ignore[misc]
            assert answer.found is found
        heard = len(scene.rendezvous.heard)
        await scene.rendezvous.stop()
        await scene.rendezvous.start()
        assert await scene.rendezvous.next(LogPosition, after=heard) == answer, "whoever is new hears it too"
    pin = json.loads(max((scene.storage / "log").iterdir()).read_text())
    assert (pin["kind"], pin["step"]) == ("pin", 4)


async def test_a_store_that_fails_keeps_a_rollback_waiting_until_it_works(scene: Scene) -> None:
    another_journal(scene).open_attempt(GenerationId(1, 1, 1), Restore())
    first, away = scene.storage / "log" / "00000000.json", scene.storage / "away.json"
    first.rename(away)
    async with scene.agent():
        await scene.puppets.next()
        await scene.rendezvous.say(orders(keep=Keep(step=4, request="r")))
        await scene.rendezvous.next(Beat, lambda beat: "log/00000000.json is missing" in beat.trouble)
        away.rename(first)
        answer = await scene.rendezvous.next(LogPosition)
        assert (answer.asked, answer.found) == (Keep(step=4, request="r"), False)


async def test_an_export_ends_the_log_with_done(scene: Scene) -> None:
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        await opened(puppet)
        puppet.do("write", {"path": arena["path"], "offset": arena["offsets"][1], "hex": DATA.hex()})
        await puppet.tells("written")
        model = {"generation": [1, 1, 1], "step": 10, "buffer": 1, "length": len(DATA), "metadata": "{}", "result": {"accuracy": 0.5}}
        puppet.say("export", **model)
        assert await puppet.hears("released") == {"type": "released", "buffer": 1, "ok": True, "message": ""}
        position = await scene.rendezvous.next(LogPosition, lambda position: position.done)
        assert position.result == {"accuracy": 0.5}
        assert position.exported is not None
    assert (scene.storage / "export" / "00000010-a1e1n1" / "model.safetensors").read_bytes() == DATA


@pytest.mark.parametrize(
    ("attempts", "calls", "told"), [(1, 1, ["away"]), (2, 2, ["away"]), (None, 3, []), (None, 4, ["away", ""])], ids=str
)
async def test_a_store_that_cannot_be_reached_is_tried_again_so_many_times(attempts: int | None, calls: int, told: list[str]) -> None:
    """Two failures may be a moment's trouble; what fails for good, or three times in a row, is told."""
    made: list[int] = []
    heard: list[str] = []
    trouble = Trouble()
    trouble.listen(lambda: heard.append(trouble.text))

    def call() -> str:
        made.append(1)
        if len(made) < (attempts or 0) + 1 or len(made) < calls:
            raise Unreachable("away")
        return "there"

    with ThreadPoolExecutor(1) as pool:
        if attempts is None:
            assert await retried("call", call, pool, None, trouble) == "there"
        else:
            with pytest.raises(Unreachable):
                await retried("call", call, pool, attempts, trouble)
    assert len(made) == calls
    assert heard == told


def test_each_errand_has_its_trouble_until_it_is_done() -> None:
    heard: list[str] = []
    trouble = Trouble()
    trouble.listen(lambda: heard.append(trouble.text))
    trouble.failed("a shard", Unreachable("full"))
    trouble.failed("commit", Unreachable("away"))
    trouble.failed("a shard", Unreachable("full still"))
    trouble.failed("a shard", Refused("forbidden"))
    trouble.worked("a shard")
    trouble.worked("export")
    trouble.clear()
    assert heard == ["full", "forbidden", "away", ""]


async def test_retention_keeps_the_newest_checkpoints(scene: Scene) -> None:
    checkpoint = {"storage": {"uri": f"file://{scene.storage}"}, "keep": 2}
    async with scene.agent(checkpoint=checkpoint):
        puppet, arena = await with_arena(scene)
        await opened(puppet)
        for step in (1, 2, 3, 4):
            save = SaveId(generation=GenerationId(1, 1, 1), step=step)
            await snapshot(puppet, arena, save=save)
            await commit(scene, await scene.rendezvous.next(Saved, of_step(step)))
        kept = await scene.rendezvous.next(LogPosition, lambda position: 4 in position.checkpoints and 2 not in position.checkpoints)
        assert {3, 4} <= set(kept.checkpoints)
    assert not (scene.storage / "saves" / "00000002-a1e1n1").exists()
