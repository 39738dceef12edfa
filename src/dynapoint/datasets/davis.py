"""DAVIS 2016 and 2017: pictures and masks of the objects that people marked; no geometry.

Layout, the same in the archives of both years (DAVIS-data.zip; DAVIS-2017-trainval-480p.zip):
JPEGImages/480p/SEQUENCE/00000.jpg …, Annotations/480p/SEQUENCE/00000.png …, and lists of sequences:
ImageSets/2016/val.txt and ImageSets/2017/val.txt with a name a line, or, in the archive of 2016,
ImageSets/480p/val.txt with a picture and its mask a line (both kinds as public loaders read them).

Masks of 2017 are PNGs with a palette whose indices are the objects' numbers, 0 for the rest; 255
marks pixels that do not count (so the evaluation code of 2017), which are taken for no object here.
Masks of 2016 are grey: 255, or all above 0, is the one object. What is marked is what moves by
itself in most sequences; that all of it does, and nothing else, is what protocols assume.
Test sequences have a mask of the first frame only: asking for another names the missing file.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int32
from PIL import Image

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import (
    damaged,
    listed,
    need_file,
    need_folder,
    need_pictures,
)
from dynapoint.datasets.listed_pictures import ListedPictures
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.errors import InputError

_LAYOUT = (
    "JPEGImages/480p/SEQUENCE/00000.jpg, Annotations/480p/SEQUENCE/00000.png and ImageSets as the "
    "archives of DAVIS have them"
)
_PICTURES, _MASKS = Path("JPEGImages/480p"), Path("Annotations/480p")
_NOT_COUNTED = 255


def _open_folder(root: Path, split: str) -> list[TruthSequence]:
    need_folder(root / _PICTURES, _LAYOUT)
    if split == "all":
        names = sorted(each.name for each in (root / _PICTURES).iterdir() if each.is_dir())
        if not names:
            raise InputError(f"{root / _PICTURES}: no sequence in it; wanted {_LAYOUT}")
    else:
        names = _listed_names(root, *split.split("-"))
    return [DavisSequence(root, name) for name in names]


def _listed_names(root: Path, year: str, part: str) -> list[str]:
    """The sequences of a part, in the order of its list."""
    places = [root / "ImageSets" / year / f"{part}.txt"]
    if year == "2016":
        places.append(root / "ImageSets" / "480p" / f"{part}.txt")
    path = next((each for each in places if each.is_file()), None)
    if path is None:
        raise InputError(
            f"{places[0]}: no such list; wanted {_LAYOUT}; unpack it too, or take the split all"
        )
    try:
        lines = need_file(path).read_text(encoding="utf-8").split("\n")
    except ValueError as error:
        raise damaged(path, str(error)) from error
    # A line names a sequence, or a picture of it and its mask.
    words = [line.split()[0] for line in lines if line.strip()]
    names = [Path(word).parent.name if "/" in word else word for word in words]
    if not names:
        raise damaged(path, "it names no sequence")
    return list(dict.fromkeys(names))


class DavisSequence(ListedPictures):
    """A sequence, whose pictures are listed when it is first asked for one."""

    dataset = "davis"
    holds = Holds(moving=True, instances=True)

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name

    @cached_property
    def _pictures(self) -> list[Path]:
        pictures = listed(self.root / _PICTURES / self.name, "*.jpg", _LAYOUT)
        return need_pictures(pictures, self.root / _MASKS / self.name)

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """Where an object is marked."""
        return self.instances(frame) > 0

    def instances(self, frame: int) -> Int32[np.ndarray, "height width"]:
        """The number of the object that is marked, 1 for the one of 2016; there are no poses."""
        path = self.root / _MASKS / self.name / f"{self._pictures[frame].stem}.png"
        try:
            with Image.open(need_file(path)) as mask:
                has_palette = mask.mode == "P"
                values = np.asarray(mask)
        except (OSError, SyntaxError, ValueError) as error:
            raise damaged(path, str(error)) from error
        if values.ndim == 3:
            # Some archives of 2016 hold a few masks as colours, all of them white.
            values = values[..., :3].max(axis=-1)
        if values.shape != self.image_hw:
            raise damaged(path, f"it is of shape {values.shape}, its picture of {self.image_hw}")
        if has_palette:
            return np.where(values == _NOT_COUNTED, 0, values).astype(np.int32)
        return (values > 0).astype(np.int32)


CARD = DatasetCard(
    key="davis",
    title="DAVIS",
    source="Perazzi et al., CVPR 2016; Pont-Tuset et al., arXiv 1704.00675",
    licence="CC BY 4.0 for sequences of DAVIS; some are others'",
    splits=("2016-val", "2016-train", "2017-val", "2017-train", "all"),
    layout=_LAYOUT,
    proven="miniature; pictures and masks of car-shadow",
    open_folder=_open_folder,
)
