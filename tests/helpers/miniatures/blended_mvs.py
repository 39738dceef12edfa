"""Scenes in the folder that DUSt3R's preprocess_blendedMVS.py leaves, with its list of pairs."""

import numpy as np

from miniatures.exr_views import centres_at_integers, write_view

HIGH = 0x5A3CA9CB
# The last decimal digit of a scene's low number decides on its split: 0 is "val".
LOW_OF_VAL = 0x270863564218AEBA // 10 * 10
ROW = [("seq_high", "<u4"), ("seq_low", "<u8"), ("img1", "<u4"), ("img2", "<u4"), ("score", "<f4")]


def write_miniature(root, clip, *, sequences=1):
    """So many scenes of "train" and one of "val"; scene k begins at frame k of the clip."""
    rows = []
    for scene in range(sequences + 1):
        low = LOW_OF_VAL if scene == sequences else LOW_OF_VAL + 1 + scene
        folder = root / f"{HIGH:08x}{low:016x}"
        folder.mkdir(parents=True)
        for number, frame in enumerate(np.roll(np.arange(clip.frame_count), -scene)):
            write_view(folder, f"{number:08d}", clip.images[frame], clip.depth[frame])
            pose = clip.world_from_camera[frame].astype(np.float32)
            np.savez(
                folder / f"{number:08d}.npz",
                intrinsics=centres_at_integers(clip.intrinsics[frame]).astype(np.float32),
                R_cam2world=pose[:3, :3],
                t_cam2world=pose[:3, 3],
            )
        rows += [(HIGH, low, i, i + 1, 0.5) for i in range(clip.frame_count - 1)]
    # The published list is not sorted by scene.
    shuffled = np.random.default_rng(0).permutation(len(rows))
    np.save(root / "blendedmvs_pairs.npy", np.array(rows, dtype=ROW)[shuffled])
