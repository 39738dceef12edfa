"""MegaDepth as DUSt3R's `preprocess_megadepth.py` leaves it: photographs of places by many people.

ROOT/SCENE/PART/NAME.{jpg,exr,npz}, NAME with the ending of the original photograph (a file is
called `5_o.jpg.jpg`); ROOT/all_metadata.npz or ROOT/megadepth_pairs.npz, which DUSt3R publishes,
holds `scenes` ("0015 0": SCENE and PART), `images` (names) and `pairs` (rows of `scene_id`,
`im1_id`, `im2_id`, `score`). Where neither is there, all folders of that form are scenes and there
are no pairs. The npz holds `intrinsics` (3 3) and `cam2world` (4 4).

Pictures differ in size: their long side is 800 or, where the original was smaller, that; some stand
upright. People and cars that moved have mostly no depth.

Conventions, from that script and `dust3r/datasets/megadepth.py`: `cam2world` is world from camera
with OpenCV axes; depth is z, one float channel, 0 where there is none; lengths are in a unit of
each scene's own (structure from motion); matrices are indexed [row, column]; "val" are the parts
of scenes 0015 and 0022, "train" the others. The lens has pixel centres at integers: it comes from
OpenCV's `getOptimalNewCameraMatrix`, which puts the middle of W pixels at (W - 1) / 2 (tried with
OpenCV 5.0), and `rescale_image_depthmap` scales it as such.

UNCONFIRMED: the set's own depth holds negative numbers in some versions (marks of order, no depth);
they are unknown here. Whether `megadepth_pairs.npz` can be read without Python objects was not
tried; `all_metadata.npz` can, for DUSt3R does.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import (
    damaged,
    listed,
    listed_folders,
    need_folder,
    numbers_of,
    read_npz,
)
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.datasets.still_views import ViewFiles, Views, between_pixels, rows_of_each

_LAYOUT = "ROOT/SCENE/PART/NAME.{jpg,exr,npz} and ROOT/all_metadata.npz or megadepth_pairs.npz"
_LISTS = ("all_metadata.npz", "megadepth_pairs.npz")
_FIELDS = ("scene_id", "im1_id", "im2_id")
_VAL = ("0015", "0022")


class _Part(ViewFiles):
    """One part of a scene; `told`, where given, is which pictures and pairs are listed of it."""

    def __init__(self, root: Path, name: str, told: Views | None) -> None:
        super().__init__(root / name, dataset="megadepth", name=name)
        self._told = told

    def read_views(self) -> Views:
        """Which pictures there are."""
        if self._told is not None:
            return self._told
        names = tuple(path.stem for path in listed(self.folder, "*.npz", _LAYOUT))
        return Views(names=names, pairs=np.empty((0, 2), np.int64))

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """The lens."""
        path = self.camera_path(frame)
        (lens,) = read_npz(path, ("intrinsics",))
        return between_pixels(numbers_of(path, "intrinsics", lens, (3, 3)))

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose."""
        path = self.camera_path(frame)
        (pose,) = read_npz(path, ("cam2world",))
        return numbers_of(path, "cam2world", pose, (4, 4))


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The parts of scenes of a split: those with pairs, where a list of pairs is there.

    Raises:
        InputError: The folder is no such set, or the list of pairs is damaged.
    """
    need_folder(root, _LAYOUT)
    path = next((root / name for name in _LISTS if (root / name).exists()), None)
    parts: dict[str, Views | None]
    if path is None:
        found = listed_folders(root, "[0-9][0-9][0-9][0-9]/*", _LAYOUT)
        parts = {f"{each.parent.name}/{each.name}": None for each in found}
    else:
        parts = dict(_parts_of_pairs(path))
    return [
        _Part(root, name, views)
        for name, views in parts.items()
        if name.startswith(_VAL) == (split == "val")
    ]


def _parts_of_pairs(path: Path) -> dict[str, Views]:
    """The pictures and pairs that are listed, by part of a scene."""
    scenes, images, pairs = read_npz(path, ("scenes", "images", "pairs"))
    if pairs.ndim != 1 or any(field not in (pairs.dtype.names or ()) for field in _FIELDS):
        raise damaged(path, f"pairs has no fields {', '.join(_FIELDS)}")
    scene_of, first, second = (pairs[field].astype(np.int64) for field in _FIELDS)
    for ids, count, what in (
        (scene_of, len(scenes), "scene"),
        (first, len(images), "picture"),
        (second, len(images), "picture"),
    ):
        if ids.size and not 0 <= ids.min() <= ids.max() < count:
            raise damaged(path, f"pairs name {what} {ids.max()} of {count}")
    parts = {}
    for scene, rows in zip(scenes, rows_of_each(scene_of, len(scenes)), strict=True):
        words = str(scene).split()
        if len(words) != 2:
            raise damaged(path, f"scene {str(scene)!r} is not two words")
        used, place = np.unique(np.stack([first[rows], second[rows]], 1), return_inverse=True)
        if used.size:
            parts["/".join(words)] = Views(
                names=tuple(str(name) for name in images[used]), pairs=place.reshape(-1, 2)
            )
    return parts


CARD = DatasetCard(
    key="megadepth",
    title="MegaDepth",
    source="Li and Snavely, MegaDepth (CVPR 2018); prepared by DUSt3R's preprocess_megadepth.py",
    licence="CC BY 4.0; each photograph has its own",
    splits=("train", "val"),
    layout=_LAYOUT,
    proven="miniature",
    open_folder=open_folder,
    extra="datasets",
)
