"""Error against margin, clip length and size of motion, on held-out clips of the data engine.

    python benchmarks/error_curves.py [--clips 12] [--model nano] [-o error_curves.json]
        [--plot docs/pictures/error_curves.png]

Each clip has 16 frames of 192 x 256. Margins: pairs that start at frames 0 and 3. Lengths: one
reconstruction of the first frames, the tracks of frame 0 and the cameras. Size of motion: moving
pixels of all pairs, sorted by how far they go in mean distances from the camera. Definitions:
docs/scoring.md. The plot needs matplotlib.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from dynapoint.evaluation.clips import TruthClip, find_clips, read_clip
from dynapoint.evaluation.metrics import (
    PairScores,
    compared_points,
    finite_or_origin,
    moving_points,
    rotation_errors_deg,
    score_pairs,
    track_epe,
)
from dynapoint.evaluation.predictors import (
    FlatScene,
    ModelPredictor,
    OwnGeometryNothingMoved,
    Predictor,
    Remembered,
    TrueGeometryNothingMoved,
    truth_points,
    truth_poses,
)
from dynapoint.models.catalog import load_model
from dynapoint.progress import steps
from dynapoint.synthetic.clip_files import synthesize

SEED = 1_000_500_000
MARGINS, STARTS = (1, 2, 4, 8, 12), (0, 3)
LENGTHS = (2, 4, 8, 12, 16)
# In mean distances from the camera.
SIZES = (0.01, 0.03, 0.1, 0.3, 10.0)


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What one predictor gave; NaN where there was nothing to measure."""

    own_epe: list[float]
    motion_ratio: list[float]
    leak: list[float]
    four_map_epe: list[float]
    track_epe: list[float]
    rotation_deg: list[float]
    ratio_by_size: list[float]


class Sums:
    """What has been measured of one predictor."""

    def __init__(self) -> None:
        self.pairs = {margin: PairScores() for margin in MARGINS}
        self.errors, self.lengths = np.zeros(len(SIZES) - 1), np.zeros(len(SIZES) - 1)
        self.tracks: dict[int, list[float]] = {length: [] for length in LENGTHS}
        self.turns: dict[int, list[float]] = {length: [] for length in LENGTHS}

    def add_pair(self, clip: TruthClip, predictor: Predictor, start: int, margin: int) -> None:
        """A pair of frames at both times."""
        frames = (start, start + margin)
        truth = truth_points(clip, times=frames, source_frames=frames, reference=start)
        said = predictor.predict(clip, frames).points
        self.pairs[margin] += score_pairs(truth[None, :, :, None], said[None, :, :, None])
        by_size(truth, said, self.errors, self.lengths)

    def add_clip(self, clip: TruthClip, predictor: Predictor, length: int) -> None:
        """The tracks of frame 0 and the cameras of the first frames."""
        frames = tuple(range(length))
        answer = predictor.predict(clip, frames, source_frames=(0,))
        truth = truth_points(clip, times=frames, source_frames=(0,), reference=0)
        self.tracks[length].append(track_epe(truth[:, 0], answer.points[:, 0]))
        poses = truth_poses(clip, frames=frames, reference=0)
        wrong = rotation_errors_deg(poses, answer.world_from_camera)[1:]
        self.turns[length].append(float(np.median(wrong)))

    @property
    def curves(self) -> Curves:
        """Their means."""
        pairs = [self.pairs[margin] for margin in MARGINS]
        return Curves(
            own_epe=[each.own_time_epe for each in pairs],
            motion_ratio=[each.motion_ratio for each in pairs],
            leak=[each.leak for each in pairs],
            four_map_epe=[each.four_map_epe for each in pairs],
            track_epe=[float(np.nanmean(self.tracks[length])) for length in LENGTHS],
            rotation_deg=[float(np.mean(self.turns[length])) for length in LENGTHS],
            ratio_by_size=(self.errors / np.maximum(self.lengths, 1e-12)).tolist(),
        )


