"""Clips in the format of the rendered bench."""

import numpy as np
from PIL import Image


def write_miniature(root, clip, *, sequences=1, stride=1, points_type=np.float32):
    """Write clip_000 …, with truth at every `stride`-th pixel."""
    inner = (..., slice(stride // 2, None, stride), slice(stride // 2, None, stride))
    instance = np.where(clip.instance < 0, 255, clip.instance % 100 + 100 * clip.moving)
    for number in range(sequences):
        folder = root / f"clip_{number:03d}"
        folder.mkdir(parents=True)
        for frame, picture in enumerate(clip.images):
            Image.fromarray(picture).save(folder / f"rgb_{frame:02d}.png")
        np.savez_compressed(
            folder / "gt.npz",
            points=np.moveaxis(np.moveaxis(clip.points, -1, 0)[inner], 0, -1).astype(points_type),
            visible=clip.visible[inner],
            instance=instance[inner].astype(np.uint8),
            K=clip.intrinsics[0],
            world_from_camera=clip.world_from_camera,
            stride=np.int64(stride),
        )
