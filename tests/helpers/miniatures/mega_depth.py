"""Photographs in the folder that DUSt3R's preprocess_megadepth.py leaves, with a list of pairs."""

import numpy as np

from miniatures.exr_views import centres_at_integers, write_view

ROW = [("scene_id", "<i8"), ("im1_id", "<i8"), ("im2_id", "<i8"), ("score", "<f4")]
PARTS = ("0001 0", "0001 1", "0005 0", "0007 2")
PART_OF_VAL = "0022 0"


def cropped(picture, frame):
    """No two neighbours have the same size, and every third stands upright."""
    height, width = picture.shape[:2]
    return picture[: height - frame % 2, : height - 6 if frame % 3 == 0 else width]


def write_miniature(root, clip, *, sequences=1):
    """So many parts of scenes of "train" and one of "val"; part k begins at frame k of the clip."""
    parts = [*PARTS[:sequences], PART_OF_VAL]
    images, pairs = [], []
    for part, words in enumerate(parts):
        folder = root / words.replace(" ", "/")
        folder.mkdir(parents=True)
        before = len(images)
        for frame in np.roll(np.arange(clip.frame_count), -part):
            name = f"{5978745 + frame}_{part}b1cb_o.jpg"
            images.append(name)
            write_view(
                folder,
                name,
                cropped(clip.images[frame], frame),
                cropped(clip.depth[frame], frame),
            )
            np.savez(
                folder / f"{name}.npz",
                intrinsics=centres_at_integers(clip.intrinsics[frame]),
                cam2world=clip.world_from_camera[frame],
            )
        pairs += [(part, before + i, before + i + 1, 0.5) for i in range(clip.frame_count - 1)]
    shuffled = np.random.default_rng(0).permutation(len(pairs))
    np.savez(
        root / "all_metadata.npz",
        scenes=np.array(parts),
        images=np.array(images),
        pairs=np.array(pairs, dtype=ROW)[shuffled],
    )
