"""A manifest is read as kubectl reads it: every word of the table, and whole manifests."""

import io
import sys
from typing import Any

import pytest

from trainingjob_cli.manifest import ManifestError, bundle, chosen, parse
from trainingjob_cli.reading.documents import documents
from trainingjob_cli.reading.overrides import overridden
from trainingjob_operator.local.given import decoded
from unit.api.manifests import MINIMAL
from unit.cli.scalars import READ, REFUSED

SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: "hush"}
"""
SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web}}"


@pytest.mark.parametrize(("word", "value"), READ, ids=[repr(word) for word, _ in READ])
def test_a_word_means_what_it_means_to_kubectl(word: str, value: Any) -> None:
    (found,) = documents(f"value: {word}\n", "job.yaml")
    assert (found["value"], type(found["value"])) == (value, type(value))


@pytest.mark.parametrize("word", [word for word in REFUSED if ".inf" not in word.lower() and word != ".nan"])
def test_what_kubectl_refuses_is_refused(word: str) -> None:
    with pytest.raises(ManifestError, match=r"job.yaml, line [12]: is not YAML"):
        documents(f"value: {word}\n", "job.yaml")


@pytest.mark.parametrize("word", [".inf", "-.Inf", ".nan"])
def test_what_is_no_finite_number_is_refused_with_its_field(word: str) -> None:
    with pytest.raises(ManifestError, match=r"spec.training.globalBatchSize: "):
        parse(MINIMAL.replace("epochs: 3", f"epochs: 3\n    globalBatchSize: {word}"), "job.yaml")


def test_a_key_that_is_there_twice_is_refused_where_kubectl_drops_one() -> None:
    with pytest.raises(ManifestError, match='line 2: the key is there twice: "a"; keep one of them'):
        documents("a: 1\na: 2\n", "job.yaml")


def test_whole_numbers_may_be_written_as_decimals() -> None:
    text = MINIMAL.replace("epochs: 3", "epochs: 1e1\n    globalBatchSize: 64.0\n    seed: 0x10\n    threads: 0o2")
    training = parse(text + "  suspend: off\n", "job.yaml").spec.training
    assert (training.epochs, training.global_batch_size, training.seed, training.threads) == (10, 64, 16, 2)


def test_a_secret_beside_the_job_is_kept_and_other_kinds_are_left_out_with_a_line_each() -> None:
    found = chosen(f"{SECRET}---\n{MINIMAL}---\n{SERVICE}\n---\n{SECRET.replace('keys', 'keys, namespace: other')}", "job.yaml")
    assert found.job.metadata.name == "digits"
    assert [secret["metadata"]["name"] for secret in found.secrets] == ["keys"]
    assert [note.split(";")[0] for note in found.notes] == [
        "job.yaml: Service web is left out",
        "job.yaml: Secret keys is left out",
    ]
    assert "hush" not in " ".join(found.notes)


def test_the_items_of_a_list_are_documents() -> None:
    both = f"apiVersion: v1\nkind: List\nitems:\n- {SERVICE}\n- {{{', '.join(MINIMAL.strip().splitlines()[:3])}, spec: null}}\n"
    with pytest.raises(ManifestError, match="spec: is empty"):
        chosen(both, "job.yaml")


def test_of_several_jobs_one_is_named() -> None:
    two = f"{MINIMAL}---{MINIMAL.replace('digits}', 'other}')}"
    with pytest.raises(ManifestError, match="holds 2 TrainingJobs: digits, other; choose one with --name"):
        chosen(two, "job.yaml")
    assert chosen(two, "job.yaml", "other").job.metadata.name == "other"
    with pytest.raises(ManifestError, match=r"--name third: job\.yaml holds no such TrainingJob; it holds: digits, other"):
        chosen(two, "job.yaml", "third")


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (SECRET.replace('"hush"', "1e9"), "Secret keys: stringData.AWS_SECRET_ACCESS_KEY is no text; put it in quotes"),
        (SECRET.replace("stringData", "data"), "Secret keys: data.AWS_ACCESS_KEY_ID is no base64"),
        (SECRET.replace("name: keys", ""), "a Secret has no metadata.name; add it"),
    ],
    ids=["a number", "no base64", "no name"],
)
def test_a_secret_that_the_api_server_would_refuse_is_refused_without_its_value(secret: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        chosen(f"{MINIMAL}---{secret}", "job.yaml")
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "1000000000" not in str(caught.value)


@pytest.mark.parametrize("value", ['"YWJj\\n"', '"YW\\r\\nJj"', "/w=="], ids=["a line", "lines", "bytes"])
def test_a_secret_that_the_api_server_takes_is_taken(value: str) -> None:
    held = chosen(f"{MINIMAL}---{SECRET}data: {{A: {value}}}\n", "job.yaml").secrets
    assert decoded(held[0]).get("A") == (None if value == "/w==" else "abc")
    assert decoded(held[0])["AWS_ACCESS_KEY_ID"] == "id"


def test_a_manifest_comes_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MINIMAL.encode())))
    assert bundle("-").job.metadata.name == "digits"


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("spec.training.epochs=1e1", ("spec", "training", "epochs"), 10),
        ("training.optimizer.learningRate=1e-3", ("spec", "training", "optimizer", "learningRate"), 0.001),
        ("metadata.name=other", ("metadata", "name"), "other"),
        ("suspend=yes", ("spec", "suspend"), True),
        ("training.task.parameters.hidden=[64, 32]", ("spec", "training", "task", "parameters", "hidden"), [64, 32]),
        ("training.task.parameters.word='7'", ("spec", "training", "task", "parameters", "word"), "7"),
        ("training.task.parameters.word=a=b", ("spec", "training", "task", "parameters", "word"), "a=b"),
        ("training.task.parameters.word=", ("spec", "training", "task", "parameters", "word"), ""),
        ("training.task.parameters.word=http://host: 80", ("spec", "training", "task", "parameters", "word"), "http://host: 80"),
        ("workers.template.env[1].name=B", ("spec", "workers", "template", "env", 1, "name"), "B"),
        ("workers.template.nodeSelector.a\\.b/c=d", ("spec", "workers", "template", "nodeSelector", "a.b/c"), "d"),
        ("recovery.rules[0]={exitCodes: [3], action: Fail}", ("spec", "recovery", "rules", 0, "action"), "Fail"),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" in value else "",
)
def test_a_setting_changes_one_field(setting: str, path: tuple[str | int, ...], value: Any) -> None:
    (body,) = documents(MINIMAL, "job.yaml")
    found: Any = overridden(body, [setting])
    for part in path:
        found = found[part]
    assert (found, type(found)) == (value, type(value))
    assert documents(MINIMAL, "job.yaml") == [body], "the manifest itself is as it was"


def test_null_removes_a_field_and_the_last_setting_wins() -> None:
    job = chosen(MINIMAL, "job.yaml", settings=["training.epochs=null", "training.steps=5", "training.steps=7"]).job
    assert (job.spec.training.epochs, job.spec.training.steps) == (None, 7)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs", "--set training.epochs: write PATH=VALUE"),
        ("=3", "write PATH=VALUE"),
        ("a..b=3", "write PATH=VALUE"),
        ("a.=3", "write PATH=VALUE"),
        ("training.epochs.more=3", "--set training.epochs.more: there is no field more in a single value"),
        ("training[0]=3", "--set training[0]: there is no position 0 in a map"),
        ("workers.template.env[5000].name=A", "position 5000 is too large"),
        ("training.epochs=[1", "--set training.epochs, line 1: is not YAML"),
        ("training.epochz=3", "spec.training.epochz: there is no such field; did you mean epochs?"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        chosen(MINIMAL, "job.yaml", settings=[setting])
    assert message in str(caught.value)