def curves_of(clips: Sequence[TruthClip], predictors: Mapping[str, Predictor]) -> dict[str, Curves]:
    """Ask all of them one question before the next is asked."""
    sums = {name: Sums() for name in predictors}
    for clip in steps(clips, "clip", wanted=True):
        for margin, start in product(MARGINS, STARTS):
            for name, predictor in predictors.items():
                sums[name].add_pair(clip, predictor, start, margin)
        for length in LENGTHS:
            for name, predictor in predictors.items():
                sums[name].add_clip(clip, predictor, length)
    return {name: each.curves for name, each in sums.items()}


def by_size(truth: np.ndarray, said: np.ndarray, errors: np.ndarray, lengths: np.ndarray) -> None:
    """Add errors and lengths of the motion of a pair's moving pixels to their bins."""
    compared = compared_points(truth)
    if not compared.any():
        return
    said = finite_or_origin(said)
    scales = [
        np.linalg.norm(maps[:, compared], axis=-1).mean() if maps[:, compared].any() else 1.0
        for maps in (truth, said)
    ]
    moving = moving_points(truth, compared)
    for frame in (0, 1):
        true, found = (
            (maps[1 - frame, frame] - maps[frame, frame])[moving[frame]] / scale
            for maps, scale in zip((truth, said), scales, strict=True)
        )
        size = np.linalg.norm(true, axis=-1)
        place = np.digitize(size, SIZES) - 1
        held = (place >= 0) & (place < len(lengths))
        np.add.at(errors, place[held], np.linalg.norm(found - true, axis=-1)[held])
        np.add.at(lengths, place[held], size[held])


def draw(curves: Mapping[str, Curves], path: Path) -> None:
    """One plot of each."""
    import matplotlib  # noqa: PLC0415 - only a plot needs it.

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    plots = (
        ("own_epe", MARGINS, "margin in frames", "own-time EPE", "mean distance"),
        ("motion_ratio", MARGINS, "margin in frames", "motion ratio", "1 = nothing moved"),
        ("leak", MARGINS, "margin in frames", "leak", "mean distance"),
        (
            "track_epe",
            LENGTHS,
            "frames in the clip",
            "EPE of the tracks of frame 0",
            "mean distance",
        ),
        ("rotation_deg", LENGTHS, "frames in the clip", "rotation error", "degrees"),
    )
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    for each, (name, x, xlabel, title, unit) in zip(axes.flat, plots, strict=False):
        for row, found in curves.items():
            each.plot(x, getattr(found, name), "o-", label=row, linewidth=1.3)
        each.set(title=title, xlabel=xlabel, ylabel=unit, xticks=x, ylim=(0, None))
    last = axes.flat[-1]
    for row, found in curves.items():
        last.plot(range(len(SIZES) - 1), found.ratio_by_size, "o-", label=row, linewidth=1.3)
    ends = [f"{low:g} to {high:g}" for low, high in pairwise(SIZES[:-1])] + [f"over {SIZES[-2]:g}"]
    last.set(title="motion ratio by size of motion", xlabel="motion in mean distances")
    last.set(ylabel="1 = nothing moved", xticks=range(len(ends)), xticklabels=ends, ylim=(0, None))
    for each in axes.flat:
        each.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--model", nargs="+", default=["nano"])
    parser.add_argument("-o", "--output", type=Path, default=Path("error_curves.json"))
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder) / "clips", clips=options.clips, seed=SEED, frames=16)
        clips = [read_clip(path) for path in find_clips(Path(folder) / "clips")]
    predictors: dict[str, Predictor] = {}
    for model in options.model:
        predictors[model] = Remembered(ModelPredictor(load_model(model)))
        predictors[f"{model}, nothing moved"] = OwnGeometryNothingMoved(predictors[model])
    predictors["true geometry, nothing moved"] = TrueGeometryNothingMoved()
    predictors["flat scene"] = FlatScene()
    curves = curves_of(clips, predictors)
    plain = {name: asdict(found) for name, found in curves.items()}
    options.output.write_text(json.dumps(plain, indent=1) + "\n")
    if options.plot:
        draw(curves, options.plot)


if __name__ == "__main__":
    main()
