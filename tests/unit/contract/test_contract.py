"""What older programs wrote is read by today's, and a change of the contract does not go unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import create_model

from trainingjob_api.contract.intent import Intent, Report
from trainingjob_api.contract.messages import Hello
from trainingjob_api.contract.runtime import CONTRACT_VERSION, OLDEST_CONTRACT, WorkerEnvironment
from trainingjob_api.storage.entries import Done
from trainingjob_rendezvous.quorum import admission
from unit.contract import golden, samples
from unit.contract.golden import breaks, kept, today
from unit.contract.samples import MODULES

VERSIONS = range(OLDEST_CONTRACT, CONTRACT_VERSION + 1)
FIRST = {"stamps": 2}
"""The version that a later module came with."""


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_older_version_wrote_is_read_as_it_was_meant(version: int, module: str) -> None:
    assert kept(version, module) or version < FIRST.get(module, OLDEST_CONTRACT)
    assert breaks(module, kept(version, module)) == []


@pytest.mark.parametrize("module", MODULES)
def test_the_files_are_what_this_version_writes(module: str) -> None:
    """If something was added, run `python -m unit.contract.golden` in tests/. What was changed or taken away needs a new version."""
    assert today(module) == kept(CONTRACT_VERSION, module)


def test_the_samples_have_every_message_and_every_field() -> None:
    names = {name for module in MODULES for name in today(module)}
    assert {"Hello", "MemberReport", "Report", "Intent", "Snapshot", "WorkerEnvironment", "Termination", "Done", "Manifest"} <= names
    assert today("intent")["Report"]["full"].keys() == Report.model_fields.keys()
    assert today("entries")["Done"]["full"].keys() == Done.model_fields.keys()
    assert len(today("runtime")["WorkerEnvironment"]["full"]) == len(WorkerEnvironment.model_fields)


@pytest.mark.parametrize(("spoken", "refused"), [(0, True), (1, False), (2, False), (3, True)])
def test_an_agent_of_an_older_contract_may_join(spoken: int, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "CONTRACT_VERSION", 2)
    hello = Hello(contract=spoken, build="b", worker=0, incarnation=0, address="a")
    reason = f"it speaks contract {spoken}, this job's rendezvous speaks 1 to 2"
    assert admission.refuse_hello(hello, Intent(epoch=1, attempt=1)) == (reason if refused else None)


LESS = create_model("Hello", __base__=Hello, contract=(str, ...))
MORE = create_model("Hello", __base__=Hello, region=(str, ...))
OPTIONAL = create_model("Hello", __base__=Hello, region=(str, "nowhere"))
CHANGES = {"a field of another type": (LESS, True), "a field more that must be there": (MORE, True), "one that may be": (OPTIONAL, False)}


@pytest.mark.parametrize(("changed", "caught"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_that_an_older_peer_would_not_survive_needs_a_new_version(
    changed: type[Hello], caught: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = {version: {module: kept(version, module) for module in MODULES} for version in VERSIONS}
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    golden.write()
    assert {module: kept(CONTRACT_VERSION, module) for module in MODULES} == before[CONTRACT_VERSION]
    known = {module: samples.models(module) for module in MODULES}
    known["messages"] = known["messages"] | {"Hello": changed}
    monkeypatch.setattr(golden, "models", known.__getitem__)
    assert today("messages") != kept(CONTRACT_VERSION, "messages")
    if caught:
        with pytest.raises(SystemExit, match=r"messages\.Hello: [^$]*let CONTRACT_VERSION grow"):
            golden.write()
        monkeypatch.setattr(golden, "CONTRACT_VERSION", CONTRACT_VERSION + 1)
        golden.write()
        assert kept(CONTRACT_VERSION, "messages") == before[CONTRACT_VERSION]["messages"]
        assert kept(CONTRACT_VERSION + 1, "messages") == today("messages")
    else:
        golden.write()
        assert today("messages") == kept(CONTRACT_VERSION, "messages")
