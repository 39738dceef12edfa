"""Spring in small: stereo with the authors' names, HDF5 of double size, and maps."""

import h5py
import numpy as np
from PIL import Image

FOCUS = 2.5
BASELINE = 0.065
# The set's world is not the camera of its first frame.
WORLD_FROM_CLIP = np.array(
    [[0.0, -1.0, 0.0, 3.0], [0.6, 0.0, -0.8, -1.0], [0.8, 0.0, 0.6, 2.0], [0.0, 0.0, 0.0, 1.0]]
)


def write_miniature(root, clip, *, sequences=1):
    for number in range(1, sequences + 1):
        _write_sequence(root / "train" / f"{number:04d}", clip)


def _write_sequence(folder, clip):
    cameras = folder / "cam_data"
    cameras.mkdir(parents=True)
    from_world = [np.linalg.inv(WORLD_FROM_CLIP @ pose) for pose in clip.world_from_camera]
    np.savetxt(cameras / "extrinsics.txt", np.reshape(from_world, (-1, 16)), fmt="%.17g")
    lenses = [(k[0, 0], k[1, 1], k[0, 2], k[1, 2]) for k in clip.intrinsics]
    np.savetxt(cameras / "intrinsics.txt", lenses, fmt="%.17g")
    np.savetxt(cameras / "focaldistance.txt", np.full(clip.frame_count, FOCUS))
    for i in range(clip.frame_count):
        _save_png(folder, "frame_left", i, clip.images[i])
        sky = np.isnan(clip.depth[i])
        disparity = lenses[i][0] * BASELINE / clip.depth[i]
        _save_h5(folder, "disp1_left", i, "disparity", np.where(sky, 0.0, disparity))
        _save_map(folder, "skymap_left", i, sky, 2)
        for way, t in (("FW", i + 1), ("BW", i - 1)):
            if 0 <= t < clip.frame_count:
                _write_motion(folder, clip, way, i, t)


def _write_motion(folder, clip, way, i, t):
    height, width = clip.image_hw
    fx, fy, cx, cy = (clip.intrinsics[t][at] for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    there = np.linalg.inv(clip.world_from_camera[t])
    x, y, z = np.moveaxis(clip.points[t, i] @ there[:3, :3].T + there[:3, 3], -1, 0)
    # The film's sky flows as if it were infinitely far away.
    sky = np.isnan(z)
    u, v = (np.where(sky, 3.0, c) for c in (fx * x / z + cx, fy * y / z + cy))
    flow = np.stack([u - np.arange(width) - 0.5, v - np.arange(height)[:, None] - 0.5], axis=-1)
    _save_h5(folder, f"flow_{way}_left", i, "flow", flow)
    disparity = np.where(sky, 0.0, np.where(z > 0, fx * BASELINE / z, np.nan))
    _save_h5(folder, f"disp2_{way}_left", i, "disparity", disparity)
    _save_map(folder, f"rigidmap_{way}_left", i, moved(clip, i, t), 2)
    _save_map(folder, f"matchmap_flow_{way}_left", i, ~clip.visible[t, i], 1)


def moved(clip, i, t):
    """What of frame i is elsewhere in the world at time t."""
    return np.linalg.norm(clip.points[t, i] - clip.points[i, i], axis=-1) > 1e-3


def _save_h5(folder, part, i, key, values):
    """Twice as high and wide; what lies between the values is another surface."""
    double = np.repeat(np.repeat(1.5 * values + 1.0, 2, axis=0), 2, axis=1)
    double[::2, ::2] = values
    path = folder / part / f"{part}_{i + 1:04d}.{'flo5' if key == 'flow' else 'dsp5'}"
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=double.astype(np.float32), compression="gzip")


def _save_map(folder, part, i, values, times):
    double = np.repeat(np.repeat(~values, times, axis=0), times, axis=1)
    double[::times, ::times] = values
    _save_png(folder / "maps", part, i, double)


def _save_png(folder, part, i, values):
    path = folder / part / f"{part}_{i + 1:04d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
