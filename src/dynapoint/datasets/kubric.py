"""Kubric-F: MOVi-F as Kubric distributes it (TensorFlow Datasets), read without TensorFlow.

Known from Kubric's public code (`challenges/movi/movi_f.py`, Greff et al. 2022), which built the
set, and from TensorFlow Datasets' `example_serializer.py`, which wrote it; what a frame's layers
and the cameras mean is told in `rigid_render`. A record holds one clip of 24 frames, its values
flat and in C order:

- `video`, `segmentations`, `depth`, `object_coordinates`: a PNG for every frame (8 bits RGB, 8 bits
  grey, 16 bits grey, 16 bits RGB),
- `metadata/`: `depth_range` (distance = value / 65535 * (max - min) + min), `num_frames`, `height`,
  `width`, `num_instances`,
- `camera/`: `focal_length`, `sensor_width`, `positions`, `quaternions`,
- `instances/`: `positions`, `quaternions`, `bboxes_3d`, first axis the instance.

Clips were rendered at 512 x 512. The smaller versions average the picture over blocks of pixels,
but take *one* pixel of each block from the other layers: of 2 x 2 the first one, of 4 x 4 the one
in row and column 1 (`subsample_nearest_neighbor`). Depth and points are therefore those of the ray
through 0.25 (of 256 x 256) or 0.375 (of 128 x 128) of a pixel, not through its centre. Pictures
have motion blur, the other layers have none.

UNCONFIRMED, because no real file has been read: that all published shards were built by this
version of the code; a `test` split (the builder has none); that the dome closes the scene, so that
every pixel has a depth (depth up to 1e10 would leave nothing of the rest and is refused).

Names of shards tell how many there are: of a missing or damaged one, a sequence stands in the list
that raises the error when it is read. Its data's checksum is looked at before pictures are read.
"""

import re
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import damaged, need_folder
from dynapoint.datasets.png import png_numbers
from dynapoint.datasets.rigid_render import (
    NO_SURFACE,
    Layers,
    RigidRender,
    RigidScene,
    checked_layers,
    kubric_cameras,
    kubric_lens,
    kubric_poses,
)
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.datasets.tfrecord import Example, RecordPlace, record_places
from dynapoint.errors import InputError

KEY = "kubric-f"
LAYOUT = "[movi_f/][256x256/]1.0.0/movi_f-SPLIT.tfrecord-00000-of-01024"
_SHARD = re.compile(r"movi_f-(?P<split>[a-z]+)\.tfrecord-(?P<number>\d{5})-of-(?P<count>\d{5})")
_RENDERED_AT = 512
_DIMENSIONS = ("metadata/num_frames", "metadata/height", "metadata/width")


