"""The training loop: steps, checkpoints, validation, exact resume."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dynapoint.errors import ModelError
from dynapoint.training.checkpoints import TrainingState, load_state, save_state
from dynapoint.training.data_stream import SampleStream
from dynapoint.training.distributed import Processes, Share
from dynapoint.training.optimisers import (
    RunningAverage,
    build_optimisers,
    clip_gradients,
    learning_rate_at,
)
from dynapoint.training.sharding import (
    load_shared,
    load_shared_state,
    shard_module,
    shared_like,
    whole_state,
    whole_tensors,
)
from dynapoint.training.shared_counts import AcrossProcesses, Counts, Known, Noted, counted_by
from dynapoint.training.step_streams import own_streams, with_streams
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

    def forward(
        self,
        sample: TruthSample,
        phase: Phase,
        generator: torch.Generator,
        trainee: Trainee | None = None,
    ) -> Parts:
        """The loss of a sample, by the `trainee` of its stream where there are several."""
        return (trainee or self.trainee).loss(self.network, sample, phase, generator)


class Trainer:
    """Owns the state of a run; `run` goes on until the configured steps or `should_stop`.

    With `sharded` the processes share out parameters, gradients and optimiser state.

    Raises:
        ConfigError: The run cannot be shared out so, or network and loss do not belong together.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        *,
        processes: Processes,
        device: str = "cpu",
        sharded: bool = False,
    ) -> None:
        config = with_streams(config, processes, sharded=sharded)
        torch.manual_seed(config.seed)
        self.config = config
        self.folder = folder
        self.processes = processes
        self.device = device
        self.trainee = trainee_of(config, device, processes)
        whole_streams = config.streams == processes.count
        self._trainees = {processes.rank: self.trainee} if whole_streams else {}
        self.network: TrainedNetwork = self.trainee.build()
        for name, parameter in self.network.named_parameters():
            if name.startswith(config.frozen):
                parameter.requires_grad_(False)
        self.objective: nn.Module = Objective(self.trainee, self.network)
        if sharded:
            shard_module(self.objective, device, processes)
        else:
            # Where motion is not trained, the parts for it have no gradient.
            some_unused = not all(phase.motion for phase in config.phases)
            self.objective = processes.wrap(self.objective, some_unused=some_unused)
        self.sharded = sharded
        self._gathered: dict[str, Tensor] | None = None
        self.optimisers = build_optimisers(self.network, config)
        self.average = self._fresh_average()
        self.streams: dict[int, SampleStream] = own_streams(config, processes, device)
        self.step = 0
        self.samples = 0
        self.seconds = 0.0
        self.bad_steps = 0

    def resume(self) -> None:
        """Take up the checkpoint of the folder; a resumed run equals one that never stopped."""
        state = load_state(self.folder)
        try:
            load_shared(self.network, state.network)
            for optimiser, saved in zip(self.optimisers, state.optimisers, strict=True):
                load_shared_state(optimiser, saved)
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"the checkpoint in {self.folder} is of another network or optimiser ({error}); "
                "resume with the recipe that wrote it"
            ) from error
        if self.average is not None:
            kept = state.ema or state.network
            self.average.weights = {
                name: shared_like(kept[name].to(self.device), value).clone()
                for name, value in self.average.weights.items()
            }
        self.step, self.samples, self.seconds = state.step, state.samples, state.seconds

    def begin(self) -> None:
        """Begin a new run from nothing, but for what its network takes from elsewhere.

        Raises:
            ModelError: The start weights cannot be found or loaded.
        """
        self.trainee.begin(self.network, next(iter(self.streams.values())).sample(0).images)
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
            load_shared(self.network, whole_tensors(fresh) | weights)
        except RuntimeError as error:
            raise ModelError(
                f"the weights to start from are of another network than {self.config.name} trains "
                f"({error}); start from weights of the same network or from nothing"
            ) from error
        self.average = self._fresh_average()

    def save(self) -> None:
        """Write the checkpoint: the first process does, and where they share all have to ask."""
        first = self.processes.rank == 0
        average = {} if self.average is None else self.average.weights
        network = whole_tensors(self.network.state_dict(), keep=first)
        average = whole_tensors(average, keep=first)
        optimisers = [whole_state(each, keep=first) for each in self.optimisers]
        if first:
            state = TrainingState(
                step=self.step,
                samples=self.samples,
                seconds=self.seconds,
                config_json=json.dumps(asdict(self.config)),
                network=network,
                ema=average,
                optimisers=optimisers,
            )
            save_state(state, self.folder)

    def averaged_network(self) -> TrainedNetwork:
        """A copy of the network with the averaged weights, for validation and shipping.

        Where there is no average it is the network itself. Of a sharded one `run` has to ask, since
        all processes take part.
        """
        weights = self._gathered
        if weights is None and self.average is not None:
            weights = self.average.weights
        if weights is None:
            return self.network
        network: TrainedNetwork = self.trainee.build()
        network.load_state_dict(weights)
        return network.eval()

    def _validate(self, on_validate: Callable[["Trainer"], None]) -> None:
        first = self.processes.rank == 0
        if self.sharded:
            shown = self.network.state_dict() if self.average is None else self.average.weights
            self._gathered = whole_tensors(shown, keep=first)
        if first:
            on_validate(self)
        self._gathered = None
        self.processes.wait()

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
                self._validate(on_validate)
                last_validation = time.monotonic()
        self.save()
        self._validate(on_validate)

    def train_step(self) -> StepReport:
        """One step: draw, run, back-propagate, clip, update; bad gradients leave weights alone."""
        started = time.monotonic()
        phase = next(iter(self.streams.values())).phase_of(self.step)
        samples = {number: each.sample(self.step) for number, each in self.streams.items()}
        drawn = time.monotonic()
        passes = self._forward_backward(samples, phase)
        rate = learning_rate_at(self.step, self.config, processes=self.config.streams)
        norm = clip_gradients(self.network.parameters(), self.config.clip_norm)
        names = [field.name for field in dataclasses.fields(passes[0])]
        means = [torch.stack([getattr(each, name) for each in passes]).mean() for name in names]
        numbers = torch.stack([norm, *(each.detach().float() for each in means)])
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
        self.samples += len(next(iter(samples.values())).images) * self.config.streams
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

    def _forward_backward(self, samples: Mapping[int, TruthSample], phase: Phase) -> list[Parts]:
        """Add up the gradients of a step's samples, which come from this process's streams."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        counts = self._counts(samples, phase)
        # Processes average their gradients; what is wanted is the mean over streams.
        weight = self.processes.count / self.config.streams
        passes: list[Parts] = []
        for number, sample in samples.items():
            last = len(passes) == len(samples) - 1
            held = nullcontext() if last else self.processes.holding_back(self.objective)
            with held, counted_by(counts()):
                parts: Parts = self.objective(
                    sample, phase, self._generator(), self._trainee_of(number)
                )
                (parts.total if weight == 1 else parts.total * weight).backward()
            passes.append(parts)
        return passes

    def _counts(
        self, samples: Mapping[int, TruthSample], phase: Phase
    ) -> Callable[[], Counts | None]:
        """What the losses of each pass of a step are divided by (`shared_counts`)."""
        streams = self.config.streams
        if streams == 1:
            return lambda: None
        if streams == self.processes.count:
            across = AcrossProcesses(self.processes)
            return lambda: across
        # The first pass needs the counts of the last: all passes are made without gradients first.
        noted = Noted()
        wrapped = isinstance(self.objective, nn.parallel.DistributedDataParallel)
        plain: nn.Module = self.objective.module if wrapped else self.objective  # type: ignore[assignment]
        for number, sample in samples.items():
            noted.begin()
            with torch.no_grad(), counted_by(noted):
                plain(sample, phase, self._generator(), self._trainee_of(number))
        totals = noted.total(self.processes)
        return lambda: Known(totals, passes=streams)

    def _generator(self) -> torch.Generator:
        """What a step leaves to chance is the same in all processes, which take their shares."""
        return torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)

    def _trainee_of(self, number: int) -> Trainee:
        """The trainee of a stream, which knows its share of a step."""
        if number not in self._trainees:
            share = Share(rank=number, count=self.config.streams)
            self._trainees[number] = trainee_of(self.config, self.device, share)
        return self._trainees[number]

    def _count_bad(self, bad: bool) -> None:
        self.bad_steps = self.bad_steps + 1 if bad else 0
        if self.bad_steps >= MOST_BAD_STEPS:
            raise ModelError(
                f"{MOST_BAD_STEPS} steps in a row had gradients that are not finite; resume the "
                "last checkpoint with a lower learning rate"
            )
