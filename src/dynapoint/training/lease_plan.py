"""A run that has so many seconds: its stages and its learning rate go by shares of the time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from dynapoint.errors import ConfigError
from dynapoint.training.train_config import Phase, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of a leased run, which takes all else from the recipe's phase of as many frames.

    `until` is the share of the time at which it ends.
    """

    until: float
    frames: int
    pixels: int
    # Its part of the plan's batch: larger samples, fewer of them.
    batch_share: float = 1.0
    # In place of the recipe's (difficulty, share) pairs.
    difficulties: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class LeasePlan:
    """How a run spends its time. Raises ConfigError for stages that do not follow each other.

    The defaults are those of a quarter of an hour on one H100, reckoned out beforehand: pairs first
    until cameras are found, most of the time at the size of the network's images, then larger ones.
    """

    stages: tuple[Stage, ...] = (
        Stage(until=0.1, frames=2, pixels=5632, difficulties=((0.0, 0.5), (0.5, 0.5))),
        Stage(until=0.6, frames=3, pixels=5632),
        Stage(until=1.0, frames=4, pixels=12_288, batch_share=0.5),
    )
    batch: int = 128
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    # The rate falls linearly to zero over this share of the time, at the end.
    fall: float = 0.25
    ema_decay: float = 0.999
    # Groups of clips that are held on the device, and how often each is drawn from.
    held: int = 48
    draws: int = 6

    def __post_init__(self) -> None:
        ends = [stage.until for stage in self.stages]
        if ends != sorted(set(ends)) or not ends or ends[-1] != 1.0 or ends[0] <= 0:
            raise ConfigError(f"stages must end one after the other and the last at 1, got {ends}")

    def stage_at(self, share: float) -> int:
        """The stage at a share of the time."""
        return next((k for k, each in enumerate(self.stages) if share < each.until), len(self) - 1)

    def rate_at(self, share: float, step: int) -> float:
        """Warm-up by steps, then constant, then a fall by time."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (1.0 - share) / self.fall if self.fall > 0 else 1.0
        return self.learning_rate * warm * min(1.0, max(0.0, left))

    def configure(self, recipe: TrainConfig) -> TrainConfig:
        """The recipe with the plan's stages for its phases."""
        phases = []
        for stage in self.stages:
            phase = _phase_of(recipe, stage.frames)
            phases.append(
                replace(
                    phase,
                    pixels=stage.pixels,
                    # Each size of images costs the plan's minutes kernels of its own.
                    largest_pixels=None,
                    batch=max(1, round(self.batch * stage.batch_share)),
                    difficulties=stage.difficulties or phase.difficulties,
                )
            )
        return replace(
            recipe,
            phases=tuple(phases),
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            ema_decay=self.ema_decay,
        )

    def __len__(self) -> int:
        return len(self.stages)


def _phase_of(recipe: TrainConfig, frames: int) -> Phase:
    """The recipe's last phase of so many frames; else its last one of fewer, or its first one."""
    same = [phase for phase in recipe.phases if phase.frames == frames]
    fewer = [phase for phase in recipe.phases if phase.frames < frames]
    if same:
        return same[-1]
    nearest = fewer[-1] if fewer else recipe.phases[0]
    return replace(nearest, frames=frames, largest_span=max(nearest.largest_span, frames - 1))


@dataclass(frozen=True, kw_only=True)
class TimeBudget:
    """`seconds` from `started` on (`now` is the clock), the last `reserve` of them for files."""

    started: float
    seconds: float
    reserve: float
    now: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if not 0 <= self.reserve < self.seconds:
            raise ConfigError(
                f"a reserve of {self.reserve:g} s leaves nothing of {self.seconds:g} s to train in"
            )

    def spent(self) -> float:
        """Seconds since the start."""
        return self.now() - self.started

    def share(self) -> float:
        """The share of the training's time that is over, from 0 to 1."""
        return min(1.0, max(0.0, self.spent() / (self.seconds - self.reserve)))

    def left(self) -> float:
        """Seconds until all is over, reserve and all."""
        return self.seconds - self.spent()
