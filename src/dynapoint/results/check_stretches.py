"""The self-check of long scenes: stretches of neighbouring frames, and what they say together.

The grade was fitted on clips of neighbouring frames. Frames that are far apart see other places, so
that an even choice of a long scene's would be graded for what it does not share. What drifts over
hundreds of frames is seen in no stretch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.subscene import main_segment, worlds
from dynapoint.results.thinning import MOST_SHOWN, even_choice

if TYPE_CHECKING:
    from dynapoint.reductions.self_check import SelfCheck

LARGEST_SHARE = 0.9
"""A scene of whose frames more than this share is looked at counts as looked at whole."""

_FRAMES, _STRETCHES = 24, 8
# Of these the largest counts, not the mean.
_LARGEST = ("camera_jump",)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Neighbouring frames of one world, and for how many frames they stand."""

    frames: range
    weight: float


def is_long(scene: SceneMaps) -> bool:
    """Whether a scene is checked in stretches: of many frames, or of several worlds."""
    return scene.frame_count > MOST_SHOWN or len(scene.segments) > 1


def stretches_of(scene: SceneMaps) -> list[Stretch]:
    """Evenly spaced stretches of the longest worlds that show something, one of each at least."""
    parts = [part for part in worlds(scene) if part.kind == "scene"]
    parts = parts or [worlds(scene)[main_segment(scene)]]
    parts = sorted(parts, key=lambda part: (-part.count, part.start))[:_STRETCHES]
    total = sum(part.count for part in parts)
    stretches = []
    for part in parts:
        length = min(part.count, _FRAMES)
        count = max(1, round(_STRETCHES * part.count / total))
        count = min(count, -(-part.count // _FRAMES))
        for start in even_choice(part.count - length + 1, count):
            first = part.start + start
            frames = range(first, first + length)
            stretches.append(Stretch(frames=frames, weight=part.count / count))
    return stretches


def joined(
    found: "Sequence[tuple[Stretch, SelfCheck[np.ndarray]]]", scene: SceneMaps
) -> "SelfCheck[np.ndarray]":
    """What stretches say together: means of grades and signals by the frames they stand for.

    Of the camera's jumps the largest counts. What is said of frames is NaN for those in no stretch.
    """
    weights = np.array([stretch.weight for stretch, _ in found])
    checks = [check for _, check in found]
    values: dict[str, Any] = {}
    for field in fields(checks[0]):
        each = [getattr(check, field.name) for check in checks]
        if np.ndim(each[0]):
            whole = np.full(scene.frame_count, np.nan, dtype=np.float32)
            for (stretch, _), part in zip(found, each, strict=True):
                whole[stretch.frames.start : stretch.frames.stop] = part
            values[field.name] = whole
        else:
            numbers = np.array([np.nan if value is None else value for value in each])
            values[field.name] = _together(numbers, weights, largest=field.name in _LARGEST)
    grade = None if np.isnan(values["grade"]) else values["grade"]
    return replace(checks[0], **{**values, "grade": grade})


def _together(values: np.ndarray, weights: np.ndarray, *, largest: bool) -> float:
    """The mean of known values, or the largest; NaN where none is known."""
    known = np.isfinite(values)
    if not known.any():
        return float("nan")
    if largest:
        return float(values[known].max())
    return float(np.average(values[known], weights=weights[known]))
