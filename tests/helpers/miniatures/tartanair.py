"""TartanAir in small. Its lens is fixed: depth of a clip with another is read as if of that."""

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

FOCAL_PER_WIDTH = 0.5
# North, east and down by the axes of the clip's first camera.
WORLD_FROM_CLIP = np.array(
    [[0.0, 0.0, 1.0, 20.0], [1.0, 0.0, 0.0, -5.0], [0.0, 1.0, 0.0, -1.5], [0.0, 0.0, 0.0, 1.0]]
)
SKY = 10000.0


def write_miniature(root, clip, *, sequences=1):
    for number in range(sequences):
        _write_sequence(root / "ocean" / ("Easy", "Hard")[number % 2] / f"P{number // 2:03d}", clip)


def _write_sequence(folder, clip):
    for part in ("image_left", "depth_left"):
        (folder / part).mkdir(parents=True)
    lines = []
    for i in range(clip.frame_count):
        Image.fromarray(clip.images[i]).save(folder / "image_left" / f"{i:06d}_left.png")
        z = np.nan_to_num(clip.depth[i], nan=SKY).astype(np.float32)
        np.save(folder / "depth_left" / f"{i:06d}_left_depth.npy", z)
        pose = WORLD_FROM_CLIP @ clip.world_from_camera[i]
        right, down, forward = pose[:3, :3].T
        turn = Rotation.from_matrix(np.stack([forward, right, down], axis=1))
        numbers = [*pose[:3, 3], *turn.as_quat()]
        lines.append(" ".join(f"{number:.9e}" for number in numbers))
    (folder / "pose_left.txt").write_text("\n".join(lines) + "\n")
