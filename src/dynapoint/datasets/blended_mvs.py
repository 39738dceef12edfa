"""BlendedMVS as DUSt3R's `preprocess_blendedMVS.py` leaves it: objects and places that keep still.

ROOT/SCENE/00000000.{jpg,exr,npz} with SCENE 24 hexadecimal digits; ROOT/blendedmvs_pairs.npy, which
DUSt3R publishes, lists pairs: rows of `seq_high`, `seq_low` (the first 8 and the last 16 digits of
SCENE), `img1`, `img2` (numbers of pictures) and `score`. Where it is not there, all folders of that
form are scenes and there are no pairs. The npz holds `intrinsics` (3 3), `R_cam2world` (3 3) and
`t_cam2world` (3).

Conventions, from that script and `dust3r/datasets/blendedmvs.py`: poses are world from camera with
OpenCV axes (the inverse of the set's own extrinsics); depth is z of the rendered mesh, one float
channel, 0 where there is none; lengths are in a unit of each scene's own, which the published
text does not tie to metres; matrices are indexed [row, column]; "val" are the scenes whose
`seq_low` ends in 0 as a decimal number, "train" the others.

UNCONFIRMED: the script treats the lens as one with pixel centres at integers (it scales it by
`rescale_image_depthmap`), and so does this reader; the set's own files do not say so.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import damaged, listed, need_folder, numbers_of, read_npy, read_npz
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.datasets.still_views import ViewFiles, Views, between_pixels, rows_of_each
from dynapoint.errors import InputError

_LAYOUT = "ROOT/SCENE/NUMBER.{jpg,exr,npz} and ROOT/blendedmvs_pairs.npy"
_FIELDS = ("seq_high", "seq_low", "img1", "img2")


class _Scene(ViewFiles):
    """One scene and the pairs of numbers of pictures that are published of it."""

    def __init__(self, folder: Path, pairs: np.ndarray) -> None:
        super().__init__(folder, dataset="blendedmvs", name=folder.name)
        self._numbers = pairs

    def read_views(self) -> Views:
        """Which pictures there are."""
        names = tuple(path.stem for path in listed(self.folder, "*.npz", _LAYOUT))
        place = {name: frame for frame, name in enumerate(names)}
        wanted, which = np.unique(self._numbers, return_inverse=True)
        frames = [place.get(f"{number:08d}", -1) for number in wanted.tolist()]
        if -1 in frames:
            missing = self.folder / f"{wanted[frames.index(-1)]:08d}.npz"
            raise InputError(f"{missing}: no such file, and blendedmvs_pairs.npy names it")
        pairs = np.array(frames, np.int64)[which.reshape(self._numbers.shape)]
        return Views(names=names, pairs=pairs)

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """The lens."""
        path = self.camera_path(frame)
        (lens,) = read_npz(path, ("intrinsics",))
        return between_pixels(numbers_of(path, "intrinsics", lens, (3, 3)))

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose."""
        path = self.camera_path(frame)
        turn, place = read_npz(path, ("R_cam2world", "t_cam2world"))
        pose = np.eye(4)
        pose[:3, :3] = numbers_of(path, "R_cam2world", turn, (3, 3))
        pose[:3, 3] = numbers_of(path, "t_cam2world", place, (3,))
        return pose


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The scenes of a split: those with pairs, where the list of pairs is there.

    Raises:
        InputError: The folder is no such set, or the list of pairs is damaged.
    """
    need_folder(root, _LAYOUT)
    path = root / "blendedmvs_pairs.npy"
    if path.exists():
        scenes = _scenes_of_pairs(path)
    else:
        folders = [each for each in root.iterdir() if each.is_dir()]
        found = [each for each in folders if re.fullmatch("[0-9a-f]{24}", each.name)]
        scenes = {each.name: np.empty((0, 2), np.int64) for each in sorted(found)}
    chosen = [
        _Scene(root / name, pairs)
        for name, pairs in scenes.items()
        if (int(name[8:], 16) % 10 == 0) == (split == "val")
    ]
    if not scenes:
        raise InputError(f"{root}: no folder has a name of 24 hexadecimal digits; wanted {_LAYOUT}")
    return list(chosen)


def _scenes_of_pairs(path: Path) -> dict[str, np.ndarray]:
    """Pairs of numbers of pictures, by scene."""
    rows = read_npy(path)
    if rows.ndim != 1 or any(field not in (rows.dtype.names or ()) for field in _FIELDS):
        raise damaged(path, f"it has no fields {', '.join(_FIELDS)}")
    names = np.array([f"{high:08x}{low:016x}" for high, low in rows[["seq_high", "seq_low"]]])
    scenes, scene_of = np.unique(names, return_inverse=True)
    pairs = np.stack([rows["img1"], rows["img2"]], axis=1).astype(np.int64)
    own = rows_of_each(scene_of, len(scenes))
    return {str(name): pairs[each] for name, each in zip(scenes, own, strict=True)}


CARD = DatasetCard(
    key="blendedmvs",
    title="BlendedMVS",
    source="Yao et al., BlendedMVS (CVPR 2020); prepared by DUSt3R's preprocess_blendedMVS.py",
    licence="CC BY 4.0",
    splits=("train", "val"),
    layout=_LAYOUT,
    proven="miniature",
    open_folder=open_folder,
    extra="datasets",
)
