"""Tables 1 to 4 of DePT3R (arXiv 2512.13122v1) and its memory curve, by St4RTrack's WorldTrack."""

from dynapoint.evaluation.protocols.paper_rows import paper_rows
from dynapoint.evaluation.protocols.protocol import Protocol, ProtocolSet
from dynapoint.evaluation.protocols.whole_sampling import (
    GridOfFirstFrame,
    Stretch,
    TracksOfFirstFrame,
    WholeSequence,
)
from dynapoint.evaluation.scorers.combined import Combined
from dynapoint.evaluation.scorers.cost import COST_COLUMNS, score_cost
from dynapoint.evaluation.scorers.world_points import POINT_COLUMNS, score_world_points
from dynapoint.evaluation.scorers.world_tracks import TRACK_COLUMNS, score_world_tracks

FRAMES = 64
MEMORY_FRAMES = 10
MEMORY_STRIDES = (
    (32, "every 32nd pixel"),
    (16, "every 16th pixel"),
    (8, "every 8th pixel"),
    (4, "every 4th pixel"),
    (2, "every 2nd pixel"),
    (1, "every pixel"),
)

ALIGNMENT = "scale of medians of the distances from the camera of frame 0, one for a sequence"
APD = (
    "APD's thresholds (.1, .3, .5 and 1 m) are those of St4RTrack's code, whose rows DePT3R prints "
    "unchanged; DePT3R states none.",
)
TRACK_CHOICES = (
    *APD,
    "St4RTrack's code cuts a place off to a pixel of the network's picture; here the place itself "
    "is asked (dept3r-tracking-truncated asks for the middle of the pixel of the set's picture).",
    "Points hidden at a time are compared too, as in St4RTrack's code.",
    "DePT3R does not say whether it was told the intrinsics; they are not told here "
    "(dept3r-ablation has both).",
)
RECON_CHOICES = (
    *APD,
    "Maps are asked at the size of the set's pictures; how a method resizes its own is its "
    "affair (St4RTrack's code: bilinear).",
    "TUM RGB-D is St4RTrack's set: every third frame of the benchmark's dynamic sequences, of "
    f"which the first {FRAMES} are shown.",
)


def _tracking_sets(*, truncated: bool) -> tuple[ProtocolSet, ...]:
    sampling = TracksOfFirstFrame(count=FRAMES, truncated=truncated)
    return (
        ProtocolSet(dataset="worldtrack-po", split="test", title="PointOdyssey", sampling=sampling),
        ProtocolSet(
            dataset="worldtrack-ds", split="test", title="DynamicReplica", sampling=sampling
        ),
        ProtocolSet(dataset="panoptic", split="test", title="Panoptic Studio", sampling=sampling),
    )


PANOPTIC = _tracking_sets(truncated=False)[-1]
TUM = ProtocolSet(
    dataset="worldtrack-tum",
    split="test",
    title="TUM RGB-D",
    sampling=WholeSequence(stretch=Stretch(count=FRAMES), own_maps=True),
)
TRACKING_ROWS = (
    *paper_rows(
        "PointOdyssey",
        ("track_apd", "track_epe"),
        {
            "SpatialTracker": (38.54, 0.7499),
            "MonST3R": (33.47, 0.9021),
            "St4RTrack": (67.95, 0.314),
            "DePT3R": (91.33, 0.0949),
        },
    ),
    *paper_rows(
        "DynamicReplica",
        ("track_apd", "track_epe"),
        {
            "SpatialTracker": (54.85, 0.9274),
            "MonST3R": (58.06, 0.4387),
            "St4RTrack": (73.74, 0.2682),
            "DePT3R": (91.12, 0.0925),
        },
    ),
    *paper_rows(
        "Panoptic Studio",
        ("track_apd", "track_epe"),
        {
            "SpatialTracker": (62.59, 0.3094),
            "MonST3R": (51.32, 0.4568),
            "St4RTrack": (69.67, 0.2637),
            "DePT3R": (89.36, 0.1046),
        },
    ),
)

HEADLINE = Protocol(
    key="dept3r-headline",
    source="DePT3R, Table 1",
    title="tracking and reconstruction outside of the training sets",
    sets=(PANOPTIC, TUM),
    score=Combined((score_world_tracks, score_world_points)),
    columns=(*TRACK_COLUMNS, *POINT_COLUMNS),
    alignment=ALIGNMENT,
    choices=(*TRACK_CHOICES, *RECON_CHOICES[len(APD) :]),
    paper=(
        *paper_rows(
            "TUM RGB-D",
            ("recon_apd", "recon_epe"),
            {
                "DUSt3R": (72.27, 0.29),
                "MASt3R": (66.22, 0.55),
                "MonST3R": (61.38, 0.36),
                "St4RTrack": (83.42, 0.19),
                "VGGT": (89.87, 0.09),
                "DePT3R": (92.22, 0.1),
            },
        ),
        *paper_rows(
            "Panoptic Studio",
            ("track_apd", "track_epe"),
            {
                "MonST3R": (51.32, 0.46),
                "SpatialTracker": (62.59, 0.31),
                "St4RTrack": (69.67, 0.26),
                "DePT3R": (89.36, 0.1),
            },
        ),
    ),
)

