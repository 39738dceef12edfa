"""MPI Sintel in small: both renderings, depth, cameras and rigidity maps."""

import struct

import numpy as np
from PIL import Image

# The set's world is not the camera of its first frame.
WORLD_FROM_CLIP = np.array(
    [[0.28, 0.0, 0.96, -4.0], [0.96, 0.0, -0.28, 1.0], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 0.0, 1.0]]
)
NAMES = ("alley_1", "ambush_4", "market_2")
SKIES = (1e11, 2600.0)


def write_miniature(root, clip, *, sequences=1):
    for name in NAMES[:sequences]:
        for i in range(clip.frame_count):
            _save_png(root, "final", name, i, clip.images[i])
            # Without grain and fog it looks a little different.
            _save_png(root, "clean", name, i, 255 - clip.images[i])
            z = clip.depth[i]
            z = np.where(np.isnan(z), SKIES[i % 2], z).astype("<f4")
            height, width = z.shape
            head = struct.pack("<fii", 202021.25, width, height)
            _path(root, "depth", name, i, "dpt").write_bytes(head + z.tobytes())
            _write_camera(root, clip, name, i)
            if i + 1 < clip.frame_count:
                moved = np.linalg.norm(clip.points[i + 1, i] - clip.points[i, i], axis=-1) > 1e-6
                _save_png(root, "rigidity", name, i, np.where(moved, 0, 255).astype(np.uint8))


def _write_camera(root, clip, name, i):
    lens = clip.intrinsics[i].copy()
    lens[0, 2] -= 0.5
    lens[1, 2] -= 0.5
    from_world = np.linalg.inv(WORLD_FROM_CLIP @ clip.world_from_camera[i])[:3]
    numbers = [*lens.ravel(), *from_world.ravel()]
    content = struct.pack("<f21d", 202021.25, *numbers)
    _path(root, "camdata_left", name, i, "cam").write_bytes(content)


def _save_png(root, part, name, i, values):
    Image.fromarray(values).save(_path(root, part, name, i, "png"))


def _path(root, part, name, i, suffix):
    path = root / "training" / part / name / f"frame_{i + 1:04d}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
