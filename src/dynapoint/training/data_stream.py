"""An endless stream of training samples that is a pure function of (seed, rank, step)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dynapoint.errors import ConfigError
from dynapoint.models.layers.frame_index import on_device
from dynapoint.synthetic.clip import ClipBatch
from dynapoint.synthetic.photographs import Photographs
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import Scene, SceneConfig, random_scene
from dynapoint.training.data_sets import DataSets
from dynapoint.training.mixture import DataSet, held_still, shares
from dynapoint.training.photographs import read_photographs
from dynapoint.training.reading_ahead import ReadingAhead
from dynapoint.training.samples import SamplingConfig, augmented, draw_sample, every, stacked
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.types import TruthSample

HELD_OUT_SEEDS = 1_000_000_000
"""Scene seeds from here on are never trained on: validation, tests, the demo."""

ASPECTS = (3 / 2, 4 / 3, 4 / 3, 16 / 9, 1.0, 3 / 4, 9 / 16)
MOST_CLIPS = 256
"""Seeds reserved for a group of clips, so that groups of any batch size never share a scene."""


def image_size(aspect: float, pixels: int, multiple: int = 8) -> tuple[int, int]:
    """Height and width of the given aspect (width over height) with at most so many pixels."""
    height = (pixels / aspect) ** 0.5
    rows, columns = round(height / multiple), round(height * aspect / multiple)
    while rows * columns * multiple**2 > pixels:
        if rows * aspect > columns:
            rows -= 1
        else:
            columns -= 1
    return rows * multiple, columns * multiple


@dataclass(frozen=True, kw_only=True)
class SceneRequest:
    """A scene by its seed; `still` takes the motion of all bodies out of it."""

    seed: int
    config: SceneConfig
    aspect: float
    still: bool = False

    def build(self) -> Scene:
        """The scene itself."""
        scene = random_scene(self.seed, self.config, aspect=self.aspect)
        return held_still(scene) if self.still else scene


@dataclass(frozen=True, kw_only=True)
class GroupPlan:
    """The scenes of a group of clips, and the data sets they stand for (none: all supervised).

    `read` has the place in the batch of every sample that is read from a folder of its set; those
    of scenes follow each other at the other places.
    """

    image_hw: tuple[int, int]
    scenes: tuple[SceneRequest, ...]
    sets: tuple[DataSet, ...]
    read: tuple[int, ...] = ()

    def mask(self, sample: TruthSample, frames: int) -> TruthSample:
        """The sample without the truth that the clips' data sets lack."""
        if not self.sets:
            return sample
        known = torch.stack([each.supervised(frames) for each in self.sets])
        supervised = sample.supervised & on_device(known, sample.supervised.device)
        return replace(sample, supervised=supervised)

    def in_order(self, rendered: TruthSample | None, read: list[TruthSample]) -> TruthSample:
        """The samples of scenes and those that were read, each at its place in the batch."""
        places = [place for place in range(len(self.sets)) if place not in self.read]
        parts = [*([rendered] if rendered is not None else []), *read]
        order = torch.tensor([*places, *self.read]).argsort()
        together = stacked(parts)
        order = on_device(order, together.images.device)
        return every(together, lambda values: values[order])


def plan_group(
    config: TrainConfig,
    phase: Phase,
    *,
    rng: np.random.Generator,
    first_seed: int,
    sizes: np.random.Generator | None = None,
    photographs: int = 0,
) -> GroupPlan:
    """Draw size, difficulties and data sets of a group of `phase.batch` clips.

    The size comes from `sizes` where these are given; scenes may use so many `photographs`.
    """
    image_hw = _group_size(config, phase, sizes or rng)
    levels = [difficulty for difficulty, _ in phase.difficulties]
    level_shares = [share for _, share in phase.difficulties]
    choices = config.sets_of(phase)
    scenes, read = [], []
    sets: list[DataSet] = []
    for k in range(phase.batch):
        difficulty = levels[int(rng.choice(len(levels), p=level_shares))]
        if choices:
            drawn = rng.choice(len(choices), p=shares(choices))
            sets.append(choices[int(drawn)])
            if sets[-1].key in config.data:
                read.append(k)
                continue
        still = bool(sets) and sets[-1].still
        scene = SceneConfig(
            frames=config.clip_frames,
            difficulty=difficulty,
            # Without any motion a scene would show nothing.
            still_camera=0.0 if still else phase.still_camera,
            long_lens=phase.long_lens,
            driving=phase.driving,
            rooms=phase.rooms,
            brisk=phase.brisk,
            photographs=photographs,
        )
        seed = (config.seed * 100_000_007 + first_seed + k) % HELD_OUT_SEEDS
        aspect = image_hw[1] / image_hw[0]
        scenes.append(SceneRequest(seed=seed, config=scene, aspect=aspect, still=still))
    return GroupPlan(image_hw=image_hw, scenes=tuple(scenes), sets=tuple(sets), read=tuple(read))


def _group_size(config: TrainConfig, phase: Phase, rng: np.random.Generator) -> tuple[int, int]:
    aspect = ASPECTS[int(rng.integers(len(ASPECTS)))]
    pixels = phase.pixels
    if phase.largest_pixels is not None:
        pixels = round(pixels * (phase.largest_pixels / pixels) ** rng.random())
    return image_size(aspect, pixels, config.patch_size)


