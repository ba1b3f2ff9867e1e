"""The control word: what the sum of the ranks' flags makes all of them do."""

from __future__ import annotations

import pytest

from trainingjob_api.contract.messages import Orders, Stop
from trainingjob_trainer.strategy.control import WIDTH, Decision, Flags, Next, decode, encode, flags_from


@pytest.mark.parametrize(
    ("flags", "decision"),
    [
        ([Flags(), Flags()], Decision()),
        ([Flags(save=True), Flags()], Decision(Next.GO_ON, save=True)),
        ([Flags(), Flags(stop=True)], Decision(Next.STOP, save=True)),
        ([Flags(stop=True, stop_unsaved=True), Flags()], Decision(Next.STOP, save=False)),
        ([Flags(regroup=True), Flags()], Decision(Next.REGROUP)),
        ([Flags(regroup=True), Flags(stop=True)], Decision(Next.REGROUP)),
        ([Flags(regroup=True), Flags(save=True)], Decision(Next.REGROUP, save=True)),
        ([Flags(save=True), Flags(no_room=True)], Decision(Next.GO_ON, save=True, room=False)),
        ([Flags(stop=True, no_room=True), Flags()], Decision(Next.STOP, save=True, room=False)),
    ],
    ids=[
        "nothing",
        "save",
        "stop",
        "stop-unsaved",
        "regroup",
        "regroup-before-stop",
        "regroup-takes-the-save-along",
        "no-room-on-one-is-no-room",
        "stop-without-room",
    ],
)
def test_what_one_rank_wants_all_do_and_the_graver_goes_first(flags, decision):
    total = [sum(column) for column in zip(*(encode(each) for each in flags), strict=True)]
    assert len(total) == WIDTH
    assert decode(total) == decision


@pytest.mark.parametrize("ranks", [1, 3, 512])
def test_the_word_survives_any_number_of_ranks(ranks):
    total = [value * ranks for value in encode(Flags(regroup=True, save=True))]
    assert decode(total) == Decision(Next.REGROUP, save=True)


def test_flags_are_what_the_orders_say():
    assert flags_from(None, save=False) == Flags()
    assert flags_from(None, save=False, room=False) == Flags(no_room=True)
    assert flags_from(Orders(epoch=1), save=False, room=False) == Flags(no_room=True)
    assert flags_from(Orders(epoch=1, regroup=True), save=True) == Flags(regroup=True, save=True)
    assert flags_from(Orders(epoch=1, stop=Stop(request="x", save=False)), save=False) == Flags(stop=True, stop_unsaved=True)
