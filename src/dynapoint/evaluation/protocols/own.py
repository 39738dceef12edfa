"""The package's own protocols on rendered clips: motion apart from geometry, and surfaces."""

from dynapoint.evaluation.protocols.protocol import Protocol, ProtocolSet
from dynapoint.evaluation.protocols.sampling import PairsFrom, WholeClips
from dynapoint.evaluation.scorers.motion import MOTION_COLUMNS, score_motion
from dynapoint.evaluation.scorers.surface import SURFACE_COLUMNS, score_surface
from dynapoint.evaluation.scores import PAIR_STARTS, TRACK_FRAMES

PROTOCOLS = (
    Protocol(
        key="motion",
        source="docs/scoring.md",
        title="motion apart from geometry: pairs of frames 2 or 8 apart",
        sets=tuple(
            ProtocolSet(
                dataset="clips",
                split="all",
                title=f"margin {margin}",
                sampling=PairsFrom(starts=starts, margin=margin),
            )
            for margin, starts in PAIR_STARTS.items()
        ),
        score=score_motion,
        columns=MOTION_COLUMNS,
        alignment="points in the camera of the first frame; prediction and truth each divided by "
        "their mean distance from it over the compared points of the four maps (own EPE: of the "
        "two maps at their own times)",
    ),
    Protocol(
        key="surface",
        source="accuracy and completeness, Seitz et al., CVPR 2006; F-score, Knapitsch et al., "
        "SIGGRAPH 2017",
        title="how near the surfaces of the first ten frames, each at its own time, lie",
        sets=(
            ProtocolSet(
                dataset="clips",
                split="all",
                title="clips",
                sampling=WholeClips(frames=TRACK_FRAMES),
            ),
        ),
        score=score_surface,
        columns=SURFACE_COLUMNS,
        alignment="the similarity of least squares between the points of the same pixels (Umeyama "
        "1991); by the ratio of median distances beside it; lengths in median distances of the "
        "truth from the camera of the first frame",
        choices=("thresholds: 1 % and 5 % of the truth's median distance from the first camera.",),
    ),
)
