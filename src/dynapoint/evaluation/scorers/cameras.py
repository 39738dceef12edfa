"""Camera paths after the similarity that fits them best, pairs of poses, and focal lengths."""

import numpy as np
from jaxtyping import Float, Float64

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.pose_pairs import area_under_curve, pair_angles
from dynapoint.evaluation.metrics import focal_error_percent, rotation_errors_deg
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.whole_truth import need_shape, nothing, true_poses
from dynapoint.evaluation.trajectory import aligned_path, relative_errors

PATH_KEYS = ("ate", "rpe_translation", "rpe_rotation")
_LEAST_DETERMINANT = 0.1
PAIR_KEYS = ("auc_3", "auc_30", "auc_3_signed", "auc_30_signed")


def score_cameras(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """ATE, RPE of translation and rotation, AUC of pairs, rotation and focal length.

    A predicted pose that is not finite, or that no camera can have, counts as the pose of the first
    frame, its rotation as 180° off.
    """
    return (
        *_score_path(task, sequence, answer),
        *_score_focal(task, sequence, answer),
    )


def _score_path(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    said = answer.world_from_camera
    if said is None or not sequence.holds.poses or len(task.frames) < 2:
        return nothing(*PATH_KEYS, *PAIR_KEYS, "rotation")
    truth = true_poses(task, sequence)
    need_shape(task, "poses", said, truth)
    known = np.isfinite(truth).all(axis=(1, 2))
    truth, said = truth[known], _poses_or_nan(said[known].astype(np.float64))
    if len(truth) < 2:
        return nothing(*PATH_KEYS, *PAIR_KEYS, "rotation")
    finite = np.isfinite(said).all(axis=(1, 2))
    ate, translation, rotation = path_scores(truth, said)
    values = dict(zip(PATH_KEYS, (ate, translation, rotation), strict=True))
    for suffix, signed in (("", False), ("_signed", True)):
        worse = pair_angles(truth, said, signed=signed).worse_deg
        for degrees in (3, 30):
            values[f"auc_{degrees}{suffix}"] = area_under_curve(worse, degrees)
    turns = rotation_errors_deg(truth, np.where(finite[:, None, None], said, np.nan))
    values["rotation"] = float(np.median(turns[1:]))
    return tuple(Measured(metric=key, value=value) for key, value in values.items())


def _poses_or_nan(said: Float64[np.ndarray, "frame 4 4"]) -> Float64[np.ndarray, "frame 4 4"]:
    """NaN in the place of matrices that are no pose: zeros, another last row, mirrored axes."""
    with np.errstate(invalid="ignore", over="ignore"):
        last_row = np.isclose(said[:, 3], (0, 0, 0, 1), atol=1e-3).all(axis=-1)
        # Its determinant is 1; methods that fit matrices may be a little off.
        turns = np.linalg.det(said[:, :3, :3]) > _LEAST_DETERMINANT
    return np.where((last_row & turns)[:, None, None], said, np.nan)


def path_scores(
    truth: Float64[np.ndarray, "frame 4 4"], predicted: Float64[np.ndarray, "frame 4 4"]
) -> tuple[float, float, float]:
    """ATE, RPE of translation (in the unit of the truth) and RPE of rotation (degrees).

    Root mean squares, after Umeyama's similarity, of neighbouring frames (Sturm et al., IROS 2012,
    with the settings of MonST3R's evaluation by evo: align, correct_scale, delta of one frame, all
    pairs).
    """
    finite = np.isfinite(predicted).all(axis=(1, 2))
    moved, _ = aligned_path(truth, np.where(finite[:, None, None], predicted, np.eye(4)))
    away = np.linalg.norm(moved[:, :3, 3] - truth[:, :3, 3], axis=-1)
    translation, rotation = relative_errors(truth, moved, delta=1)
    rotation = np.where(finite[1:] & finite[:-1], rotation, 180.0)
    ate, translation_rms, rotation_rms = (
        float(np.sqrt((values**2).mean())) for values in (away, translation, rotation)
    )
    return ate, translation_rms, rotation_rms


def _score_focal(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    if answer.intrinsics is None or not sequence.holds.lens:
        return nothing("focal")
    truth = np.array([sequence.intrinsics(frame)[0, 0] for frame in task.frames])
    said: Float[np.ndarray, " frame"] = answer.intrinsics[:, 0, 0].astype(np.float64)
    return (Measured(metric="focal", value=focal_error_percent(1.0, said / truth)),)


PATH_COLUMNS = (
    Column(metric="ate", title="ATE", unit="of the set", better="lower"),
    Column(metric="rpe_translation", title="RPE trans", unit="of the set", better="lower"),
    Column(metric="rpe_rotation", title="RPE rot", unit="degrees", better="lower"),
)
"""What tables of camera poses print."""

MORE_COLUMNS = (
    Column(
        metric="auc_30",
        title="AUC@30",
        unit="per cent",
        better="higher",
        decimals=1,
        default=False,
    ),
    Column(
        metric="auc_3", title="AUC@3", unit="per cent", better="higher", decimals=1, default=False
    ),
    Column(
        metric="auc_30_signed",
        title="AUC@30, signed",
        unit="per cent",
        better="higher",
        decimals=1,
        default=False,
    ),
    Column(
        metric="auc_3_signed",
        title="AUC@3, signed",
        unit="per cent",
        better="higher",
        decimals=1,
        default=False,
    ),
    Column(
        metric="rotation",
        title="rotation, median",
        unit="degrees",
        better="lower",
        decimals=2,
        default=False,
    ),
    Column(
        metric="focal",
        title="focal",
        unit="per cent",
        better="lower",
        decimals=1,
        default=False,
    ),
)
"""What stands beside."""
