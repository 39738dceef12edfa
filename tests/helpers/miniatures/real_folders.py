"""Folders of real pictures with cameras.json, with depth PNGs or LiDAR points."""

import json

import numpy as np
from PIL import Image

UNIT = 1000


def write_miniature(root, clip, *, sequences=1):
    """Folders room_0 …: depth in millimetres, poses, masks, scene flow of frame 0 to frame 1."""
    for number in range(sequences):
        folder = root / f"room_{number}"
        for name in ("images", "depth", "masks"):
            (folder / name).mkdir(parents=True)
        told = []
        for frame in range(clip.frame_count):
            z = np.nan_to_num(clip.depth[frame] * UNIT).round()
            name = f"{frame:05d}.png"
            Image.fromarray(np.clip(z, 0, 65535).astype(np.uint16)).save(folder / "depth" / name)
            mask = np.where(clip.moving[frame], 255, 0).astype(np.uint8)
            Image.fromarray(mask).save(folder / "masks" / name)
            told.append({**frame_of(clip, frame, folder), "depth": f"depth/{name}"})
        write_told(folder, told, depth=f"uint16 PNG, depth_m = value/{UNIT}, 0 = no measurement")
        flow = clip.points[1, 0] - clip.points[0, 0]
        np.savez(folder / "scene_flow_world_00000_to_00001.npz", flow=flow.astype(np.float32))


def write_lidar(folder, clip, *, points, number, poses):
    """A folder whose frames hold the same world points, some in boxes.

    `points[t, k]` is where point k is at time t, `number[k]` its object's (0: none), `poses` the
    objects' poses by number, each (frame, 4, 4), NaN where there is no box.
    """
    (folder / "images").mkdir(parents=True)
    (folder / "lidar").mkdir()
    told = []
    for frame in range(clip.frame_count):
        camera_from_world = np.linalg.inv(clip.world_from_camera[frame])
        camera = points[frame] @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        image = camera @ clip.intrinsics[frame].T
        with np.errstate(divide="ignore", invalid="ignore"):
            uv = image[:, :2] / image[:, 2:] - 0.5
        np.savez(folder / f"lidar/{frame:05d}.npz", uv=uv, z=camera[:, 2], instance=number)
        boxes = [
            {"instance": key, "cls": "Car", "T_wo": each[frame].tolist()}
            for key, each in poses.items()
            if np.isfinite(each[frame]).all()
        ]
        told.append(
            {**frame_of(clip, frame, folder), "lidar": f"lidar/{frame:05d}.npz", "boxes": boxes}
        )
    write_told(folder, told)


def frame_of(clip, frame, folder):
    """Write a picture and say what cameras.json says of it, pixel centres at integers."""
    name = f"images/{frame:05d}.png"
    Image.fromarray(clip.images[frame]).save(folder / name)
    lens = clip.intrinsics[frame]
    return {
        "file": name,
        "K_fx_fy_cx_cy": [lens[0, 0], lens[1, 1], lens[0, 2] - 0.5, lens[1, 2] - 0.5],
        "T_wc": clip.world_from_camera[frame].tolist(),
    }


def write_told(folder, frames, **more):
    told = {"units": "metres", "pose_source": "motion capture", "frames": frames, **more}
    (folder / "cameras.json").write_text(json.dumps(told))
