"""How well hidden points are told from seen ones, and how far the probabilities hold.

    python benchmarks/visibility.py CLIPS [CLIPS ...] [--model nano] [--limit 6]

CLIPS is a clip or a folder of clips with truth. For every pair of frames, the points of the one
that are in view of the other at its time (by the truth) are judged, with true maps (the grid of the
truth taken for the map) and with a model's. Positive is hidden. Prints average precision (AP), that
of a 2 x 2 depth test on the same maps, precision and recall at .5, and the expected calibration
error (ECE) over 15 equal bins of probability. Points that fall outside the map by the answer have
probability 0 to be seen, whatever is before them, and are left out; their share is printed as
"out". (With true maps they lie in the outermost half of a grid step.)
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import dynapoint
from dynapoint.evaluation.clips import TruthClip, find_clips, read_clip
from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.reductions.visibility import agreement, seen_surface, visibility

_BINS = 15

Judged = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Probability of being hidden, depth over that of the farthest of four pixels, truth."""


def pairs(clip: TruthClip) -> list[tuple[int, int]]:
    """(time, frame) of all pairs of different frames."""
    every = range(clip.frame_count)
    return [(time, frame) for time in every for frame in every if time != frame]


def in_view(clip: TruthClip, at: int, frame: int) -> np.ndarray:
    """Which grid pixels of a frame the camera of a time has in its picture, hidden or not."""
    points = points_in_camera(
        clip.points[at, frame].astype(np.float64), clip.world_from_camera[at]
    ).reshape(-1, 3)
    xy = project(points, clip.intrinsics)
    height, width = clip.image_hw
    return ((xy >= 0) & (xy <= [width, height])).all(axis=1)


def depth_ratio(points: np.ndarray, intrinsics: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The plain test: depth over the farthest depth of the four pixels around the projection."""
    height, width = depth.shape
    xy = np.nan_to_num(project(points, intrinsics), nan=-1.0)
    column = np.floor(xy[:, 0] - 0.5).clip(0, width - 2).astype(np.int64)
    row = np.floor(xy[:, 1] - 0.5).clip(0, height - 2).astype(np.int64)
    around = [depth[row + down, column + right] for down in (0, 1) for right in (0, 1)]
    return points[:, 2] / np.maximum(np.max(around, axis=0), 1e-12)


def with_true_maps(clip: TruthClip) -> Iterator[Judged]:
    """Every pair of frames with the grid of the truth for maps."""
    stride, first = clip.stride, clip.stride // 2 + 0.5
    intrinsics = clip.intrinsics.copy()
    intrinsics[:2, 2] -= first
    intrinsics[:2] /= stride
    intrinsics[:2, 2] += 0.5
    seen = np.isfinite(clip.points[0]).all(axis=-1)
    for at, frame in pairs(clip):
        pose = clip.world_from_camera[at]
        own, points = (
            torch.tensor(np.nan_to_num(clip.points[at, k]), dtype=torch.float64)
            for k in (at, frame)
        )
        surface = seen_surface(
            own, torch.tensor(seen[at]).double(), torch.tensor(pose), torch.tensor(intrinsics)
        )
        agreed = agreement(surface, points, torch.tensor(seen[frame]).double())
        asked = in_view(clip, at, frame) & seen[frame].ravel()
        hidden = 1 - visibility(surface, points.reshape(-1, 3), agreed).visible.numpy()
        depth = np.where(seen[at], points_in_camera(own.numpy(), pose)[..., 2], np.inf)
        camera = points_in_camera(points.numpy().reshape(-1, 3), pose)
        ratio = depth_ratio(camera, intrinsics, depth)
        yield hidden[asked], ratio[asked], ~clip.visible[at, frame].ravel()[asked]


def with_a_model(clip: TruthClip, model: str) -> Iterator[Judged]:
    """Every pair of frames with what a model makes of the images."""
    rec = dynapoint.reconstruct(clip.images, model)
    for at in range(clip.frame_count):
        # Decodes all frames of a time at once, where that is quicker.
        rec.maps_at(time=at)
        for frame in range(clip.frame_count):
            if frame == at:
                continue
            asked = in_view(clip, at, frame)
            answer = rec.query(frame=frame, xy=clip.grid_xy[asked], time=at, camera=at)
            ratio = depth_ratio(
                answer.points.astype(np.float64), rec.map_intrinsics[at], rec.own_time_depth[at]
            )
            yield 1 - answer.visible, ratio, ~clip.visible[at, frame].ravel()[asked]


def average_precision(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under precision over recall; equal scores count as one step."""
    order = np.argsort(-score, kind="stable")
    score, positive = score[order], positive[order]
    last = np.append(score[1:] != score[:-1], True)
    found = positive.cumsum()[last]
    precision = found / (np.flatnonzero(last) + 1)
    return float((np.diff(found, prepend=0) * precision).sum() / max(positive.sum(), 1))


def calibration_error(probability: np.ndarray, positive: np.ndarray) -> float:
    """Mean distance of probability and share over bins, weighted by their points."""
    bin_ = np.minimum((probability * _BINS).astype(np.int64), _BINS - 1)
    excess = np.bincount(bin_, probability - positive, minlength=_BINS)
    return float(np.abs(excess).sum() / len(probability))


def show(name: str, judged: list[Judged]) -> None:
    """One line of the table."""
    hidden, ratio, truth = (np.concatenate(part) for part in zip(*judged, strict=True))
    inside = hidden < 1
    out = 1 - inside.mean()
    hidden, ratio, truth = hidden[inside], ratio[inside], truth[inside]
    called = hidden > 0.5
    right = (called & truth).sum()
    print(
        f"{name:32s} {len(truth):9d} {truth.mean():7.3f} {average_precision(hidden, truth):7.3f} "
        f"{average_precision(ratio, truth):7.3f} {right / max(called.sum(), 1):7.3f} "
        f"{right / max(truth.sum(), 1):7.3f} {calibration_error(hidden, truth):7.3f} "
        f"{out:7.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--model", default="nano", help="a model's name, or none")
    parser.add_argument("--limit", type=int, default=None, help="clips of each folder")
    options = parser.parse_args()
    start = time.process_time()
    head = ("points", "hidden", "AP", "2x2 AP", "prec", "recall", "ECE", "out")
    print(f"{'':32s} {head[0]:>9s} " + " ".join(f"{word:>7s}" for word in head[1:]))
    for folder in options.clips:
        clips = [read_clip(path) for path in find_clips(folder)[: options.limit]]
        show(f"{folder.name}, true maps", [j for clip in clips for j in with_true_maps(clip)])
        if options.model != "none":
            judged = [j for clip in clips for j in with_a_model(clip, options.model)]
            show(f"{folder.name}, {options.model}", judged)
    print(f"{time.process_time() - start:.0f} CPU seconds")


if __name__ == "__main__":
    main()
