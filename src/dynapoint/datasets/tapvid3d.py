"""TAPVid-3D (Koppula et al., NeurIPS 2024) as its generators write it.

Layout: `{drivetrack,adt,pstudio}/*.npz`, the three sources as splits; `track_npz` says what a file
holds, and what of that is UNCONFIRMED. The list "minival" is a matter of what was downloaded: all
files that are there are read.

DriveTrack's files hold poses; those of Aria Digital Twin do if they were made in 2025 or later
(pull request 137 of `google-deepmind/tapnet`), and without poses a moving camera's tracks have no
common world: they are refused. Panoptic Studio's cameras stand still (an author says so in issue
115), so their pose is the identity.
"""

from pathlib import Path

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.datasets.track_npz import clips_in

LAYOUT = "{drivetrack,adt,pstudio}/*.npz"


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The clips of a split, by name.

    Raises:
        InputError: There are none.
    """
    return [*clips_in(root / split, LAYOUT, "tapvid3d", still_camera=split == "pstudio")]


CARD = DatasetCard(
    key="tapvid3d",
    title="TAPVid-3D",
    source="Koppula et al., TAPVid-3D, NeurIPS 2024 (data sets); tapvid3d.github.io",
    licence="annotations CC BY 4.0; pictures as Aria Digital Twin, Waymo Open, Panoptic Studio say",
    splits=("drivetrack", "adt", "pstudio"),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
