"""Whether a reconstruction contradicts itself, and in plain words where not to trust it."""

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynapoint.errors import SceneError
from dynapoint.reductions.grades import error_of_grade
from dynapoint.refinement.findings import Findings
from dynapoint.results.asking import as_numpy
from dynapoint.results.camera_check import check_cameras
from dynapoint.results.check_stretches import LARGEST_SHARE, is_long, joined, stretches_of
from dynapoint.results.pictures import map_pictures
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.subscene import subscene
from dynapoint.results.thinning import MOST_SHOWN
from dynapoint.windows.joining import Joining

if TYPE_CHECKING:
    from dynapoint.reductions.self_check import SelfCheck

CHECK_FILE = "self_check.json"

# What is said when a signal goes beyond these; shares of the distance where nothing else is said.
_REPROJECTION = 0.01
_DRIFT = 0.01
_FRAME_DISAGREES, _FRAME_DISAGREES_MEDIANS = 0.05, 2.0
_MOVER_CYCLE = 0.1
_EDGE_DOUBT, _FAR_DOUBT = 1.4, 3.0
_JUMP = 8.0
_FIELD_OF_VIEW_DEG = (15.0, 110.0)
_OVERLAP = 0.5
_FEW_FRAMES = 6
# Cameras of a lower grade are of no use.
_WORTHLESS = 0.1


def check(scene: SceneMaps) -> "SelfCheck[np.ndarray]":
    """Grade a reconstruction without ground truth (`dynapoint.reductions.self_check`).

    Of a long scene stretches of neighbouring frames are looked at (`results.check_stretches`).

    Args:
        scene: What is graded. It is asked for a few points that it may have to decode: of frame 0
            at some times, and of those frames at time 0.

    Returns:
        Signals and grade, with NumPy arrays; of an opened scene without its network those that were
        stored.

    Raises:
        SceneError: There is no network to decode with, and none are stored.
    """
    try:
        if not is_long(scene):
            return _checked(scene)
        stretches = stretches_of(scene)
        return joined([(each, _checked(subscene(scene, each.frames))) for each in stretches], scene)
    except _CannotDecodeError:
        # Without its network a scene says of itself what it said when it was made.
        told = None if scene.folder is None else _stored(scene.folder)
        if told is None:
            raise
        return told


class _CannotDecodeError(SceneError):
    """There is no network that points could be asked of."""


def _checked(scene: SceneMaps) -> "SelfCheck[np.ndarray]":
    """The check of a scene that is no longer than can be looked at whole."""
    import torch  # noqa: PLC0415 - opening a scene does without torch.

    from dynapoint.reductions.self_check import chosen_pairs, self_check  # noqa: PLC0415

    pairs = chosen_pairs(scene.frame_count)
    decoded = {
        (0, time): torch.from_numpy(
            # Memory-mapped arrays are read-only, which tensors cannot be.
            scene.maps(frame=0, time=time)[0].copy()
        )
        for frame, time in pairs
        if frame == 0
    }
    others = [frame for frame, time in pairs if frame != 0]
    if others:
        # Together, because this is one pass of a network whose decoder sees all frames. Not kept,
        # because maps decoded together differ in the last bit from those that questions ask for.
        try:
            maps = scene.decoder.decode(others, 0, keep=False)
        except SceneError as error:
            raise _CannotDecodeError(str(error)) from error
        for frame, (points, _) in zip(others, maps, strict=True):
            decoded[frame, 0] = torch.from_numpy(points.copy())
    pictures = map_pictures(scene)
    graded = self_check(
        torch.from_numpy(scene.own_time_points.copy()),
        torch.from_numpy(scene.own_time_confidence.copy()),
        torch.from_numpy(pictures),
        torch.from_numpy(scene.world_from_camera.copy()),
        torch.from_numpy(scene.map_intrinsics.copy()),
        decoded=decoded,
    )
    return replace(as_numpy(graded), **asdict(check_cameras(scene, pictures)))