TRACKING = Protocol(
    key="dept3r-tracking",
    source="DePT3R, Table 2",
    title="tracks in the world (WorldTrack)",
    sets=_tracking_sets(truncated=False),
    score=score_world_tracks,
    columns=TRACK_COLUMNS,
    alignment=ALIGNMENT,
    choices=TRACK_CHOICES,
    paper=TRACKING_ROWS,
)

TRACKING_TRUNCATED = Protocol(
    key="dept3r-tracking-truncated",
    source="DePT3R, Table 2",
    title="tracks in the world, places cut off to pixels",
    sets=_tracking_sets(truncated=True),
    score=score_world_tracks,
    columns=TRACK_COLUMNS,
    alignment=ALIGNMENT,
    choices=TRACK_CHOICES,
    paper=TRACKING_ROWS,
)

RECONSTRUCTION = Protocol(
    key="dept3r-reconstruction",
    source="DePT3R, Table 3",
    title="points of all frames in the world",
    sets=(
        ProtocolSet(
            dataset="worldtrack-po",
            split="test",
            title="PointOdyssey",
            sampling=WholeSequence(stretch=Stretch(count=FRAMES), own_maps=True),
        ),
        TUM,
    ),
    score=score_world_points,
    columns=POINT_COLUMNS,
    alignment=ALIGNMENT,
    choices=RECON_CHOICES,
    paper=(
        *paper_rows(
            "PointOdyssey",
            ("recon_apd", "recon_epe"),
            {
                "DUSt3R": (45.79, 0.6386),
                "MASt3R": (56.9, 0.4644),
                "MonST3R": (68.25, 0.3044),
                "St4RTrack": (78.73, 0.2406),
                "VGGT": (97.69, 0.0514),
                "DePT3R": (98.01, 0.0406),
            },
        ),
        *paper_rows(
            "TUM RGB-D",
            ("recon_apd", "recon_epe"),
            {
                "DUSt3R": (72.27, 0.2891),
                "MASt3R": (66.22, 0.551),
                "MonST3R": (61.38, 0.3646),
                "St4RTrack": (83.42, 0.1854),
                "VGGT": (89.87, 0.093),
                "DePT3R": (92.22, 0.0968),
            },
        ),
    ),
)

ABLATION = Protocol(
    key="dept3r-ablation",
    source="DePT3R, Table 4",
    title="tracks with and without a known lens",
    sets=(
        ProtocolSet(
            dataset="panoptic",
            split="test",
            title="lens told",
            sampling=TracksOfFirstFrame(count=FRAMES, known_lens=True),
        ),
        ProtocolSet(
            dataset="panoptic",
            split="test",
            title="lens not told",
            sampling=TracksOfFirstFrame(count=FRAMES),
        ),
    ),
    score=score_world_tracks,
    columns=TRACK_COLUMNS,
    alignment=ALIGNMENT,
    choices=(
        *TRACK_CHOICES[:-1],
        "The paper compares networks trained with and without what tells them the lens; its full "
        "network stands under the lens that is told, which the paper does not state.",
    ),
    paper=(
        *paper_rows(
            "lens told",
            ("track_apd", "track_epe"),
            {
                "DePT3R": (89.36, 0.1046),
                "DePT3R, no centre-crop augmentation": (82.94, 0.1398),
            },
        ),
        *paper_rows(
            "lens not told",
            ("track_apd", "track_epe"),
            {
                "DePT3R, no intrinsic embedding": (78.09, 0.1735),
            },
        ),
    ),
)

MEMORY = Protocol(
    key="dept3r-memory",
    source="DePT3R, Figure 5",
    title=f"memory and time of {MEMORY_FRAMES} frames as more pixels are followed",
    sets=tuple(
        ProtocolSet(
            dataset="clips",
            split="all",
            title=title,
            sampling=GridOfFirstFrame(frames=MEMORY_FRAMES, stride=stride),
        )
        for stride, title in MEMORY_STRIDES
    ),
    score=score_cost,
    columns=COST_COLUMNS,
    alignment="none",
    choices=(
        "Of the figure three points are known: 10 frames of 518 × 518 on a card of 48 GB took "
        "DePT3R 12 GB for all 268,324 pixels; VGGT's tracker ran out of memory at 22,500 tracks, "
        "SpatialTrackerV2 at 40,000.",
        "No truth is needed: any clips of ten frames will do, best of 518 × 518 pixels.",
        "Memory is what the method's answers say of themselves.",
    ),
    paper=(
        *paper_rows(
            "every pixel",
            ("peak_mib",),
            {
                "DePT3R": (12288.0,),
            },
        ),
    ),
)

PROTOCOLS: tuple[Protocol, ...] = (
    HEADLINE,
    TRACKING,
    TRACKING_TRUNCATED,
    RECONSTRUCTION,
    ABLATION,
    MEMORY,
)
