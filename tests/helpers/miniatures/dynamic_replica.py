"""Dynamic Replica's layout, from an engine clip."""

import gzip
import json

import numpy as np
import torch
from PIL import Image

from miniatures.followed import followed, moved, slanted_world

BASELINE = 0.1


def write_miniature(root, clip, *, sequences=1):
    for split in ("test", "valid", "train"):
        entries = []
        for k in range(sequences):
            for side in ("left", "right"):
                entries += _write_camera(root / split, f"{k}a{k}b00-{k + 3}_obj", side, clip)
        with gzip.open(root / split / f"frame_annotations_{split}.jgz", "wt") as stream:
            # The list has no promised order.
            json.dump(entries[::-1], stream)


def _write_camera(folder, sequence, side, clip):
    name = f"{sequence}_source_{side}"
    for kind in ("images", "depths", *(["trajectories"] if side == "left" else [])):
        (folder / name / kind).mkdir(parents=True)
    world = slanted_world()
    _, _, places, seen = followed(clip)
    height, width = clip.image_hw
    entries = []
    for t in range(clip.frame_count):
        image = f"{name}/images/{name}-{t:04d}.png"
        depth = f"{name}/depths/{name}_{t:04d}.geometric.png"
        alpha = np.full((height, width, 1), 30 + t, np.uint8)
        Image.fromarray(np.concatenate([clip.images[t], alpha], axis=-1)).save(folder / image)
        halves = np.where(np.isnan(clip.depth[t]), -0.0, clip.depth[t]).astype(np.float16)
        Image.fromarray(halves.view(np.uint16)).save(folder / depth)
        pose = world @ clip.world_from_camera[t]
        if side == "right":
            pose = pose @ np.array(
                [[1, 0, 0, BASELINE], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]
            )
        # PyTorch3D: rows times R plus T; x to the left, y up.
        camera_axes = pose[:3, :3] * [-1, -1, 1]
        lens, half = clip.intrinsics[t], min(width, height) / 2
        entry = {
            "sequence_name": sequence,
            "frame_number": t,
            "frame_timestamp": t / 30,
            "camera_name": side,
            "image": {"path": image, "size": [height, width]},
            "depth": {"path": depth, "scale_adjustment": 1.0, "mask_path": None},
            "viewpoint": {
                "R": camera_axes.tolist(),
                "T": (-pose[:3, 3] @ camera_axes).tolist(),
                "focal_length": [lens[0, 0] / half, lens[1, 1] / half],
                "principal_point": [
                    (width / 2 - lens[0, 2]) / half,
                    (height / 2 - lens[1, 2]) / half,
                ],
                "intrinsics_format": "ndc_isotropic",
            },
        }
        if side == "left":
            path = f"{name}/trajectories/{t:06d}.pth"
            entry["trajectories"] = {"path": path}
            torch.save(
                {
                    "img": torch.from_numpy(clip.images[t].copy()),
                    "instances": torch.ones(len(seen[t]), dtype=torch.int64),
                    "traj_2d": torch.zeros(len(seen[t]), 3),
                    "traj_3d_world": torch.from_numpy(moved(world, places[t])).float(),
                    "verts_inds_vis": torch.from_numpy(seen[t].copy()),
                },
                folder / path,
            )
        entries.append(entry)
    return entries
