"""The elector: when it may act, whose lease is free, and what a lost answer means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from trainingjob_operator.engine.cluster.api import ApiError
from trainingjob_operator.engine.cluster.lease import Elector, LostLeaseError
from unit.engine.scripted import Scripted, page

SECONDS = 15.0


class Clock:
    """Says what a test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lease(holder: str, version: int, seconds: int = 15) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 3}
    return {"metadata": {"namespace": "system", "name": "operator", "resourceVersion": str(version)}, "spec": spec}


def conflict() -> ApiError:
    return ApiError(409, "Conflict", "the object has been modified")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api() -> Scripted:
    return Scripted()


@pytest.fixture
def elector(api: Scripted, clock: Clock) -> Elector:
    return Elector(api, "system", "operator", "pod-0", SECONDS, clock)  # type: ignore[arg-type]


def answers(api: Scripted, version: int) -> Callable[[], dict[str, Any]]:
    """The server takes what it is sent."""
    return lambda: api.bodies[-1] | {"metadata": api.bodies[-1]["metadata"] | {"resourceVersion": str(version)}}


async def takes(elector: Elector, api: Scripted, clock: Clock) -> None:
    """There is no lease yet, and it makes one."""
    api.answers += [page(7), answers(api, 8)]
    assert await elector._campaign()


async def test_it_acts_for_two_thirds_of_the_lease_counted_from_the_beginning_of_the_renewal(elector: Elector, api: Scripted, clock: Clock):
    assert elector.left() <= 0

    def slowly() -> dict[str, Any]:
        clock.now += 2.0
        return answers(api, 8)()

    api.answers += [page(7), slowly]
    assert await elector._campaign()
    assert api.asked[-1][:2] == ("POST", "/apis/coordination.k8s.io/v1/namespaces/system/leases")
    assert elector.left() == pytest.approx(SECONDS * 2 / 3 - 2.0)
    clock.now += 8.0
    assert elector.left() <= 0


async def test_another_ones_lease_is_free_when_it_has_not_changed_for_its_own_duration(elector: Elector, api: Scripted, clock: Clock):
    api.answers += [page(9, lease("pod-1_ab", 9, seconds=30))]
    await elector._look()
    assert elector._free_in() == 30.0
    clock.now += 20.0
    api.answers += [page(12, lease("pod-1_ab", 12, seconds=30))]
    await elector._look()
    assert elector._free_in() == 30.0  # it was renewed, whenever that was
    clock.now += 20.0
    api.answers += [page(15, lease("pod-1_ab", 12, seconds=30))]
    await elector._look()
    assert elector._free_in() == 10.0


async def test_a_lease_that_somebody_has_deleted_is_left_to_who_held_it_for_as_long_as_that_may_act(
    elector: Elector, api: Scripted, clock: Clock
):
    api.answers += [page(9, lease("pod-1_ab", 9)), page(10)]
    await elector._look()
    await elector._look()
    assert elector._free_in() == SECONDS


async def test_a_holder_is_not_taken_for_dead_because_the_api_server_was_away(
    elector: Elector, api: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    async def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    api.answers += [page(9, lease("pod-1_ab", 9))]
    await elector._look()
    clock.now += 300.0
    api.answers += [OSError("no route"), page(9, lease("pod-1_ab", 9))]
    assert not await elector._campaign()
    await elector._look()
    assert elector._free_in() == SECONDS - 1.0


@pytest.mark.parametrize("holder", ["", "pod-0_former"], ids=["given back", "of this pod's last process"])
async def test_a_lease_is_free_at_once(holder: str, elector: Elector, api: Scripted):
    api.answers += [page(9, lease(holder, 9)), answers(api, 10)]
    assert await elector._campaign()
    assert api.bodies[-1]["metadata"]["resourceVersion"] == "9"
    assert api.bodies[-1]["spec"]["leaseTransitions"] == 4


async def test_who_comes_second_waits(elector: Elector, api: Scripted):
    api.answers += [page(9, lease("", 9)), conflict(), page(10, lease("pod-1_ab", 10))]
    assert not await elector._campaign()
    assert elector.left() <= 0


async def test_a_renewal_whose_answer_was_lost_is_made_once_more(elector: Elector, api: Scripted, clock: Clock):
    await takes(elector, api, clock)
    identity = api.bodies[-1]["spec"]["holderIdentity"]
    api.answers += [conflict(), page(11, lease(identity, 11)), answers(api, 12)]
    await elector._write(identity)
    assert api.bodies[-1]["metadata"]["resourceVersion"] == "11"


async def test_another_ones_name_is_the_end(elector: Elector, api: Scripted, clock: Clock):
    await takes(elector, api, clock)
    api.answers += [conflict(), page(11, lease("pod-1_ab", 11))]
    with pytest.raises(LostLeaseError, match="pod-1_ab holds the lease system/operator"):
        await elector._write("pod-0_x")


async def test_what_is_given_back_bears_no_name(elector: Elector, api: Scripted, clock: Clock):
    await takes(elector, api, clock)
    api.answers += [answers(api, 9)]
    await elector.release()
    assert api.bodies[-1]["spec"]["holderIdentity"] == ""
    assert elector.left() <= 0
    await elector.release()  # there is nothing more to give


async def test_what_is_not_held_any_more_is_not_given_back(elector: Elector, api: Scripted, clock: Clock):
    await takes(elector, api, clock)
    clock.now += SECONDS
    await elector.release()
    assert not api.answers
    assert api.asked[-1][0] == "POST"


async def test_it_goes_on_after_an_outage_in_which_nobody_took_the_lease(
    elector: Elector, api: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    await takes(elector, api, clock)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)

    def away() -> Exception:
        clock.now += 10.0
        return OSError("no route")

    api.answers += [away] * 20 + [answers(api, 9)]
    await elector._renew()
    assert elector.left() == pytest.approx(SECONDS * 2 / 3)
    assert pauses[0] == SECONDS / 5
    assert len(pauses) == 21
