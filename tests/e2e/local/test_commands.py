"""What a user types beside `run`, and what they read when they mistype."""

from __future__ import annotations

import json

import pytest
from ruamel.yaml import YAML

from local_job import LocalJob, load


def test_plan_prints_the_kubernetes_objects_and_no_secret(tmp_path) -> None:
    job = LocalJob(tmp_path, load("digits.yaml"))
    printed = job.command("plan", str(job.file))
    assert printed.returncode == 0, printed.stderr
    objects = [document for document in YAML(typ="safe").load_all(printed.stdout) if document]
    kinds = [document["kind"] for document in objects]
    assert {"Secret", "Service", "Pod"} <= set(kinds)
    assert kinds.count("Pod") == 4, "a rendezvous and three workers"
    assert "PRIVATE KEY" not in printed.stdout


def test_predict_answers_for_rows_with_the_exported_model(undisturbed: LocalJob, tmp_path) -> None:
    from sklearn.datasets import load_digits

    data = load_digits()
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join(",".join(str(value) for value in row) for row in data.data[:20]) + "\n")
    answered = undisturbed.command("predict", undisturbed.name, "--rows", str(rows), "--output", "json")
    assert answered.returncode == 0, answered.stderr
    answers = [json.loads(line) for line in answered.stdout.splitlines() if line.startswith("{")] or json.loads(answered.stdout)
    assert len(answers) == 20
    right = sum(int(str(truth) in json.dumps(answer)) for truth, answer in zip(data.target, answers, strict=False))
    assert right >= 18


def test_checkpoints_lists_what_the_log_says(undisturbed: LocalJob) -> None:
    listed = undisturbed.command("checkpoints", undisturbed.name)
    assert listed.returncode == 0, listed.stderr
    for step in undisturbed.checkpoints()[-3:]:
        assert str(step) in listed.stdout


def test_logs_of_every_life_can_be_read_after_the_job(undisturbed: LocalJob) -> None:
    shown = undisturbed.command("logs", undisturbed.name)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("replicas: 0", ("spec.workers.replicas", "1")),
        ("replicas: 3\n    minReplicas: 5", ("spec.workers.minReplicas", "lower")),
        ("replicaz: 3", ("spec.workers.replicaz", "replicas")),
    ],
)
def test_a_bad_manifest_gets_one_message_that_names_field_and_fix(tmp_path, change: str, words: tuple[str, ...]) -> None:
    job = LocalJob(tmp_path, load("digits.yaml"))
    text = job.file.read_text()
    job.manifest["spec"]["workers"] = "HERE"
    job.write()
    text = job.file.read_text().replace("workers: HERE", f"workers:\n    {change}")
    job.file.write_text(text)
    ended = job.run()
    assert ended.returncode == 2, ended.stdout
    for word in words:
        assert word in ended.stdout
    assert "Traceback" not in ended.stdout


def test_a_task_that_does_not_import_fails_once_with_field_and_fix(tmp_path) -> None:
    manifest = load("digits.yaml")
    manifest["spec"]["training"]["task"] = {"class": "no_such_module:Nothing"}
    job = LocalJob(tmp_path, manifest)
    ended = job.run()
    assert ended.returncode == 1, ended.stdout
    assert "spec.training.task.class" in ended.stdout
    assert "no_such_module" in ended.stdout
    assert "Traceback" not in ended.stdout
    assert job.processes() == []


def test_a_second_job_is_refused_a_prefix_and_told_whose_it_is(undisturbed: LocalJob, tmp_path) -> None:
    manifest = load("digits.yaml")
    manifest["metadata"]["name"] = "second"
    second = LocalJob(tmp_path, manifest)
    manifest["spec"]["checkpoint"]["storage"]["uri"] = undisturbed.storage.as_uri()
    second.write()
    ended = second.run()
    assert ended.returncode == 2, ended.stdout
    assert undisturbed.name in ended.stdout
    assert "adopt" in ended.stdout


SCRIPT = """
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {TOKEN: hush}
---
apiVersion: batch.trainingjob.dev/v1alpha1
kind: TrainingJob
metadata: {name: expands}
spec:
  workers:
    replicas: 1e0
    template:
      env:
      - {name: DATA_ROOT, value: /data}
      - {name: FULL_PATH, value: "$(DATA_ROOT)/imagenet"}
      - {name: HIDDEN, valueFrom: {secretKeyRef: {name: keys, key: TOKEN}}}
  training:
    script:
      command:
      - python
      - -c
      - "import os, sys; print(os.environ['FULL_PATH'], len(os.environ['HIDDEN']), sys.argv[1:])"
      - $(RANK)
      - $$(RANK)
  checkpoint: {storage: {uri: "file://FOLDER/storage"}}
"""


def test_a_manifest_from_standard_input_means_what_it_means_to_kubectl_and_the_kubelet(tmp_path) -> None:
    job = LocalJob(tmp_path, load("script/script.yaml"))
    text = SCRIPT.replace("FOLDER", str(tmp_path))
    ended = job.command("run", "-", "--plain", "--set", "metadata.name=other", stdin=text)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    logs = job.command("logs", "other")
    assert "/data/imagenet 4 ['0', '$(RANK)']" in logs.stdout, logs.stdout + logs.stderr
    told = ended.stdout + ended.stderr + logs.stdout + job.command("get", "other", "-o", "yaml").stdout
    assert "hush" not in told
