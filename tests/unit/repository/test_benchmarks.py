"""Figures: what is written of a measurement, and where docs/benchmarks.md has it."""

from bench.figure import Figure, Sample, Target
from bench.page import HEAD, RULE, rewritten

OURS = Sample.of([3.0, 1.0, 2.0])
PEER = Sample.of([4.0, 4.0])


def figure(**changes: object) -> Figure:
    told = {"name": "stall", "figure": "waiting", "unit": "ms", "ours": OURS, "peer_name": "another", "peer": PEER} | changes
    return Figure(**told)  # type: ignore[arg-type]


def test_a_sample_of_few_values_has_the_largest_for_its_99th_percentile():
    assert Sample(3, 2.0, 3.0, 1.0, 3.0) == OURS
    assert Sample.of(range(1, 201)).p99 == 198


def test_a_ratio_is_ours_over_the_peers():
    assert figure().ratio() == 0.5
    assert figure(peer_name=None, peer=None).ratio() is None


def test_a_target_is_met_only_within_its_bounds():
    met = figure(targets=(Target("ratio", at_most=0.5), Target("max", at_most=3.0)))
    assert met.to_object(1.5)["met"] is True
    assert met.to_object(1.5)["target"] == "ratio ≤ 0.5 and max ≤ 3"
    assert figure(targets=(Target("ratio", at_least=2.0),)).to_object(0)["met"] is False
    assert figure(targets=(Target("ratio", at_most=1.0),), peer=None, peer_name=None).to_object(0)["met"] is False
    assert figure().to_object(0)["met"] is None


def test_the_page_gets_a_row_for_what_was_measured_and_keeps_the_others():
    page = f"# Benchmarks\n\n{HEAD}\n{RULE}\n| `other` old | 1 | – | – | – | 1 |\n| `stall` old | 9 | – | – | – | 1 |\n\nText.\n"
    told = figure(targets=(Target("ratio", at_most=1.0),)).to_object(0.5)
    once = rewritten(page, {"stall": told})
    row = "| `stall` waiting, ms | **2** (1 – 3, n 3) | another: **4** (4 – 4, n 2) | 0.5 | ratio ≤ 1: met | 0.5 |"
    assert once == page.replace("| `stall` old | 9 | – | – | – | 1 |", row)
    assert rewritten(once, {"stall": told}) == once