def sampling_of(config: TrainConfig, phase: Phase) -> SamplingConfig:
    """How a phase draws samples from clips."""
    return SamplingConfig(
        frames=phase.frames,
        reference=config.reference,
        largest_span=phase.largest_span,
        mirror=config.mirror,
        photometric=config.photometric,
        centre_crop=config.centre_crop,
    )


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Rendered clips, if any, and what they were drawn as."""

    clips: ClipBatch | None
    plan: GroupPlan


def check_batch(config: TrainConfig) -> None:
    """Raise ConfigError where a step of a process takes more samples than `MOST_CLIPS`."""
    largest = max(phase.batch for phase in config.phases)
    if largest > MOST_CLIPS:
        raise ConfigError(
            f"a batch of {largest} samples a process is more than the {MOST_CLIPS} scenes a "
            "group may hold; use a smaller batch or more processes"
        )


def _photographs_of(config: TrainConfig, device: str) -> Photographs | None:
    return read_photographs(Path(config.textures), device=device) if config.textures else None


class SampleStream:
    """Renders groups of clips as they are needed and draws each step's sample from them.

    Samples of the sets that `config.data` has folders of are read instead, new ones at each step;
    where a GPU does the network's work, those of the next step are read meanwhile. The group of a
    step and everything random in it follow from the step's number alone, so a resumed run continues
    exactly. Raises ConfigError for batches beyond `MOST_CLIPS`.
    """

    def __init__(
        self, config: TrainConfig, *, rank: int = 0, world_size: int = 1, device: str = "cpu"
    ) -> None:
        check_batch(config)
        self.config = config
        self.rank = rank
        self.world_size = world_size
        self.device = device
        self._groups: dict[int, _Group] = {}
        self.data = DataSets(config.data, seed=config.seed, rank=rank, world_size=world_size)
        self._photographs = _photographs_of(config, device)
        # On a CPU the network has need of all cores itself.
        ahead = torch.device(device).type != "cpu"
        self._read = ReadingAhead(self._read_of).of if ahead else self._read_of

    def group_of(self, step: int) -> int:
        """The group of clips that a step draws from: steps cycle through the newest groups."""
        newest = step // self.config.draws_per_clip
        return max(0, newest - step % self.config.groups_held)

    def phase_of(self, step: int) -> Phase:
        """The phase of a step, which is that of its group."""
        if self.config.phases_in_turn:
            return self.config.phases[self.group_of(step) % len(self.config.phases)]
        first_step = self.group_of(step) * self.config.draws_per_clip
        return self.config.phase_at(first_step, self.world_size)

    def sample(self, step: int) -> TruthSample:
        """The sample of a step: one draw from every clip of the step's group."""
        index, phase = self.group_of(step), self.phase_of(step)
        if index not in self._groups:
            oldest = step // self.config.draws_per_clip - self.config.groups_held
            self._groups = {k: v for k, v in self._groups.items() if k > oldest}
            self._groups[index] = self._render(index, phase)
        seed = np.random.SeedSequence([self.config.seed, self.rank, 1, step]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(seed))
        group, sampling = self._groups[index], sampling_of(self.config, phase)
        rendered = None if group.clips is None else draw_sample(group.clips, sampling, generator)
        if not group.plan.read:
            assert rendered is not None
            return group.plan.mask(rendered, phase.frames)
        device = torch.device(self.device)
        read = [every(each, lambda values: on_device(values, device)) for each in self._read(step)]
        sample = group.plan.in_order(rendered, read)
        return group.plan.mask(sample, phase.frames)

    def _read_of(self, step: int) -> list[TruthSample]:
        """The samples of a step that come from files, on the CPU."""
        phase = self.phase_of(step)
        plan, sampling = self._plan(self.group_of(step), phase), sampling_of(self.config, phase)
        samples = []
        for place in plan.read:
            chosen = plan.sets[place]
            sample = self.data.sample(
                chosen.key,
                step * MOST_CLIPS + place,
                sampling,
                image_hw=plan.image_hw,
                supervises=chosen.supervises,
                step_numbers=MOST_CLIPS,
            )
            state = np.random.SeedSequence([self.config.seed, self.rank, 2, step, place])
            generator = torch.Generator().manual_seed(int(state.generate_state(1)[0]))
            samples.append(augmented(sample, sampling, generator))
        return samples

    def _plan(self, index: int, phase: Phase) -> GroupPlan:
        rng = self._group_rng(index, self.rank)
        first = (index * self.world_size + self.rank) * MOST_CLIPS
        # Images of one size in all streams: a step lasts as long as its slowest process.
        sizes = self._group_rng(index, 0) if self.rank else rng
        photographs = 0 if self._photographs is None else self._photographs.count
        return plan_group(
            self.config,
            phase,
            rng=rng,
            first_seed=first,
            sizes=sizes,
            photographs=photographs,
        )

    def _group_rng(self, index: int, rank: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.config.seed, rank, 0, index]))

    def _render(self, index: int, phase: Phase) -> _Group:
        plan = self._plan(index, phase)
        scenes = [each.build() for each in plan.scenes]
        clips = None
        if scenes:
            clips = render_clips(
                scenes,
                image_hw=plan.image_hw,
                seed=index,
                device=self.device,
                photographs=self._photographs,
            )
        return _Group(clips=clips, plan=plan)
