"""The plainest training loop there is, in one process: what the parts of learning are tried with."""

import torch
from torch import nn

from trainingjob_api.spec.training import Training
from trainingjob_trainer.data import Dataset, Splits
from trainingjob_trainer.learning.optimizer import build_optimizer, set_learning_rate
from trainingjob_trainer.learning.regularisation import add_l1_, clip_, penalised
from trainingjob_trainer.learning.schedule import learning_rate
from trainingjob_trainer.task import Task, load_task


def train(training: Training) -> tuple[Task, Splits, nn.Module]:
    """Train what the manifest says, to the end."""
    torch.set_num_threads(1)
    assert training.task is not None
    assert training.epochs is not None
    task = load_task(training.task.class_name, training.task.parameters)
    splits = task.splits(training.seed, training.split.validation, training.split.test)
    torch.manual_seed(training.seed)
    model = task.model()
    optimizer = build_optimizer(training.optimizer, model)
    batch, length = training.global_batch_size, len(splits.train)
    total, step = training.epochs * -(-length // batch), 0
    for _ in range(training.epochs):
        order = torch.randperm(length)
        for start in range(0, length, batch):
            set_learning_rate(optimizer, learning_rate(training.schedule, training.optimizer.learning_rate, step, total))
            optimizer.zero_grad()
            loss, weight = task.loss(model, splits.train.batch(order[start : start + batch]))
            (loss / weight).backward()
            add_l1_(penalised(model), training.regularisation.l1)
            if training.regularisation.gradient_clip_norm is not None:
                clip_(model.parameters(), training.regularisation.gradient_clip_norm)
            optimizer.step()
            step += 1
    return task, splits, model.eval()


def measure(task: Task, model: nn.Module, dataset: Dataset, at_once: int = 500) -> dict[str, float]:
    """The task's metrics on a dataset."""
    evaluation = task.evaluation()
    statistics = torch.zeros(evaluation.length, dtype=torch.float64)
    for start in range(0, len(dataset), at_once):
        statistics += evaluation.update(model, dataset.batch(torch.arange(start, min(start + at_once, len(dataset)))))
    return evaluation.result(statistics)
