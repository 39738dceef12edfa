"""Recipes: complete training runs as Python functions."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from dynapoint.errors import ConfigError
from dynapoint.models.config import NetworkConfig, nano_1, tiny
from dynapoint.training.losses import LossWeights


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of the curriculum.

    `until_samples` counts samples of all processes since the start of training. `pixels` is the
    image area to stay below; aspects are drawn between portrait and landscape. `difficulties` are
    (difficulty, share) pairs of the scenes.
    """

    until_samples: int
    frames: int = 2
    pixels: int = 5632
    difficulties: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    largest_span: int = 8
    # Share of clips before a still camera.
    still_camera: float = 0.4
    # Ordered (source, target) pairs decoded per sample.
    pairs: int = 2
    batch: int = 32

    def __post_init__(self) -> None:
        shares = sum(share for _, share in self.difficulties)
        if abs(shares - 1) > 1e-6:
            raise ConfigError(f"shares of difficulties must add up to 1, got {shares:g}")
        if self.frames < 2 or self.frames - 1 > self.largest_span:
            raise ConfigError(
                f"{self.frames} frames within a span of {self.largest_span}: a sample needs at "
                "least 2 frames and a span of at least one less than its frames"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All numbers of a run."""

    name: str
    network: NetworkConfig
    phases: tuple[Phase, ...]
    weights: LossWeights = field(default_factory=LossWeights)
    optimiser: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05
    warmup_steps: int = 500
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    # Steps over which the rate falls linearly to zero at the end; 0 keeps it constant.
    decay_steps: int = 0
    steps: int = 100_000
    # Each group of clips is rendered once and gives this many steps, spread over as many groups as
    # `groups_held`, so that neighbouring steps see different clips.
    draws_per_clip: int = 4
    groups_held: int = 6
    clip_frames: int = 10
    mirror: bool = True
    photometric: float = 1.0
    # bf16 autocast: "auto" uses it where the hardware multiplies bf16 quickly.
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpoint_seconds: float = 300.0
    validate_seconds: float = 900.0
    # Held-out clips of either end of the difficulty that validation scores; 0 leaves them out.
    validation_clips: int = 24
    seed: int = 0

    def samples_before(self, step: int, processes: int = 1) -> int:
        """How many samples all processes have seen before a step."""
        samples, done = 0, 0
        for phase in self.phases:
            each = phase.batch * processes
            steps = max(0, -(-(phase.until_samples - samples) // each))
            if phase is self.phases[-1] or done + steps > step:
                return samples + (step - done) * each
            samples, done = samples + steps * each, done + steps
        raise ConfigError("a run needs at least one phase")

    def phase_at(self, step: int, processes: int = 1) -> Phase:
        """The phase in which a run is at a step."""
        samples = self.samples_before(step, processes)
        for phase in self.phases:
            if samples < phase.until_samples:
                return phase
        return self.phases[-1]


def nano() -> TrainConfig:
    """The recipe of the shipped small network; docs/nano.md holds the evidence for each choice."""
    easy = ((0.0, 1.0),)
    mixed = ((0.0, 0.15), (0.5, 0.35), (1.0, 0.5))
    return TrainConfig(
        name="nano",
        network=nano_1(),
        optimiser="muon",
        warmup_steps=150,
        ema_decay=0.998,
        draws_per_clip=6,
        phases=(
            Phase(until_samples=3_000, difficulties=easy, batch=16),
            Phase(until_samples=7_000, difficulties=mixed, batch=16),
            Phase(
                until_samples=300_000,
                frames=3,
                pairs=3,
                difficulties=mixed,
                still_camera=0.2,
                batch=11,
            ),
            Phase(
                until_samples=600_000,
                frames=4,
                pairs=4,
                pixels=12_288,
                batch=16,
                difficulties=mixed,
                still_camera=0.2,
            ),
            Phase(
                until_samples=1_600_000,
                frames=6,
                pairs=6,
                pixels=24_576,
                batch=16,
                difficulties=mixed,
                still_camera=0.2,
            ),
        ),
    )


def nano_finish() -> TrainConfig:
    """The announced end of a `nano` run: resume it with `--steps` 400 more than it has done.

    The rate falls to zero over the last 400 steps, and the motion term is sharpened, since the
    motion ratio is measured by the plain norm.
    """
    return replace(nano(), decay_steps=400, weights=LossWeights(motion_quadratic_below=0.03))


def smoke() -> TrainConfig:
    """A run of seconds on a tiny network, for tests and a first look."""
    return TrainConfig(
        name="smoke",
        network=tiny(),
        phases=(Phase(until_samples=10_000, pixels=1536, batch=4),),
        learning_rate=2e-3,
        warmup_steps=10,
        steps=60,
        clip_frames=6,
        checkpoint_seconds=1e9,
        validate_seconds=1e9,
        validation_clips=0,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "nano": nano,
    "nano-finish": nano_finish,
    "smoke": smoke,
}


def recipe(name: str) -> TrainConfig:
    """The recipe of a name; raises ConfigError naming the known ones."""
    if name not in RECIPES:
        raise ConfigError(
            f"unknown recipe {name!r}; known recipes are {', '.join(sorted(RECIPES))}"
        )
    return RECIPES[name]()
