"""What a run is made of: phases of a curriculum and all numbers of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dynapoint.errors import ConfigError
from dynapoint.models.dust3r.config import Dust3rConfig
from dynapoint.models.nano.config import NetworkConfig
from dynapoint.models.vggt.config import PublishedConfig
from dynapoint.models.vggt.dept3r_config import Dept3rConfig
from dynapoint.synthetic.cameras import LONG_LENSES
from dynapoint.training.dept3r_objective import Dept3rLoss
from dynapoint.training.dpm_objective import DpmLoss
from dynapoint.training.knobs import Knobs
from dynapoint.training.losses import LossWeights, PublishedLoss
from dynapoint.training.mixture import DataSet
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
    # Areas are drawn up to this one, every factor as often; None keeps `pixels`.
    largest_pixels: int | None = None
    difficulties: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    largest_span: int = 8
    # Share of clips before a still camera.
    still_camera: float = 0.4
    # Share of clips filmed with a lens longer than a phone's.
    long_lens: float = LONG_LENSES
    # Shares of deep scenes that are roads seen from a car, and furnished rooms.
    driving: float = 0.0
    rooms: float = 0.0
    # Share of clips whose camera goes and turns farther than others do.
    brisk: float = 0.0
    # Ordered (source, target) pairs decoded per sample of nano's.
    pairs: int = 2
    batch: int = 32
    # Whether motion is trained: DePT3R's first phase does without.
    motion: bool = True

    def __post_init__(self) -> None:
        shares = sum(share for _, share in self.difficulties)
        if abs(shares - 1) > 1e-6:
            raise ConfigError(f"shares of difficulties must add up to 1, got {shares:g}")
        if self.largest_pixels is not None and self.largest_pixels < self.pixels:
            raise ConfigError(
                f"largest_pixels is {self.largest_pixels}, less than pixels, {self.pixels}; "
                "give as many or more"
            )
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
class TrainConfig(Knobs):
    """All numbers of a run: those of `Knobs`, which options may change, and what a recipe decides.

    `network` and `loss` belong together: those of one system. Each group of clips is rendered once
    and gives `draws_per_clip` steps, spread over as many groups as `groups_held`, so that
    neighbouring steps see different clips. An `ema_decay` of None keeps no average.
    """

    name: str
    network: NetworkConfig | PublishedConfig | Dust3rConfig | Dept3rConfig
    phases: tuple[Phase, ...]
    # One phase after another by their samples, or a group of clips of each in turn.
    phases_in_turn: bool = False
    loss: LossWeights | PublishedLoss | DpmLoss | Dept3rLoss = field(default_factory=LossWeights)
    # Data sets that samples stand for, drawn by their shares; none means all is supervised.
    sets: tuple[DataSet, ...] = ()
    reference: Reference = "random"
    # Parts of the network, by the beginnings of their names, that keep their weights.
    frozen: tuple[str, ...] = ()
    # Whether a new run has to start from given weights.
    fine_tunes: bool = False
    # Compute the activations of a published network's blocks again instead of keeping them.
    checkpoint_blocks: bool = False
    betas: tuple[float, float] = (0.9, 0.95)
    # Takes the place of `warmup_steps` and `decay_steps`.
    cosine: CosineDecay | None = None
    mirror: bool = True
    validation_pixels: int = 6144
    # Folders of the sets that are read, by their keys; the data engine stands in for all others.
    data: Mapping[str, str] = field(default_factory=dict)
    # Folder of photographs that scenes take materials from; "" is none.
    textures: str = ""
    # What options changed of the recipe: their values by name (`training.changes`).
    changed: Mapping[str, int | float | str] = field(default_factory=dict)

    def sets_of(self, phase: Phase) -> tuple[DataSet, ...]:
        """The data sets that a phase draws from; raises ConfigError where it may use none."""
        chosen = tuple(each for each in self.sets if each.for_motion or not phase.motion)
        if self.sets and not chosen:
            raise ConfigError(
                f"{self.name} trains motion on sets that have none of it "
                f"({', '.join(each.name for each in self.sets)}); add one that has"
            )
        return chosen

    @property
    def patch_size(self) -> int:
        """Sides of the network's images are multiples of this."""
        if isinstance(self.network, Dept3rConfig):
            return self.network.patch_size
        if isinstance(self.network, PublishedConfig):
            return self.network.patch_embed.patch_size
        if isinstance(self.network, Dust3rConfig):
            return self.network.patch_size
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
