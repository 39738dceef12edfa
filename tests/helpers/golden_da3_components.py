"""Single parts of Depth Anything 3 against stored inputs and outputs (golden_components.py)."""

import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dynapoint.data.frames import load_frames
from dynapoint.geometry.quaternion import quaternion_xyzw_from_matrix
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.inference.prepare import prepare_images
from dynapoint.models.da3.camera_parts import encoded_cameras, intrinsics_of, normalised_cameras
from dynapoint.models.da3.ray_cameras import cameras_from_rays
from dynapoint.models.da3.reference_view import Strategy, chosen_view, order_with_first
from dynapoint.models.layers.dino import normalised
from dynapoint.models.layers.dpt_head import with_positions
from dynapoint.models.layers.pose_encoding import camera_from_world

Arrays = dict[str, Tensor]
ASPECTS = {"8x5_16": 112 / 70, "5x8_24": 70 / 112, "20x12_32": 1.7, "3x3_8": 1.0}
"""The aspect ratios of the images; components.json has them in words."""


def pose_encoding(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """Quaternions; cameras from encodings and the way back, for images of 112 x 84."""
    size_hw, encoding = (84, 112), stored["in_pose_enc"]
    world_from_camera = camera_from_world(encoding)
    pose, lens = invert_rigid(world_from_camera), intrinsics_of(encoding, size_hw)
    # The public code takes rotations apart in the precision of what it is given.
    rotations = stored["in_rotations"].double()
    return {
        "quaternions": quaternion_xyzw_from_matrix(rotations),
        "c2w": world_from_camera[..., :3, :],
        "extrinsics": pose[..., :3, :],
        "intrinsics": lens,
        "pose_enc_back": encoded_cameras(pose, lens, size_hw),
    }


def normalize_extrinsics(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """Cameras relative to the first one, in units of their median distance."""
    return {
        "normalised": normalised_cameras(stored["in_extrinsics"]),
        "close": normalised_cameras(stored["in_close"]),
    }


def reference_view(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The view that each strategy chooses, and class tokens in the order that follows."""
    ours = {}
    for name, tokens in stored.items():
        if name.startswith("in_tokens_"):
            views, seen = name.removeprefix("in_tokens_"), tokens[:, :, 0]
            for strategy in get_args(Strategy):
                ours[f"{strategy}_{views}"] = chosen_view(seen, strategy)
            ours[f"saddle_sim_range_{views}"] = _theirs_where_level(
                ours[f"saddle_sim_range_{views}"], stored[f"out_saddle_sim_range_{views}"], seen
            )
            order, _ = order_with_first(chosen_view(seen), seen.shape[1])
            ours[f"reordered_{views}"] = seen[torch.arange(len(seen))[:, None], order]
    return ours


def _theirs_where_level(ours: Tensor, theirs: Tensor, tokens: Tensor) -> Tensor:
    """Our choices by range of likeness, but theirs where both have the widest range of all.

    Where each view is alike to all others, the least of its likenesses is the nothing that is left
    of its own, and the two views most alike have the same range. Which one is taken is up to the
    processor's rounding.
    """
    unit = torch.nn.functional.normalize(tokens.double(), dim=-1)
    others = unit @ unit.mT - torch.eye(tokens.shape[1], dtype=torch.float64)
    ranges = others.amax(dim=-1) - others.amin(dim=-1)
    widest = ranges >= ranges.amax(dim=-1, keepdim=True) - 1e-6
    both = widest.gather(1, ours[:, None]) & widest.gather(1, theirs.long()[:, None])
    return torch.where(both[:, 0], theirs.long(), ours)


def uv_embed(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The heads' embedding of places."""
    ours = {}
    for name, theirs in stored.items():
        rows, columns, channels = theirs.shape
        empty = torch.zeros(1, channels, rows, columns, dtype=dtype)
        aspect = ASPECTS[name.removeprefix("out_")]
        ours[name.removeprefix("out_")] = with_positions(empty, aspect)[0].permute(1, 2, 0)
    return ours


def ray_pose(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """Cameras from exact rays of images of 112 x 84."""
    ours = {}
    for case in ("centred", "off_centre"):
        found = cameras_from_rays(
            stored[f"in_ray_{case}"], stored[f"in_ray_conf_{case}"], (84, 112)
        )
        ours[f"extrinsics_{case}"] = invert_rigid(found.world_from_camera)[..., :3, :]
        ours[f"intrinsics_{case}"] = found.intrinsics
    return ours


def preprocess(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """Pictures as the network gets them, and intrinsics with them, for a longer side of 112."""
    ours = {}
    batches = {f"{case}_resize": [case] for case in info["cases"] if f"in_{case}" in stored}
    if "out_mixed_batch" in stored:
        batches["mixed_batch"] = ["down_area", "portrait"]
    with tempfile.TemporaryDirectory() as folder:
        for name, cases in batches.items():
            paths = [Path(folder, f"{case}.png") for case in cases]
            for path, case in zip(paths, cases, strict=True):
                Image.fromarray(stored[f"in_{case}"].numpy()).save(path)
            prepared = prepare_images(
                load_frames(paths, one_size=False),
                how="published",
                image_side=112,
                patch_size=14,
                published="da3",
            )
            given = np.stack([stored[f"in_K_{case}"].numpy() for case in cases])
            lenses = torch.from_numpy(prepared.pixel_map.map_from_image @ given)
            images = normalised(prepared.images[0])
            one = len(cases) == 1
            ours[name] = images[0] if one else images
            ours[f"K_{name}"] = lenses[0] if one else lenses
    return ours


def nothing(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """For what is not built."""
    return {}
