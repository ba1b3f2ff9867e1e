import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from trainingjob_trainer.data import Pairs, Rows, split, split_ids

FRACTIONS = st.floats(0, 0.45)


@settings(deadline=None)
@given(length=st.integers(25, 300), seed=st.integers(-(2**40), 2**63), validation=FRACTIONS, test=FRACTIONS, classes=st.integers(0, 4))
def test_every_sample_is_in_exactly_one_part(length, seed, validation, test, classes):
    labels = torch.arange(length) % classes if classes else None
    parts = split_ids(length, seed, validation, test, labels)
    assert list(range(length)) == sorted(torch.cat(parts).tolist())
    assert (round(length * validation), round(length * test)) == (len(parts[1]), len(parts[2]))
    assert all(part.dtype == torch.int64 and part.tolist() == sorted(part.tolist()) for part in parts)


@settings(deadline=None)
@given(length=st.integers(20, 300), seed=st.integers(0, 2**53), test=FRACTIONS)
def test_the_split_is_a_function_of_its_arguments_alone(length, seed, test):
    before = split_ids(length, seed, 0.1, test)
    torch.manual_seed(seed)
    torch.rand(7)
    assert all(torch.equal(one, two) for one, two in zip(before, split_ids(length, seed, 0.1, test), strict=True))


def test_the_split_of_a_seed_never_changes():
    """Written down: a release that changed it would test on what an older one trained on."""
    assert split_ids(12, 7, 0.0, 0.25)[2].tolist() == [0, 7, 11]


def test_another_seed_gives_another_split():
    assert split_ids(100, 1, 0.0, 0.3)[2].tolist() != split_ids(100, 2, 0.0, 0.3)[2].tolist()


def test_stratified_parts_hold_the_classes_in_proportion():
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    for part, share in zip(split_ids(1000, 3, 0.1, 0.2, labels), (0.7, 0.1, 0.2), strict=True):
        counts = torch.bincount(labels[part], minlength=3).double()
        assert torch.allclose(counts, torch.tensor([600.0, 300.0, 100.0]).double() * share, atol=1)


@pytest.mark.parametrize(
    ("length", "validation", "test", "message"),
    [
        (10, 0.5, 0.5, "leave none to train on"),
        (1, 0.0, 0.9, "leave none"),
        (10, -0.1, 0, "validation: must be"),
        (10, 0, 1.0, "test: must be"),
    ],
)
def test_a_split_that_leaves_nothing_is_refused(length, validation, test, message):
    with pytest.raises(ValueError, match=message):
        split_ids(length, 0, validation, test)


def test_rows_answer_in_the_order_asked_for():
    rows = Rows(inputs=torch.arange(10.0), targets=torch.arange(10))
    batch = rows.batch(torch.tensor([3, 1, 3]))
    assert batch["inputs"].tolist() == [3.0, 1.0, 3.0]
    assert batch["targets"].tolist() == [3, 1, 3]
    assert len(rows.batch(torch.empty(0, dtype=torch.int64))["inputs"]) == 0


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="same number of rows"):
        Rows(inputs=torch.zeros(3), targets=torch.zeros(4))


def test_any_map_style_dataset_can_be_split_and_read():
    dataset = Pairs(TensorDataset(torch.arange(20.0).reshape(10, 2), torch.arange(10)))
    parts = split(dataset, 5, 0.2, 0.2)
    seen = [
        int(target) for part in (parts.train, parts.validation, parts.test) for target in part.batch(torch.arange(len(part)))["targets"]
    ]
    assert list(range(10)) == sorted(seen)
    empty = parts.train.batch(torch.empty(0, dtype=torch.int64))
    assert (torch.Size([0, 2]), torch.Size([0])) == (empty["inputs"].shape, empty["targets"].shape)


def test_numbers_as_targets_are_stacked():
    batch = Pairs([(torch.ones(2), 1), (torch.zeros(2), 0)]).batch(torch.tensor([1, 0]))
    assert batch["targets"].tolist() == [0, 1]
