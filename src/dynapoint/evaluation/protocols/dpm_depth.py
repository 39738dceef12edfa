"""Tables 1 and 2 of Dynamic Point Maps (ICCV 2025): depth of pairs, and of videos."""

from dynapoint.evaluation.protocols.paper_rows import paper_rows
from dynapoint.evaluation.protocols.protocol import Protocol, ProtocolSet
from dynapoint.evaluation.protocols.vdpm_cameras import (
    BONN_DEPTH,
    BONN_SEQUENCES,
    BONN_VIDEO_DEPTH,
    SINTEL_DEPTH,
    SINTEL_VIDEO_DEPTH,
    VIDEO_DEPTH_CHOICES,
    VIDEO_DEPTH_FIT,
    VIDEO_DEPTH_LIMITS,
)
from dynapoint.evaluation.protocols.whole_sampling import DepthPairs, WholeSequence
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
            sampling=DepthPairs(count=PAIRS_EACH, farthest=FARTHEST),
        ),
        ProtocolSet(
            dataset="pointodyssey",
            split="test",
            title="PointOdyssey",
            sampling=DepthPairs(count=PAIRS_EACH, farthest=FARTHEST),
        ),
        ProtocolSet(
            dataset="bonn",
            split="by_place",
            title="Bonn",
            sequences=BONN_SEQUENCES,
            sampling=DepthPairs(count=PAIRS_EACH, farthest=FARTHEST),
        ),
        ProtocolSet(
            dataset="kubric-f",
            split="validation",
            title="Kubric",
            sampling=DepthPairs(count=PAIRS_EACH, farthest=FARTHEST),
        ),
        ProtocolSet(
            dataset="kitti",
            split="val",
            title="KITTI crop",
            sampling=DepthPairs(count=PAIRS_EACH, farthest=FARTHEST),
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
    paper=(
        *paper_rows(
            "Sintel",
            ("abs_rel_median", "delta_median"),
            {
                "MonST3R": (0.347, 57.3),
                "DPM": (0.321, 56.4),
            },
        ),
        *paper_rows(
            "PointOdyssey",
            ("abs_rel_median", "delta_median"),
            {
                "MonST3R": (0.065, 95.3),
                "DPM": (0.059, 95.7),
            },
        ),
        *paper_rows(
            "Bonn",
            ("abs_rel_median", "delta_median"),
            {
                "MonST3R": (0.071, 94.1),
                "DPM": (0.082, 91.9),
            },
        ),
        *paper_rows(
            "Kubric",
            ("abs_rel_median", "delta_median"),
            {
                "MonST3R": (0.166, 77.9),
                "DPM": (0.078, 95.0),
            },
        ),
        *paper_rows(
            "KITTI crop",
            ("abs_rel_median", "delta_median"),
            {
                "MonST3R": (0.069, 94.5),
                "DPM": (0.052, 96.8),
            },
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
    paper=(
        *paper_rows(
            "Sintel",
            ("abs_rel_line_adam", "delta_line_adam"),
            {
                **SINTEL_VIDEO_DEPTH,
                "DPM": (0.328, 54.6),
            },
        ),
        *paper_rows(
            "Bonn",
            ("abs_rel_line_adam", "delta_line_adam"),
            {
                **BONN_VIDEO_DEPTH,
                "DPM": (0.068, 93.9),
            },
        ),
        *paper_rows(
            "KITTI",
            ("abs_rel_line_adam", "delta_line_adam"),
            {
                "Marigold": (0.149, 79.6),
                "Depth Anything V2": (0.14, 80.4),
                "NVDS": (0.253, 58.8),
                "ChronoDepth": (0.167, 75.9),
                "DepthCrafter": (0.11, 88.1),
                "CasualSAM": (0.246, 62.2),
                "MonST3R": (0.104, 89.5),
                "DPM": (0.14, 78.2),
            },
        ),
        *paper_rows(
            "KITTI crop",
            ("abs_rel_line_adam", "delta_line_adam"),
            {
                "MonST3R": (0.111, 87.2),
                "DPM": (0.097, 89.1),
            },
        ),
    ),
)

PROTOCOLS: tuple[Protocol, ...] = (TWO_VIEW_DEPTH, VIDEO_DEPTH)
