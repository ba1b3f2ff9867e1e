"""docs/operations.md has every word that the code tells operators of the product, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from trainingjob_api.contract.runtime import ExitCode
from trainingjob_operator.controllers.training_job.ledger import Row
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.status.phase import JobPhase

ROOT = Path(__file__).parents[3]
OPERATOR = ROOT / "operator/src/trainingjob_operator"
JOBS = OPERATOR / "controllers/training_job"
PAGE = (ROOT / "docs/operations.md").read_text()
NOT_IN_THE_CHART = {"operatorKey", "olderKeys", "defaultImage", "rendezvousImage", "namespaces", "watchNodes"}
"""Settings that the chart makes itself: of its images, of a Secret, and of values beside `config`."""


def section(title: str) -> str:
    """What stands below a heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


def column(text: str, number: int) -> list[str]:
    """The cells of a table's column, without the head."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [row[number].strip() for row in rows[2:]]


def words(cells: list[str]) -> list[str]:
    """The words in backquotes."""
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def test_the_phases() -> None:
    assert sorted(words(column(section("Phases"), 0))) == sorted(JobPhase)


def test_the_conditions() -> None:
    source = (JOBS / "status/conditions.py").read_text()
    told = set(re.findall(r'yield "([A-Z]\w+)"', source)) | set(re.findall(r'\("([A-Z]\w+)", (?:True|False)\)', source))
    assert {"Complete", "Ready", "Waiting"} <= told
    assert sorted(words(column(section("Conditions"), 0))) == sorted(told)
    reasons = words(column(section("Conditions"), 2)) + words(column(section("Conditions"), 3))
    assert set(reasons) <= set(Reason)


def test_the_reasons() -> None:
    text = section("Events")
    events = words(column(text, 0))
    assert len(events) == len(set(events))
    others = words([line for line in text.splitlines() if line.startswith("`") and "kubectl" not in line])
    assert sorted(set(events) | set(others)) == sorted(Reason)


def test_whether_an_event_is_a_warning() -> None:
    source = (JOBS / "reasons.py").read_text()
    types = dict(zip(words(column(section("Events"), 0)), column(section("Events"), 1), strict=True))
    for word, name in re.findall(r"\b(normal|warning)\(Reason\.(\w+)", source):
        assert types[Reason[name].value] == word.capitalize(), name
    assert set(types.values()) == {"Normal", "Warning"}


def test_the_exit_codes() -> None:
    text = section("Exit codes")
    told = dict(zip(column(text, 1), column(text, 0), strict=True))
    assert told.pop("–") == "128 + N"
    assert {name.strip("`"): int(code) for name, code in told.items()} == {code.name: code.value for code in ExitCode}


def test_the_metrics() -> None:
    source = "".join(path.read_text() for path in OPERATOR.rglob("metrics.py"))
    known = set(re.findall(r'"(trainingjob_\w+)"', source))
    counters = set(re.findall(r'Counter\(\s*"(trainingjob_\w+)"', source))
    assert counters
    shown = known - counters | {f"{name}_total" for name in counters}
    assert sorted(words(column(section("Metrics").partition("| alert |")[0], 0))) == sorted(shown)
    assert set(re.findall(r"\btrainingjob_\w+", PAGE)) == shown


def test_the_rows_of_the_ledger() -> None:
    line = next(line for line in section("How to read a status").splitlines() if line.startswith("| `ledger`"))
    assert sorted(words([line])[1:]) == sorted(Row)


def test_the_settings() -> None:
    known = {field.alias for field in Settings.model_fields.values()} - NOT_IN_THE_CHART
    assert sorted(words(column(section("Settings"), 0))) == sorted(str(name) for name in known)
