"""Tables 3 and 4 of V-DPM (CVPR 2026): depth of videos, and camera poses.

Both follow MonST3R's evaluation (ICLR 2025), whose sequences and settings its code states.
"""

from dynapoint.evaluation.protocols.paper_rows import paper_rows
from dynapoint.evaluation.protocols.protocol import Protocol, ProtocolSet
from dynapoint.evaluation.protocols.whole_sampling import Stretch, WholeSequence
from dynapoint.evaluation.scorers.cameras import MORE_COLUMNS, PATH_COLUMNS, score_cameras
from dynapoint.evaluation.scorers.depth import DepthLimit, DepthScorer, depth_columns

SINTEL_WITH_POSES = (
    "alley_2",
    "ambush_4",
    "ambush_5",
    "ambush_6",
    "cave_2",
    "cave_4",
    "market_2",
    "market_5",
    "market_6",
    "shaman_3",
    "sleeping_1",
    "sleeping_2",
    "temple_2",
    "temple_3",
)
"""The sequences that MonST3R takes for poses: those whose cameras move in more than a line."""

BONN_SEQUENCES = ("balloon2", "crowd2", "crowd3", "person_tracking2", "synchronous")
TUM_SEQUENCES = tuple(
    f"{what}_{how}"
    for what in ("sitting", "walking")
    for how in ("static", "xyz", "halfsphere", "rpy")
)
BONN_STRETCH = Stretch(first=30, count=110)
TUM_STRETCH = Stretch(step=3, count=90)
VIDEO_DEPTH_LIMITS = (
    DepthLimit(dataset="sintel", farthest=70.0, clipped_at=70.0),
    DepthLimit(dataset="bonn", farthest=70.0),
)
VIDEO_DEPTH_FIT = (
    "scale and shift of least absolute errors, one for all frames of a sequence, by the search of "
    "MonST3R's code (Adam)"
)
SINTEL_VIDEO_DEPTH = {
    "Marigold": (0.532, 51.5),
    "Depth Anything V2": (0.367, 55.4),
    "NVDS": (0.408, 48.3),
    "ChronoDepth": (0.687, 48.6),
    "DepthCrafter": (0.292, 69.7),
    "Robust-CVD": (0.703, 47.8),
    "CasualSAM": (0.387, 54.7),
    "MonST3R": (0.335, 58.5),
}
BONN_VIDEO_DEPTH = {
    "Marigold": (0.091, 93.1),
    "Depth Anything V2": (0.106, 92.1),
    "NVDS": (0.167, 76.6),
    "ChronoDepth": (0.1, 91.1),
    "DepthCrafter": (0.075, 97.1),
    "CasualSAM": (0.169, 73.7),
    "MonST3R": (0.063, 96.4),
}
"""What both papers print of others: AbsRel, and the share within 1.25 in percent."""

VIDEO_DEPTH_CHOICES = (
    "Neither paper says how depth is fitted: MonST3R's default is taken, whose rows both print. "
    "Its search ends within about .1 of a shift of 0 and of the scale of medians; the exact "
    "optimum, and the other fits, stand beside.",
    "Depth beyond 70 m is not compared on Sintel (predictions are clipped there) and Bonn, and "
    "none is left out on KITTI, as in MonST3R's code.",
    'Bonn: the n-th picture goes with the n-th depth, as MonST3R prepares it (split "by_place"); '
    'the depth nearest in time is the split "all".',
    "Sequences count by their compared pixels, as in MonST3R's code.",
    "Frames go through windows of this package where a network cannot see all; the papers optimise "
    "over windows of their own, of which no code is public.",
)

SINTEL_DEPTH = ProtocolSet(
    dataset="sintel",
    split="final",
    title="Sintel",
    sampling=WholeSequence(depth=True),
)
BONN_DEPTH = ProtocolSet(
    dataset="bonn",
    split="by_place",
    title="Bonn",
    sequences=BONN_SEQUENCES,
    sampling=WholeSequence(stretch=BONN_STRETCH, depth=True),
)

VIDEO_DEPTH = Protocol(
    key="vdpm-video-depth",
    source="V-DPM, Table 3",
    title="depth of whole videos",
    sets=(SINTEL_DEPTH, BONN_DEPTH),
    score=DepthScorer(limits=VIDEO_DEPTH_LIMITS),
    columns=depth_columns("line_adam", "weighted"),
    alignment=VIDEO_DEPTH_FIT,
    choices=(
        *VIDEO_DEPTH_CHOICES,
        "V-DPM prints .311/58.0 and .064/94.8 for DPM, whose own paper has .328/54.6 and "
        ".068/93.9.",
    ),
    paper=(
        *paper_rows(
            "Sintel",
            ("abs_rel_line_adam", "delta_line_adam"),
            {
                **SINTEL_VIDEO_DEPTH,
                "DPM": (0.311, 58.0),
                "π³": (0.21, 72.6),
                "V-DPM": (0.247, 69.4),
            },
        ),
        *paper_rows(
            "Bonn",
            ("abs_rel_line_adam", "delta_line_adam"),
            {
                **BONN_VIDEO_DEPTH,
                "DPM": (0.064, 94.8),
                "π³": (0.043, 97.5),
                "V-DPM": (0.057, 97.3),
            },
        ),
    ),
)

CAMERA_POSE = Protocol(
    key="vdpm-camera-pose",
    source="V-DPM, Table 4",
    title="camera poses of whole videos",
    sets=(
        ProtocolSet(
            dataset="sintel",
            split="final",
            title="Sintel",
            sequences=SINTEL_WITH_POSES,
            sampling=WholeSequence(cameras=True),
        ),
        ProtocolSet(
            dataset="tum-dynamics",
            split="dynamic",
            title="TUM-dynamics",
            sequences=TUM_SEQUENCES,
            sampling=WholeSequence(stretch=TUM_STRETCH, cameras=True),
        ),
    ),
    score=score_cameras,
    columns=(*PATH_COLUMNS, *MORE_COLUMNS),
    alignment="similarity of the camera positions (Umeyama), one for a sequence",
    choices=(
        "V-DPM calls ATE an average; it is MonST3R's root mean square of distances here.",
        "TUM-dynamics: every third frame, 90 at most, as MonST3R prepares it.",
        "MonST3R leaves out sequences on which a method fails; here a pose that is not finite "
        "counts as that of the first frame, its rotation as 180 degrees off.",
    ),
    paper=(
        *paper_rows(
            "Sintel",
            ("ate", "rpe_translation", "rpe_rotation"),
            {
                "Robust-CVD": (0.36, 0.154, 3.443),
                "CasualSAM": (0.141, 0.035, 0.615),
                "DUSt3R": (0.417, 0.25, 5.796),
                "MonST3R": (0.108, 0.042, 0.732),
                "π³": (0.074, 0.04, 0.282),
                "V-DPM": (0.105, 0.048, 0.67),
            },
        ),
        *paper_rows(
            "TUM-dynamics",
            ("ate", "rpe_translation", "rpe_rotation"),
            {
                "Robust-CVD": (0.189, 0.071, 3.681),
                "CasualSAM": (0.045, 0.02, 0.841),
                "DUSt3R": (0.127, 0.062, 3.099),
                "MonST3R": (0.074, 0.019, 0.905),
                "DPM": (0.056, 0.014, 0.836),
                "π³": (0.014, 0.009, 0.312),
                "V-DPM": (0.057, 0.017, 0.34),
            },
        ),
    ),
)

PROTOCOLS: tuple[Protocol, ...] = (VIDEO_DEPTH, CAMERA_POSE)
