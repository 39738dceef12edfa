"""The archives of DAVIS 2016 and 2017."""

import numpy as np
from PIL import Image

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def write_miniature(root, clip, *, sequences=1, year="2017"):
    """Sequences seq-0 …: of 2017 with palettes and the numbers of objects, of 2016 in grey."""
    names = [f"seq-{number}" for number in range(sequences)]
    for name in names:
        pictures, masks = root / "JPEGImages/480p" / name, root / "Annotations/480p" / name
        pictures.mkdir(parents=True)
        masks.mkdir(parents=True)
        for frame, picture in enumerate(clip.images):
            Image.fromarray(picture).save(pictures / f"{frame:05d}.jpg", quality=95)
            write_mask(masks / f"{frame:05d}.png", objects_of(clip, frame), year)
    lists = root / "ImageSets" / ("2017" if year == "2017" else "480p")
    lists.mkdir(parents=True)
    for part in ("train", "val"):
        (lists / f"{part}.txt").write_text("\n".join(_lines(names, clip, year)) + "\n")


def objects_of(clip, frame):
    """1, 2 … for the bodies that move, in the order of their numbers; 0 for all else."""
    moving = sorted(set(clip.instance[clip.moving].tolist()))
    numbers = np.zeros(clip.image_hw, np.uint8)
    for index, body in enumerate(moving):
        numbers[(clip.instance[frame] == body) & clip.moving[frame]] = index + 1
    return numbers


def write_mask(path, numbers, year):
    if year == "2017":
        mask = Image.fromarray(numbers)
        mask.putpalette(PALETTE + [200] * (768 - len(PALETTE)))
    else:
        mask = Image.fromarray(np.where(numbers > 0, 255, 0).astype(np.uint8))
    mask.save(path)


def _lines(names, clip, year):
    if year == "2017":
        return names
    return [
        f"/JPEGImages/480p/{name}/{frame:05d}.jpg /Annotations/480p/{name}/{frame:05d}.png"
        for name in names
        for frame in range(clip.frame_count)
    ]