def check_text(
    found: "SelfCheck[np.ndarray]",
    refinement: Findings | None = None,
    joining: Joining | None = None,
) -> str:
    """What `CHECK_FILE` of a scene holds: grade and lines, and all signals (null for unknown).

    The grade of a single picture is null too.
    """
    signals = {
        field.name: _plain(np.asarray(getattr(found, field.name)).tolist())
        for field in fields(found)
        if field.name != "grade"
    }
    lines = check_lines(found)
    for more in (refinement, joining):
        lines += [] if more is None else more.lines()
    content = {"grade": found.grade, "lines": lines, "signals": signals}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_check(folder: Path) -> dict[str, Any] | None:
    """What a stored scene says of itself, as `check_text` has it; None where it does not.

    Raises:
        SceneError: The file is damaged.
    """
    path = folder / CHECK_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            "grade": None if content["grade"] is None else float(content["grade"]),
            "lines": [str(line) for line in content["lines"]],
            "signals": dict(content["signals"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SceneError(f"{path} is damaged; reconstruct the scene again") from error


def _stored(folder: Path) -> "SelfCheck[np.ndarray] | None":
    """What `read_check` reads, as it was found; None where it is not there or of another version.

    Raises:
        SceneError: The file is damaged.
    """
    from dynapoint.reductions.self_check import SelfCheck  # noqa: PLC0415

    content = read_check(folder)
    names = {field.name for field in fields(SelfCheck)} - {"grade"}
    if content is None or content["signals"].keys() != names:
        return None
    try:
        signals: dict[str, Any] = {}
        for name, value in content["signals"].items():
            # Null becomes NaN.
            number = np.asarray(value, np.float64)
            signals[name] = number.astype(np.float32) if number.ndim else float(number)
        return SelfCheck(grade=content["grade"], **signals)
    except (TypeError, ValueError) as error:
        raise SceneError(
            f"{folder / CHECK_FILE} is damaged; reconstruct the scene again"
        ) from error


def _plain(value: Any) -> Any:
    """Numbers and lists of them as JSON has them."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if math.isfinite(value) else None


def check_lines(found: "SelfCheck[np.ndarray]") -> list[str]:
    """The check in plain words: grades first, a line each, then every place not to trust."""
    if found.grade == 0.0:
        return ["trust 0.00 of 1: no pixel has a usable point"]
    if found.grade is None:
        grades = ["no grade: a single image has no other to be checked against"]
    else:
        grades = [
            f"trust {found.grade:.2f} of 1: points may be off by about "
            f"{_percent(error_of_grade(found.grade))} of their distance"
        ]
    # A grade of the cameras would be the second line.
    return (
        grades
        + _stretch_lines(found)
        + _camera_lines(found)
        + _frame_lines(found)
        + _part_lines(found)
    )


def _stretch_lines(found: "SelfCheck[np.ndarray]") -> list[str]:
    looked_at = np.isfinite(np.asarray(found.frame_expected_error))
    count, frames = int(looked_at.sum()), looked_at.size
    if frames <= MOST_SHOWN or count > LARGEST_SHARE * frames:
        return []
    return [
        f"looked at {count} of {frames} frames, in stretches of neighbours: what drifts over "
        "longer times is not seen"
    ]


def _camera_lines(found: "SelfCheck[np.ndarray]") -> list[str]:
    lines = []
    if math.isfinite(found.cameras_grade):
        advice = ": do not build on them" if found.cameras_grade < _WORTHLESS else ""
        lines.append(
            f"cameras: trust {found.cameras_grade:.2f} of 1{advice}; they explain "
            f"{_percent(found.matches_explained)} of matches between frames"
        )
    if found.reprojection_error > _REPROJECTION:
        lines.append(
            "own-time points contradict their cameras: the median reprojection error is "
            f"{_percent(found.reprojection_error)} of the focal length"
        )
    if found.camera_jump > _JUMP:
        lines.append(
            f"the camera jumps: its largest step is {found.camera_jump:.0f} times the median step"
        )
    low, high = _FIELD_OF_VIEW_DEG
    if not low <= found.field_of_view_deg <= high:
        lines.append(
            f"the field of view of {found.field_of_view_deg:.0f} degrees is unlikely: "
            "depth may be stretched or flattened"
        )
    return lines


def _frame_lines(found: "SelfCheck[np.ndarray]") -> list[str]:
    lines = []
    apart = np.asarray(found.frame_disagreement)
    known = apart[np.isfinite(apart)]
    if len(known):
        limit = max(_FRAME_DISAGREES, _FRAME_DISAGREES_MEDIANS * float(np.median(known)))
        odd = np.flatnonzero(apart > limit)
        if len(odd):
            lines.append(
                f"{_frames(odd)} from the others by {_percent(float(apart[odd].max()))} in depth"
            )
    if found.depth_disagreement > _FRAME_DISAGREES:
        lines.append(
            f"depths of the same place differ by {_percent(found.depth_disagreement)} "
            "between frames"
        )
    if found.overlap < _OVERLAP:
        lines.append(
            f"frames overlap by only {_percent(found.overlap)}: the check could compare little"
        )
    return lines


def _part_lines(found: "SelfCheck[np.ndarray]") -> list[str]:
    lines = []
    if found.still_drift > _DRIFT:
        lines.append(
            f"the still background drifts by {_percent(found.still_drift)} of its distance: "
            "do not trust small motions"
        )
    if found.moving_cycle_error > _MOVER_CYCLE:
        lines.append(
            "the forward-backward track error of moving points is "
            f"{_percent(found.moving_cycle_error)} of depth: trust only their direction"
        )
    if found.edge_doubt > _EDGE_DOUBT:
        lines.append(
            f"expected errors at depth edges are {found.edge_doubt:.1f} times those elsewhere"
        )
    if found.far_doubt > _FAR_DOUBT:
        lines.append(
            f"expected errors of far parts are {found.far_doubt:.1f} times those of near parts"
        )
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _frames(indices: np.ndarray) -> str:
    named = ", ".join(str(index) for index in indices[:_FEW_FRAMES])
    if len(indices) > _FEW_FRAMES:
        named += f" and {len(indices) - _FEW_FRAMES} more"
    return f"frame {named} differs" if len(indices) == 1 else f"frames {named} differ"
