"""Protocols of no table of the three papers: TAPVid-3D, masks of DAVIS, and folders of pictures."""

from dynapoint.evaluation.protocols.protocol import Protocol, ProtocolSet
from dynapoint.evaluation.protocols.whole_sampling import (
    EvenFrames,
    TracksOfFirstFrame,
    WholeSequence,
)
from dynapoint.evaluation.scorers.cameras import MORE_COLUMNS, PATH_COLUMNS, score_cameras
from dynapoint.evaluation.scorers.combined import Combined
from dynapoint.evaluation.scorers.depth import DepthScorer, depth_columns
from dynapoint.evaluation.scorers.masks import MASK_COLUMNS, score_masks
from dynapoint.evaluation.scorers.tapvid3d import TAPVID3D_COLUMNS, score_tapvid3d

REAL_FRAMES = 8

TAPVID3D = Protocol(
    key="tapvid3d",
    source="TAPVid-3D (NeurIPS 2024)",
    title="tracks in the camera of each frame, with what is hidden",
    sets=tuple(
        ProtocolSet(
            dataset="tapvid3d",
            split=split,
            title=title,
            sampling=TracksOfFirstFrame(cameras=True),
        )
        for split, title in (
            ("drivetrack", "DriveTrack"),
            ("adt", "Aria Digital Twin"),
            ("pstudio", "Panoptic Studio"),
        )
    ),
    score=score_tapvid3d,
    columns=TAPVID3D_COLUMNS,
    alignment="scale of medians over points that truth and method see, one for a video",
    choices=(
        "The benchmark asks each track in a frame of its own; here those that frame 0 sees are "
        "asked in frame 0, so numbers are not those of its tables.",
        "Points are brought to the camera of each frame by the method's own poses.",
    ),
)

DAVIS_MOTION = Protocol(
    key="davis-motion",
    source="DAVIS (CVPR 2016)",
    title="masks of what moves",
    sets=(
        ProtocolSet(
            dataset="davis",
            split="2016-val",
            title="DAVIS 2016",
            sampling=WholeSequence(moving=True),
        ),
    ),
    score=score_masks,
    columns=MASK_COLUMNS,
    alignment="none",
    choices=(
        "All frames count, as for methods that are given no mask.",
        "What DAVIS marks is the object of interest; other things that move count as errors.",
    ),
)

REAL_FOLDERS = Protocol(
    key="real-folders",
    source="folders with cameras.json",
    title=f"depth, cameras and focal length from {REAL_FRAMES} pictures",
    sets=(
        ProtocolSet(
            dataset="real-folders",
            split="all",
            title="real folders",
            sampling=EvenFrames(count=REAL_FRAMES),
        ),
    ),
    score=Combined((DepthScorer(), score_cameras)),
    columns=(
        *depth_columns("scale_l2", "tasks"),
        *PATH_COLUMNS,
        *MORE_COLUMNS,
    ),
    alignment="depth: scale of least squares, one for a clip; cameras: similarity of the positions",
    choices=("Folders without measured poses or depth leave their columns empty.",),
)

PROTOCOLS: tuple[Protocol, ...] = (TAPVID3D, DAVIS_MOTION, REAL_FOLDERS)
