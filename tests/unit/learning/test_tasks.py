import gzip
import struct

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits

from trainingjob_api.spec.training import Training
from trainingjob_trainer.task import load_task
from trainingjob_trainer.tasks.bundled import bundled_table
from trainingjob_trainer.tasks.digits import Digits
from trainingjob_trainer.tasks.fashion_mnist import FashionMnist
from trainingjob_trainer.tasks.idx import read_idx
from unit.learning.plain_training import measure, train

DIGITS = "trainingjob_trainer.tasks.digits:Digits"
DIABETES = "trainingjob_trainer.tasks.diabetes:Diabetes"


def make_training(reference, epochs, optimizer, **parameters):
    return Training.model_validate(
        {"task": {"class": reference, "parameters": parameters}, "epochs": epochs, "optimizer": optimizer, "globalBatchSize": 96, "seed": 7}
    )


def idx(array, magic=b"\0\0\x08"):
    return magic + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def test_digits_reach_95_percent_of_the_test_images():
    task, splits, model = train(make_training(DIGITS, 30, {"name": "AdamW", "learningRate": 0.003}))
    assert measure(task, model, splits.test)["accuracy"] >= 0.95
    assert tuple(len(part) for part in (splits.train, splits.validation, splits.test)) == (1437, 180, 180)


@pytest.mark.parametrize(
    ("hidden", "optimizer"), [(32, {"name": "AdamW", "learningRate": 0.003}), (0, {"name": "SGD", "learningRate": 0.05})]
)
def test_diabetes_explains_a_third_of_the_variance(hidden, optimizer):
    task, splits, model = train(make_training(DIABETES, 60, optimizer, hidden=hidden))
    result = measure(task, model, splits.test)
    assert result["r2"] >= 0.33
    assert result["rmse"] == pytest.approx(result["mse"] ** 0.5)


def test_the_bundled_tables_are_what_scikit_learn_loads():
    digits = load_digits()
    assert np.array_equal(bundled_table("digits", delimiter=","), np.column_stack([digits.data, digits.target]))
    diabetes = load_diabetes(scaled=False)
    assert np.array_equal(bundled_table("diabetes_data_raw"), diabetes.data)
    assert np.array_equal(bundled_table("diabetes_target"), diabetes.target)
    assert Digits({}).columns() == digits.feature_names
    assert list(load_task(DIABETES, {}).columns()) == diabetes.feature_names


def test_the_inputs_are_scaled_by_the_training_rows_alone():
    task = Digits({})
    splits = task.splits(7, 0.1, 0.1)
    scaled = task.model()[0](splits.train.columns["inputs"])
    assert scaled.mean().item() == pytest.approx(0, abs=1e-5)
    assert scaled.std().item() == pytest.approx(1, abs=1e-4)


def test_the_same_seed_gives_the_same_data_and_model():
    states = []
    for _ in range(2):
        task = Digits({})
        splits = task.splits(7, 0.1, 0.1)
        torch.manual_seed(7)
        states.append([*task.model().state_dict().values(), *splits.test.columns.values()])
    assert all(torch.equal(one, two) for one, two in zip(*states, strict=True))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_are_read(tmp_path, ending):
    array = np.arange(24).reshape(2, 3, 4)
    path = tmp_path / f"images{ending}"
    path.write_bytes(gzip.compress(idx(array)) if ending else idx(array))
    assert np.array_equal(read_idx(path), array)


HUGE = b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**31, 2**31)
BROKEN = {
    "not idx": (b"hello, world", "is not an idx file"),
    "floats": (idx(np.zeros(3), magic=b"\0\0\x0d"), "is not an idx file of unsigned bytes"),
    "header cut": (b"\0\0\x08\x02\0\0", "is cut short in its header"),
    "cut": (idx(np.zeros(9))[:-1], "is cut short: its header promises 9 bytes"),
    "too long": (idx(np.zeros(9)) + b"x", "is too long"),
    "huge": (HUGE, "claims to hold"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_idx_file_is_refused(tmp_path, name):
    content, message = BROKEN[name]
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "file")


def test_a_damaged_compression_is_refused(tmp_path):
    packed = gzip.compress(idx(np.arange(200)))
    for number, content in enumerate((packed[:-9], b"not gzip at all", packed[:30] + b"\xff" * 9 + packed[39:])):
        path = tmp_path / f"{number}.gz"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            read_idx(path)


def make_fashion(folder, images=40, side=28, label=3):
    random = np.random.default_rng(0)
    for part, count in (("train", images), ("t10k", 10)):
        pixels, labels = random.integers(0, 256, (count, side, side)), np.arange(count) % label
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return FashionMnist({"path": str(folder), "channels": 2, "hidden": 4})


def test_fashion_mnist_tests_on_its_own_test_set(tmp_path):
    task = make_fashion(tmp_path)
    splits = task.splits(7, 0.25, 0.5)
    assert tuple(len(part) for part in (splits.train, splits.validation, splits.test)) == (30, 10, 10)
    model = task.model()
    loss, weight = task.loss(model, splits.train.batch(torch.arange(5)))
    assert (weight, loss.dim()) == (5.0, 0)
    assert len(task.columns()) == 784
    assert set(measure(task, model, splits.test)) == {"accuracy", "precision", "recall", "f1", "loss"}


def test_missing_data_says_what_to_install_or_to_set(tmp_path):
    with pytest.raises(ValueError, match="install Debian's package dataset-fashion-mnist, or set `path`"):
        FashionMnist({"path": str(tmp_path)}).splits(0, 0.1, 0.1)


@pytest.mark.parametrize(
    ("options", "message"), [({"side": 14}, "not images of 28 by 28"), ({"label": 12}, "label 11 .* is beyond the ten classes")]
)
def test_other_images_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_fashion(tmp_path, **options).splits(0, 0.1, 0.1)
