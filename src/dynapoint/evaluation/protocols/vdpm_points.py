"""V-DPM's tables of points (arXiv 2601.09499): two views, tracking, and the ablation."""

from dynapoint.evaluation.protocols.paper_rows import paper_rows
from dynapoint.evaluation.protocols.protocol import PaperValue, Protocol, ProtocolSet, Sampling
from dynapoint.evaluation.protocols.sampling import RandomPairs, Snippets
from dynapoint.evaluation.scorers.tracking import TRACKING_COLUMNS, score_tracking
from dynapoint.evaluation.scorers.two_view import (
    MAPS,
    map_metric,
    score_two_view,
    two_view_columns,
)

SETS = {
    "PointOdyssey": ("pointodyssey", "test", 40, 4),
    "Kubric-F": ("kubric-f", "validation", 6, 4),
    "Kubric-G": ("kubric-g", "test", 6, 4),
    "Waymo": ("waymo", "validation", 6, 2),
}
"""Key, split, how many tasks a sequence gives, and the stride of the grid.

PointOdyssey has few and long sequences. Waymo's truth is sparse, so that a coarse grid would leave
little of it.
"""

MARGINS = (2, 8)
_METRICS = tuple(map_metric(source, time) for source, time in MAPS)

_ALIGNMENT = (
    "points in the camera of the first frame; prediction and truth each divided by their mean "
    "distance from it over the compared points of all maps; compared are pixels with a true point"
)
_CHOICES = (
    "normaliser: one factor for all maps (joint), as the training losses stack them; a factor for "
    "each map is reported beside it. A joint factor is the default because maps that do not agree "
    "in scale are no answer to where points go.",
    "pixels: those of each map that have a true point in it; where truth at another time is sparse "
    "(PointOdyssey, Waymo), those maps have fewer than the others.",
    "grid: every 4th pixel of the pictures, on Waymo every 2nd; points that are not finite count "
    "as the camera's centre.",
    "splits: PointOdyssey test, Kubric-F validation, Kubric-G test, Waymo validation.",
)


def _pair_sets() -> tuple[ProtocolSet, ...]:
    return tuple(
        _set(title, RandomPairs(margins=(margin,), count=count, stride=stride), margin=margin)
        for margin in MARGINS
        for title, (_, _, count, stride) in SETS.items()
    )


def _set(title: str, sampling: Sampling, *, margin: int | None = None) -> ProtocolSet:
    dataset, split, _, _ = SETS[title]
    named = title if margin is None else f"{title}, margin {margin}"
    return ProtocolSet(dataset=dataset, split=split, title=named, sampling=sampling)


def _two_view_rows() -> tuple[PaperValue, ...]:
    table = {
        ("PointOdyssey", 2): {
            "St4RTrack": (None, 0.145, None, 0.150),
            "TraceAnything": (0.159, 0.159, 0.163, 0.163),
            "DPM": (0.115, 0.114, 0.115, 0.117),
            "V-DPM": (0.029, 0.030, 0.032, 0.032),
        },
        ("Kubric-F", 2): {
            "St4RTrack": (None, 0.149, None, 0.045),
            "TraceAnything": (0.069, 0.071, 0.071, 0.070),
            "DPM": (0.032, 0.033, 0.032, 0.032),
            "V-DPM": (0.018, 0.019, 0.018, 0.018),
        },
        ("Kubric-G", 2): {
            "St4RTrack": (None, 0.173, None, 0.091),
            "TraceAnything": (0.086, 0.087, 0.088, 0.087),
            "DPM": (0.039, 0.040, 0.041, 0.040),
            "V-DPM": (0.023, 0.024, 0.024, 0.023),
        },
        ("Waymo", 2): {
            "St4RTrack": (None, 0.228, None, 0.225),
            "TraceAnything": (0.151, 0.151, 0.148, 0.148),
            "DPM": (0.085, 0.083, 0.082, 0.084),
            "V-DPM": (0.064, 0.064, 0.064, 0.064),
        },
        ("PointOdyssey", 8): {
            "St4RTrack": (None, 0.143, None, 0.146),
            "TraceAnything": (0.151, 0.156, 0.166, 0.165),
            "DPM": (0.101, 0.103, 0.103, 0.104),
            "V-DPM": (0.029, 0.031, 0.032, 0.030),
        },
        ("Kubric-F", 8): {
            "St4RTrack": (None, 0.163, None, 0.059),
            "TraceAnything": (0.082, 0.115, 0.127, 0.091),
            "DPM": (0.030, 0.050, 0.044, 0.039),
            "V-DPM": (0.017, 0.039, 0.033, 0.025),
        },
        ("Kubric-G", 8): {
            "St4RTrack": (None, 0.193, None, 0.113),
            "TraceAnything": (0.094, 0.139, 0.154, 0.130),
            "DPM": (0.041, 0.068, 0.065, 0.051),
            "V-DPM": (0.022, 0.049, 0.045, 0.029),
        },
        ("Waymo", 8): {
            "St4RTrack": (None, 0.232, None, 0.261),
            "TraceAnything": (0.188, 0.192, 0.235, 0.235),
            "DPM": (0.085, 0.085, 0.083, 0.084),
            "V-DPM": (0.065, 0.067, 0.065, 0.064),
        },
    }
    return tuple(
        value
        for (title, margin), rows in table.items()
        for value in paper_rows(f"{title}, margin {margin}", _METRICS, rows)
    )


