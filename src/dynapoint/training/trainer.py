"""The training loop: steps, checkpoints, validation, exact resume."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dynapoint.errors import ModelError
from dynapoint.models.network import VideoPointMapNetwork
from dynapoint.training.checkpoints import TrainingState, load_state, save_state
from dynapoint.training.data_stream import SampleStream
from dynapoint.training.distributed import Processes
from dynapoint.training.hardware import autocast_dtype
from dynapoint.training.losses import LossParts
from dynapoint.training.objective import choose_pairs, sample_loss
from dynapoint.training.optimisers import (
    RunningAverage,
    build_optimisers,
    clip_gradients,
    learning_rate_at,
)
from dynapoint.training.recipes import Phase, TrainConfig

MOST_BAD_STEPS = 20


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step did; losses are this process's, `skipped` says that weights did not change."""

    step: int
    samples: int
    losses: dict[str, float]
    gradient_norm: float
    learning_rate: float
    data_seconds: float
    step_seconds: float
    skipped: bool


class Objective(nn.Module):
    """The network and its loss as one module, which is what DDP wraps."""

    def __init__(self, network: VideoPointMapNetwork, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        self.weights = config.weights

    def forward(self, sample: Any, sources: list[int], targets: list[int]) -> LossParts:
        """The loss of a sample."""
        return sample_loss(self.network, sample, self.weights, sources=sources, targets=targets)


class Trainer:
    """Owns the state of a run; `run` goes on until the configured steps or `should_stop`."""

    def __init__(
        self, config: TrainConfig, folder: Path, *, processes: Processes, device: str = "cpu"
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.folder = folder
        self.processes = processes
        self.device = device
        self.network = VideoPointMapNetwork(config.network).to(device)
        self.objective: nn.Module = processes.wrap(Objective(self.network, config))
        self.optimisers = build_optimisers(self.network, config)
        self.average = RunningAverage(self.network, config.ema_decay)
        self.stream = SampleStream(
            config, rank=processes.rank, world_size=processes.count, device=device
        )
        self.step = 0
        self.samples = 0
        self.seconds = 0.0
        self.bad_steps = 0
        self._autocast = autocast_dtype(config.precision, device)

    def resume(self) -> None:
        """Take up the checkpoint of the folder; a resumed run equals one that never stopped."""
        state = load_state(self.folder)
        try:
            self.network.load_state_dict(state.network)
            for optimiser, saved in zip(self.optimisers, state.optimisers, strict=True):
                optimiser.load_state_dict(saved)
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"the checkpoint in {self.folder} is of another network or optimiser ({error}); "
                "resume with the recipe that wrote it"
            ) from error
        self.average.weights = {k: v.to(self.device).clone() for k, v in state.ema.items()}
        self.step, self.samples, self.seconds = state.step, state.samples, state.seconds

    def start_from(self, weights: dict[str, torch.Tensor]) -> None:
        """Begin a new run from given weights: fresh optimiser, new warm-up."""
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise ModelError(
                f"the weights to start from are of another network than {self.config.name} trains "
                f"({error}); start from weights of the same network or from nothing"
            ) from error
        self.average = RunningAverage(self.network, self.config.ema_decay)

    def save(self) -> None:
        """Write the checkpoint (the first process only)."""
        if self.processes.rank == 0:
            state = TrainingState(
                step=self.step,
                samples=self.samples,
                seconds=self.seconds,
                config_json=json.dumps(asdict(self.config)),
                network=self.network.state_dict(),
                ema=self.average.weights,
                optimisers=[optimiser.state_dict() for optimiser in self.optimisers],
            )
            save_state(state, self.folder)

    def averaged_network(self) -> VideoPointMapNetwork:
        """A copy of the network with the averaged weights, for validation and shipping."""
        network = VideoPointMapNetwork(self.config.network).to(self.device)
        network.load_state_dict(self.average.weights)
        return network.eval()

    def run(
        self,
        *,
        on_step: Callable[[StepReport], None],
        on_validate: Callable[["Trainer"], None],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train; checkpoints and validation come at their intervals and at the end."""
        last_save = last_validation = time.monotonic()
        while self.step < self.config.steps and not self.processes.any(should_stop()):
            on_step(self.train_step())
            now = time.monotonic()
            if self.processes.any(now - last_save > self.config.checkpoint_seconds):
                self.save()
                last_save = now
            if self.processes.any(now - last_validation > self.config.validate_seconds):
                if self.processes.rank == 0:
                    on_validate(self)
                self.processes.wait()
                last_validation = time.monotonic()
        self.save()
        if self.processes.rank == 0:
            on_validate(self)
        self.processes.wait()

    def train_step(self) -> StepReport:
        """One step: draw, run, back-propagate, clip, update; bad gradients leave weights alone."""
        started = time.monotonic()
        phase = self.stream.phase_of(self.step)
        sample = self.stream.sample(self.step)
        drawn = time.monotonic()
        parts = self._forward_backward(sample, phase)
        rate = learning_rate_at(self.step, self.config)
        norm = clip_gradients(self.network.parameters(), self.config.clip_norm)
        bad = self.processes.any(not math.isfinite(float(norm) + float(parts.total.detach())))
        if not bad:
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = rate
                optimiser.step()
            self.average.update(self.network, self.step)
        self._count_bad(bad)
        self.step += 1
        self.samples += len(sample.images) * self.processes.count
        ended = time.monotonic()
        self.seconds += ended - started
        return StepReport(
            step=self.step,
            samples=self.samples,
            losses={f.name: getattr(parts, f.name).item() for f in dataclasses.fields(parts)},
            gradient_norm=float(norm),
            learning_rate=rate,
            data_seconds=drawn - started,
            step_seconds=ended - started,
            skipped=bad,
        )

    def _forward_backward(self, sample: Any, phase: Phase) -> LossParts:
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        sources, targets = choose_pairs(phase.frames, phase.pairs, generator)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        autocast = (
            torch.autocast(self.device.split(":")[0], dtype=self._autocast)
            if self._autocast is not None
            else nullcontext()
        )
        with autocast:
            parts: LossParts = self.objective(sample, sources, targets)
        parts.total.backward()
        return parts

    def _count_bad(self, bad: bool) -> None:
        self.bad_steps = self.bad_steps + 1 if bad else 0
        if self.bad_steps >= MOST_BAD_STEPS:
            raise ModelError(
                f"{MOST_BAD_STEPS} steps in a row had gradients that are not finite; resume the "
                "last checkpoint with a lower learning rate"
            )
