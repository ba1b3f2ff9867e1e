import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trainingjob_cli.manifest import bundle
from trainingjob_trainer.export import export_model
from trainingjob_trainer.task import load_task
from unit.learning.plain_training import measure, train

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
GUIDE = (ROOT / "docs" / "training-your-model.md").read_text()
MANIFESTS = ("digits.yaml", "fashion-mnist.yaml", "diabetes.yaml", "custom/spirals.yaml", "script/script.yaml")


def read_spec(name):
    """The spec as `trainingjob run` has it: on one machine a storage need not be named."""
    return bundle(EXAMPLES / name, storage=lambda namespace, name: f"file:///storage/{namespace}/{name}").job.spec


@pytest.fixture
def custom(monkeypatch):
    """The folder on Python's path, as PYTHONPATH does it."""
    monkeypatch.syspath_prepend(EXAMPLES / "custom")


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_example_is_valid_and_its_task_takes_its_parameters(name, custom):
    task = read_spec(name).training.task
    if task is not None:
        assert load_task(task.class_name, task.parameters).columns()


def test_the_digits_example_reaches_95_percent():
    task, splits, model = train(read_spec("digits.yaml").training)
    assert measure(task, model, splits.test)["accuracy"] >= 0.95


def test_the_custom_example_learns_and_answers(custom, tmp_path):
    training = read_spec("custom/spirals.yaml").training
    task, splits, model = train(training)
    result = measure(task, model, splits.test)
    assert result["accuracy"] >= 0.95
    assert result == pytest.approx(measure(task, model, splits.test, at_once=7))
    weights, metadata = export_model(model, training.task.class_name, training.task.parameters, result, 1)
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "model.json").write_text(metadata)
    # The guide's own rows.
    rows = re.search(r"printf '([^']*)'", GUIDE)[1].replace("\\n", "\n")
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES / "custom")}
    command = [sys.executable, "-m", "trainingjob_trainer.predict", str(tmp_path)]
    done = subprocess.run(command, input=rows, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["row", "1", "2"]
    # The same without the class: one line that names it, and no traceback.
    environment.pop("PYTHONPATH")
    done = subprocess.run(command, input=rows, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("trainingjob: spec.training.task.class: there is no module 'spirals'")
    assert len(done.stderr.splitlines()) == 1


def run_script(folder, world, epochs):
    """The script's own command from its manifest, started as an agent or torchrun does; its output by rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = read_spec("script/script.yaml").training.script.command
    assert command[:2] == ["python", "examples/script/train.py"]
    arguments = [sys.executable, command[1], "--epochs", str(epochs), "--checkpoints", str(folder)]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(arguments, env=os.environ | common | {"RANK": str(rank)}, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    try:
        return [process.communicate(timeout=200)[0] for process in processes], [process.returncode for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_the_plain_script_trains_on_two_processes_and_resumes_on_one(tmp_path):
    outputs, codes = run_script(tmp_path, world=2, epochs=4)
    assert codes == [0, 0]
    assert outputs[0].startswith("2 processes, starting after epoch 0")
    assert outputs[1] == ""
    assert float(outputs[0].split()[-1]) > 0.8
    outputs, codes = run_script(tmp_path, world=1, epochs=5)
    assert codes == [0]
    assert outputs[0].startswith("1 processes, starting after epoch 4\nepoch 5 of 5")
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_the_guide_shows_the_examples_own_lines():
    source = (EXAMPLES / "custom" / "spirals.py").read_text()
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    assert len([block for block in blocks if block in source]) == 3
    assert ", ".join(read_spec("script/script.yaml").training.script.command[1:3]) in GUIDE
    links = re.findall(r"\]\((\.\./[^)]+)\)", GUIDE)
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links)
