"""One folder in the form of the TUM RGB-D benchmark."""

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

START_S = 1341846313.5922
RATE_HZ = 30
DEPTH_LATER_S = 0.004
POSE_LATER_S = 0.003


def _save(folder, kind, time, values):
    name = f"{kind}/{time:.6f}.png"
    Image.fromarray(values).save(folder / name)
    return f"{time:.6f} {name}\n"


def write_folder(folder, clip, world_from_sensor, *, picture_before=False, without_depth=()):
    """Pictures at 30 Hz, depth 4 ms and the right poses 3 ms after them, wrong poses around.

    The list of depth begins one frame early. `picture_before` puts a picture a second before the
    first pose; frames of `without_depth` have none.
    """
    for kind in ("rgb", "depth"):
        (folder / kind).mkdir(parents=True)
    rgb = ["# color images\n", "# file: 'made up.bag'\n", "# timestamp filename\n"]
    depth = ["# depth maps\n", "# file: 'made up.bag'\n", "# timestamp filename\n"]
    poses = ["# ground truth trajectory\n", "# timestamp tx ty tz qx qy qz qw\n"]
    if picture_before:
        rgb.append(_save(folder, "rgb", START_S - 1, 255 - clip.images[0]))
    early = np.full(clip.image_hw, 5000, np.uint16)
    depth.append(_save(folder, "depth", START_S - 1 / RATE_HZ + DEPTH_LATER_S, early))
    for frame in range(clip.frame_count):
        time = START_S + frame / RATE_HZ
        rgb.append(_save(folder, "rgb", time, clip.images[frame]))
        if frame not in without_depth:
            units = np.nan_to_num(clip.depth[frame] * 5000)
            units = np.where(units > 65535, 0, units).round().astype(np.uint16)
            depth.append(_save(folder, "depth", time + DEPTH_LATER_S, units))
        place = world_from_sensor[frame][:3, 3]
        turn = Rotation.from_matrix(world_from_sensor[frame][:3, :3]).as_quat()
        for later, wrong in ((-0.012, 1), (POSE_LATER_S, 0), (0.015, -1)):
            numbers = " ".join(f"{value:.9f}" for value in (*(place + wrong), *turn))
            poses.append(f"{time + later:.6f} {numbers}\n")
    (folder / "rgb.txt").write_text("".join(rgb))
    (folder / "depth.txt").write_text("".join(depth))
    (folder / "groundtruth.txt").write_text("".join(poses))
