"""Rooms in the folder that DUSt3R's preprocess_scannetpp.py leaves."""

import numpy as np
from PIL import Image

SCENES = ("0a5c013435", "1ada7a0617", "27dd4da69e")


def frames_of(clip, scene):
    """Scene k begins at frame k of the clip, so that rows of two scenes are not the same."""
    return np.roll(np.arange(clip.frame_count), -scene)


def view(clip, frame):
    """Picture and depth; what the phone took (odd frames) is smaller than the other camera's."""
    height, width = clip.image_hw
    rows, columns = (height - 2, width - 4) if frame % 2 else (height, width)
    return clip.images[frame, :rows, :columns], clip.depth[frame, :rows, :columns]


def write_miniature(root, clip, *, sequences=1):
    told = {"images": [], "intrinsics": [], "trajectories": [], "pairs": [], "sceneids": []}
    for scene in range(sequences):
        folder = root / SCENES[scene]
        (folder / "images").mkdir(parents=True)
        (folder / "depth").mkdir()
        names = []
        for frame in frames_of(clip, scene):
            name = f"frame_{frame:06d}" if frame % 2 else f"DSC{frame:05d}"
            picture, z = view(clip, frame)
            Image.fromarray(picture).save(
                folder / "images" / f"{name}.jpg", quality=100, subsampling=0
            )
            millimetres = np.nan_to_num(z * 1000).clip(0, 65535).astype(np.uint16)
            Image.fromarray(millimetres).save(folder / "depth" / f"{name}.png")
            names.append(name)
        count = len(names)
        pairs = np.array([[i, (i + 2) % count, 0.25] for i in range(count)])
        own = {
            "images": np.array(names),
            "intrinsics": clip.intrinsics[frames_of(clip, scene)],
            "trajectories": clip.world_from_camera[frames_of(clip, scene)],
            "pairs": pairs,
        }
        np.savez(folder / "scene_metadata.npz", **own)
        own["pairs"] = pairs + np.array([scene * count, scene * count, 0])
        own["sceneids"] = np.full(count, scene)
        for key, values in own.items():
            told[key].append(values)
    joined = {key: np.concatenate(values) for key, values in told.items()}
    np.savez(root / "all_metadata.npz", scenes=np.array(SCENES[:sequences]), **joined)
