import io
import json
import sys

import pytest
import torch
from torch import nn

from trainingjob_api.spec.training import Training
from trainingjob_api.storage.entries import Claim, Export
from trainingjob_api.storage.layout import log_key
from trainingjob_storage.store import open_store
from trainingjob_trainer.export import export_model, export_tensors
from trainingjob_trainer.predict import ModelError, main, open_model, run
from unit.learning.plain_training import train

DIABETES = "trainingjob_trainer.tasks.diabetes:Diabetes"


@pytest.fixture(scope="module")
def trained():
    spec = {"task": {"class": DIABETES, "parameters": {"hidden": 8}}, "epochs": 1, "seed": 3}
    _, splits, model = train(Training.model_validate(spec))
    return model, splits.test.columns["inputs"], export_model(model, DIABETES, {"hidden": 8}, {"mse": 1.5}, 6, job="default/diabetes")


@pytest.fixture
def folder(tmp_path, trained):
    _, _, (weights, metadata) = trained
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "model.json").write_text(metadata)
    return tmp_path


def answers(*arguments, rows=""):
    out = io.StringIO()
    run([str(argument) for argument in arguments], {}, io.StringIO(rows), out)
    return out.getvalue()


def csv(rows):
    return "".join(",".join(repr(value) for value in row) + "\n" for row in rows.tolist())


def test_an_exported_model_answers_bit_for_bit_as_the_trained_one(folder, trained):
    model, inputs, _ = trained
    with torch.no_grad():
        expected = [{"progression": value} for value in model(inputs).flatten().tolist()]
    assert [json.loads(line) for line in answers(folder, "--output", "json", rows=csv(inputs)).splitlines()] == expected


def test_every_tensor_of_the_export_is_the_models(folder, trained):
    model, _, _ = trained
    loaded = open_model(open_store(folder.as_uri(), None, None, {}))
    state = loaded.module.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert (loaded.card.metrics, loaded.card.step, loaded.card.job) == ({"mse": 1.5}, 6, "default/diabetes")
    assert not loaded.module.training


def test_rows_may_come_from_a_file_and_go_into_a_table(folder, trained, tmp_path):
    (tmp_path / "rows.csv").write_text(csv(trained[1][:2]))
    lines = answers(folder, "--rows", tmp_path / "rows.csv").splitlines()
    assert lines[0].split() == ["row", "progression"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]


def test_the_newest_export_of_a_jobs_log_is_taken(tmp_path, trained):
    store = open_store(tmp_path.as_uri(), None, None, {})
    weights, metadata = trained[2]
    store.create(log_key(0), Claim(seq=0, nonce="c", time=0.0, owner_uid="u", owner_name="default/diabetes").to_bytes())
    with pytest.raises(ModelError, match="has not exported a model yet"):
        open_model(store)
    for seq, name in ((1, "00000006-a1e1n1"), (2, "00000006-a1e1n2")):
        store.create(log_key(seq), Export(seq=seq, nonce=name, time=0.0, step=6, folder=f"export/{name}/").to_bytes())
    with pytest.raises(ModelError, match=r"there is no model at .*: export/00000006-a1e1n2/model\.json is missing"):
        open_model(store)
    store.put("export/00000006-a1e1n2/model.json", metadata.encode())
    store.put("export/00000006-a1e1n2/model.safetensors", weights)
    assert open_model(store).card.step == 6


def edit(metadata, **changes):
    return json.dumps(json.loads(metadata) | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "trainingjob-model/9"}, "has the format 'trainingjob-model/9'; this version reads"),
        ({"task": "no_such_module:X"}, "there is no module 'no_such_module'"),
        ({"parameters": {"hiden": 1}}, "parameters.hiden: Diabetes has no such parameter"),
        ({"parameters": {"hidden": 9}}, "the weights do not fit the model that .*Diabetes makes"),
        ({"sha256": "0" * 64}, "model.safetensors is damaged: its checksum"),
        ({"task": None}, "model.json at .* cannot be read: task"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(folder, trained, changes, message):
    (folder / "model.json").write_text(edit(trained[2][1], **changes))
    with pytest.raises(ValueError, match=message):
        answers(folder, rows="1\n")


def test_torn_weights_are_told(folder, trained):
    (folder / "model.safetensors").write_bytes(trained[2][0][:100])
    (folder / "model.json").write_text(edit(trained[2][1], sha256=None))
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        answers(folder, rows="1\n")


def test_an_empty_place_is_told(tmp_path):
    with pytest.raises(ModelError, match="there is no model at file://"):
        answers(tmp_path, rows="1\n")


def test_wrong_rows_are_told(folder):
    with pytest.raises(ValueError, match=r"line 1: 2 columns, but 10 are needed: age, sex"):
        answers(folder, rows="1,2\n")


def test_tied_and_strided_tensors_are_exported_whole():
    model = nn.Module()
    model.register_parameter("weight", nn.Parameter(torch.arange(6.0).reshape(2, 3)))
    model.register_parameter("tied", model.weight)
    model.register_buffer("column", torch.arange(6.0).reshape(2, 3)[:, 1])
    weights, _ = export_model(model, "a:B", {}, {}, 0)
    assert len(weights) > 0
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in export_tensors(model).items())


def test_a_state_that_is_no_tensor_cannot_be_exported():
    class Odd(nn.Module):
        def get_extra_state(self):
            return {"a": 1}

        def set_extra_state(self, state):
            pass

    with pytest.raises(ValueError, match="'_extra_state', which is no tensor"):
        export_tensors(Odd())


def test_a_metric_that_is_no_number_does_not_spoil_the_export():
    _, metadata = export_model(nn.Linear(1, 1), "a:B", {}, {"loss": float("nan"), "mse": 1.0}, 0)
    assert json.loads(metadata)["metrics"] == {"mse": 1.0}


BROKEN = """
from trainingjob_trainer.tasks.diabetes import Diabetes

class Mine(Diabetes):
    def {method}(self, *given):
        raise {error}
"""


@pytest.mark.parametrize(
    ("method", "error", "says"),
    [
        ("model", 'AttributeError("no attribute chars")', "AttributeError: no attribute chars (broken.py:6, in model)"),
        ("columns", 'KeyError("age")', "KeyError: 'age' (broken.py:6, in columns)"),
        ("predict", 'ValueError("three axes")', "ValueError: three axes (broken.py:6, in predict)"),
    ],
)
def test_an_error_in_the_users_class_is_one_sentence_with_its_place(folder, tmp_path, monkeypatch, capsys, trained, method, error, says):
    (tmp_path / "broken.py").write_text(BROKEN.format(method=method, error=error))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    card = json.loads((folder / "model.json").read_text()) | {"task": "broken:Mine"}
    (folder / "model.json").write_text(json.dumps(card))
    (tmp_path / "rows.csv").write_text(csv(trained[1][:2]))
    monkeypatch.setattr(sys, "argv", ["predict", str(folder), "--rows", str(tmp_path / "rows.csv")])
    assert main() == 2
    assert capsys.readouterr().err == f"trainingjob: broken:Mine: {says}\n"
