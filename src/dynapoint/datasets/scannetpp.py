"""ScanNet++ as DUSt3R's `preprocess_scannetpp.py` leaves it: rooms that keep still.

ROOT/all_metadata.npz holds `scenes` (names), `sceneids` (of each picture), `images` (names without
ending), `intrinsics` (n 3 3), `trajectories` (n 4 4) and `pairs` (two numbers of pictures a row and
perhaps a score). ROOT/SCENE/scene_metadata.npz holds `images`, `intrinsics`, `trajectories` and
`pairs` of one scene; it is read where the other file is not there. Pictures are
ROOT/SCENE/images/NAME.jpg, undistorted, of a reflex camera (DSC…) and of a phone (frame_…) in two
sizes; depth is ROOT/SCENE/depth/NAME.png.

Conventions, from that script: `trajectories` is world from camera with OpenCV axes, in metres;
`intrinsics` is written through `opencv_to_colmap_intrinsics`, which is to say with pixel centres at
half-integers, and depth is rendered with it from the scanned mesh; depth is z in millimetres, 16
bits, 0 where the mesh has a hole or the picture is masked. Matrices are indexed [row, column].

UNCONFIRMED: DUSt3R's own loader (`dust3r/datasets/scannetpp.py`) takes `intrinsics` as if pixel
centres were at integers, half a pixel away from the script; here the script counts. Depth beyond
65.5 m would wrap round in the script (it renders at most 20 m).
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import (
    damaged,
    depth_map,
    listed,
    need_folder,
    numbers_of,
    read_npz,
    read_png16,
)
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.datasets.still_views import StillViews, Views, rows_of_each

_LAYOUT = "ROOT/all_metadata.npz, ROOT/SCENE/{images/NAME.jpg,depth/NAME.png,scene_metadata.npz}"
_UNITS_PER_METRE = 1000
_KEYS = ("images", "intrinsics", "trajectories", "pairs")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Listed:
    """What a file lists of the pictures of one scene; `pairs` are places among these."""

    path: Path
    images: np.ndarray
    intrinsics: np.ndarray
    trajectories: np.ndarray
    pairs: np.ndarray


class _Scene(StillViews):
    """One room; `told` is what the list of all scenes says of it, where there is one."""

    def __init__(self, folder: Path, told: _Listed | None) -> None:
        super().__init__(folder, dataset="scannetpp", name=folder.name, metric=True)
        self._told = told

    @cached_property
    def _listed(self) -> _Listed:
        if self._told is not None:
            return self._told
        path = self.folder / "scene_metadata.npz"
        images, lenses, poses, pairs = read_npz(path, _KEYS)
        _check_lengths(path, images, lenses, poses)
        two = _two_columns(path, pairs, len(images))
        return _Listed(path=path, images=images, intrinsics=lenses, trajectories=poses, pairs=two)

    def read_views(self) -> Views:
        """Which pictures there are."""
        return Views(
            names=tuple(str(name) for name in self._listed.images), pairs=self._listed.pairs
        )

    def picture_path(self, frame: int) -> Path:
        """The file of a picture."""
        return self.folder / "images" / f"{self.views.names[frame]}.jpg"

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """The lens."""
        lens = self._listed.intrinsics[frame]
        return numbers_of(self._listed.path, f"intrinsics of {self._view(frame)}", lens, (3, 3))

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose."""
        pose = self._listed.trajectories[frame]
        return numbers_of(self._listed.path, f"trajectories of {self._view(frame)}", pose, (4, 4))

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Depth of the mesh."""
        path = self.folder / "depth" / f"{self.views.names[frame]}.png"
        return depth_map(path, read_png16(path) / _UNITS_PER_METRE, self.picture_hw(frame))

    def _view(self, frame: int) -> str:
        return f"{self.name}/{self.views.names[frame]}"


def _check_lengths(path: Path, *columns: np.ndarray) -> None:
    lengths = [len(each) for each in columns]
    if len(set(lengths)) > 1:
        raise damaged(path, f"its lists of pictures are {lengths} long")
    if lengths[0] == 0:
        raise damaged(path, "it lists no picture")


def _two_columns(path: Path, pairs: np.ndarray, count: int) -> np.ndarray:
    """Numbers of two pictures, of so many, from a list of pairs."""
    if pairs.ndim != 2 or pairs.shape[1] < 2:
        raise damaged(path, f"pairs has shape {pairs.shape}, not two columns or more")
    two = pairs[:, :2].astype(np.int64)
    if two.size and not 0 <= two.min() <= two.max() < count:
        raise damaged(path, f"pairs name picture {two.max()} of {count}")
    return two


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """All scenes; DUSt3R's list has one split.

    Raises:
        InputError: The folder is no such set, or its list of all scenes is damaged.
    """
    need_folder(root, _LAYOUT)
    path = root / "all_metadata.npz"
    if not path.exists():
        found = listed(root, "*/scene_metadata.npz", _LAYOUT)
        return [_Scene(each.parent, None) for each in found]
    return [_Scene(root / name, told) for name, told in _scenes_of_all(path)]


def _scenes_of_all(path: Path) -> list[tuple[str, _Listed]]:
    """What the list of all scenes says of each."""
    scenes, scene_of, images, lenses, poses, pairs = read_npz(path, ("scenes", "sceneids", *_KEYS))
    _check_lengths(path, scene_of, images, lenses, poses)
    if not 0 <= scene_of.min() <= scene_of.max() < len(scenes):
        raise damaged(path, f"sceneids name scene {scene_of.max()} of {len(scenes)}")
    two = _two_columns(path, pairs, len(images))
    if (scene_of[two[:, 0]] != scene_of[two[:, 1]]).any():
        raise damaged(path, "pairs join pictures of two scenes")
    rows = rows_of_each(scene_of, len(scenes))
    rows_of_pairs = rows_of_each(scene_of[two[:, 0]], len(scenes))
    place = np.empty(len(images), np.int64)
    for own in rows:
        place[own] = np.arange(len(own))
    return [
        (
            str(scene),
            _Listed(
                path=path,
                images=images[own],
                intrinsics=lenses[own],
                trajectories=poses[own],
                pairs=place[two[own_pairs]],
            ),
        )
        for scene, own, own_pairs in zip(scenes, rows, rows_of_pairs, strict=True)
    ]


CARD = DatasetCard(
    key="scannetpp",
    title="ScanNet++",
    source="Yeshwanth et al., ScanNet++ (ICCV 2023); prepared by DUSt3R's preprocess_scannetpp.py",
    licence="own terms of use: research, not commercial",
    splits=("train",),
    layout=_LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
