"""Folders of photographs for the data engine's materials (`synthetic.photographs`)."""

from pathlib import Path

import torch
from torch.nn import functional

from dynapoint.errors import InputError
from dynapoint.synthetic.photographs import SIDE, Photographs, stacked_levels

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

# Display values become linear light by a power of 2.2, as those of materials do.
_GAMMA = 2.2


def photograph_paths(folder: Path) -> list[Path]:
    """All pictures below a folder, in the order of their names; raises InputError without any."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(
            f"{folder} holds no pictures ({', '.join(SUFFIXES)}); give a folder of photographs"
        )
    return paths


def read_photographs(folder: Path, *, device: torch.device | str = "cpu") -> Photographs:
    """Read all pictures below a folder onto a device; of each its square middle is used.

    Raises:
        InputError: There is none, or one cannot be read.
    """
    # A machine that only trains may lack Pillow.
    from dynapoint.datasets.files import read_picture  # noqa: PLC0415

    pictures = []
    for path in photograph_paths(folder):
        picture = torch.from_numpy(read_picture(path))
        height, width = picture.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = picture[top : top + side, left : left + side].permute(2, 0, 1).float() / 255
        linear = square[None] ** _GAMMA
        pictures.append(
            functional.interpolate(linear, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        )
    return stacked_levels(torch.cat(pictures).to(device))
