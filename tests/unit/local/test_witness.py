"""The witness finds every claim beyond what was done, and nothing in an honest status."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from trainingjob_agent.stamp import Stamp, StampPage, StampWriter
from trainingjob_api.contract.messages import Phase
from witness import LIMIT_SECONDS, SLACK_SECONDS, Sample, Witness, agents_of, lies, stamps_of

READY = [{"type": "Ready", "status": "True"}]
HONEST = {"phase": "Running", "conditions": READY, "samplesPerSecond": 900.0, "step": 240, "checkpoint": 200, "ledger": {"Training": 9.0}}
STILL = {"phase": "Unknown", "conditions": [], "samplesPerSecond": None}
LONG = LIMIT_SECONDS + SLACK_SECONDS + 1


def sample(idle: float = 0.5, at: float = 100.0, **fields: Any) -> Sample:
    """A look at a job that finished its newest step, 250, so many seconds before."""
    return Sample(at, HONEST | fields, 250, at - idle, (100, 200))


def test_an_honest_status_passes() -> None:
    assert lies([sample(), sample(LIMIT_SECONDS), sample(LONG, phase="Stalled", conditions=[], samplesPerSecond=None)]) == []
    assert lies([sample(LONG, **STILL, display={"workers": "?/3"})]) == []
    assert lies([sample(LONG, **STILL | {"phase": "Evaluating"}, display={"workers": "3/3"})]) == []


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        ({"phase": "Running", "conditions": [], "samplesPerSecond": None}, "Running, and no step is taken"),
        ({"phase": "Stalled", "samplesPerSecond": None}, "Ready, and no step is taken"),
        ({"phase": "Stalled", "conditions": []}, "900.0 samples/s, and no step is taken"),
        (STILL | {"display": {"workers": "3/3"}}, "3/3 workers train, and no step is taken"),
    ],
)
def test_what_is_claimed_while_no_step_is_taken(claim: dict[str, Any], lie: str) -> None:
    assert lies([sample(LONG, **claim)]) == [f"0 s: {lie}"]


def test_goodput_that_grows_while_no_step_is_taken() -> None:
    still = {"phase": "Stalled", "conditions": [], "samplesPerSecond": None}
    samples = [sample(LONG, **still), sample(LONG + 1, at=101.0, **still, ledger={"Training": 10.0})]
    assert lies(samples) == ["1 s: training time grows by 1.0 s, and no step is taken"]


def test_steps_and_checkpoints_that_nobody_has_seen() -> None:
    assert lies([sample(step=251)]) == ["0 s: step 251 is claimed, 250 was seen"]
    assert lies([sample(checkpoint=240)]) == ["0 s: checkpoint 240 is claimed, the log has (100, 200)"]


def test_stamps_are_read_from_outside() -> None:
    page = StampPage("witness")
    writer = StampWriter(page.descriptor)
    writer.mark(Phase.STEPPING, step=41)
    witness = Witness(lambda: {"step": 41}, lambda: stamps_of([os.getpid()]), list)
    witness.look()
    writer.step(42)
    witness.look()
    writer.close()
    page.close()
    assert [each.step for each in witness.samples] == [41, 42]
    assert lies(witness.samples) == []


def stamp_at(step: int) -> Stamp:
    return Stamp(generation=None, step=step, phase=Phase.STEPPING, entered=0, left=0, changed_ns=1)


def test_steps_count_beside_a_process_that_is_cut_off_and_ahead() -> None:
    steps = iter([[188, 188], [188, 100], [188, 101], [188, 101]])
    witness = Witness(dict, lambda: [stamp_at(step) for step in next(steps)], list)
    for _ in range(4):
        witness.look()
    times = [each.stepped_at or 0.0 for each in witness.samples]
    assert times == sorted(set(times[:3])) + times[2:3]


def test_what_a_process_did_before_its_end_may_not_have_been_seen() -> None:
    steps, claimed = iter([[400, 400], [], [], [401, 401]]), iter([400, 400, 406, 407])
    witness = Witness(lambda: {"step": next(claimed)}, lambda: [stamp_at(step) for step in next(steps)], list)
    for _ in range(4):
        witness.look()
    assert [each.step for each in witness.samples] == [400, 400, 406, 406]
    assert [lie.partition(": ")[2] for lie in lies(witness.samples)] == ["step 407 is claimed, 406 was seen"]
    stepped = [each.stepped_at or 0.0 for each in witness.samples]
    assert stepped[0] < stepped[1] == stepped[2] < stepped[3]


def test_agents_are_found_by_their_job() -> None:
    words = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "trainingjob_agent"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"TRAININGJOB_JOB": "team/witnessed"}) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()
        assert agents_of("team/witnessed") == [agent.pid]
        assert agents_of("team/another") == []
