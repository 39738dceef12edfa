"""DPM's errors of the motion of objects between two times (arXiv 2503.16318, table 3)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.object_pose import object_motion_error
from dynapoint.evaluation.measures.relative import median_distance
from dynapoint.evaluation.metrics import MOVING_FRACTION_OF_DISTANCE, finite_or_origin
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.point_maps import answered_maps, by_source_and_time, true_maps

FEWEST_PIXELS = 16
"""Objects that show fewer compared pixels are left out: noise alone decides how those turn."""

_VARIANTS = (  # Metric, title, unit, whether it counts.
    ("rpe_rotation_deg", "RPE rot", "degrees", True),
    ("rpe_translation", "RPE trans", "median distance", True),
    ("rpe_translation_scaled", "RPE trans, fit with scale", "median distance", False),
    ("rpe_translation_truth_unit", "RPE trans, true unit", "unit of the truth", False),
    ("rpe_rotation_deg_moving", "RPE rot, moving", "degrees", False),
    ("rpe_translation_moving", "RPE trans, moving", "median distance", False),
)

OBJECT_POSE_COLUMNS = tuple(
    Column(
        metric=metric,
        title=title,
        unit=unit,
        better="lower",
        pooled="weighted",
        decimals=1 if "rotation" in metric else 3,
        default=default,
    )
    for metric, title, unit, default in _VARIANTS
)


@dataclass(frozen=True, kw_only=True)
class _Object:
    """What one object's motion was and how far the predicted one is from it."""

    moving: bool
    rotation_deg: float
    translation: float
    translation_scaled: float


def score_object_pose(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """Mean errors over the objects that the first frame shows, weighted by their number.

    The predicted maps are brought to the truth's unit by the median distance of the own-time maps.
    Objects have a pose at both times, and at least 16 pixels with true points at both.
    """
    found: list[_Object] = []
    unit = 1.0
    holds = sequence.holds
    if answer.points is not None and holds.instances and holds.object_poses:
        truth = by_source_and_time(task, true_maps(task, sequence))
        said = by_source_and_time(task, answered_maps(task, sequence, answer.points))
        compared = np.isfinite(truth[[0, 1], [0, 1]]).all(axis=-1)
        unit = median_distance(truth[[0, 1], [0, 1]], compared)
        said_unit = median_distance(said[[0, 1], [0, 1]], compared)
        moved = finite_or_origin(said[0]) * (unit / said_unit)
        found = _objects(task, sequence, truth=truth[0], said=moved, unit=unit)
    moving = [each for each in found if each.moving]
    return (
        _mean("rpe_rotation_deg", [each.rotation_deg for each in found]),
        _mean("rpe_translation", [each.translation / unit for each in found]),
        _mean("rpe_translation_scaled", [each.translation_scaled / unit for each in found]),
        _mean("rpe_translation_truth_unit", [each.translation for each in found]),
        _mean("rpe_rotation_deg_moving", [each.rotation_deg for each in moving]),
        _mean("rpe_translation_moving", [each.translation / unit for each in moving]),
    )


def _objects(
    task: Task,
    sequence: TruthSequence,
    *,
    truth: Float64[np.ndarray, "time=2 grid xyz=3"],
    said: Float64[np.ndarray, "time=2 grid xyz=3"],
    unit: float,
) -> list[_Object]:
    """Errors of all objects, in the unit of the truth."""
    first, second = task.frames[:2]
    grid = slice(task.stride // 2, None, task.stride)
    shown = sequence.instances(first)[grid, grid].reshape(-1)
    known = np.isfinite(truth).all(axis=(0, 2))
    camera = sequence.world_from_camera(first)
    found = []
    for row, poses in enumerate(sequence.object_poses()):
        pixels = (shown == row + 1) & known
        ends = poses[[first, second]]
        if pixels.sum() < FEWEST_PIXELS or not np.isfinite(ends).all():
            continue
        from_camera = np.linalg.inv(camera) @ ends
        motion = from_camera[1] @ np.linalg.inv(from_camera[0])
        plain, scaled = (
            object_motion_error(
                said[0, pixels], said[1, pixels], motion, from_camera[0, :3, 3], with_scale=scale
            )
            for scale in (False, True)
        )
        path = np.linalg.norm(truth[1, pixels] - truth[0, pixels], axis=-1)
        found.append(
            _Object(
                moving=bool(np.median(path) > MOVING_FRACTION_OF_DISTANCE * unit),
                rotation_deg=plain.rotation_deg,
                translation=plain.translation,
                translation_scaled=scaled.translation,
            )
        )
    return found


def _mean(metric: str, values: list[float]) -> Measured:
    """Their mean, with their number as weight."""
    value = float(np.mean(values)) if values else float("nan")
    return Measured(metric=metric, value=value, weight=float(len(values)))
