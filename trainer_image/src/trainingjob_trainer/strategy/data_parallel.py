"""Every rank holds the whole model and computes its lanes of each batch; gradients are summed. Effects: the training state.

The gradient of a step is the sum over all samples divided by the global weight, whoever computed which share. The losses are divided by
the number of samples before their backward pass: where that is the weight, as for most tasks, no gradient need be touched again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from trainingjob_api.spec.training import Training
from trainingjob_trainer.checkpoint.state import TrainingState
from trainingjob_trainer.checks.mistakes import UserMistake
from trainingjob_trainer.checks.returned import batch_of, evaluation_of, loss_of, metrics_of, statistics_of
from trainingjob_trainer.data import Batch, Dataset
from trainingjob_trainer.learning.collate import to_device
from trainingjob_trainer.learning.optimizer import set_learning_rate, update
from trainingjob_trainer.learning.regularisation import add_l1_, clip_, penalised
from trainingjob_trainer.learning.schedule import learning_rate
from trainingjob_trainer.randomness import seed_lane
from trainingjob_trainer.strategy import drift
from trainingjob_trainer.strategy.buckets import Buckets, is_finite
from trainingjob_trainer.strategy.control import WIDTH, Decision, Flags, decode, encode
from trainingjob_trainer.strategy.lanes import lanes_of, micro_batches, piece_count, share
from trainingjob_trainer.strategy.module_buffers import ModuleBuffers
from trainingjob_trainer.strategy.moved_parameters import WIDTH as MOVED
from trainingjob_trainer.strategy.moved_parameters import MovedParameters
from trainingjob_trainer.strategy.order import SampleOrder
from trainingjob_trainer.strategy.port import Outcome
from trainingjob_trainer.strategy.reduction import Deterministic, Fast, Reduction
from trainingjob_trainer.strategy.user_group import UserGroup
from trainingjob_trainer.task import Task
from trainingjob_trainer.transport.port import Interrupted, Pending, Transport

logger = logging.getLogger(__name__)
_DIGEST = slice(WIDTH, WIDTH + drift.WIDTH)
_LOSS, _WEIGHT, _MISSED, _USED = range(_DIGEST.stop, _DIGEST.stop + 4)
"""The last reduced tensor: the control word, the weights' digest, the loss sum, the weight, whether a gradient was missed, which
parameters were used, the changes of the model's buffers, whether parameters have moved."""


