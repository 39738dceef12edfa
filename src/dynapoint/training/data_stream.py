"""An endless stream of training samples that is a pure function of (seed, rank, step)."""

import numpy as np
import torch

from dynapoint.synthetic.clip import ClipBatch
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene
from dynapoint.training.recipes import Phase, TrainConfig
from dynapoint.training.samples import SamplingConfig, draw_sample
from dynapoint.types import TruthSample

HELD_OUT_SEEDS = 1_000_000_000
"""Scene seeds from here on are never trained on: validation, tests, the demo."""

ASPECTS = (3 / 2, 4 / 3, 4 / 3, 16 / 9, 1.0, 3 / 4, 9 / 16)
MULTIPLE = 8


def image_size(aspect: float, pixels: int) -> tuple[int, int]:
    """Height and width of the given aspect (width over height) with at most so many pixels."""
    height = (pixels / aspect) ** 0.5
    rows, columns = round(height / MULTIPLE), round(height * aspect / MULTIPLE)
    while rows * columns * MULTIPLE**2 > pixels:
        if rows * aspect > columns:
            rows -= 1
        else:
            columns -= 1
    return rows * MULTIPLE, columns * MULTIPLE


class SampleStream:
    """Renders groups of clips as they are needed and draws each step's sample from them.

    The group of a step and everything random in it follow from the step's number alone, so a
    resumed run continues exactly.
    """

    def __init__(
        self, config: TrainConfig, *, rank: int = 0, world_size: int = 1, device: str = "cpu"
    ) -> None:
        self.config = config
        self.rank = rank
        self.world_size = world_size
        self.device = device
        self._group: tuple[int, Phase, ClipBatch] | None = None

    def sample(self, step: int, phase: Phase) -> TruthSample:
        """The sample of a step: one draw from every clip of the step's group."""
        index = step // self.config.draws_per_clip
        if self._group is None or self._group[0] != index or self._group[1] != phase:
            self._group = (index, phase, self._render(index, phase))
        sampling = SamplingConfig(
            frames=phase.frames,
            largest_span=phase.largest_span,
            mirror=self.config.mirror,
            photometric=self.config.photometric,
        )
        seed = np.random.SeedSequence([self.config.seed, self.rank, 1, step]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(seed))
        return draw_sample(self._group[2], sampling, generator)

    def _render(self, index: int, phase: Phase) -> ClipBatch:
        rng = np.random.Generator(np.random.PCG64([self.config.seed, self.rank, 0, index]))
        aspect = ASPECTS[int(rng.integers(len(ASPECTS)))]
        image_hw = image_size(aspect, phase.pixels)
        levels = [difficulty for difficulty, _ in phase.difficulties]
        shares = [share for _, share in phase.difficulties]
        first = (index * self.world_size + self.rank) * phase.batch
        scenes = []
        for k in range(phase.batch):
            difficulty = levels[int(rng.choice(len(levels), p=shares))]
            config = SceneConfig(frames=self.config.clip_frames, difficulty=difficulty)
            seed = (self.config.seed * 100_000_007 + first + k) % HELD_OUT_SEEDS
            scenes.append(random_scene(seed, config, aspect=image_hw[1] / image_hw[0]))
        return render_clips(scenes, image_hw=image_hw, seed=index, device=self.device)
