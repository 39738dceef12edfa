"""The Bonn RGB-D Dynamic Dataset: people and things that move in a room, with motion capture.

ROOT/rgbd_bonn_NAME or ROOT/rgbd_bonn_dataset/rgbd_bonn_NAME with NAME such as `balloon2`, each in
the form that `tum_format` tells. Frames are all pictures of rgb.txt, so that frames 30 to 139 are
those of MonST3R's protocol. Split "all" gives each the depth nearest in time, less than .02 s away,
or none. Split "by_place" gives the n-th picture the n-th depth, as MonST3R's
`datasets_preprocess/prepare_bonn.py` does and the published numbers have it; the two cameras ran at
slightly different rates and dropped frames (issue 18 of AutoLab-SAI-SJTU/InfiniteVGGT), so that
such a depth may be taken at another moment.

Conventions, from the set's page and its `compute_global_transformation.py`: groundtruth.txt is the
frame of the markers as the motion capture wrote it. Points of the sensor are brought to the set's
scanned model by T_ROS^-1 T T_ROS T_m, T being the first pose of a sequence, T_ROS a change of axes
and T_m markers from sensor. This reader takes every pose so. The sensor has OpenCV axes; the lens
is fx 542.822841, fy 542.576870, cx 315.593520, cy 237.756098 for 640 x 480.

UNCONFIRMED, all of it for want of the files:
- The published T_m is no rigid transform: it holds a uniform factor 1.0593. Camera poses here have
  its rotation (the nearest one) and its shift. If the factor means that the sensor measured 5.6 %
  too short, then depth / 5000 is not in metres while poses are; depth is left as published, as
  protocols use it, and `holds.metric` is False.
- That T_m holds for all poses of a sequence and not only the first one is inferred: markers are
  fixed to the sensor. Users report that point clouds do not close well (issue 14 of
  PRBonn/refusion).
- Whether pictures are freed of distortion is not said; the page gives k = (.039903, -.099343,
  -.00073, -.000144, 0), which moves a pixel by 4 at most. It is not undone here.
- That pixel centres are at integers in the calibration.
- `holds.poses` is True where every picture has a pose less than .02 s away; which sequences do is
  not known.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import listed_folders
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.datasets.tum_format import TumSequence

_PREFIX = "rgbd_bonn_"
_LAYOUT = f"ROOT/{_PREFIX}NAME/{{rgb.txt,depth.txt,groundtruth.txt,rgb,depth}}"
_LENS = (542.822841, 542.576870, 315.593520, 237.756098)
# Its own inverse.
_T_ROS = np.array([[-1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.float64)
_T_M = np.array(
    [
        [1.0157, 0.1828, -0.2389, 0.0113],
        [0.0009, -0.8431, -0.6413, -0.0098],
        [-0.3009, 0.6147, -0.8085, 0.0111],
        [0, 0, 0, 1],
    ]
)


def _rigid(similar: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """The same shift, and the rotation that is nearest (polar decomposition)."""
    left, _, right = np.linalg.svd(similar[:3, :3])
    rigid = similar.copy()
    rigid[:3, :3] = left @ right
    return rigid


_MARKERS_FROM_SENSOR = _rigid(_T_M)


class _BonnSequence(TumSequence):
    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The sensor's pose in the frame of the set's scanned model."""
        markers = super().world_from_camera(frame)
        return _T_ROS @ markers @ _T_ROS @ _MARKERS_FROM_SENSOR


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """All sequences.

    Raises:
        InputError: There is none.
    """
    inner = root / "rgbd_bonn_dataset"
    place = inner if inner.is_dir() else root
    return [
        _BonnSequence(
            folder,
            dataset="bonn",
            name=folder.name.removeprefix(_PREFIX),
            lens=_LENS,
            only_posed=False,
            depth_by_place=split == "by_place",
            metric=False,
        )
        for folder in listed_folders(place, f"{_PREFIX}*", _LAYOUT)
    ]


CARD = DatasetCard(
    key="bonn",
    title="Bonn",
    source="Palazzolo et al., ReFusion: 3D Reconstruction in Dynamic Environments (IROS 2019)",
    licence="as its page says (not checked)",
    splits=("all", "by_place"),
    layout=_LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