class DataParallel:
    """See strategy.port.Strategy.

    Args:
        task: gives the loss and the evaluation.
        state: what is trained.
        spec: `training` of the job.
        order: which samples a step computes.
        dataset: the training data.
        total_steps: for the schedule.
        transport: carries the reductions.
        skips: a step whose loss or gradients are not finite is passed over, and training goes on.
    """

    def __init__(
        self,
        task: Task,
        state: TrainingState,
        spec: Training,
        order: SampleOrder,
        dataset: Dataset,
        total_steps: int,
        transport: Transport,
        *,
        skips: bool = False,
    ) -> None:
        self._task, self._state, self._spec, self._transport = task, state, spec, transport
        self._order, self._dataset, self._total_steps = order, dataset, total_steps
        self._skips = skips
        self._parameters = [parameter for parameter in state.model.parameters() if parameter.requires_grad]
        self._frozen = [(name, parameter) for name, parameter in state.model.named_parameters() if not parameter.requires_grad]
        self._device = self._parameters[0].device
        self._penalised = penalised(state.model)
        self._evaluation = evaluation_of(task)
        self._gradients = Buckets(self._parameters)
        self._group = UserGroup(transport)
        self._buffers = ModuleBuffers(state.model, state.buffer_policies)
        self._used = slice(_USED, _USED + len(self._gradients.used()))
        self._changes = slice(self._used.stop, self._used.stop + self._buffers.width)
        self._moved = MovedParameters(state.model)
        self._moves = slice(self._changes.stop, self._changes.stop + MOVED)
        self._tail = torch.zeros(self._moves.stop, dtype=torch.float64, device=self._device)
        self._reductions: list[Reduction] = []
        self._lanes = self._rank = self._world = 0
        self._own = range(0)
        self._names: Sequence[str] = ()
        self._loss = self._weight = 0.0
        """Sums of the lane that was computed last."""
        self._passes, self._is_whole = 0, False
        """How often that lane went through the model, and whether that is as often as the first one, which has the most samples."""

    def start(self, rank: int, world: int, lanes: int, names: Sequence[str] = ()) -> None:
        """A generation has been formed, and all its ranks hold one state."""
        self._rank, self._world = rank, world
        self._names = names or [f"rank {each}" for each in range(world)]
        self._lanes = lanes if self._spec.reduction == "Deterministic" else world
        self._own = lanes_of(rank, world, self._lanes)
        self._reductions = [self._reduction(tensor) for tensor in (*self._gradients.flats(), self._tail)]
        self._buffers.keep(self._state.attempt)
        self._group.start(rank, world, self._device, self._trouble_of_collectives)

    def _trouble_of_collectives(self) -> str:
        """Why the user's code can have none, or nothing."""
        if self._spec.reduction == "Deterministic":
            return (
                "with reduction: Deterministic each worker computes several parts of a batch, one after another, and a collective would mix"
                " parts that do not belong together; set spec.training.reduction: Fast"
            )
        batches = {
            "a batch": min(self._spec.global_batch_size, len(self._dataset)),
            "the last batch of an epoch": self._order.smallest_batch(),
        }
        for what, samples in batches.items():
            if self._has_fewer(samples, self._world - 1):
                parts = " of one sample" if self._spec.micro_batch_size == 1 else ""
                return (
                    f"every worker must take part in every step, and {what} has {samples} samples, too few to give each of {self._world}"
                    f" workers as many parts{parts}; set spec.training.globalBatchSize, microBatchSize or workers.replicas so that it has"
                )
        return ""

    def _has_fewer(self, samples: int, lane: int) -> bool:
        """Whether a lane of a batch of so many samples goes through the model less often than the first one."""
        return len(share(samples, self._lanes, lane)) < piece_count(samples, self._lanes, self._spec.micro_batch_size)

    def _reduction(self, tensor: Tensor) -> Reduction:
        if self._spec.reduction == "Fast":
            return Fast(tensor, self._transport)
        return Deterministic(tensor, self._transport, self._rank, self._world, self._lanes)

    def step(self, flags: Flags) -> Outcome:
        """One optimizer step over one global batch."""
        ids = self._order.batch(self._state.step)
        self._moved.keep(several=len(self._own) > 1, skips=self._skips)
        decision, finite = self._computed(ids, flags)
        loss_sum, weight, missed = self._tail[_LOSS:_USED].tolist()
        if missed:
            logger.info("step %d: a gradient changed after its reduction had begun; computing the step again", self._state.step)
            decision, finite = self._computed(ids, flags, early=False)
            loss_sum, weight, _ = self._tail[_LOSS:_USED].tolist()
        self._check_frozen()
        self._buffers.check(self._tail[self._changes])
        self._check_moved(len(ids))
        updated = math.isfinite(loss_sum) and math.isfinite(weight) and weight >= 0 and finite
        if self._skips and not updated and self._moved.is_lost:
            logger.info("step %d is passed over, and a parameter moved in it for the first time; a state is needed", self._state.step)
            self._put_back()
            raise Interrupted
        with self._state.changing():
            if updated:
                self._update(len(ids), weight)
            else:
                self._buffers.put_back()
                self._state.clean = False
            self._state.step += 1
            self._state.extend_digest("step", loss_sum, weight)
        return Outcome(decision, loss_sum / weight if weight else math.nan, len(ids), updated)

    def _check_moved(self, samples: int) -> None:
        """See that all ranks know what the lanes made of the parameters, those too whose lanes are smaller or have no sample."""
        first = lanes_of(self._world - 1, self._world, self._lanes).start  # of the rank with the smallest lanes
        lacks = first >= self._lanes or self._has_fewer(samples, first)
        try:
            if self._moved.check(self._tail[self._moves]) and lacks:
                self._moved.spread(self._transport)
            self._moved.compare(self._tail[self._moves], self._transport, self._world)
        except Interrupted:
            self._put_back()
            raise

    def _put_back(self) -> None:
        """Undo what forward passes have done to the state."""
        self._buffers.put_back()
        self._moved.put_back()
        self._state.dirty = self._state.dirty or self._moved.is_lost

    def _check_frozen(self) -> None:
        """Raise UserMistake if a parameter that the optimizer does not know has got a gradient."""
        for name, parameter in self._frozen:
            if parameter.grad is not None:
                raise UserMistake(
                    f"spec.training.task.class: the parameter {name} was frozen when model() returned it, and got a gradient in step"
                    f" {self._state.step + 1}; return it with requires_grad=True, and freeze it in forward() until it is to be trained"
                )

    def _computed(self, ids: Tensor, flags: Flags, *, early: bool = True) -> tuple[Decision, bool]:
        """Bring the sums over all ranks into buckets and tail. Return what the flags say, and whether all gradients are finite."""
        finite = self._reduced(self._compute(ids, flags, early=early))
        by_ranks = self._reductions[-1].total(_DIGEST.stop).tolist()
        self._reductions[-1].take()
        if not drift.agree(by_ranks[_DIGEST], self._world):
            self.verify(whole=True)
        return decode(by_ranks[:WIDTH]), finite

    def verify(self, *, whole: bool = False) -> None:
        """Compare the ranks' weights: a window of each, or with `whole` all. Raise UserMistake if they differ."""
        if self._world == 1:
            return
        tensors = self._state.weights()
        numbers = drift.digests(tensors, None if whole else self._state.step)
        rows = numbers.new_zeros(self._world, len(numbers))
        if not self._transport.settle([self._transport.all_gather(rows, numbers)]):
            raise Interrupted
        found = drift.first_difference(rows.tolist(), list(tensors))
        if found is not None:
            name, ranks = found
            raise UserMistake(
                f"spec.training.task.class: the workers' weights have drifted apart by step {self._state.step}: {name} is another one at"
                f" {', '.join(self._names[rank] for rank in ranks)}. Something that changes it is not the same at every worker, such as"
                " code that writes to a weight, or unseeded randomness; or the workers' processors or libraries differ"
            )

    def _reduced(self, works: Sequence[Pending]) -> bool:
        """Take each gradient's sum in as it comes, and look at it while it is in the cache; are all of them finite?"""
        finite = True
        for number, work in enumerate(works):
            if not self._transport.settle([work]):
                self._transport.settle(works[number + 1 :])
                self._put_back()
                raise Interrupted
            if number < len(self._gradients.buckets):
                self._reductions[number].take()
                finite = finite and is_finite(self._gradients.buckets[number].flat)
        return finite

    def _compute(self, ids: Tensor, flags: Flags, *, early: bool) -> list[Pending]:
        """This rank's lanes, and the reductions begun: gradients in bucket order, the tail last."""
        works: list[Pending] = []
        last = max(0, len(self._own) - 1)

        def launch(index: int) -> None:
            self._group.close()
            self._reductions[index].put(last)
            works.append(self._reductions[index].launch())

        try:
            with self._group.offered():
                self._compute_lanes(ids, flags, launch, early=early)
        except BaseException:
            self._transport.interrupt()  # what is under way ends now, and no peer waits for this rank
            self._transport.settle(works)
            self._put_back()
            raise
        works += self._buffers.launch(self._transport)
        launch(len(self._reductions) - 1)
        return works

    def _compute_lanes(self, ids: Tensor, flags: Flags, launch: Callable[[int], None], *, early: bool) -> None:
        last = max(0, len(self._own) - 1)
        digest = drift.encode(drift.digests(self._state.weights())) if drift.is_due(self._state.step) else drift.NONE
        word = [*encode(flags), *digest]
        train_mode(self._state.model)
        for row, lane in enumerate(self._own):
            self._compute_lane(ids, lane, launch if row == last else None, early=early)
            self._fill_tail(word if row == 0 else [0.0] * len(word), lane)
            if row != last:
                for reduction in self._reductions:
                    reduction.put(row)
        if not self._own:
            self._gradients.clear()
            self._gradients.arm(launch, early=False)
            self._gradients.finish()
            self._loss = self._weight = 0.0
            self._fill_tail(word, None)

    def _compute_lane(self, ids: Tensor, lane: int, launch: Callable[[int], None] | None, *, early: bool) -> None:
        """Forward and backward of a lane; with `launch`, its last backward pass sets the reductions going.

        Raises:
            Interrupted: an earlier lane of this step has moved a parameter, and nobody here knows from where.
        """
        if self._moved.is_lost:
            logger.info(
                "step %d: a parameter moves for the first time; the step is computed again from a state that has its old value",
                self._state.step,
            )
            raise Interrupted
        positions = share(len(ids), self._lanes, lane)
        size = self._spec.micro_batch_size
        count = piece_count(len(ids), self._lanes, size)
        pieces = list(micro_batches(ids[positions.start : positions.stop], size, count))
        self._gradients.clear()
        self._loss = self._weight = 0.0
        self._passes, self._is_whole = len(pieces), len(pieces) == count
        seed_lane(self._spec.seed, self._state.step, lane)
        if launch is not None and not pieces:
            self._gradients.arm(launch, early=False)
        for number, piece in enumerate(pieces):
            self._gradients.begin()
            loss, weight = loss_of(self._task, self._state.model, self._fetch(self._dataset, piece), self._device)
            if launch is not None and number == len(pieces) - 1:
                self._gradients.arm(launch, early=early and self._group.may_overlap)
            (loss / len(ids)).backward()  # type: ignore[no-untyped-call]
            self._gradients.collect()
            self._loss += float(loss.detach())
            self._weight += float(weight)
        self._gradients.finish()

    def _fill_tail(self, word: Sequence[float], lane: int | None) -> None:
        head = [*word, self._loss, self._weight, self._gradients.missed, *self._gradients.used()]
        self._tail[: self._used.stop] = torch.tensor(head, dtype=torch.float64)
        self._tail[self._changes].zero_()
        self._moved.end_lane(self._tail[self._moves], votes=lane is not None and self._is_whole)
        if lane is not None and self._passes:
            self._buffers.end_lane(self._weight, self._tail[self._changes], leads=lane == 0, votes=self._is_whole)

    def _update(self, samples: int, weight: float) -> None:
        if weight not in (0.0, samples):
            for flat in self._gradients.flats():
                flat.mul_(samples / weight)
        self._moved.apply()
        self._gradients.give((self._tail[self._used] > 0).tolist())
        regularisation = self._spec.regularisation
        add_l1_(self._penalised, regularisation.l1)
        if regularisation.gradient_clip_norm is not None:
            clip_(self._parameters, regularisation.gradient_clip_norm)
        rate = learning_rate(self._spec.schedule, self._spec.optimizer.learning_rate, self._state.step, self._total_steps)
        set_learning_rate(self._state.optimizer, rate)
        update(self._state.optimizer)
        self._buffers.apply(self._tail[self._changes], weight)

    @torch.no_grad()
    def evaluate(self, dataset: Dataset) -> dict[str, float]:
        """The metrics over a dataset. Cut into lanes like a batch, so that Deterministic holds here too."""
        total = torch.zeros(self._evaluation.length, dtype=torch.float64, device=self._device)
        reduction = self._reduction(total)
        self._moved.keep(whole=True)
        self._state.model.eval()  # which may change weights, as code does that merges adapters into them
        for row, lane in enumerate(self._own):
            total.zero_()
            positions = share(len(dataset), self._lanes, lane)
            for ids in micro_batches(torch.arange(positions.start, positions.stop), self._evaluation_batch()):
                total += statistics_of(self._evaluation, self._state.model, self._fetch(dataset, ids)).to(total)
            reduction.put(row)
        self._state.model.train()
        self._put_back()  # a measurement leaves no trace, and each rank has measured something else
        if not self._transport.settle([reduction.launch()]):
            raise Interrupted
        reduction.take()
        return metrics_of(self._evaluation, total.cpu())

    def _evaluation_batch(self) -> int:
        return self._spec.micro_batch_size or max(1, -(-self._spec.global_batch_size // self._lanes))

    def agree(self, value: int) -> int:
        """Rank 0's value."""
        word = torch.tensor([value], dtype=torch.int64, device=self._device)
        if not self._transport.settle([self._transport.broadcast(word, 0)]):
            raise Interrupted
        return int(word)

    def _fetch(self, dataset: Dataset, ids: Tensor) -> Batch:
        batch = batch_of(dataset, ids)
        return batch if self._device.type == "cpu" else {name: to_device(column, self._device) for name, column in batch.items()}


def train_mode(model: nn.Module) -> None:
    """Call `model.train()`, unless it would do nothing: for a few hundred modules it takes a millisecond."""
    if any(not module.training or getattr(module.train, "__func__", None) is not nn.Module.train for module in model.modules()):
        model.train()
