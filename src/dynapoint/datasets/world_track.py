"""WorldTrack (St4RTrack, Feng et al., ICCV 2025) as it is downloaded.

Layout: `{po,ds,adt,pstudio}_mini/*.npz` and `tum/*.npz`; `track_npz` says what a file holds, and
what of that is UNCONFIRMED. A set is one of these folders, so each has its key. Known from
St4RTrack's public code: `data/construct_{po,ds,tum}_bench.py`, which write `po_mini` (PointOdyssey,
every 8th track), `ds_mini` (Dynamic Replica, every 25th) and `tum` (no tracks) with depth and
poses, clips of up to 128 frames; `dust3r/datasets/tapvid3d.py`, which reads them. `adt_mini` and
`pstudio_mini` are files of TAPVid-3D; `pstudio_mini` has no poses, and the code takes the identity.

UNCONFIRMED: which clips the released `*_mini` folders hold (the code writes all); whether
`adt_mini` has poses: where a file has none, its tracks are refused.
"""

from functools import partial
from pathlib import Path

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.datasets.track_npz import clips_in

FOLDERS = {
    "worldtrack-po": ("po_mini", "WorldTrack PointOdyssey"),
    "worldtrack-ds": ("ds_mini", "WorldTrack Dynamic Replica"),
    "worldtrack-adt": ("adt_mini", "WorldTrack Aria Digital Twin"),
    "panoptic": ("pstudio_mini", "WorldTrack Panoptic Studio"),
    "worldtrack-tum": ("tum", "WorldTrack TUM RGB-D"),
}
"""Folder and title by key."""


def _open_folder(key: str, root: Path, split: str) -> list[TruthSequence]:
    del split
    folder = FOLDERS[key][0]
    return [*clips_in(root / folder, f"{folder}/*.npz", key, still_camera=key == "panoptic")]


CARDS = tuple(
    DatasetCard(
        key=key,
        title=title,
        source="Feng et al., St4RTrack, ICCV 2025; st4rtrack.github.io",
        licence="for research; as the sets that it is made of say",
        splits=("test",),
        layout=f"{folder}/*.npz",
        proven="miniature",
        open_folder=partial(_open_folder, key),
    )
    for key, (folder, title) in FOLDERS.items()
)
