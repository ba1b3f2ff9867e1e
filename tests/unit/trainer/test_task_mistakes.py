"""What a task does wrong is told before the first step, once, with method, file and line."""

from __future__ import annotations

import re

import pytest

from trainingjob_api.contract.runtime import ExitCode
from unit.trainer.conftest import make_spec

SUM = r"must return \(sum of the loss over the samples, number of samples\)"
TOLD = {
    "SplitsAreATuple": r"SplitsAreATuple\.splits \(FILE\) must return a Splits; it returned a tuple of 3 \(Rows, Rows, Rows\)",
    "NoPairs": r"NoPairs\.splits \(FILE\) must return a dataset with batch\(ids\) as Splits\.train; it returned a MapStyle; put Pairs\(",
    "Ragged": r"ValueError: Pairs: inputs of samples \d+ and \d+ have the shapes \(\d,\) and \(\d,\), which do not stack; pad them in",
    "NoLength": r"NoLength\.splits \(FILE\) gives an Endless as Splits\.train, and it has no length; write __len__",
    "BatchIsATuple": r"BatchIsATuple\.splits\.<lambda> \(FILE\) must return named columns, .*; it returned a tuple of 2 .*; return a dict",
    "ModelIsNone": r"ModelIsNone\.model \(FILE\) must return a torch\.nn\.Module; it returned None; end it with `return model`",
    "ModelIsFrozen": r"ModelIsFrozen\.model \(FILE\) returned a Sequential whose 5 parameters all have requires_grad=False",
    "EvaluationIsNone": r"EvaluationIsNone\.evaluation \(FILE\) must return an Evaluation; it returned None; end it with `return`",
    "LossIsAMean": rf"LossIsAMean\.loss \(FILE\) {SUM}; it returned a tensor of one number; never a mean: return its sum and",
    "LossIsAVector": rf"LossIsAVector\.loss \(FILE\) {SUM} with a tensor of one number first; .* shape \(\d+,\); add `.sum",
    "LossIsAFloat": rf"LossIsAFloat\.loss \(FILE\) {SUM} with a tensor .*; it returned [\d.]+ \(a float\); return what torch computed",
    "LossIsDetached": r"LossIsDetached\.loss \(FILE\) returned a loss without a gradient; compute it from the model's outputs",
    "LossHasThreeParts": rf"LossHasThreeParts\.loss \(FILE\) {SUM}; it returned a tuple of 3 \(Tensor, Tensor, str\); return its sum",
    "LossIsElsewhere": r"LossIsElsewhere\.loss \(FILE\) returned a loss on meta, and the model is on cpu; make its tensors",
    "WeightIsAName": rf"WeightIsAName\.loss \(FILE\) {SUM} with one number, 0 or more, second; it returned '16' \(a str\)",
    "WrongLayerWidth": r"RuntimeError: mat1 and mat2 shapes cannot be multiplied \(\d+x6 and 7x3\)",
    "Typo": r"KeyError: 'input' \(FILE, in loss\); mend it",
    "ChangedInPlace": r"RuntimeError: one of the variables needed for gradient computation has been modified .*, in the back",
    "OwnInit": r"OwnInit\.__init__ \(FILE\) must take the parameters \(too many positional arguments\); write `def __init__",
    "TypoWhileBuilding": r"AttributeError: module 'torch.nn' has no attribute 'Sequental'.* \(FILE, in model\); mend it",
    "Exits": r"the task's code ends its process with sys\.exit\(0\) \(FILE, in model\); take that call out",
    "OneNumberOfMany": r"OneNumber\.update \(FILE\) must return a tensor of shape \(11,\), .* a tensor of one number; return",
    "ResultIsText": r"Text\.result \(FILE\) must return a dict of names and numbers; .*; 'accuracy' is 'good'",
    "Ranked": r"loss: outputs have the shape \(8, 1\), targets \(8,\); .* outputs, .*, in RegressionEvaluation\.update \(FILE\)",
}


@pytest.mark.parametrize("name", TOLD)
def test_a_mistake_is_told_at_once_with_its_place(make_hub, name):
    spec = make_spec()
    spec["training"]["task"]["class"] = f"unit.trainer.mistaken_tasks:{name}"
    hub = make_hub(spec, 1)
    hub.start()
    hub.wait(lambda: bool(hub.user_errors) or hub.trainees[0].gone, "told")
    assert hub.zygote.ended(hub.pids[0]) == ExitCode.USER_ERROR, hub.log(0)
    (told,) = hub.user_errors
    assert re.match(r"spec\.training\.task(\.class)?: " + TOLD[name].replace("FILE", r"\w+\.py:\d+"), told)
    assert hub.committed == []


def test_the_log_of_a_mistaken_task_has_the_traceback(make_hub):
    spec = make_spec()
    spec["training"]["task"]["class"] = "unit.trainer.mistaken_tasks:Typo"
    hub = make_hub(spec, 1)
    hub.start()
    hub.zygote.ended(hub.pids[0])
    assert 'return cross_entropy_sum(model(batch["input"]), batch["targets"])' in hub.log(0)
    assert hub.log(0).count("Traceback") == 1
