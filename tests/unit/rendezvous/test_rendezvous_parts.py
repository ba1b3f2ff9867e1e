"""The rendezvous' other parts: the store, the accounts of saves and failures, the pulse, reports, TLS."""

from __future__ import annotations

import asyncio
import base64
import ssl

import pytest

from certificates import make_certificate
from rendezvous_builders import make_generation, make_history, make_intent, make_log, make_member
from trainingjob_api.contract.intent import MAX_REPORT_BYTES, REPORT, Intent, WorkerSeat
from trainingjob_api.contract.log_position import merge
from trainingjob_api.contract.messages import (
    Beat,
    Failure,
    FailureCause,
    GenerationId,
    Hello,
    LogPosition,
    MemberId,
    Phase,
    Progress,
    Saved,
    SaveId,
    Shard,
    Source,
    Stage,
    StoreReply,
    StoreRequest,
)
from trainingjob_api.contract.runtime import CONTRACT_VERSION
from trainingjob_api.contract.tls import client_context, server_context
from trainingjob_rendezvous import store as store_module
from trainingjob_rendezvous.failures import Failures
from trainingjob_rendezvous.log_position import refuses_to_open
from trainingjob_rendezvous.pulse import TICK_SECONDS, Pulse
from trainingjob_rendezvous.quorum.admission import UNLISTED_SECONDS, refuse_agent, widened
from trainingjob_rendezvous.quorum.history import Decision
from trainingjob_rendezvous.quorum.members import AgentId
from trainingjob_rendezvous.rendezvous import Rendezvous
from trainingjob_rendezvous.report import Requests, assemble, encode
from trainingjob_rendezvous.saves import COMMIT_SECONDS, Saves
from trainingjob_rendezvous.store import Store


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


async def ask(store: Store, operation: str, *keys: str, value: str = "", timeout: float = 5.0, prefix: str = "g") -> StoreReply:
    return await store.answer(
        StoreRequest(id=7, operation=operation, prefix=prefix, keys=keys, value=value, timeout_seconds=timeout)  # type: ignore[arg-type]
    )


class TestStore:
    def open(self) -> Store:
        store = Store()
        store.keep_only("g")
        return store

    async def test_a_value_that_was_set_is_got(self) -> None:
        store = self.open()
        await ask(store, "set", "a", value=encoded(b"\x00\xff"))
        assert (await ask(store, "get", "a")).value == encoded(b"\x00\xff")

    async def test_add_counts_in_decimal_text(self) -> None:
        store = self.open()
        assert [(await ask(store, "add", "a", value=value)).value for value in ("1", "2", "-4")] == ["1", "3", "-1"]
        assert (await ask(store, "get", "a")).value == encoded(b"-1")

    async def test_get_waits_for_the_key(self) -> None:
        store = self.open()
        waiting = asyncio.create_task(ask(store, "wait", "a", "b"))
        await ask(store, "set", "b", value=encoded(b"1"))
        assert not waiting.done()
        await ask(store, "add", "a", value="1")
        assert (await waiting).value == ""

    async def test_get_times_out(self) -> None:
        assert (await ask(self.open(), "get", "a", timeout=0.01)).error == "timeout"

    async def test_check_and_delete_answer_for_all_keys(self) -> None:
        store = self.open()
        await ask(store, "set", "a", value=encoded(b"1"))
        assert (await ask(store, "check", "a", "b")).value == "0"
        assert (await ask(store, "check", "a")).value == "1"
        assert (await ask(store, "delete", "a")).value == "1"
        assert (await ask(store, "delete", "a")).value == "0"

    async def test_compare_set_does_as_torch_does(self) -> None:
        store = self.open()
        absent = await ask(store, "compare_set", "a", value=f"{encoded(b'x')} {encoded(b'y')}")
        assert absent.value == encoded(b"x")
        assert (await ask(store, "check", "a")).value == "0"
        assert (await ask(store, "compare_set", "a", value=f" {encoded(b'1')}")).value == encoded(b"1")
        assert (await ask(store, "compare_set", "a", value=f"{encoded(b'0')} {encoded(b'2')}")).value == encoded(b"1")
        assert (await ask(store, "compare_set", "a", value=f"{encoded(b'1')} {encoded(b'2')}")).value == encoded(b"2")

    async def test_another_generation_sees_nothing_and_ends_those_who_wait(self) -> None:
        store = self.open()
        await ask(store, "set", "a", value=encoded(b"1"))
        waiting = asyncio.create_task(ask(store, "get", "b"))
        await asyncio.sleep(0)
        store.keep_only("h")
        assert (await waiting).error == "over"
        assert (await ask(store, "get", "a")).error == "over"
        assert (await ask(store, "check", "a", prefix="h")).value == "0"

    async def test_keys_and_bytes_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = self.open()
        assert (await ask(store, "set", "k" * 2000, value="")).error == "full"
        monkeypatch.setattr(store_module, "MOST_KEYS", 1)
        monkeypatch.setattr(store_module, "MOST_BYTES", 4)
        assert (await ask(store, "set", "a", value=encoded(b"123"))).value == ""
        assert (await ask(store, "set", "a", value=encoded(b"1234"))).error == "full"
        assert (await ask(store, "set", "b", value="")).error == "full"

    @pytest.mark.parametrize(("operation", "value"), [("set", "?"), ("add", "x"), ("add", "")])
    async def test_a_bad_value_is_an_error_and_no_more(self, operation: str, value: str) -> None:
        assert (await ask(self.open(), operation, "a", value=value)).error in ("not base64", "not a number")

    async def test_a_request_without_a_key_is_an_error(self) -> None:
        assert (await ask(self.open(), "get")).error == "no key"