class MoviSequence(RigidRender):
    """One clip: one record of a shard."""

    dataset = KEY

    def __init__(self, place: RecordPlace, name: str) -> None:
        self._place = place
        self._whole = False
        self.name = name

    # Attributes of the interface that are looked for when they are asked for.
    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many frames the clip has."""
        return self._dimensions[0]

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of its pictures."""
        return self._dimensions[1:]

    def sample_at(self) -> float:
        """Where in a pixel the ray of depth, segments and object coordinates goes through."""
        return sample_place(self.image_hw)

    @cached_property
    def _dimensions(self) -> tuple[int, int, int]:
        example = _example(self._place)
        frames, height, width = (int(example.integers(key, (1,))[0]) for key in _DIMENSIONS)
        if min(frames, height, width) < 1:
            raise damaged(self._place.path, f"a record has {frames} frames of {height} x {width}")
        return frames, height, width

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture in sRGB."""
        picture = self._png("video", frame)
        if picture.shape != (*self.image_hw, 3) or picture.dtype != np.uint8:
            raise damaged(
                self._place.path, f"a frame is {picture.shape}, not {(*self.image_hw, 3)}"
            )
        return picture

    def scene(self) -> RigidScene:
        """Cameras and objects."""
        return self._scene

    @cached_property
    def _scene(self) -> RigidScene:
        example, frames = self._checked(), self.frame_count
        lens = [
            example.floats(f"camera/{key}", (1,))[0] for key in ("focal_length", "sensor_width")
        ]
        places = example.floats("camera/positions", (frames, 3))
        turns = example.floats("camera/quaternions", (frames, 4))
        objects = int(example.integers("metadata/num_instances", (1,))[0])
        corners, poses = np.zeros((0, frames, 8, 3)), np.zeros((0, frames, 4, 4))
        try:
            if objects:
                corners = example.floats("instances/bboxes_3d", (objects, frames, 8, 3))
                poses = kubric_poses(
                    example.floats("instances/positions", (objects, frames, 3)),
                    example.floats("instances/quaternions", (objects, frames, 4)),
                )
            cameras = kubric_cameras(places, turns)
            intrinsics = kubric_lens(lens[0], lens[1], self.image_hw)
        except InputError:
            raise
        except ValueError as error:
            raise damaged(self._place.path, f"cameras or poses of a record: {error}") from error
        return RigidScene(
            image_hw=self.image_hw,
            intrinsics=intrinsics,
            world_from_camera=cameras,
            corners=corners,
            world_from_object=poses,
        )

    def layers(self, frame: int) -> Layers:
        """The layers of a frame, freshly read."""
        example = self._checked()
        nearest, farthest = example.floats("metadata/depth_range", (2,))
        if not 0 <= nearest < farthest < NO_SURFACE:
            raise damaged(self._place.path, f"depth of a record is from {nearest} to {farthest}")
        depth = self._png("depth", frame) / 65535 * (farthest - nearest) + nearest
        return checked_layers(
            self._place.path,
            self.scene(),
            distance=depth,
            segments=self._png("segmentations", frame),
            coordinates=self._png("object_coordinates", frame),
        )

    def _checked(self) -> Example:
        """The record; its checksum is looked at once."""
        example = _example(self._place)
        if not self._whole:
            example.verify()
            self._whole = True
        return example

    def _png(self, key: str, frame: int) -> np.ndarray:
        pictures = self._checked().blobs(key)
        if len(pictures) != self.frame_count:
            raise damaged(
                self._place.path,
                f"{key} of a record has {len(pictures)} pictures for {self.frame_count} frames",
            )
        return png_numbers(pictures[frame], self._place.path)


def sample_place(image_hw: tuple[int, int]) -> float:
    """Where in a pixel the pixel of the rendering lies that was taken for it: 0.5 is the centre."""
    height, width = image_hw
    if height != width or width not in (128, 256):
        return 0.5
    step = _RENDERED_AT // width
    return ((step - 1) // 2 + 0.5) / step


@lru_cache(maxsize=4)
def _example(place: RecordPlace) -> Example:
    return Example(place)


def _shard_folder(root: Path) -> Path:
    """The one folder at or below the root that holds shards."""
    need_folder(root, LAYOUT)
    for pattern in ("", "*", "*/*", "*/*/*"):
        found = sorted(
            folder
            for folder in (root.glob(pattern) if pattern else [root])
            if folder.is_dir() and any(_SHARD.fullmatch(path.name) for path in folder.iterdir())
        )
        if len(found) > 1:
            names = ", ".join(str(folder.relative_to(root)) for folder in found)
            raise InputError(f"{root}: it holds several versions ({names}); name one of them")
        if found:
            return found[0]
    raise InputError(f"{root}: no shards of MOVi-F in it; wanted {LAYOUT}; download the set there")


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The clips of a split, by shard and place in it.

    Raises:
        InputError: There are no shards of the split, or they are of sets of different sizes.
    """
    folder = _shard_folder(root)
    matches = [_SHARD.fullmatch(path.name) for path in sorted(folder.iterdir())]
    shards = [match for match in matches if match and match["split"] == split]
    counts = sorted({match["count"] for match in shards})
    if len(counts) != 1:
        fault = f"shards of {' and of '.join(counts)}" if counts else "no shards"
        raise InputError(
            f"{folder}: {fault} of the split {split!r} in it; wanted {LAYOUT}; download it again"
        )
    sequences: list[TruthSequence] = []
    for number in range(int(counts[0])):
        path = folder / f"movi_f-{split}.tfrecord-{number:05d}-of-{counts[0]}"
        for index, place in enumerate(_places(path)):
            sequences.append(MoviSequence(place, f"{split}-{number:05d}/{index}"))
    return sequences


def _places(path: Path) -> list[RecordPlace]:
    """The records of a shard; of one that is missing, a single one that says so."""
    if not path.is_file() or path.stat().st_size == 0:
        return [RecordPlace(path=path, offset=0, length=0)]
    return record_places(path)


CARD = DatasetCard(
    key=KEY,
    title="Kubric-F (MOVi-F)",
    source="Greff et al. 2022, Kubric: a scalable dataset generator; google-research/kubric",
    licence="Apache 2.0 (code); assets of Google Scanned Objects (CC BY 4.0), Poly Haven (CC0)",
    splits=("validation", "train", "test"),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
