import pytest
import torch
from pydantic import Field, model_validator
from torch import nn

from trainingjob_trainer.data import Rows, Splits
from trainingjob_trainer.task import Classification, ParameterError, Regression, Task, TaskParameters, load_task


class Points(Classification):
    """A small task for these tests."""

    class Parameters(TaskParameters):
        """Some parameters."""

        hidden: int = Field(default=4, ge=1)
        rate: float = 0.5
        layers: tuple[int, ...] = (1, 2)

    parameters: Parameters
    classes = ("left", "right")

    def splits(self, seed, validation, test):
        rows = Rows(inputs=torch.zeros(4, 1), targets=torch.tensor([0, 1, 0, 1]))
        return Splits(rows, rows, rows)

    def model(self):
        return nn.Linear(1, 2)


class Numbers(Regression):
    """Another one, with two outputs."""

    outputs = ("sum", "difference")
    splits = Points.splits

    def model(self):
        return nn.Linear(2, 2)


class Unfinished(Task):
    """Lacks what a task needs."""


def test_parameters_are_validated_attributes():
    task = Points({"hidden": 8, "rate": 1, "layers": [3]})
    assert (task.parameters.hidden, task.parameters.rate, task.parameters.layers) == (8, 1.0, (3,))
    assert Points({}).parameters.hidden == 4


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hiden": 8}, r"training\.task\.parameters\.hiden: Points has no such parameter; it has hidden, rate, layers"),
        ({"hidden": 0}, r"training\.task\.parameters\.hidden: input should be greater than or equal to 1"),
        ({"hidden": "8"}, r"training\.task\.parameters\.hidden: input should be a valid integer"),
        ({"hidden": True}, r"training\.task\.parameters\.hidden: input should be a valid integer"),
        ({"rate": float("nan")}, r"training\.task\.parameters\.rate: input should be a finite number"),
        ({"layers": [1, "x"]}, r"training\.task\.parameters\.layers\.1: input should be a valid integer"),
        ({"hidden": object()}, r"training\.task\.parameters: Object of type object"),
    ],
)
def test_a_wrong_parameter_is_named(parameters, message):
    with pytest.raises(ParameterError, match=message):
        Points(parameters)


def test_parameters_may_be_nested_and_null():
    class Optimizer(TaskParameters):
        """A parameter of several values."""

        betas: tuple[float, float] = (0.9, 0.99)
        decay: float | None = 0.1

    class Nested(Numbers):
        """With parameters inside parameters."""

        class Parameters(TaskParameters):
            """One of each kind."""

            optimizer: Optimizer = Optimizer()
            layers: tuple[dict[str, int], ...] = ()

    task = Nested({"optimizer": {"betas": [0.5, 0.6], "decay": None}, "layers": [{"width": 3}, {"width": 4}]})
    assert task.parameters.optimizer == Optimizer(betas=(0.5, 0.6), decay=None)
    assert task.parameters.layers == ({"width": 3}, {"width": 4})
    with pytest.raises(ParameterError, match=r"training\.task\.parameters\.optimizer\.beta: extra inputs are not permitted"):
        Nested({"optimizer": {"beta": 1}})


def test_a_task_without_parameters_takes_none():
    with pytest.raises(ParameterError, match="Numbers has no such parameter; it has none"):
        Numbers({"hidden": 8})


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("digits", 'must have the form "module:Class"'),
        ("no_such_module:Digits", "there is no module 'no_such_module'; install it in the image, or put its folder on PYTHONPATH"),
        ("trainingjob_trainer.tasks.nothing:X", "there is no module 'trainingjob_trainer.tasks.nothing'"),
        ("trainingjob_trainer.tasks.digits:Digit", "module trainingjob_trainer.tasks.digits has no 'Digit'"),
        ("trainingjob_trainer.tasks.digits:CLASSES", "is not a subclass of"),
        ("trainingjob_trainer.task:Task", "does not define evaluation, loss, model, splits"),
    ],
)
def test_a_class_that_cannot_be_used_is_named(reference, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_task(reference, {})
    assert str(caught.value).startswith("spec.training.task.class: ")


def test_a_module_that_lacks_a_module_of_its_own_says_which(tmp_path, monkeypatch):
    (tmp_path / "wants_more.py").write_text("import no_such_thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="wants_more needs the module no_such_thing, which is not installed"):
        load_task("wants_more:X", {})


@pytest.mark.parametrize("source", ["from math import no_such_name\n", "def (:\n"])
def test_a_module_that_cannot_be_imported_says_why(tmp_path, monkeypatch, source):
    name = f"broken_{len(source)}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=rf"training\.task\.class: {name} cannot be imported: "):
        load_task(f"{name}:X", {})


def test_a_rule_over_several_parameters_is_told_without_a_name():
    class Bounded(Numbers):
        """With a rule of its own."""

        class Parameters(TaskParameters):
            """Two fields; one has a name that pydantic keeps for itself elsewhere."""

            model_size: int = 1
            limit: int = 1

            @model_validator(mode="after")
            def _fits(self):
                if self.model_size > self.limit:
                    raise ValueError("model_size is above limit")
                return self

    with pytest.raises(ParameterError, match=r"training\.task\.parameters: value error, model_size is above limit"):
        Bounded({"model_size": 2})


def test_an_unfinished_class_says_what_is_missing():
    with pytest.raises(TypeError, match="abstract"):
        Unfinished({})


def test_a_classifier_answers_with_class_and_probability():
    model = nn.Linear(1, 2)
    nn.init.constant_(model.bias, 0.0)
    model.weight.data = torch.tensor([[0.0], [1.0]])
    answers = Points({}).predict(model, torch.tensor([[2.0], [-2.0]]))
    assert [answer["class"] for answer in answers] == ["right", "left"]
    assert [answer["probability"] for answer in answers] == pytest.approx([0.880797, 0.880797])


def test_a_regression_answers_with_every_output_by_name():
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    assert Numbers({}).predict(model, torch.tensor([[3.0, 1.0]])) == [{"sum": 4.0, "difference": 2.0}]


def test_a_task_without_columns_makes_no_predictions():
    with pytest.raises(ValueError, match=r"Points makes no predictions: it defines no columns\(\)"):
        Points({}).columns()
