"""Kubric-G: folders of pictures as Kubric's worker scripts write them.

DPM (Sucar et al. 2025) rendered "Kubric-G" itself, in the MOVi format with other camera paths and
lenses; it is not public. This reader serves any render that `challenges/movi/movi_def_worker.py` of
Kubric (Greff et al. 2022) or a script like it left behind; what the layers and the cameras mean is
told in `rigid_render`. A scene is a folder with, for every frame from 0,

- `rgba_00000.png` (8 bits RGBA; the alpha channel is dropped, as `movi_f.py` does),
- `depth_00000.tiff` (float32 distance, one channel; 1e10 where there is no surface),
- `segmentation_00000.png` (palette indices), `object_coordinates_00000.png` (16 bits RGB),

and `metadata.json` with `metadata` (`num_frames`; `resolution`, width first, or `width` and
`height`), `camera` (`focal_length`, `sensor_width`, `positions`, `quaternions`) and `instances`
(`positions`, `quaternions`, `bboxes_3d`), in the order of the segmentation's ids. Other layers and
`data_ranges.json`, which is about optical flow alone, are not read.

UNCONFIRMED, because no real folder has been read: DPM's own layout and split; TIFF files with a
compression that Pillow lacks; scripts that gave objects a `segmentation_id` of their own (an id
beyond the instances is refused, another order would not be noticed by ids, but `points` is NaN
where boxes and depth disagree).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import damaged, need_file, need_folder
from dynapoint.datasets.png import png_numbers
from dynapoint.datasets.rigid_render import (
    Layers,
    RigidRender,
    RigidScene,
    checked_layers,
    kubric_cameras,
    kubric_lens,
    kubric_poses,
)
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.errors import InputError

KEY = "kubric-g"
LAYOUT = "[SPLIT/]SCENE/{metadata.json,rgba_00000.png,depth_00000.tiff,...}"


class FolderSequence(RigidRender):
    """One rendered scene."""

    dataset = KEY

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.name = name

    # Attributes of the interface that are looked for when they are asked for.
    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many frames the scene has."""
        return self._said.frames

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of its pictures."""
        return self._said.scene.image_hw

    @cached_property
    def _said(self) -> "_Said":
        return _read_metadata(self._folder / "metadata.json")

    def scene(self) -> RigidScene:
        """Cameras and objects."""
        return self._said.scene

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture in sRGB."""
        path = self._folder / f"rgba_{frame:05d}.png"
        picture = _read_png(path)
        if picture.shape not in {(*self.image_hw, 3), (*self.image_hw, 4)} or (
            picture.dtype != np.uint8
        ):
            raise damaged(
                path, f"it is {picture.shape}, {picture.dtype}, not {self.image_hw} in 8 bits RGBA"
            )
        return np.ascontiguousarray(picture[..., :3])

    def layers(self, frame: int) -> Layers:
        """The layers of a frame, freshly read."""
        segments = self._folder / f"segmentation_{frame:05d}.png"
        return checked_layers(
            segments,
            self.scene(),
            distance=_read_tiff(self._folder / f"depth_{frame:05d}.tiff"),
            segments=_read_png(segments),
            coordinates=_read_png(self._folder / f"object_coordinates_{frame:05d}.png"),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Said:
    """What `metadata.json` says."""

    frames: int
    scene: RigidScene


def _read_metadata(path: Path) -> _Said:
    try:
        said = json.loads(need_file(path).read_text(encoding="utf-8"))
        about, camera, instances = said["metadata"], said["camera"], said["instances"]
        width, height = (
            about["resolution"] if "resolution" in about else (about["width"], about["height"])
        )
        frames, image_hw = int(about["num_frames"]), (int(height), int(width))
        corners = [_numbers(one["bboxes_3d"], (frames, 8, 3)) for one in instances]
        poses = [kubric_poses(*_placed(one, frames)) for one in instances]
        scene = RigidScene(
            image_hw=image_hw,
            intrinsics=kubric_lens(
                float(camera["focal_length"]), float(camera["sensor_width"]), image_hw
            ),
            world_from_camera=kubric_cameras(*_placed(camera, frames)),
            corners=np.array(corners).reshape(-1, frames, 8, 3),
            world_from_object=np.array(poses).reshape(-1, frames, 4, 4),
        )
    except InputError:
        raise
    except KeyError as error:
        raise damaged(path, f"it has no {error}") from error
    except (OSError, TypeError, ValueError) as error:
        raise damaged(path, str(error)) from error
    return _Said(frames=frames, scene=scene)


def _placed(
    said: Mapping[str, object], frames: int
) -> tuple[Float64[np.ndarray, "frame xyz=3"], Float64[np.ndarray, "frame wxyz=4"]]:
    """Positions and quaternions of a camera or an object."""
    return _numbers(said["positions"], (frames, 3)), _numbers(said["quaternions"], (frames, 4))


def _numbers(values: object, shape: tuple[int, ...]) -> Float64[np.ndarray, "..."]:
    numbers = np.asarray(values, np.float64)
    if numbers.shape != shape:
        raise ValueError(f"numbers of shape {numbers.shape}, not {shape}")
    return numbers


def _read_png(path: Path) -> np.ndarray:
    return png_numbers(need_file(path).read_bytes(), path)


def _read_tiff(path: Path) -> Float32[np.ndarray, "height width"]:
    try:
        with Image.open(need_file(path)) as picture:
            values = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if values.ndim != 2 or values.dtype != np.float32:
        raise damaged(path, f"it holds {values.dtype} of shape {values.shape}, not one float32")
    return values


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The scenes of a split in the order of their names.

    They lie in a folder of the split's name; where there is none of any split, all scenes of the
    root are of whichever split is asked for.

    Raises:
        InputError: There are no scenes.
    """
    need_folder(root, LAYOUT)
    parted = any((root / name).is_dir() for name in CARD.splits)
    folder = need_folder(root / split, LAYOUT) if parted else root
    scenes = sorted(path for path in folder.iterdir() if path.is_dir())
    rendered = [
        scene
        for scene in scenes
        if (scene / "metadata.json").is_file() or any(scene.glob("rgba_*.png"))
    ]
    if not rendered:
        raise InputError(f"{folder}: no scenes in it; wanted {LAYOUT}; render or unpack them there")
    return [FolderSequence(scene, scene.name) for scene in rendered]


CARD = DatasetCard(
    key=KEY,
    title="Kubric-G (MOVi folders)",
    source="renders of google-research/kubric; Sucar et al. 2025 (DPM) for Kubric-G itself",
    licence="that of the render",
    splits=("test", "train"),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
