"""Tables 1 and 2 of Dynamic Point Maps (ICCV 2025): depth of pairs, and of videos."""

from dynapoint.evaluation.protocols.printed import printed
from dynapoint.evaluation.protocols.protocol import Protocol, ProtocolSet
from dynapoint.evaluation.protocols.vdpm_cameras import (
    BONN_DEPTH,
    BONN_SEQUENCES,
    SINTEL_DEPTH,
    VIDEO_DEPTH_CHOICES,
    VIDEO_DEPTH_FIT,
    VIDEO_DEPTH_LIMITS,
)
from dynapoint.evaluation.protocols.whole_sampling import RandomPairs, WholeSequence
from dynapoint.evaluation.scorers.depth import DepthScorer, depth_columns

PAIRS_EACH, FARTHEST = 10, 8
KITTI_CROP = (
    "The crop of KITTI is not stated; pictures are shown whole, and the paper's rows of the crop "
    "stand beside."
)

TWO_VIEW_DEPTH = Protocol(
    key="dpm-two-view-depth",
    source="DPM, Table 1",
    title="depth of the two frames of a pair",
    sets=(
        ProtocolSet(
            dataset="sintel",
            split="final",
            title="Sintel",
            sampling=RandomPairs(pairs=PAIRS_EACH, farthest=FARTHEST),
        ),
        ProtocolSet(
            dataset="pointodyssey",
            split="test",
            title="PointOdyssey",
            sampling=RandomPairs(pairs=PAIRS_EACH, farthest=FARTHEST),
        ),
        ProtocolSet(
            dataset="bonn",
            split="by_place",
            title="Bonn",
            sequences=BONN_SEQUENCES,
            sampling=RandomPairs(pairs=PAIRS_EACH, farthest=FARTHEST),
        ),
        ProtocolSet(
            dataset="kubric-f",
            split="validation",
            title="Kubric",
            sampling=RandomPairs(pairs=PAIRS_EACH, farthest=FARTHEST),
        ),
        ProtocolSet(
            dataset="kitti",
            split="val",
            title="KITTI crop",
            sampling=RandomPairs(pairs=PAIRS_EACH, farthest=FARTHEST),
        ),
    ),
    score=DepthScorer(limits=VIDEO_DEPTH_LIMITS),
    columns=depth_columns("median", "tasks"),
    alignment="scale of medians, one for both frames of a pair",
    choices=(
        "The fit is not stated: the scale of medians is taken, as in DUSt3R's and MonST3R's tables "
        "of single frames; the others stand beside.",
        f"Pairs are drawn within a margin that is not stated: {PAIRS_EACH} of each sequence, up to "
        f"{FARTHEST} frames apart, by a seed.",
        "Which Kubric is meant is not stated: MOVi-F is taken.",
        KITTI_CROP,
    ),
    paper=printed(
        tuple(
            (title, metric)
            for title in ("Sintel", "PointOdyssey", "Bonn", "Kubric", "KITTI crop")
            for metric in ("abs_rel_median", "delta_median")
        ),
        (
            ("MonST3R", (0.347, 57.3, 0.065, 95.3, 0.071, 94.1, 0.166, 77.9, 0.069, 94.5)),
            ("DPM", (0.321, 56.4, 0.059, 95.7, 0.082, 91.9, 0.078, 95.0, 0.052, 96.8)),
        ),
    ),
)

VIDEO_DEPTH = Protocol(
    key="dpm-video-depth",
    source="DPM, Table 2",
    title="depth of whole videos",
    sets=(
        SINTEL_DEPTH,
        BONN_DEPTH,
        ProtocolSet(
            dataset="kitti",
            split="val",
            title="KITTI",
            sampling=WholeSequence(depth=True),
        ),
    ),
    score=DepthScorer(limits=VIDEO_DEPTH_LIMITS),
    columns=depth_columns("line_adam", "weighted"),
    alignment=VIDEO_DEPTH_FIT,
    choices=(
        *VIDEO_DEPTH_CHOICES,
        "KITTI: the first 110 frames with truth of each drive of the part val, as MonST3R "
        "prepares it.",
        KITTI_CROP,
    ),
    paper=printed(
        tuple(
            (title, metric)
            for title in ("Sintel", "Bonn", "KITTI", "KITTI crop")
            for metric in ("abs_rel_line_adam", "delta_line_adam")
        ),
        (
            ("Marigold", (0.532, 51.5, 0.091, 93.1, 0.149, 79.6, None, None)),
            ("Depth Anything V2", (0.367, 55.4, 0.106, 92.1, 0.140, 80.4, None, None)),
            ("NVDS", (0.408, 48.3, 0.167, 76.6, 0.253, 58.8, None, None)),
            ("ChronoDepth", (0.687, 48.6, 0.100, 91.1, 0.167, 75.9, None, None)),
            ("DepthCrafter", (0.292, 69.7, 0.075, 97.1, 0.110, 88.1, None, None)),
            ("Robust-CVD", (0.703, 47.8, None, None, None, None, None, None)),
            ("CasualSAM", (0.387, 54.7, 0.169, 73.7, 0.246, 62.2, None, None)),
            ("MonST3R", (0.335, 58.5, 0.063, 96.4, 0.104, 89.5, 0.111, 87.2)),
            ("DPM", (0.328, 54.6, 0.068, 93.9, 0.140, 78.2, 0.097, 89.1)),
        ),
    ),
)

PROTOCOLS: tuple[Protocol, ...] = (TWO_VIEW_DEPTH, VIDEO_DEPTH)