class TestSaves:
    MEMBERS = tuple(make_member(worker) for worker in range(3))
    GENERATION = make_generation(list(MEMBERS))
    AGENTS = tuple(member.agent for member in MEMBERS)

    def saved(self, rank: int, step: int = 10, member: int | None = None) -> Saved:
        shard = Shard(rank=rank, name=f"{rank}", bytes=1, blake3="0")
        who = self.MEMBERS[rank if member is None else member].id
        return Saved(member=who, save=SaveId(generation=self.GENERATION.id, step=step), shard=shard)

    def whole(self) -> Saves:
        saves = Saves()
        saves.know(self.GENERATION)
        for rank in range(3):
            saves.saved(self.saved(rank), None)
        return saves

    def test_nobody_commits_before_all_shards_are_there(self) -> None:
        saves = Saves()
        saves.know(self.GENERATION)
        for rank in (0, 1, 1):
            saves.saved(self.saved(rank), None)
        assert saves.commits(0.0, self.AGENTS) == []

    def test_a_foreign_rank_is_ignored(self) -> None:
        saves = Saves()
        saves.know(self.GENERATION)
        for rank in range(3):
            saves.saved(self.saved(rank, member=0), None)
        assert saves.commits(0.0, self.AGENTS) == []

    def test_rank_0_commits_once(self) -> None:
        saves = self.whole()
        assert [agent for agent, _ in saves.commits(0.0, self.AGENTS)] == [self.AGENTS[0]]
        assert saves.commits(1.0, self.AGENTS) == []

    def test_the_lowest_seat_commits_if_rank_0_is_gone(self) -> None:
        saves = self.whole()
        saves.commits(0.0, self.AGENTS)
        saves.forget_asked(self.AGENTS[0])
        assert [agent for agent, _ in saves.commits(1.0, self.AGENTS[1:])] == [self.AGENTS[1]]

    def test_any_agent_commits_if_all_seats_are_gone(self) -> None:
        spare = AgentId(9, 0)
        assert [agent for agent, _ in self.whole().commits(0.0, [spare])] == [spare]

    def test_a_committer_that_does_not_answer_is_followed_by_another(self) -> None:
        saves = self.whole()
        saves.commits(0.0, self.AGENTS)
        assert saves.wake_at() == COMMIT_SECONDS
        assert [agent for agent, _ in saves.commits(COMMIT_SECONDS, self.AGENTS)] == [self.AGENTS[1]]

    @pytest.mark.parametrize("log", [make_log(10), make_log(12), make_log(None, attempt=2)], ids=["there", "passed", "fenced"])
    def test_what_the_log_settles_is_forgotten(self, log: LogPosition) -> None:
        saves = self.whole()
        saves.settle(log)
        assert saves.commits(0.0, self.AGENTS) == []
        saves.saved(self.saved(0), log)
        assert saves.wake_at() is None


