"""Masks of what is to be ignored: pictures that are not zero there."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image

from dynapoint.data.images import is_image_path, open_image, same_aspect
from dynapoint.data.memory import require_room
from dynapoint.data.names import natural_order, readable
from dynapoint.errors import InputError


def read_ignore_masks(
    folder: Path,
    *,
    file_names: tuple[str, ...] | None,
    index: Int64[np.ndarray, " frame"],
    source_count: int | None,
    picture_hw: Int64[np.ndarray, "frame hw=2"],
) -> Bool[np.ndarray, "frame height width"]:
    """Masks of the frames used, at the frames' sizes, true where they are to be ignored.

    Masks named like the frames' files belong to these (`0001.png` or `0001.jpg.png` to
    `0001.jpg`), and every frame used must then have one. Otherwise the masks in natural order
    belong to the frames of the source (or to those used) in their order.

    Args:
        folder: Images of the frames' sizes, or smaller or larger ones of the same aspect.
        file_names: Names of the frames' files, if they are images.
        index: Which frame of the source each frame used is.
        source_count: How many frames the source has.
        picture_hw: The size of each frame.

    Raises:
        InputError: The folder is missing or empty, a mask is missing, damaged or of another shape,
            or the number of masks is not that of the frames.
    """
    paths = masks_of_frames(folder, file_names=file_names, index=index, source_count=source_count)
    high, wide = picture_hw.max(axis=0).tolist()
    require_room(len(index), (high, wide), what="masks", bytes_per_pixel=1)
    masks = np.zeros((len(index), high, wide), dtype=bool)
    for place, path, (height, width) in zip(masks, paths, picture_hw.tolist(), strict=True):
        place[:height, :width] = read_mask(path, (height, width))
    return masks


def masks_of_frames(
    folder: Path,
    *,
    file_names: tuple[str, ...] | None,
    index: Int64[np.ndarray, " frame"],
    source_count: int | None,
) -> list[Path]:
    """The file of each frame's mask, as `read_ignore_masks` finds them; raises what it raises."""
    found = mask_files(folder)
    return _named_like(found, file_names, folder) or _numbered(found, index, source_count, folder)


def mask_files(folder: Path) -> list[Path]:
    """The images in a folder of masks in natural order; raises InputError where there are none."""
    if not folder.is_dir():
        raise InputError(
            f"folder of masks {folder} does not exist or is a file; give a folder of images"
        )
    try:
        files = [path for path in folder.iterdir() if path.name[0] != "."]
    except OSError as error:
        raise InputError(f"folder of masks {folder} cannot be listed: {error.strerror}") from error
    found = natural_order([path for path in files if is_image_path(path)]).paths
    if not found:
        raise InputError(f"folder of masks {folder} holds no image; give one for each frame")
    return found


def _named_like(
    found: list[Path], file_names: tuple[str, ...] | None, folder: Path
) -> list[Path] | None:
    """A mask for each frame by its file's name; None if no mask is named like a frame."""
    by_name = {_plain(readable(path.stem)): path for path in found}
    names = [_plain(name) for name in file_names or ()]
    if not any(name in by_name for name in names):
        return None
    for name, file_name in zip(names, file_names or (), strict=True):
        if name not in by_name:
            raise InputError(
                f"frame {file_name} has no mask in {folder}; add one, black where nothing is to "
                "be ignored"
            )
    return [by_name[name] for name in names]


def _plain(name: str) -> str:
    """A file's name without the suffix of an image."""
    return Path(name).stem if is_image_path(Path(name)) else name


def _numbered(
    found: list[Path], index: Int64[np.ndarray, " frame"], source_count: int | None, folder: Path
) -> list[Path]:
    """A mask for each frame by its place in the natural order."""
    unnumbered = next((path for path in found if not re.search(r"\d", path.stem)), None)
    if unnumbered is not None and len(found) > 1:
        raise InputError(
            f"mask {unnumbered} is neither named like a frame nor numbered; name masks like the "
            "frames' files or number them"
        )
    if len(found) == source_count:
        return [found[each] for each in index]
    if len(found) == len(index):
        return found
    raise InputError(
        f"folder of masks {folder} holds {len(found)} images for {source_count} frames; give one "
        "for each frame of the source"
    )


def read_mask(path: Path, picture_hw: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """One mask at the size of its frame.

    Raises:
        InputError: It is damaged, or of another shape.
    """
    image = open_image(path)
    if image.mode in {"P", "L", "1"} or image.mode[0] in "IF":
        # The numbers of a palette are labels, whatever their colours.
        values = np.asarray(image)
        mask = np.nan_to_num(values) != 0
    else:
        rgba = np.asarray(image.convert("RGBA"))
        mask = rgba[..., :3].any(axis=-1) & (rgba[..., 3] > 0)
    height, width = picture_hw
    if mask.shape == picture_hw:
        return mask
    if not same_aspect((mask.shape[0], mask.shape[1]), picture_hw):
        raise InputError(
            f"mask {path} is {mask.shape[1]}x{mask.shape[0]} but its frame is {width}x{height}; "
            "give masks of the frames' size"
        )
    resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(resized, dtype=bool)
