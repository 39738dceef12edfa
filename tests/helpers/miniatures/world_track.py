"""WorldTrack's layout, from an engine clip."""

import numpy as np

from miniatures.tapvid3d import write_clip


def write_miniature(root, clip, *, sequences=1):
    for k in range(sequences):
        write_clip(
            root / "po_mini" / f"cab_e_3rd_{k}.npz", clip, poses=True, depth=True, farthest=1000.0
        )
        write_clip(
            root / "ds_mini" / f"fec65{k}-3_obj_source_left_1.npz", clip, poses=True, depth=True
        )
        write_clip(root / "adt_mini" / f"Apartment_release_meal_seq13{k}_1.npz", clip, poses=True)
        write_clip(root / "pstudio_mini" / f"juggle_{k}.npz", clip, poses=False)
        write_clip(
            root / "tum" / f"rgbd_dataset_freiburg3_sitting_xyz_{k}.npz",
            clip,
            poses=True,
            depth=True,
            tracks=False,
            farthest=np.float32(0),
        )
