"""TAPVid-3D's layout, from an engine clip."""

import numpy as np

from miniatures.followed import followed, jpeg, moved, slanted_world


def write_miniature(root, clip, *, sequences=1):
    for k in range(sequences):
        write_clip(root / "drivetrack" / f"tapvid3d_{k}_000_1_Ab-c_d.npz", clip, poses=True)
        write_clip(root / "adt" / f"Apartment_release_clean_seq14{k}_3.npz", clip, poses=True)
        write_clip(root / "pstudio" / f"basketball_{k}.npz", clip, poses=False)


def write_clip(path, clip, *, poses, depth=False, tracks=True, farthest=np.inf):
    """One file; without poses the camera stands still, and all else moves about it instead."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row, column, places, seen = followed(clip)
    cameras = np.linalg.inv(clip.world_from_camera)
    lens = clip.intrinsics[0]
    arrays = {
        "images_jpeg_bytes": [jpeg(picture) for picture in clip.images],
        "fx_fy_cx_cy": np.array([lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]]),
    }
    if tracks:
        arrays["tracks_XYZ"] = np.stack([moved(c, p) for c, p in zip(cameras, places, strict=True)])
        arrays["visibility"] = seen
        zero = np.zeros_like(row)
        arrays["queries_xyt"] = np.stack([column + 0.5, row + 0.5, zero], axis=-1)
    else:
        arrays["visibility"] = np.isfinite(clip.depth)
    if poses:
        arrays["extrinsics_w2c"] = cameras @ np.linalg.inv(slanted_world())
    if depth:
        arrays["depth_map"] = np.where(np.isnan(clip.depth), farthest, clip.depth).astype("f4")
    np.savez_compressed(path, **arrays)
