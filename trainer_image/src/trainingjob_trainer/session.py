"""Builds what a training process consists of, from the job's spec. Effects: imports the user's code, reads its data.

Everything slow is done here, before the process reports Idle: imports, data, the model, and the first optimizer, whose
construction makes torch import its compiler.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from trainingjob_api.contract.channel import Links, ProcessEnvironment
from trainingjob_api.spec.job import JobSpec
from trainingjob_api.spec.training import Training
from trainingjob_api.storage.manifest import Position
from trainingjob_trainer.checkpoint.identity import KEY, Identity, as_json, identity
from trainingjob_trainer.checkpoint.state import TrainingState, copy_tensors, materialise
from trainingjob_trainer.checks.mistakes import UserMistake, user_code
from trainingjob_trainer.checks.returned import model_of, splits_of
from trainingjob_trainer.checks.storable import check_storable
from trainingjob_trainer.checks.trial import try_evaluation
from trainingjob_trainer.data import Dataset, Splits
from trainingjob_trainer.learning.buffers import PerRank, buffer_policies
from trainingjob_trainer.learning.optimizer import build_optimizer
from trainingjob_trainer.randomness import seed_model
from trainingjob_trainer.strategy.data_parallel import DataParallel
from trainingjob_trainer.strategy.order import SampleOrder
from trainingjob_trainer.strategy.port import Strategy
from trainingjob_trainer.task import Task, load_task
from trainingjob_trainer.transport.gloo import GlooTransport
from trainingjob_trainer.transport.nccl import NcclTransport
from trainingjob_trainer.transport.port import Transport
from trainingjob_trainer.transport.store import Ask

logger = logging.getLogger(__name__)


@dataclass
class Session:
    """One training process's parts."""

    environment: ProcessEnvironment
    spec: JobSpec
    training: Training
    task: Task
    splits: Splits
    state: TrainingState
    order: SampleOrder
    total_steps: int
    transport: Transport
    strategy: Strategy
    made_of: Identity
    """What the steps are made of: data, batch, seed, task and parameters."""

    def finished(self) -> bool:
        """All steps are done, or early stopping has ended them."""
        return self.state.step >= self.total_steps or self.state.stopped_early

    def lanes(self) -> int:
        """With reduction Deterministic: as the manifest says, else as this history began, whatever the number of workers is now."""
        return self.training.lanes or self.state.lanes or self.spec.lanes

    def position(self) -> Position:
        """Where training stands, for checkpoints and peers."""
        state = self.state
        epoch, within = self.order.place(state.step)
        return Position(
            step=state.step,
            epoch_of_data=epoch,
            step_in_epoch=within,
            samples=self.order.samples(state.step),
            digest=state.digest,
            lanes=self.lanes() if self.training.reduction == "Deterministic" else 0,
            rng=f"keyed by (seed {self.training.seed}, step, lane)",
            strategy=self.training.strategy.type,
            finite=state.finite(),
            clean=state.clean,
            metrics=state.metrics,
            early_stopping=state.stored_early_stopping(),
            extra={"evaluated_step": state.evaluated_step, KEY: self.made_of},
        )

    def restart(self, attempt: int) -> None:
        """Back to step 0: the first weights, made again as they were made at first."""
        with self.state.changing():
            fresh = _build_state(self.task, self.training, next(self.state.model.parameters()).device)
            copy_tensors(fresh.tensors(), self.state.tensors())
            self.state.restart(attempt, self.training.seed)
            self.state.lanes = self.spec.lanes


def build(
    environment: ProcessEnvironment,
    ask: Ask,
    watch: Callable[[Transport], Transport] = lambda transport: transport,
    watch_data: Callable[[Dataset], Dataset] = lambda dataset: dataset,
    tell: Callable[[Links], None] = lambda links: None,
) -> Session:
    """Everything from the environment.

    Args:
        environment: what the agent told this process.
        ask: the channel's store call.
        watch: put around the transport.
        watch_data: put around the training data.
        tell: sends what is seen of the connections to the agent.

    Raises:
        UserMistake: the spec or the user's code cannot work.
    """
    spec = JobSpec.model_validate_json(environment.config)
    training = spec.training
    if training.task is None:
        raise UserMistake("spec.training.task: is missing, and a script does not run in this process")
    torch.set_num_threads(training.threads)
    device = _device(spec, environment)
    patience = spec.recovery.heartbeat_timeout_seconds / 3
    gpu = device.type == "cuda"
    transport = watch(NcclTransport(ask, device) if gpu else GlooTransport(ask, environment.interface, tell, patience))
    module = training.task.class_name.partition(":")[0]
    with user_code("spec.training.task.parameters"):
        task = load_task(training.task.class_name, training.task.parameters)
    with user_code("spec.training.task", module):
        splits = splits_of(task, training.seed, training.split.validation, training.split.test)
        order = SampleOrder(len(splits.train), training.global_batch_size, training.seed)
        state = _build_state(task, training, device)
        made_of = _made_of(task, training, splits)
        if environment.is_first_life():
            try_evaluation(task, state.model, splits)
    total = training.steps if training.steps is not None else (training.epochs or 0) * order.steps_per_epoch
    skips = spec.divergence.on_non_finite == "Ignore"
    strategy = DataParallel(task, state, training, order, watch_data(splits.train), total, transport, skips=skips)
    logger.info(
        "built %s: %d training samples, %d steps of %d", training.task.class_name, len(splits.train), total, training.global_batch_size
    )
    return Session(environment, spec, training, task, splits, state, order, total, transport, strategy, made_of)


def _made_of(task: Task, training: Training, splits: Splits) -> Identity:
    assert training.task is not None
    samples = (len(splits.train), len(splits.validation), len(splits.test))
    parameters = as_json(task.parameters, training.task.parameters)
    return identity(training.task.class_name, parameters, samples, training.global_batch_size, training.seed)


def _build_state(task: Task, training: Training, device: torch.device) -> TrainingState:
    seed_model(training.seed)
    model = model_of(task).to(device)
    check_storable(model)
    optimizer = build_optimizer(training.optimizer, model)
    materialise(optimizer)
    if training.reduction == "Deterministic" and any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        raise UserMistake(
            "spec.training.reduction: with Deterministic a worker computes several parts of a batch one after another, and SyncBatchNorm"
            " cannot see them together; use batch normalization, or set reduction: Fast"
        )
    policies = buffer_policies(model, task.buffers())
    if training.reduction == "Deterministic" and PerRank in policies.values():
        raise UserMistake(
            "spec.training.reduction: Deterministic makes the result independent of who computes what, and Task.buffers() says PerRank;"
            " say another policy, or set reduction: Fast"
        )
    return TrainingState(model, optimizer, buffer_policies=policies)


def _device(spec: JobSpec, environment: ProcessEnvironment) -> torch.device:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")  # as CUDA has it: set, and to none
    if spec.workers.gpus == 0 or hidden:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserMistake(
            "spec.workers.gpus: GPUs are asked for, but torch finds none; use an image with CUDA, or set gpus: 0"
            " (or, to have them and not to use them, CUDA_VISIBLE_DEVICES to nothing)"
        )
    device = torch.device("cuda", environment.process % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device
