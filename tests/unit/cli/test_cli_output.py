"""What the commands that only look print: for people, and for programs."""

import io
import json
import stat
import sys
from importlib import metadata
from pathlib import Path

import pytest

from trainingjob_api.status import Condition, Status
from trainingjob_cli import run
from trainingjob_cli.__main__ import main
from trainingjob_cli.reading.documents import documents
from trainingjob_operator.engine.values import Event, EventType
from unit.cli.stored import KEY, make_stored, write_log


def test_jobs_are_listed_and_described(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = make_stored(folder, Status(phase="Running", conditions=(Condition(type="Ready", status="True"),)))
    jobs.add_events(KEY, (Event(EventType.NORMAL, "Created", "3 workers requested"),))
    assert main(["get"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["digits", "Running"]
    assert main(["describe", "digits"]) == 0
    assert "3 workers requested" in capsys.readouterr().out


def test_what_programs_read_is_the_object_that_a_cluster_would_return(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = make_stored(folder, Status(phase="Running", step=7, total_steps=9))
    jobs.add_events(KEY, (Event(EventType.NORMAL, "Created", "3 workers requested"),))
    stored = jobs.read(KEY)
    assert stored is not None

    def printed(*arguments: str) -> str:
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    assert json.loads(printed("get", "digits", "-o", "json")) == stored
    assert documents(printed("get", "digits", "-oyaml"), "get") == [stored]
    assert json.loads(printed("get", "--output", "json"))["items"] == [stored]
    assert printed("get", "-o", "name") == "trainingjob.batch.trainingjob.dev/digits\n" == printed("describe", "digits", "-o", "name")
    described = json.loads(printed("describe", "digits", "-o", "json"))
    assert described["job"] == stored
    assert [event["reason"] for event in described["events"]] == ["Created"]
    wide = printed("get", "-o", "wide")
    assert wide.splitlines()[0].split()[-3:] == ["ATTEMPT", "STORAGE", "MESSAGE"]
    assert f"file://{folder}/storage" in wide
    names = printed("plan", str(folder / "job.yaml"), "-o", "name").split()
    assert len([name for name in names if name.startswith("pod/digits-")]) == 4
    assert len(json.loads(printed("plan", str(folder / "job.yaml"), "-o", "json"))["items"]) == len(names)


def test_checkpoints_are_printed_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_stored(folder)
    write_log(folder, 10, 20)
    assert main(["checkpoints", "digits", "-o", "name"]) == 0
    assert capsys.readouterr().out == "10\n20\n"
    assert main(["checkpoints", "digits", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(each["step"], each["state"], each["pinned"]) for each in found["checkpoints"]] == [
        (10, "visible", False),
        (20, "visible", False),
    ]
    assert (found["deleted"], found["done"]) == (0, None)


def test_get_prints_a_job_again_when_it_has_changed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_stored(folder, Status(phase="Suspended"))
    changes = iter([Status(phase="Suspended"), Status(phase="Suspended", restarts=1)])

    def pause(_seconds: float) -> None:
        status = next(changes, None)
        if status is None:
            raise KeyboardInterrupt
        jobs.write_status(KEY, status.to_object())

    monkeypatch.setattr("trainingjob_cli.inspect.time.sleep", pause)
    assert main(["get", "-w"]) == 130
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["NAME", "PHASE"]
    assert [row.split()[:3] for row in rows] == [["digits", "Suspended", "0"], ["digits", "Suspended", "1"]]
    assert main(["get", "-w", "other"]) == 2
    assert "no job other" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"trainingjob {metadata.version('trainingjob-operator')}\n"


def test_a_shell_completes_the_names_of_jobs(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    make_stored(folder)
    monkeypatch.setenv("_TRAININGJOB_COMPLETE", "complete_bash")
    for words, offered in (("describe di", "digits"), ("describe ot", ""), ("desc", "describe")):
        monkeypatch.setenv("COMP_WORDS", f"trainingjob {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        assert main([]) == 0
        assert capsys.readouterr().out.strip() == offered


def test_a_plan_is_kubernetes_objects_without_secrets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ruamel.yaml import YAML

    assert main(["plan", str(folder / "job.yaml")]) == 0
    documents = [document for document in YAML(typ="safe").load_all(capsys.readouterr().out) if document]
    kinds = [document["kind"] for document in documents]
    assert kinds.count("Pod") == 4
    assert {"Secret", "Service"} <= set(kinds)
    secret = next(document for document in documents if document["kind"] == "Secret")
    assert set(secret["stringData"].values()) == {"<made by the operator>"}
    assert not (folder / "state").exists()


def test_what_is_printed_as_yaml_is_read_again_as_it_was() -> None:
    from trainingjob_cli.rendering.formats import as_yaml
    from unit.cli.scalars import READ

    whole = {"words": [word for word, _ in READ], "values": [value for _, value in READ], "yes": {"1": "#", "~": "a: b"}}
    assert documents(as_yaml([whole]), "plan") == [whole]


SECRET = """
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: hush}
---
{apiVersion: v1, kind: Service, metadata: {name: web}}
"""


def test_a_secret_beside_the_job_is_kept_by_its_owner_and_never_printed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainingjob_cli import archive
    from trainingjob_operator.local import given

    path = folder / "job.yaml"
    path.write_text(path.read_text() + SECRET)
    done = Condition(type="Complete", status="True", reason="Succeeded")
    jobs = make_stored(folder, Status(phase="Succeeded", conditions=(done,), attempt=1))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the caller's")
    assert main(["run", str(path), "--plain"]) == 0
    for command in (["plan", str(path)], ["describe", "digits"], ["get"], ["checkpoints", str(path)], ["checkpoints", "digits"]):
        assert main(command) == 0
    shown = "".join(capsys.readouterr())
    assert "hush" not in shown
    assert "note: " + str(path) + ": Service web is left out" in shown
    kept = jobs.folder(KEY).path / "given.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    job, secrets = run.requested(path, None, None, None, None)
    storage = job.spec.checkpoint.storage.model_copy(update={"credentials_secret_name": "keys"})
    assert given.read(jobs.folder(KEY)) == secrets
    assert archive.credentials(storage, secrets)["AWS_ACCESS_KEY_ID"] == "id"
    assert archive.credentials(job.spec.checkpoint.storage, secrets)["AWS_ACCESS_KEY_ID"] == "the caller's"
    assert main(["delete", "digits"]) == 0
    assert not kept.exists()


def test_a_manifest_comes_from_standard_input_with_changes(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    text = (folder / "job.yaml").read_text()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["plan", "-", "--set", "workers.replicas=1e0", "--set", "workers.minReplicas=1", "--set", "metadata.name=other"]) == 0
    planned = documents(capsys.readouterr().out, "plan")
    (worker,) = [name for body in planned if "worker" in (name := body["metadata"]["name"])]
    assert worker.startswith("other-")