def _tracking_rows() -> tuple[PaperValue, ...]:
    table = {
        "St4RTrack": (0.137, 0.153, 0.201, 0.167),
        "TraceAnything": (0.152, 0.107, 0.126, 0.119),
        "DPM": (0.114, 0.088, 0.109, 0.103),
        "V-DPM": (0.032, 0.027, 0.035, 0.042),
    }
    return tuple(
        PaperValue(method=method, set_title=title, metric="epe", value=value)
        for method, values in table.items()
        for title, value in zip(SETS, values, strict=True)
    )


ABLATED = ((0, 1), (1, 0))
"""The maps that the ablation prints."""

PROTOCOLS = (
    Protocol(
        key="vdpm-two-view",
        source="V-DPM, arXiv 2601.09499, table 1",
        title="error of the four point maps of two frames, 2 or 8 apart",
        sets=_pair_sets(),
        score=score_two_view,
        columns=two_view_columns(),
        alignment=_ALIGNMENT,
        choices=(
            *_CHOICES,
            "pairs: the earlier frame first; drawn by hashes, 6 of each sequence, 40 of "
            "PointOdyssey's long ones; the mean is over pairs.",
        ),
        paper=_two_view_rows(),
    ),
    Protocol(
        key="vdpm-tracking",
        source="V-DPM, arXiv 2601.09499, table 2",
        title="error of the tracks of all pixels of the first of ten frames, 2 apart",
        sets=tuple(
            _set(title, Snippets(frames=10, step=2, count=max(1, count // 3), stride=stride))
            for title, (_, _, count, stride) in SETS.items()
        ),
        score=score_tracking,
        columns=TRACKING_COLUMNS,
        alignment=_ALIGNMENT,
        choices=(
            *_CHOICES,
            "snippets: drawn by hashes, 2 of each sequence, 13 of PointOdyssey's; the mean is over "
            "all points and times of a snippet, then over snippets.",
        ),
        paper=_tracking_rows(),
    ),
    Protocol(
        key="vdpm-ablation",
        source="V-DPM, arXiv 2601.09499, supplement, ablation of the decoder",
        title="error of the two maps at the other frame's time, 8 apart",
        sets=(_set("Kubric-G", RandomPairs(margins=(8,), count=SETS["Kubric-G"][2]), margin=8),),
        score=score_two_view,
        columns=two_view_columns(ABLATED, decimals=4),
        alignment=_ALIGNMENT,
        choices=(
            *_CHOICES,
            "all four maps are asked and share the joint scale; the table prints two of them.",
        ),
        paper=paper_rows(
            "Kubric-G, margin 8",
            tuple(map_metric(source, time) for source, time in ABLATED),
            {
                "V-DPM, 35 epochs": (0.0500, 0.0472),
                "decoder of depth 2": (0.0518, 0.0476),
                "additive time token": (0.0524, 0.0484),
                "conditioned head, no blocks": (0.0538, 0.0502),
            },
        ),
    ),
)
