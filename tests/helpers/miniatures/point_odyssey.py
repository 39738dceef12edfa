"""PointOdyssey's layout, from an engine clip."""

import shutil

import numpy as np
from PIL import Image

from miniatures.followed import followed, jpeg, moved, slanted_world

# Places that the set calls not valid, with what is written there.
NOT_VALID = ((1, 3), (4, 7))


def write_miniature(root, clip, *, sequences=1, types=np.float32):
    for k in range(sequences):
        _write_sequence(root / "test" / f"scene{k}_3rd", clip, types)
    for split in ("val", "train"):
        shutil.copytree(root / "test", root / split)


def _write_sequence(folder, clip, types):
    for name in ("rgbs", "depths", "masks", "normals"):
        (folder / name).mkdir(parents=True)
    for t in range(clip.frame_count):
        (folder / f"rgbs/rgb_{t:05d}.jpg").write_bytes(jpeg(clip.images[t]))
        (folder / f"normals/normal_{t:05d}.jpg").write_bytes(jpeg(clip.images[t]))
        far = np.where(np.isnan(clip.depth[t]), 1e10, clip.depth[t]).clip(0, 1000)
        levels = (far * 65535 / 1000).astype(np.uint16)
        Image.fromarray(levels).save(folder / f"depths/depth_{t:05d}.png")
        colours = (clip.instance[t, ..., None] + 1) * np.array([7, 31, 83])
        Image.fromarray(colours.astype(np.uint8)).save(folder / f"masks/mask_{t:05d}.png")
    world = slanted_world()
    _, _, places, seen = followed(clip)
    places = moved(world, places)
    extrinsics = np.linalg.inv(world @ clip.world_from_camera)
    camera = np.einsum("tij,tnj->tni", extrinsics[:, :3, :3], places) + extrinsics[:, None, :3, 3]
    picture = np.einsum("tij,tnj->tni", clip.intrinsics, camera)
    valid = np.ones(seen.shape, bool)
    for frame, track in NOT_VALID:
        valid[frame, track], places[frame, track] = False, 777
    arrays = {
        "trajs_2d": (picture[..., :2] / picture[..., 2:]).astype(types),
        "trajs_3d": places.astype(types),
        "valids": valid,
        "visibs": seen,
        "intrinsics": clip.intrinsics.astype(types),
        "extrinsics": extrinsics.astype(types),
    }
    np.savez(folder / "anno.npz", **arrays)
    np.savez(folder / "info.npz", **{key: np.array(a.shape) for key, a in arrays.items()})
