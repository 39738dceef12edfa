"""Training for as long as a machine is lent, so that whatever happens something comes back.

A step asks the device once: for the gradients' norm and the losses, together. Beforehand, while it
works on the gradients, the next sample is drawn. Weights are written every minute and at the end,
however that comes: time is over, a signal, an error.
"""

import dataclasses
import math
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch
from torch import Tensor

from dynapoint.models.layers.compute import NotEnoughMemoryError, is_out_of_memory
from dynapoint.training.clip_pool import ClipPool
from dynapoint.training.lease_log import LeaseLog, SpeedMeter
from dynapoint.training.lease_plan import LeasePlan, TimeBudget
from dynapoint.training.leased_weights import LeasedWeights
from dynapoint.training.optimisers import clip_gradients
from dynapoint.training.scene_workers import WorkerError
from dynapoint.training.trainer import MOST_BAD_STEPS, Trainer
from dynapoint.types import TruthSample

MOST_PIECES = 16
"""Into more pieces than this a batch is not cut: then it is not the batch that takes the memory."""
MOST_WORKER_ERRORS = 20


class StopRequest:
    """Whether the run was told to end: after the step by a first signal, at once by a second."""

    def __init__(self) -> None:
        self.received: int | None = None

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """Take a signal."""
        if self.received is not None:
            raise SystemExit(128 + number)
        self.received = number

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT meanwhile."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, self.receive) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Seconds between saves, and between validations."""

    save: float = 60.0
    validate: float = 150.0


