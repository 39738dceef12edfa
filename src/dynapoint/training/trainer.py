"""The training loop: steps, checkpoints, validation, exact resume."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from dynapoint.errors import ModelError
from dynapoint.training.checkpoints import TrainingState, load_state, save_state
from dynapoint.training.data_stream import SampleStream
from dynapoint.training.distributed import Processes
from dynapoint.training.optimisers import (
    RunningAverage,
    build_optimisers,
    clip_gradients,
    learning_rate_at,
)
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.training.trainees import Parts, TrainedNetwork, Trainee, trainee_of
from dynapoint.types import TruthSample

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

    def __init__(self, trainee: Trainee, network: TrainedNetwork) -> None:
        super().__init__()
        self.trainee = trainee
        self.network = network

    def forward(self, sample: TruthSample, phase: Phase, generator: torch.Generator) -> Parts:
        """The loss of a sample."""
        return self.trainee.loss(self.network, sample, phase, generator)


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
        self.trainee = trainee_of(config, device, processes)
        self.network: TrainedNetwork = self.trainee.build()
        for name, parameter in self.network.named_parameters():
            if name.startswith(config.frozen):
                parameter.requires_grad_(False)
        # Where motion is not trained, the parts for it have no gradient.
        some_unused = not all(phase.motion for phase in config.phases)
        self.objective: nn.Module = processes.wrap(
            Objective(self.trainee, self.network), some_unused=some_unused
        )
        self.optimisers = build_optimisers(self.network, config)
        self.average = self._fresh_average()
        self.stream = SampleStream(
            config, rank=processes.rank, world_size=processes.count, device=device
        )
        self.step = 0
        self.samples = 0
        self.seconds = 0.0
        self.bad_steps = 0

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
        if self.average is not None:
            kept = state.ema or state.network
            self.average.weights = {k: v.to(self.device).clone() for k, v in kept.items()}
        self.step, self.samples, self.seconds = state.step, state.samples, state.seconds

    def begin(self) -> None:
        """Begin a new run from nothing, but for what its network takes from elsewhere.

        Raises:
            ModelError: The start weights cannot be found or loaded.
        """
        self.trainee.begin(self.network, self.stream.sample(0).images)
        self.average = self._fresh_average()

    def start_from(self, weights: dict[str, torch.Tensor]) -> None:
        """Begin a new run from given weights: fresh optimiser, new warm-up.

        Only what the trainee calls fresh may be missing, and stays as it was made.
        """
        fresh = {
            name: value
            for name, value in self.network.state_dict().items()
            if name.startswith(self.trainee.fresh_parts)
        }
        try:
            self.network.load_state_dict(fresh | weights)
        except RuntimeError as error:
            raise ModelError(
                f"the weights to start from are of another network than {self.config.name} trains "
                f"({error}); start from weights of the same network or from nothing"
            ) from error
        self.average = self._fresh_average()

    def save(self) -> None:
        """Write the checkpoint (the first process only)."""
        if self.processes.rank == 0:
            state = TrainingState(
                step=self.step,
                samples=self.samples,
                seconds=self.seconds,
                config_json=json.dumps(asdict(self.config)),
                network=self.network.state_dict(),
                ema={} if self.average is None else self.average.weights,
                optimisers=[optimiser.state_dict() for optimiser in self.optimisers],
            )
            save_state(state, self.folder)

    def averaged_network(self) -> TrainedNetwork:
        """A copy of the network with the averaged weights, for validation and shipping.

        Where there is no average it is the network itself.
        """
        if self.average is None:
            return self.network
        network: TrainedNetwork = self.trainee.build()
        network.load_state_dict(self.average.weights)
        return network.eval()

    def _fresh_average(self) -> RunningAverage | None:
        decay = self.config.ema_decay
        return None if decay is None else RunningAverage(self.network, decay)

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
        rate = learning_rate_at(self.step, self.config, processes=self.processes.count)
        norm = clip_gradients(self.network.parameters(), self.config.clip_norm)
        names = [field.name for field in dataclasses.fields(parts)]
        numbers = torch.stack([norm, *(getattr(parts, name).detach().float() for name in names)])
        norm_value, *loss_values = numbers.tolist()
        losses = dict(zip(names, loss_values, strict=True))
        bad = self.processes.any(not math.isfinite(norm_value + losses["total"]))
        if not bad:
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = rate
                optimiser.step()
            if self.average is not None:
                self.average.update(self.network, self.step)
        self._count_bad(bad)
        self.step += 1
        self.samples += len(sample.images) * self.processes.count
        ended = time.monotonic()
        self.seconds += ended - started
        return StepReport(
            step=self.step,
            samples=self.samples,
            losses=losses,
            gradient_norm=norm_value,
            learning_rate=rate,
            data_seconds=drawn - started,
            step_seconds=ended - started,
            skipped=bad,
        )

    def _forward_backward(self, sample: TruthSample, phase: Phase) -> Parts:
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        parts: Parts = self.objective(sample, phase, generator)
        parts.total.backward()
        return parts

    def _count_bad(self, bad: bool) -> None:
        self.bad_steps = self.bad_steps + 1 if bad else 0
        if self.bad_steps >= MOST_BAD_STEPS:
            raise ModelError(
                f"{MOST_BAD_STEPS} steps in a row had gradients that are not finite; resume the "
                "last checkpoint with a lower learning rate"
            )
