"""DPM's tables of points and of flow (arXiv 2503.16318, tables 3 and 4)."""

from dynapoint.evaluation.protocols.paper_rows import paper_rows
from dynapoint.evaluation.protocols.protocol import Protocol, ProtocolSet
from dynapoint.evaluation.protocols.sampling import RandomPairs
from dynapoint.evaluation.scorers.combined import Combined
from dynapoint.evaluation.scorers.flow import FLOW_COLUMNS, score_flow
from dynapoint.evaluation.scorers.object_pose import OBJECT_POSE_COLUMNS, score_object_pose
from dynapoint.evaluation.scorers.relative import (
    DPM_MAPS,
    RELATIVE_COLUMNS,
    relative_metric,
    score_relative,
)

_MARGINS = tuple(range(1, 9))
# Key, split, and the stride of the grid: Waymo's truth is sparse.
_SETS = {
    "Kubric-F": ("kubric-f", "validation", 4),
    "Kubric-G": ("kubric-g", "test", 4),
    "Waymo": ("waymo", "validation", 2),
}
_PAIRS_OF_A_SEQUENCE = 6
_CHOICES = (
    "pairs: 6 of each sequence, drawn by hashes, 1 to 8 frames apart, the earlier frame first; the "
    "paper says neither how far apart they are nor how many.",
    "grid: every 4th pixel of the pictures, on Waymo every 2nd; points that are not finite count "
    "as the camera's centre.",
    "splits: Kubric-F validation, Kubric-G test, Waymo validation.",
)


def _sets(*, swapped: bool) -> tuple[ProtocolSet, ...]:
    return tuple(
        ProtocolSet(
            dataset=dataset,
            split=split,
            title=title,
            sampling=RandomPairs(
                margins=_MARGINS, count=_PAIRS_OF_A_SEQUENCE, stride=stride, swapped=swapped
            ),
        )
        for title, (dataset, split, stride) in _SETS.items()
    )


_RELATIVE = tuple(relative_metric(source, time) for source, time in DPM_MAPS)
_OBJECT = ("rpe_rotation_deg", "rpe_translation")
_FLOW = tuple(column.metric for column in FLOW_COLUMNS if column.default)
_RAFT = "MonST3R + RAFT"

PROTOCOLS = (
    Protocol(
        key="dpm-points",
        source="DPM, arXiv 2503.16318, table 3",
        title="relative error of the four point maps of two frames, and of the motion of objects",
        sets=_sets(swapped=False),
        score=Combined((score_relative, score_object_pose)),
        columns=(*RELATIVE_COLUMNS, *OBJECT_POSE_COLUMNS),
        alignment="points in the camera of the first frame; prediction and truth each divided by "
        "the median distance of the two maps at their own times, over pixels with a true point",
        choices=(
            *_CHOICES,
            "fit of objects: without scale; the error of the translation with one is reported "
            "beside it (the turn is the same). Without is the default because the true motion is "
            "rigid and the maps share one scale.",
            "translation: distance between where the predicted and the true motion take the "
            "origin of the object's pose, in median distances; in the truth's unit beside it.",
            "objects: all that have a pose at both times and show 16 compared pixels, whether they "
            "move or not; those that move are reported beside it. The mean is over objects.",
            "the paper prints objects of Kubric-F alone.",
        ),
        paper=(
            *paper_rows(
                "Kubric-F",
                (*_RELATIVE, *_OBJECT),
                {
                    _RAFT: (0.209, 0.275, 0.394, 0.201, 56.1, 0.504),
                    "DPM": (0.041, 0.047, 0.049, 0.035, 33.7, 0.053),
                },
            ),
            *paper_rows(
                "Kubric-G",
                _RELATIVE,
                {_RAFT: (0.163, 0.265, 0.346, 0.178), "DPM": (0.057, 0.071, 0.079, 0.058)},
            ),
            *paper_rows(
                "Waymo",
                _RELATIVE,
                {_RAFT: (0.197, 0.221, 0.249, 0.178), "DPM": (0.068, 0.065, 0.067, 0.065)},
            ),
        ),
    ),
    Protocol(
        key="dpm-flow",
        source="DPM, arXiv 2503.16318, table 4",
        title="3D error of scene flow and of object flow, forward and backward",
        sets=_sets(swapped=True),
        score=score_flow,
        columns=FLOW_COLUMNS,
        alignment="each call's maps multiplied by the ratio of median distances (true over "
        "predicted) of the two maps at their own times; errors divided by the true median distance "
        "of the first call",
        choices=(
            *_CHOICES,
            "scale: the paper gives none for this table; that of its table 3 is carried over. "
            "Errors in the unit of the truth, after the same scale, are reported beside it.",
            "pixels: all whose true flow is known, whether they move or not.",
            "RAFT-3D is given the true depth.",
        ),
        paper=(
            *paper_rows(
                "Kubric-F",
                _FLOW,
                {
                    _RAFT: (0.321, 0.241, 0.334, 0.215),
                    "RAFT-3D": (0.051, 0.054, None, None),
                    "DPM": (0.081, 0.071, 0.033, 0.029),
                },
            ),
            *paper_rows(
                "Kubric-G",
                _FLOW,
                {
                    _RAFT: (0.334, 0.279, 0.310, 0.265),
                    "RAFT-3D": (4.067, 4.084, None, None),
                    "DPM": (0.104, 0.106, 0.059, 0.050),
                },
            ),
            *paper_rows(
                "Waymo",
                _FLOW,
                {
                    _RAFT: (0.161, 0.135, 0.108, 0.102),
                    "RAFT-3D": (0.150, 0.145, None, None),
                    "DPM": (0.051, 0.053, 0.020, 0.020),
                },
            ),
        ),
    ),
)