class LeasedRun:
    """Trains until the time is over; `run` does all."""

    def __init__(
        self,
        trainer: Trainer,
        pool: ClipPool,
        *,
        plan: LeasePlan,
        budget: TimeBudget,
        log: LeaseLog,
        validation_clips: int = 24,
        intervals: Intervals | None = None,
    ) -> None:
        self.trainer, self.pool = trainer, pool
        self.plan, self.budget, self.log = plan, budget, log
        self.intervals = intervals or Intervals()
        self.stop = StopRequest()
        self._weights = LeasedWeights(trainer, log, validation_clips=validation_clips)
        self._meter = SpeedMeter()
        self._names: list[str] = []
        self._last: dict[str, float] = {}
        self._pieces = [1] * len(plan)
        self._rate_factor = 1.0
        self._bad = self._worker_errors = 0

    def run(self) -> int:
        """Train, and write what came of it; the exit code, 0 where the time was used up."""
        failed = False
        with self.stop.listening():
            try:
                self._train()
            except Exception:
                failed = True
                traceback.print_exc()
                self.log.write(event="failed", error=traceback.format_exc()[-1500:])
            self.pool.close()
            saved = self._try("not saved", self._weights.save)
            trainer = self.trainer
            self.log.write(
                event="written" if saved else "not written",
                step=trainer.step,
                samples=trainer.samples,
                rendered=self.pool.rendered,
            )
            if saved and not failed and self.stop.received is None and self.budget.left() > 5.0:
                self._try("not scored", self._weights.score)
            self.log.write(event="end")
        if self.stop.received is not None:
            return 128 + self.stop.received
        return 1 if failed or not saved else 0

    def try_step(self) -> dict[str, float]:
        """One step on clips of the pool's present phase; its norm and losses, for checks."""
        self._refill()
        self._step(*self.pool.sample(self.trainer.step))
        return self._last

    def save_and_score(self) -> None:
        """Write and score the weights as they are."""
        self._weights.save()
        self._weights.score()

    def _train(self) -> None:
        # What cannot be written is better known now than at the end.
        self._weights.save()
        last_save = last_score = time.monotonic()
        while not len(self.pool) and not self._is_over():
            self._refill(timeout=1.0)
        if self._is_over():
            return
        self.log.write(event="first clips")
        sample, stage = self.pool.sample(self.trainer.step)
        while not self._is_over():
            sample, stage = self._step(sample, stage)
            now = time.monotonic()
            if now - last_save > self.intervals.save:
                self._weights.save()
                last_save = time.monotonic()
            if now - last_score > self.intervals.validate:
                self._weights.score()
                last_score = time.monotonic()

    def _is_over(self) -> bool:
        return self.stop.received is not None or self.budget.share() >= 1.0

    def _step(self, sample: TruthSample, stage: int) -> tuple[TruthSample, int]:
        """One step; returns the next sample, or the same one where memory was short."""
        begun = time.monotonic()
        trainer = self.trainer
        values = self._gradients(sample, stage)
        if values is None:
            return sample, stage
        asked = time.monotonic()
        if self.pool.wants():
            self._refill()
        rendered = time.monotonic()
        following = self._draw(trainer.step + 1)
        drawn = time.monotonic()
        norm = clip_gradients(trainer.network.parameters(), trainer.config.clip_norm)
        numbers = torch.cat([norm.float()[None], values]).tolist()
        rate = self._update(numbers)
        trainer.step += 1
        trainer.samples += len(sample.images)
        whole = time.monotonic() - begun
        trainer.seconds += whole
        self._last = dict(zip(["norm", *self._names], numbers, strict=True))
        self._meter.add(
            samples=len(sample.images),
            seconds={"step": whole, "render": rendered - asked, "draw": drawn - rendered},
            losses=self._last,
        )
        self._say(stage, rate)
        return following

    def _gradients(self, sample: TruthSample, stage: int) -> Tensor | None:
        """The losses, with gradients in place; None where the batch has to be cut first."""
        trainer = self.trainer
        for optimiser in trainer.optimisers:
            optimiser.zero_grad(set_to_none=True)
        phase = trainer.config.phases[stage]
        generator = torch.Generator().manual_seed(trainer.config.seed * 1_000_003 + trainer.step)
        values: Tensor | None = None
        try:
            for piece in _cut(sample, self._pieces[stage]):
                parts = trainer.objective(piece, phase, generator)
                share = len(piece.images) / len(sample.images)
                (parts.total * share).backward()
                self._names = [field.name for field in dataclasses.fields(parts)]
                now = torch.stack([getattr(parts, k).detach().float() for k in self._names]) * share
                values = now if values is None else values + now
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            values = None
        # Outside the handler, whose exception would keep the failed tensors alive.
        if values is None:
            self._cut_further(stage, len(sample.images))
        return values

    def _cut_further(self, stage: int, batch: int) -> None:
        pieces = self._pieces[stage] * 2
        self.log.write(event="out of memory", stage=stage, pieces=pieces)
        if pieces > min(MOST_PIECES, batch):
            raise NotEnoughMemoryError(
                f"not enough memory for a {self._pieces[stage]}th of a batch of {batch}"
            )
        self._pieces[stage] = pieces
        self._let_go()

    def _let_go(self) -> None:
        for optimiser in self.trainer.optimisers:
            optimiser.zero_grad(set_to_none=True)
        if self.trainer.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _refill(self, *, timeout: float = 0.0) -> None:
        """Take clips into the pool; single scenes that fail are logged, many of them raised."""
        short = False
        try:
            self.pool.refill(timeout=timeout)
        except WorkerError as error:
            self._worker_errors += 1
            self.log.write(event="worker failed", error=str(error)[-600:])
            if self._worker_errors >= MOST_WORKER_ERRORS:
                raise
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            short = True
        if short:
            self._shrink_pool()

    def _draw(self, step: int) -> tuple[TruthSample, int]:
        try:
            return self.pool.sample(step)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._shrink_pool()
        return self.pool.sample(step)

    def _shrink_pool(self) -> None:
        self.pool.shrink()
        self.log.write(event="out of memory", held=self.pool.held)
        if self.trainer.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _update(self, numbers: list[float]) -> float:
        """Move the weights, unless a number is not finite; returns the rate."""
        trainer = self.trainer
        rate = self._rate_factor * self.plan.rate_at(self.budget.share(), trainer.step)
        if math.isfinite(sum(numbers)):
            self._bad = 0
            for optimiser in trainer.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = rate
                optimiser.step()
            if trainer.average is not None:
                trainer.average.update(trainer.network, trainer.step)
            return rate
        self._bad += 1
        self.log.write(event="not finite", step=trainer.step, in_a_row=self._bad)
        if self._bad >= MOST_BAD_STEPS and trainer.average is not None:
            trainer.network.load_state_dict(trainer.average.weights)
            self._rate_factor /= 2
            self._bad = 0
            self.log.write(event="back to the average", rate_factor=self._rate_factor)
        return rate

    def _say(self, stage: int, rate: float) -> None:
        trainer = self.trainer
        means = self._meter.line(trainer.step)
        if means is None:
            return
        on_gpu = trainer.device.startswith("cuda")
        self.log.write(
            step=trainer.step,
            samples=trainer.samples,
            rendered=self.pool.rendered,
            held=len(self.pool),
            stage=stage,
            rate=rate,
            gib=torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0,
            **means,
        )

    def _try(self, otherwise: str, what: Callable[[], None]) -> bool:
        """Do what may fail on a device that is out of order; the earlier files are there still."""
        try:
            what()
        except Exception:
            self.log.write(event=otherwise, error=traceback.format_exc()[-1500:])
            return False
        return True


def _cut(sample: TruthSample, pieces: int) -> list[TruthSample]:
    """The sample in so many pieces along the batch."""
    if pieces == 1:
        return [sample]
    names = [field.name for field in dataclasses.fields(sample)]
    cut = [getattr(sample, name).tensor_split(pieces) for name in names]
    return [TruthSample(**dict(zip(names, each, strict=True))) for each in zip(*cut, strict=True)]
