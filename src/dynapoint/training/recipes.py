"""Recipes: complete training runs as Python functions."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from dynapoint.errors import ConfigError
from dynapoint.models import published_config
from dynapoint.models.config import NetworkConfig, nano_1, tiny
from dynapoint.models.published_config import PublishedConfig
from dynapoint.training.losses import LossWeights, PublishedLoss
from dynapoint.training.mixture import V_DPM_SETS, DataSet
from dynapoint.training.samples import Reference


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of the curriculum.

    `until_samples` counts samples of all processes since the start of training. `pixels` is the
    image area to stay below; aspects are drawn between portrait and landscape. `difficulties` are
    (difficulty, share) pairs of the scenes.
    """

    until_samples: int = 0
    frames: int = 2
    pixels: int = 5632
    difficulties: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    largest_span: int = 8
    # Share of clips before a still camera.
    still_camera: float = 0.4
    # Ordered (source, target) pairs decoded per sample of nano's.
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
class CosineDecay:
    """A linear warm-up over the first `warmup_share` of a run's steps, then half a cosine.

    The peak is the configured rate times the largest batch of all processes over `per_samples`;
    the end is `least`.
    """

    per_samples: int
    warmup_share: float
    least: float


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All numbers of a run.

    `network` and `loss` are both nano's or both a published network's.
    """

    name: str
    network: NetworkConfig | PublishedConfig
    phases: tuple[Phase, ...]
    # One phase after another by their samples, or a group of clips of each in turn.
    phases_in_turn: bool = False
    loss: LossWeights | PublishedLoss = field(default_factory=LossWeights)
    # Data sets that samples stand for, drawn by their shares; none means all is supervised.
    sets: tuple[DataSet, ...] = ()
    reference: Reference = "random"
    # Parts of the network, by the beginnings of their names, that keep their weights.
    frozen: tuple[str, ...] = ()
    # Whether a new run has to start from given weights.
    fine_tunes: bool = False
    # Compute the activations of a published network's blocks again instead of keeping them.
    checkpoint_blocks: bool = False
    optimiser: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05
    warmup_steps: int = 500
    clip_norm: float = 1.0
    # Of the running average of weights, which is what is validated and saved; None keeps none.
    ema_decay: float | None = 0.999
    # Steps over which the rate falls linearly to zero at the end; 0 keeps it constant.
    decay_steps: int = 0
    # Takes the place of `warmup_steps` and `decay_steps`.
    cosine: CosineDecay | None = None
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
    validation_pixels: int = 6144
    seed: int = 0

    @property
    def patch_size(self) -> int:
        """Sides of the network's images are multiples of this."""
        if isinstance(self.network, PublishedConfig):
            return self.network.patch_embed.patch_size
        return self.network.stem.patch_size

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
    return replace(nano(), decay_steps=400, loss=LossWeights(motion_quadratic_below=0.03))


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


def vdpm() -> TrainConfig:
    """V-DPM from VGGT-1B, as its paper says and where that is silent as its public configuration.

    From the paper: frozen patch embedding, the central frame as reference, the mixture, AdamW,
    cosine decay over 60 epochs (the public configuration: 70), 16 processes, at each 4 samples of 5
    frames or 1 of 19, a base rate of 1.5e-4. That the base is scaled by batch / 256 is a comment
    in the public configuration, which then sets 5e-5 absolutely; with 64 samples it is 3.75e-5.

    UNCONFIRMED, because neither says: the batches at 9 and 13 frames (13 is in the supplement
    alone) and that all lengths take the same number of steps; the spacing of frames; resolution
    and aspects; weight decay, betas and clipping (MAE's and VGGT's); warm-up and least rate (left
    over in the public configuration); augmentation; the absence of a running average; the
    initialisation of the decoder (the network's `modulation_init`; nothing of VGGT is copied into
    it); and what `PublishedLoss` lists.
    """
    processes, epochs, epoch = 16, 60, sum(each.samples for each in V_DPM_SETS)
    batches = {5: 4, 9: 2, 13: 1, 19: 1}
    clip_frames = 24
    phases = tuple(
        Phase(
            frames=frames,
            batch=batch,
            pixels=518 * 294,
            # The paper's tests take every second frame.
            largest_span=min(2 * (frames - 1), clip_frames - 1),
            difficulties=((0.5, 0.5), (1.0, 0.5)),
            still_camera=0.2,
        )
        for frames, batch in batches.items()
    )
    return TrainConfig(
        name="vdpm",
        network=published_config.vdpm(),
        phases=phases,
        phases_in_turn=True,
        loss=PublishedLoss(),
        sets=V_DPM_SETS,
        reference="central",
        frozen=("patch_embed.",),
        fine_tunes=True,
        checkpoint_blocks=True,
        learning_rate=1.5e-4,
        weight_decay=0.05,
        clip_norm=1.0,
        ema_decay=None,
        cosine=CosineDecay(per_samples=256, warmup_share=3 / 60, least=1e-6),
        steps=epochs * epoch * len(batches) // (processes * sum(batches.values())),
        groups_held=4,
        clip_frames=clip_frames,
        mirror=False,
        photometric=0.5,
        checkpoint_seconds=3600.0,
        validate_seconds=7200.0,
        validation_clips=8,
        validation_pixels=518 * 294,
    )


def vdpm_miniature() -> TrainConfig:
    """`vdpm` in small and from nothing: tests, and a look at a run on a CPU."""
    phases = (
        Phase(frames=5, batch=2, pixels=2400, largest_span=7),
        Phase(frames=3, batch=3, pixels=2400, largest_span=4),
    )
    return replace(
        vdpm(),
        name="vdpm-miniature",
        network=published_config.vdpm_miniature(),
        phases=phases,
        fine_tunes=False,
        learning_rate=2e-3,
        cosine=CosineDecay(per_samples=3, warmup_share=0.1, least=1e-6),
        steps=200,
        clip_frames=8,
        checkpoint_seconds=300.0,
        validate_seconds=900.0,
        validation_clips=2,
        validation_pixels=2400,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "nano": nano,
    "nano-finish": nano_finish,
    "smoke": smoke,
    "vdpm": vdpm,
    "vdpm-miniature": vdpm_miniature,
}


def recipe(name: str) -> TrainConfig:
    """The recipe of a name; raises ConfigError naming the known ones."""
    if name not in RECIPES:
        raise ConfigError(
            f"unknown recipe {name!r}; known recipes are {', '.join(sorted(RECIPES))}"
        )
    return RECIPES[name]()
