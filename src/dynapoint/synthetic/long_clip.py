"""Long clips with exact truth, made frame by frame: loops, stops, large movers, and cuts.

Nothing is kept but what a seed draws: still geometry once, and a few numbers per frame for the
camera and each mover. Frames are rendered and truth is worked out when asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8

from dynapoint.errors import ConfigError

from .batch import SceneBatch, stack_scenes
from .cameras import CameraPath, random_focal
from .clip import ClipBatch
from .develop import develop, mean_light
from .long_movers import Mover
from .long_place import SHELL, random_place
from .long_walks import Walk, random_walk
from .materials import Column, Row, mean_colour, random_material
from .render import render_faces, render_light
from .scene import Scene, assemble
from .settings import Setting

_DIFFICULTY = 0.0  # of light and of what is done to pictures
_CONTRAST, _SATURATION = 1.2, 0.85  # nearer to real pictures than those of a plain renderer
_DARKEST, _FAINTEST = 0.12, 0.1  # of surroundings in linear light: their mean, and their pattern
_LEAST_SIDE_PX = 16
_KEPT_FACES = 48  # frames whose faces are kept


@dataclass(frozen=True, kw_only=True)
class FrameTruth:
    """Where pixels of one frame are at one time, in the world of the frame's part of the clip.

    Points are in scene units (about metres), NaN where a pixel meets nothing or where the time
    belongs to another part. `visible`: seen by the camera of that time. `moving`: on a body that
    moves at any time of the clip.
    """

    points: Float32[np.ndarray, "height width xyz=3"]
    visible: Bool[np.ndarray, "height width"]
    moving: Bool[np.ndarray, "height width"]


class LongClip:
    """A clip of any number of frames, named by its seed; its parts are scenes of their own.

    Attributes:
        seed: Names the clip, with `frame_count`, `image_hw` and `cuts`.
        frame_count: How many frames it has.
        image_hw: Of each frame, in pixels.
        cuts: Indices of the frames that begin another scene, increasing.
        world_from_camera: (frame, 4, 4) float64. The world of each part of the clip is the camera
            of its first frame (OpenCV axes, scene units).
        intrinsics: (frame, 3, 3) float64, in pixels.
    """

    def __init__(
        self,
        seed: int,
        frame_count: int,
        *,
        image_hw: tuple[int, int] = (360, 640),
        cuts: tuple[int, ...] = (),
    ) -> None:
        """Draw the clip; raises ConfigError for sizes and cuts that cannot be."""
        if frame_count < 1:
            raise ConfigError(f"frame_count is {frame_count}; a clip needs at least 1 frame.")
        if min(image_hw) < _LEAST_SIDE_PX:
            raise ConfigError(
                f"the image size is {image_hw[0]} × {image_hw[1]}; both sides need at least "
                f"{_LEAST_SIDE_PX} pixels."
            )
        if list(cuts) != sorted(set(cuts)) or not all(0 < cut < frame_count for cut in cuts):
            raise ConfigError(
                f"cuts are {cuts}; wanted increasing frames between 1 and {frame_count - 1}."
            )
        self.seed, self.frame_count, self.image_hw, self.cuts = seed, frame_count, image_hw, cuts
        edges = [0, *cuts, frame_count]
        self._parts = [
            _Part(seed=[seed, index], frames=stop - start, image_hw=image_hw)
            for index, (start, stop) in enumerate(pairwise(edges))
        ]
        self.world_from_camera: Float64[np.ndarray, "frame 4 4"] = np.concatenate(
            [part.world_from_camera for part in self._parts]
        )
        self.intrinsics: Float64[np.ndarray, "frame 3 3"] = np.concatenate(
            [np.tile(part.intrinsics, (part.frames, 1, 1)) for part in self._parts]
        )

    def __len__(self) -> int:
        """How many frames it has."""
        return self.frame_count

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "height width rgb=3"]]:
        """The images of all frames, one by one."""
        return map(self.frame, range(self.frame_count))

    def part_of(self, frame: int) -> int:
        """Which part of the clip a frame belongs to; raises IndexError if there is no such one."""
        if not 0 <= frame < self.frame_count:
            raise IndexError(f"frame {frame} of a clip of {self.frame_count} frames")
        return sum(frame >= cut for cut in self.cuts)

    def stops(self) -> list[tuple[int, int]]:
        """The stretches [start, stop) of frames in which the camera stands."""
        starts = [0, *self.cuts]
        return [
            (start + first, start + last)
            for start, part in zip(starts, self._parts, strict=True)
            for first, last in part.walk.stops
        ]

    def frame(self, index: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The image of a frame."""
        part, own = self._locate(index)
        return part.image(own, seed=self.seed * 1_000_003 % (1 << 40) + index)

    def truth(self, index: int, time: int | None = None) -> FrameTruth:
        """Where the pixels of frame `index` are at the time of frame `time` (None: their own)."""
        part, own = self._locate(index)
        other, at = self._locate(index if time is None else time)
        if other is not part:
            nothing = np.full((*self.image_hw, 3), np.nan, np.float32)
            return FrameTruth(
                points=nothing,
                visible=np.zeros(self.image_hw, bool),
                moving=part.truth(own, own).moving,
            )
        return part.truth(own, at)

    def points(self, index: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """World positions at `time` of what frame `index` shows; NaN where there is nothing."""
        return self.truth(index, time).points

    def _locate(self, index: int) -> tuple["_Part", int]:
        part = self.part_of(index)
        return self._parts[part], index - [0, *self.cuts][part]


class _Part:
    """A stretch of frames without a cut: one hall, one walk."""

    def __init__(self, *, seed: list[int], frames: int, image_hw: tuple[int, int]) -> None:
        rng = np.random.Generator(np.random.PCG64(seed))
        self.frames, self.image_hw = frames, image_hw
        aspect = image_hw[1] / image_hw[0]
        focal = random_focal(rng, difficulty=0.0, aspect=aspect)
        self.walk: Walk = random_walk(rng, frames=frames)
        place = random_place(rng, self.walk, half_width=0.5 * aspect / focal)
        self._movers: list[Mover] = place.movers
        setting = Setting(
            camera=CameraPath(
                stage_from_camera=self.walk.stage_from_camera[:1],
                focal_per_height=focal,
                half_width=0.5 * aspect / focal,
                distance=3.0,
            ),
            stage=place.stage,
            actors=[*place.furniture, *(mover.bodies(0) for mover in self._movers)],
        )
        scene = assemble(rng, setting, difficulty=_DIFFICULTY)
        # What a single frame cannot show, or what would not be the same in all.
        look = replace(
            scene.look,
            fog_density=np.array(0, np.float32),
            shutter=np.array(0, np.float32),
            contrast=np.array(_CONTRAST, np.float32),
            saturation=np.array(_SATURATION, np.float32),
            exposure=np.ones((1, 3), np.float32),
        )
        self._world_from_stage = np.linalg.inv(self.walk.stage_from_camera[0])
        self.world_from_camera = self._world_from_stage @ self.walk.stage_from_camera
        self.world_from_camera[0] = np.eye(4)
        moving = sum(len(b.mesh.vertices) for m in self._movers for b in m.bodies(0))
        self._still_vertices = scene.vertices[0, : scene.vertices.shape[1] - moving]
        for row in range(SHELL):
            scene.materials[row] = _plain_to_see(rng)
        self._scene = replace(scene, look=look)
        self.intrinsics = np.asarray(
            stack_scenes([self._scene], image_hw=image_hw, device="cpu").intrinsics[0, 0],
            np.float64,
        )
        self._faces = lru_cache(maxsize=_KEPT_FACES)(self._seen_faces)
        self._mean: torch.Tensor | None = None

    def image(self, frame: int, *, seed: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The image of a frame, exposed as all others are."""
        batch = self._batch(frame)
        linear, _ = render_light(batch, image_hw=self.image_hw)
        return develop(linear, batch.look, seed=seed, mean=self._exposed_for())[0, 0].numpy()

    def truth(self, frame: int, time: int) -> FrameTruth:
        """Points, visibility and motion of a frame's pixels at one time."""
        pair = [self._scene_at(frame), self._scene_at(time)]
        both = replace(
            self._scene,
            vertices=np.concatenate([scene.vertices for scene in pair]),
            world_from_camera=np.concatenate([scene.world_from_camera for scene in pair]),
        )
        batch = stack_scenes([both], image_hw=self.image_hw, device="cpu")
        clip = ClipBatch(
            images=torch.empty(1, 2, *self.image_hw, 3, dtype=torch.uint8),
            face=torch.stack([self._faces(frame), self._faces(time)])[None],
            vertices=batch.vertices,
            faces=batch.faces,
            face_instance=batch.face_instance,
            face_moving=batch.face_moving,
            world_from_camera=batch.world_from_camera,
            intrinsics=batch.intrinsics,
        )
        found = clip.truth(torch.tensor([[0]]), torch.tensor([[1]]))
        return FrameTruth(
            points=found.points[0, 0, 0].numpy(),
            visible=found.visible[0, 0, 0].numpy(),
            moving=found.moving[0, 0].numpy(),
        )

    def _seen_faces(self, frame: int) -> torch.Tensor:
        """The face that each pixel of a frame meets, -1 where there is none."""
        return render_faces(self._batch(frame), image_hw=self.image_hw)[0, 0]

    def _exposed_for(self) -> torch.Tensor:
        """The mean light of a few small images of the part: one exposure for all its frames."""
        if self._mean is None:
            height = 48
            small = (height, round(height * self.image_hw[1] / self.image_hw[0]))
            means = [
                mean_light(render_light(self._batch(frame, image_hw=small), image_hw=small)[0])
                for frame in np.linspace(0, self.frames - 1, 9).astype(int).tolist()
            ]
            self._mean = torch.stack(means).mean(0)
        return self._mean

    def _batch(self, frame: int, *, image_hw: tuple[int, int] | None = None) -> SceneBatch:
        return stack_scenes(
            [self._scene_at(frame)], image_hw=image_hw or self.image_hw, device="cpu"
        )

    def _scene_at(self, frame: int) -> Scene:
        """The scene of one frame's time and camera."""
        turn, shift = self._world_from_stage[:3, :3], self._world_from_stage[:3, 3]
        moved = [
            body.positions[0] @ turn.T + shift
            for mover in self._movers
            for body in mover.bodies(frame)
        ]
        vertices = np.concatenate([self._still_vertices, *moved]).astype(np.float32)
        return replace(
            self._scene,
            vertices=vertices[None],
            world_from_camera=self.world_from_camera[frame : frame + 1].astype(np.float32),
        )


def _plain_to_see(rng: np.random.Generator) -> Row:
    """A material for a wall, the ground or the ceiling: not black, and with a pattern."""
    while True:
        row = random_material(rng, size=1.2, texture=1.0, vivid=0.25)
        first, second = row[Column.FIRST : Column.SECOND], row[Column.SECOND : Column.THIRD]
        row[Column.MIRROR] = 0.0
        if mean_colour(row).mean() > _DARKEST and abs(first - second).mean() > _FAINTEST:
            return row