class TestFailures:
    def test_each_life_fails_once_and_what_was_seen_is_better_than_a_guess(self) -> None:
        failures = Failures()
        member = MemberId(0, 0, 0, 0)
        assert failures.add(Failure(member=member, cause=FailureCause.LOST))
        assert failures.add(Failure(member=member, cause=FailureCause.CRASH))
        assert not failures.add(Failure(member=member, cause=FailureCause.CRASH))
        assert not failures.add(Failure(member=member, cause=FailureCause.SILENT))
        assert (failures.count, [failure.cause for failure in failures.newest()]) == (1, ["Crash"])

    def test_the_newest_are_kept_and_all_are_counted(self) -> None:
        failures = Failures()
        for life in range(30):
            failures.add(Failure(member=MemberId(0, 0, 0, life), cause=FailureCause.CRASH))
        assert (failures.count, [failure.member.life for failure in failures.newest()]) == (30, list(range(10, 30)))


class TestPulse:
    def test_silence_is_counted_while_the_loop_comes_round(self) -> None:
        pulse = Pulse(0.0, 3.0)
        for tick in range(1, 41):
            pulse.beat(tick * TICK_SECONDS)
        assert pulse.awake(4.0) == pytest.approx(4.0)
        assert pulse.limit(4.0) == 3.0

    def test_a_pause_of_its_own_counts_for_nobody(self) -> None:
        pulse = Pulse(0.0, 3.0)
        assert pulse.awake(60.0) == pytest.approx(TICK_SECONDS)
        assert pulse.beat(60.0) == pytest.approx(60.0 - TICK_SECONDS)
        assert pulse.limit(62.9) is None
        assert pulse.limit(63.0) == 3.0

    def test_a_short_pause_is_deducted(self) -> None:
        pulse = Pulse(0.0, 3.0)
        pulse.beat(0.4)
        assert (pulse.limit(0.4), pulse.awake(0.4)) == (3.0, pytest.approx(0.1))


class TestLogPosition:
    def test_the_higher_seq_wins(self) -> None:
        old, new = make_log(5), make_log(9).model_copy(update={"seq": 2})
        assert merge(None, old) == old
        assert merge(old, new) == merge(new, old) == new

    def test_what_the_opener_knows_is_kept(self) -> None:
        opener = make_log(5, opened_attempt=1, restored_step=5, request="r")
        newer = make_log(9).model_copy(update={"seq": 4})
        for merged in (merge(opener, newer), merge(newer, opener)):
            assert (merged.seq, merged.checkpoint, merged.restored_step, merged.request) == (4, 9, 5, "r")

    def test_an_opening_is_refused_if_another_made_it(self) -> None:
        members = [make_member(0)]
        generation = make_generation(members)
        restoring = [make_member(0, Phase.RESTORING, generation=generation.id)]
        assert refuses_to_open(generation, restoring, make_log())
        assert not refuses_to_open(generation, restoring, make_log(opened_attempt=1))
        assert not refuses_to_open(generation, restoring, make_log(attempt=0))
        assert not refuses_to_open(generation, [make_member(0, Phase.STEPPING, generation=generation.id)], make_log())
        peer = make_generation(members, source=Source(kind="Peer"))
        assert not refuses_to_open(peer, restoring, make_log())


class TestAdmission:
    def test_a_pod_that_is_not_listed_yet_is_given_time(self) -> None:
        intent = make_intent(1)
        assert refuse_agent(AgentId(0, 1), "", UNLISTED_SECONDS, intent) is None
        assert refuse_agent(AgentId(0, 1), "", UNLISTED_SECONDS + 1, intent) is not None

    def test_a_replaced_pod_is_not(self) -> None:
        intent = Intent(epoch=1, attempt=1, workers=(WorkerSeat(worker=0, incarnation=2),))
        assert refuse_agent(AgentId(0, 1), "", 0.0, intent) is not None

    def test_the_first_intent_may_be_older_than_the_pods(self) -> None:
        generation = make_generation([make_member(worker) for worker in range(4)])
        intent = widened(make_intent(2), [AgentId(0, 3), AgentId(3, 0)], generation)
        assert intent.replicas == 4
        assert [(seat.worker, seat.incarnation) for seat in intent.workers] == [(0, 3), (1, 0), (3, 0)]


