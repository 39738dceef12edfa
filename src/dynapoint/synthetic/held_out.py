"""The held-out split of the engine in named subsets, for evaluation: scenes of one kind of motion.

No recipe trains on seeds from 1000000000 on. All subsets but "still" have movers, and in all but
"static camera" the camera moves.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch

from .actors import Actor, Kinds, Mixture, random_actors, random_creature
from .bodies import Body, random_body
from .cameras import random_camera_path
from .clip import ClipBatch
from .furniture import random_flag
from .render import render_clips
from .scene import Scene, assemble
from .settings import Setting
from .stage import random_stage

Subset: TypeAlias = Literal["rigid", "articulated", "deforming", "still", "fast", "static camera"]
"""Kinds of scenes; walks through halls (`long_clip`) are one more."""

SUBSETS: tuple[Subset, ...] = get_args(Subset)
FIRST_SEED = 1_000_000_000
_SEEDS_OF_SUBSET, _SEEDS_OF_CLIP = 1_000_000, 1_000
_DIFFICULTY = 1.0
# Of the motions that are drawn, a clip shows this much; "fast" shows all, and they go farther.
_PACE, _FASTER = 0.5, 2.0
# Movers are to be seen in this share of the first picture, or another seed is taken.
_LEAST_SHOWN, _MOST_SHOWN, _TRIALS = 0.03, 0.6, 20
_LEAST_TURN_RAD = math.radians(3.0)
_FLAGS = 0.3


def held_out_clip(
    subset: Subset, index: int, *, frames: int, image_hw: tuple[int, int]
) -> ClipBatch:
    """Clip `index` of a subset, the same at every call."""
    first = FIRST_SEED + SUBSETS.index(subset) * _SEEDS_OF_SUBSET + index * _SEEDS_OF_CLIP
    for seed in range(first, first + _TRIALS):
        scene = held_out_scene(subset, seed, frames=frames, aspect=image_hw[1] / image_hw[0])
        clip = render_clips([scene], image_hw=image_hw, seed=seed)
        if _shows(subset, clip):
            break
    return clip


def held_out_scene(subset: Subset, seed: int, *, frames: int, aspect: float) -> Scene:
    """The scene of a subset that a seed names, for pictures of `aspect` (width over height)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    tau = np.linspace(0.0, 1.0 if subset == "fast" else _PACE, frames)
    camera = random_camera_path(
        rng, tau=tau, difficulty=_DIFFICULTY, aspect=aspect, moving=subset != "static camera"
    )
    stage = random_stage(rng, camera, difficulty=_DIFFICULTY, times=frames)
    actors = random_actors(
        rng,
        camera,
        stage,
        tau=tau,
        difficulty=_DIFFICULTY,
        movers=subset != "still",
        kinds=_KINDS.get(subset, _ALL),
    )
    setting = Setting(camera=camera, stage=stage, actors=actors)
    return assemble(rng, setting, difficulty=_DIFFICULTY)


def long_seed(index: int) -> int:
    """The seed of a long held-out clip."""
    return FIRST_SEED + len(SUBSETS) * _SEEDS_OF_SUBSET + index * _SEEDS_OF_CLIP


def _shows(subset: Subset, clip: ClipBatch) -> bool:
    """Whether a clip shows enough of what its subset is of."""
    seen = subset == "still" or _LEAST_SHOWN <= _share_of_movers(clip) <= _MOST_SHOWN
    last = clip.world_from_camera[0, -1].double()
    turn = torch.arccos(((last[:3, :3].trace() - 1) / 2).clamp(-1, 1))
    return seen and (subset == "static camera" or float(turn) > _LEAST_TURN_RAD)


def _share_of_movers(clip: ClipBatch) -> float:
    face = clip.face[0, 0]
    moves = clip.face_moving[0, face.clamp_min(0).long()] & (face >= 0)
    return float(moves.float().mean())


@dataclass(frozen=True, kw_only=True)
class _Movers:
    """What stands still is of all kinds; what moves is made by `movers`, and goes `farther`."""

    movers: Kinds
    farther: float = 1.0

    def actor(
        self,
        rng: np.random.Generator,
        chance: float,
        *,
        tau: np.ndarray,
        place: tuple[float, float],
        size: float,
        reach: float,
    ) -> Actor:
        kinds = self.movers if reach > 0.0 else _STANDING
        reach *= self.farther
        return kinds.actor(rng, chance, tau=tau, place=place, size=size, reach=reach)


class _Rigid:
    def actor(
        self,
        rng: np.random.Generator,
        chance: float,
        *,
        tau: np.ndarray,
        place: tuple[float, float],
        size: float,
        reach: float,
    ) -> Actor:
        return [_body(rng, tau=tau, place=place, size=size, reach=reach, deforms=False)]


class _Articulated:
    def actor(
        self,
        rng: np.random.Generator,
        chance: float,
        *,
        tau: np.ndarray,
        place: tuple[float, float],
        size: float,
        reach: float,
    ) -> Actor:
        return random_creature(rng, tau=tau, place=place, size=size, reach=reach)


class _Deforming:
    def actor(
        self,
        rng: np.random.Generator,
        chance: float,
        *,
        tau: np.ndarray,
        place: tuple[float, float],
        size: float,
        reach: float,
    ) -> Actor:
        if chance < _FLAGS:
            return random_flag(rng, tau=tau, place=place, size=2.5 * size, moving=True)
        return [_body(rng, tau=tau, place=place, size=size, reach=reach, deforms=True)]


_STANDING = Mixture(creatures=0.1, scenery=0.4, difficulty=_DIFFICULTY)
_MOVING = Mixture(creatures=0.35, scenery=0.0, difficulty=_DIFFICULTY)
_ALL = _Movers(movers=_MOVING)
_KINDS: dict[Subset, Kinds] = {
    "rigid": _Movers(movers=_Rigid()),
    "articulated": _Movers(movers=_Articulated()),
    "deforming": _Movers(movers=_Deforming()),
    "fast": _Movers(movers=_MOVING, farther=_FASTER),
}


def _body(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    place: tuple[float, float],
    size: float,
    reach: float,
    deforms: bool,
) -> Body:
    return random_body(
        rng,
        tau=tau,
        place=place,
        size=size,
        reach=reach,
        difficulty=_DIFFICULTY,
        detail=7,
        deforms=deforms,
    )
