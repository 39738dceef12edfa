"""The sequences of the TUM RGB-D benchmark in which people sit or walk, of its third camera.

ROOT/rgbd_dataset_freiburg3_NAME with NAME such as `walking_xyz`, each in the form that `tum_format`
tells. Frames are all pictures that have a pose less than .02 s away, in the order of time; that
MonST3R's protocol (`datasets_preprocess/prepare_tum.py`) takes every third and at most 90 of them
is the protocol's business. Depth is the one nearest in time, less than .02 s away, or unknown.

Conventions, from the benchmark's page on file formats: poses are of the colour camera's optical
centre in the world of the motion capture, OpenCV axes; colour pictures of this camera were freed of
distortion before publishing; its lens is fx 535.4, fy 539.2, cx 320.1, cy 247.6 for 640 x 480.

UNCONFIRMED: that pixel centres are at integers in that calibration (it was made with ROS, whose
convention that is). Poses, pictures and depth were not taken at the same moment: up to .02 s lie
between them, and nothing is interpolated.
"""

from pathlib import Path

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import listed_folders
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.datasets.tum_format import TumSequence
from dynapoint.errors import InputError

_PREFIX = "rgbd_dataset_freiburg3_"
_LAYOUT = f"ROOT/{_PREFIX}NAME/{{rgb.txt,depth.txt,groundtruth.txt,rgb,depth}}"
_DYNAMIC = ("sitting_", "walking_")
_LENS = (535.4, 539.2, 320.1, 247.6)


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The sequences of a split: "dynamic" those in which people sit or walk, "all" all.

    Raises:
        InputError: There is none.
    """
    names = [
        folder.name.removeprefix(_PREFIX) for folder in listed_folders(root, f"{_PREFIX}*", _LAYOUT)
    ]
    chosen = [name for name in names if split == "all" or name.startswith(_DYNAMIC)]
    if not chosen:
        raise InputError(f"{root}: no {_PREFIX}sitting_* or {_PREFIX}walking_*; wanted {_LAYOUT}")
    return [
        TumSequence(
            root / f"{_PREFIX}{name}",
            dataset="tum-dynamics",
            name=name,
            lens=_LENS,
            only_posed=True,
        )
        for name in chosen
    ]


CARD = DatasetCard(
    key="tum-dynamics",
    title="TUM-dynamics",
    source="Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems (IROS 2012)",
    licence="CC BY 4.0",
    splits=("dynamic", "all"),
    layout=_LAYOUT,
    proven="miniature, and an extract of freiburg1_rpy put into this form",
    open_folder=open_folder,
)