class TestReport:
    def test_it_is_never_longer_than_the_operator_reads(self) -> None:
        failures = Failures()
        for life in range(30):
            failures.add(Failure(member=MemberId(0, 0, 0, life), cause=FailureCause.CRASH, message="\u2603" * 5000))
        members = [make_member(worker) for worker in range(2000)]
        report = assemble(make_intent(), make_history(), Decision(), members, [], failures, Requests())
        text = encode(report)
        assert len(text.encode()) <= MAX_REPORT_BYTES
        assert REPORT.validate_json(text).failure_count == 30

    def test_numbers_that_are_not_finite_are_left_out(self) -> None:
        nan, generation = float("nan"), make_generation([make_member(0)])
        member = make_member(0, Phase.STEPPING, generation=generation.id)
        pace = Progress(member=member.id, step=3, loss=nan, samples_per_second=nan, metrics={"a": nan, "b": 1.0})
        history = make_history(generation, Stage.RUNNING, log=make_log(1, result={"c": nan}))
        report = assemble(make_intent(), history, Decision(), [member], [pace], Failures(), Requests())
        assert REPORT.validate_json(encode(report)) == report
        assert (report.step, report.loss, report.metrics, report.world) == (3, None, {"b": 1.0}, 1)

    def test_a_save_is_carried_out_once_a_checkpoint_reaches_the_step_it_was_asked_at(self) -> None:
        asked = Requests().ask("now", 7)
        assert asked.answer(make_intent(), Decision(), 6, 8).saved is None
        assert asked.answer(make_intent(), Decision(), 7, 8).saved == "now"


class TestTls:
    def test_certificate_and_key_must_belong_together(self) -> None:
        certificate, key = make_certificate()
        _, other = make_certificate()
        assert server_context(certificate, key).minimum_version is ssl.TLSVersion.TLSv1_3
        with pytest.raises(ValueError, match="pair"):
            server_context(certificate, other)

    def test_only_the_given_certificate_is_trusted(self) -> None:
        certificate, _ = make_certificate()
        context = client_context(certificate)
        assert (context.verify_mode, len(context.get_ca_certs(binary_form=True))) == (
            ssl.CERT_REQUIRED,
            context.cert_store_stats()["x509_ca"],
        )
        assert context.cert_store_stats()["x509"] == 1
        with pytest.raises(ValueError, match="PEM"):
            client_context("nothing")


def test_generations_are_compared_by_attempt_epoch_and_n() -> None:
    assert GenerationId(1, 9, 9) < GenerationId(2, 1, 1) < GenerationId(2, 1, 2) < GenerationId(2, 2, 3)


class TestTrouble:
    def hello(self, rendezvous: Rendezvous, worker: int) -> AgentId:
        hello = Hello(contract=CONTRACT_VERSION, build="b", worker=worker, incarnation=0, address="a")
        assert rendezvous.hello(0.0, hello) is None
        return AgentId(worker, 0)

    def test_the_first_workers_is_told_until_it_has_none_or_is_gone(self) -> None:
        rendezvous = Rendezvous(now=0.0, epoch=1, first_intent=make_intent(2, build="b"))
        agents = [self.hello(rendezvous, worker) for worker in (0, 1)]
        for agent in reversed(agents):
            rendezvous.hear(1.0, agent, Beat(trouble="the store is full"))
            rendezvous.hear(2.0, agent, Beat(trouble="the store is full"))
        assert rendezvous.report().trouble == "worker 0: the store is full"
        assert [line for line in rendezvous.events if "storage" in line] == [
            f"worker {worker}.0 cannot use the storage: the store is full" for worker in (1, 0)
        ]
        rendezvous.hear(3.0, agents[0], Beat())
        assert rendezvous.report().trouble == "worker 1: the store is full"
        rendezvous.lost(4.0, agents[1], FailureCause.LOST)
        assert rendezvous.report().trouble == ""

    def test_a_new_connection_says_it_again(self) -> None:
        rendezvous = Rendezvous(now=0.0, epoch=1, first_intent=make_intent(1, build="b"))
        rendezvous.hear(1.0, self.hello(rendezvous, 0), Beat(trouble="the store is full"))
        self.hello(rendezvous, 0)
        assert rendezvous.report().trouble == ""
