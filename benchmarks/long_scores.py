"""Numbers of long clips, as `long_video.py` prints them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dynapoint.evaluation.trajectory import (
    aligned_path,
    motion_errors,
    path_errors,
    revisits,
    track_errors,
)
from dynapoint.geometry.arrays import points_in_camera, transform_points
from dynapoint.synthetic.long_clip import LongClip

LAGS = (0, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LEAST_LOOP, LOOP_METRES, LOOP_DEG = 100, 0.4, 15.0

PointsOf = Callable[[int, int], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Errors of one part of a clip by one way; lengths in per cent of its median depth."""

    label: str
    ate: float
    ate_largest: float
    rpe: float
    rpe_deg: float
    far: float
    far_deg: float
    loop: float
    loop_deg: float
    scale_drift: float
    seconds: float = 0.0


def row_of(label: str, truth: np.ndarray, found: np.ndarray, depth: float, seconds: float) -> Row:
    """All numbers of one camera path of a part."""
    errors = path_errors(truth, found)
    loops = revisits(truth, least_frames=LEAST_LOOP, within=LOOP_METRES, within_deg=LOOP_DEG)
    loop, loop_deg = motion_errors(truth, aligned_path(truth, found)[0], loops)
    share = 100.0 / depth
    return Row(
        label=label,
        ate=share * errors.ate,
        ate_largest=share * errors.ate_largest,
        rpe=share * errors.rpe_translation,
        rpe_deg=errors.rpe_rotation_deg,
        far=share * errors.far_translation,
        far_deg=errors.far_rotation_deg,
        loop=share * float(np.median(loop)) if len(loop) else float("nan"),
        loop_deg=float(np.median(loop_deg)) if len(loop) else float("nan"),
        scale_drift=100.0 * errors.scale_drift,
        seconds=seconds,
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    titles = (
        "", "ATE %", "largest %", "RPE %", "RPE °", "RPE 100 %", "RPE 100 °", "loop %", "loop °",
        "scale drift %", "s",
    )  # fmt: skip
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in rows:
        label, *numbers = vars(row).values()
        lines.append(f"| {label} | " + " | ".join(f"{value:.2f}" for value in numbers) + " |")
    return "\n".join(lines)


def track_table(
    clip: LongClip, part: range, found: np.ndarray, points: PointsOf, *, pairs: int, seed: int
) -> list[tuple[int, float, float, int]]:
    """Error against how far times are apart: lag, still and moving medians (% of depth), pairs.

    Points are compared in the camera of the time that is asked for, in the unit of the true path,
    so that what the world's place and scale have of errors is left out.
    """
    truth = clip.world_from_camera[part.start : part.stop]
    scale = aligned_path(truth, found)[1]
    rng = np.random.default_rng(seed)
    lines = []
    for lag in LAGS:
        if lag >= len(part):
            break
        still, moving, used = [], [], 0
        for _ in range(pairs):
            i = int(rng.integers(len(part) - lag))
            i, j = (i, i + lag) if rng.random() < 0.5 else (i + lag, i)
            true = clip.truth(part.start + i, part.start + j)
            said = points_in_camera(points(i, j).astype(np.float64), found[j]) * scale
            rows, columns = (
                ((np.arange(count) + 0.5) * full / count).astype(int)
                for count, full in zip(said.shape[:2], clip.image_hw, strict=True)
            )
            grid = np.ix_(rows, columns)
            errors = track_errors(
                truth=true.points[grid],
                own_truth=clip.points(part.start + i, part.start + i)[grid],
                predicted=transform_points(truth[j], said),
                visible=true.visible[grid],
                camera=truth[j],
            )
            used += errors.still_points + errors.moving_points > 0
            still.append(errors.still)
            moving.append(errors.moving)
        lines.append((lag, 100 * middle(still), 100 * middle(moving), used))
    return lines


def middle(values: Iterable[float]) -> float:
    """The median of those that are known."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")


def shown_tracks(label: str, lines: Sequence[tuple[int, float, float, int]]) -> str:
    """Markdown."""
    head = f"| {label}: frames apart | " + " | ".join(str(line[0]) for line in lines) + " |"
    rows = [head, "|---" * (len(lines) + 1) + "|"]
    for name, place in (("still, % of depth", 1), ("moving, % of depth", 2)):
        rows.append(f"| {name} | " + " | ".join(f"{line[place]:.2f}" for line in lines) + " |")
    return "\n".join([*rows, f"| pairs | {' | '.join(str(line[3]) for line in lines)} |"])


def median_depth(clip: LongClip, frame: int) -> float:
    """Of what a frame shows."""
    points = points_in_camera(clip.points(frame, frame), clip.world_from_camera[frame])
    return float(np.nanmedian(points[..., 2]))
