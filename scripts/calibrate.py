"""Measure what a network's confidence and visibility mean, and write it beside its weights.

    python scripts/calibrate.py src/dynapoint/assets/nano-2.safetensors

The next step after scripts/ship_weights.py. Clips of the data engine that no recipe trains on are
reconstructed, ten frames each, by the network alone and refined; errors and what was seen are
averaged by confidence and visibility, and become monotone curves (docs/scoring.md). The record
beside the weights (the same name, `.json`) then holds

    calibration          the curves, which `dynapoint.load_model` reads
    calibration_checked  for each tenth of the points: what curves of three quarters of the clips
                         say of the fourth, what is true, and how far the two are off each other
    clips16              scores of 16 clips by the network alone, which a test makes again

Five minutes of one core; `--clips 36` halves that, for curves less certain.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.isotonic import IsotonicRegression

from dynapoint.errors import DynapointError, InputError
from dynapoint.evaluation.clips import TruthClip
from dynapoint.evaluation.metrics import finite_or_origin
from dynapoint.evaluation.predictors import ModelPredictor
from dynapoint.evaluation.score import evaluate
from dynapoint.evaluation.scores import ClipScores
from dynapoint.inference.pipeline import reconstruct
from dynapoint.models.calibration import AnswerCurves, Calibration, Curve
from dynapoint.models.catalog import load_model
from dynapoint.results.calibrated import is_refined
from dynapoint.synthetic.held_out import SUBSETS, held_out_clip
from dynapoint.whole_file import sha256_of, whole_file

FRAMES = 10
FEWEST = 2
KNOTS = 16
TENTHS = 10
FOLDS = 4
# Points of these frames are looked at at all times; of all frames, at their own.
TRACKED = (0, 6)
# Clips 0 to 4 of each subset are those of `dynapoint evaluate synthetic`.
FIRST_FITTED, FIRST_SCORED = 100, 900
IMAGE_HW, SCORED_HW, STRIDE = (144, 192), (84, 112), 4


Table: TypeAlias = dict[str, dict[str, list[float]]]
"""For each curve of an answer, rows of numbers for tenths of the points."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Points of one reconstruction: what was said of each, and what is true.

    `refined` says whether refinement changed the depths: if it did not, the network's curves hold.
    """

    refined: bool
    own_time: Bool[np.ndarray, " point"]
    confidence: Float[np.ndarray, " point"]
    error: Float[np.ndarray, " point"]
    visible: Float[np.ndarray, " point"]
    seen: Bool[np.ndarray, " point"]


def engine_clip(number: int, first: int, image_hw: tuple[int, int]) -> TruthClip:
    """Held-out clip `number`, of one subset after another, with truth of every 4th pixel."""
    subset = SUBSETS[number % len(SUBSETS)]
    index = first + number // len(SUBSETS)
    clip = held_out_clip(subset, index, frames=FRAMES, image_hw=image_hw)
    everyone = torch.arange(FRAMES)[None]
    truth, grid = clip.truth(everyone, everyone), slice(STRIDE // 2, None, STRIDE)
    instance = clip.instance(everyone)[0, :, grid, grid].numpy()
    return TruthClip(
        name=f"{subset} {index}",
        images=clip.images[0].numpy(),
        points=truth.points[0, :, :, grid, grid].float().numpy(),
        visible=truth.visible[0, :, :, grid, grid].numpy(),
        instance=np.where(instance < 0, 255, instance % 100).astype(np.uint8),
        intrinsics=clip.intrinsics[0, 0].double().numpy(),
        world_from_camera=clip.world_from_camera[0].double().numpy(),
        stride=STRIDE,
    )


def measure(clip: TruthClip, network: Any, *, refine: bool) -> Measured:
    """Reconstruct a clip, and compare its points with the truth under one scale for the clip."""
    # What an earlier run wrote must not act on this one.
    rec = replace(reconstruct(clip.images, model=network, refine=refine), calibration=None)
    truth = clip.points.reshape(FRAMES, FRAMES, -1, 3).astype(np.float64)
    visible = clip.visible.reshape(FRAMES, FRAMES, -1)
    asked = [(i, i) for i in range(FRAMES)]
    asked += [(i, t) for i in TRACKED for t in range(FRAMES) if t != i]
    found = [rec.query(frame=i, xy=clip.grid_xy, time=t) for i, t in asked]
    points = finite_or_origin(np.stack([each.points for each in found]).astype(np.float64))
    confidence = np.stack([each.confidence for each in found])
    true = np.stack([truth[t, i] for i, t in asked])
    known = np.isfinite(true).all(axis=-1) & (confidence > 0)
    own = np.zeros(known.shape, dtype=bool)
    own[:FRAMES] = True
    unit, true_unit = (np.linalg.norm(each[own & known], axis=-1).mean() for each in (points, true))
    return Measured(
        refined=is_refined(rec.refinement),
        own_time=own[known],
        confidence=confidence[known],
        error=np.linalg.norm(points[known] / unit - true[known] / true_unit, axis=-1),
        visible=np.stack([each.visible for each in found])[known],
        seen=np.stack([visible[t, i] for i, t in asked])[known],
    )


def pooled(parts: Sequence[Measured]) -> Measured:
    """The points of all."""
    names = Measured.__dataclass_fields__.keys() - {"refined"}
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Measured(refined=parts[0].refined, **joined)


def fitted_curve(
    said: Float[np.ndarray, " point"], true: Float[np.ndarray, " point"], *, increasing: bool
) -> Curve:
    """The monotone curve through the means of groups of points, of which it makes `KNOTS`.

    Groups of a rising curve, which is of probabilities, are equally wide; of others, equally large.
    """
    if increasing:
        which = np.minimum((said * KNOTS).astype(np.int64), KNOTS - 1)
        groups = [np.flatnonzero(which == number) for number in range(KNOTS)]
    else:
        groups = np.array_split(np.argsort(said, kind="stable"), KNOTS)
    groups = [group for group in groups if len(group)]
    at = np.array([said[group].mean(dtype=np.float64) for group in groups])
    means = np.array([true[group].mean(dtype=np.float64) for group in groups])
    kept = np.flatnonzero(np.diff(at, prepend=-np.inf) > 1e-4)
    sizes = [len(groups[index]) for index in kept]
    fit = IsotonicRegression(increasing=increasing)
    level = fit.fit_transform(at[kept], means[kept], sample_weight=sizes)
    return Curve(
        at=tuple(round(float(each), 5) for each in at[kept]),
        gives=tuple(round(float(each), 5) for each in level),
    )


def parts_of(points: Measured) -> dict[str, tuple[np.ndarray, np.ndarray, bool]]:
    """For each curve of an answer what was said, what is true, and whether it rises."""
    own, other = points.own_time, ~points.own_time
    tested = other & (points.visible > 0)
    return {
        "own_time": (points.confidence[own], points.error[own], False),
        "other_times": (points.confidence[other], points.error[other], False),
        "visible": (points.visible[tested], points.seen[tested].astype(np.float64), True),
    }


def fit(points: Measured) -> AnswerCurves:
    """The curves of one kind of answer."""
    curves = {
        name: fitted_curve(said, true, increasing=rises)
        for name, (said, true, rises) in parts_of(points).items()
    }
    return AnswerCurves(**curves)


def tenths(curves: AnswerCurves, points: Measured) -> Table:
    """Means of what curves say and of what is true, for tenths of the points by what was said."""
    table = {}
    for name, (said, true, _) in parts_of(points).items():
        curve: Curve = getattr(curves, name)
        groups = np.array_split(np.argsort(said, kind="stable"), TENTHS)
        rows = {"predicted": curve(said), "measured": true}
        table[name] = {
            row: [float(values[group].mean(dtype=np.float64)) for group in groups]
            for row, values in rows.items()
        }
    return table


def checked_on_others(parts: Sequence[Measured]) -> Table:
    """`tenths` of each fold of the clips, by curves that were fitted to the other folds.

    Means over the folds, which hide what differs from fold to fold, and `off`: the root of the mean
    square of predicted / measured - 1 over the folds.
    """
    folds = min(FOLDS, len(parts))
    found = []
    for fold in range(folds):
        others = [part for k, part in enumerate(parts) if k % folds != fold]
        found.append(tenths(fit(pooled(others)), pooled(parts[fold::folds])))
    table = {}
    for name in AnswerCurves.__dataclass_fields__:
        predicted, measured = (
            np.array([each[name][row] for each in found]) for row in ("predicted", "measured")
        )
        off = np.sqrt(np.mean((predicted / np.maximum(measured, 1e-6) - 1) ** 2, axis=0))
        rows = {"predicted": predicted.mean(axis=0), "measured": measured.mean(axis=0), "off": off}
        table[name] = {row: np.round(values, 4).tolist() for row, values in rows.items()}
    return table


def calibrate(clips: Iterable[TruthClip], network: Any) -> tuple[Calibration, dict[str, Table]]:
    """The calibration of a network, and how its like fares on clips that it was not fitted to.

    Raises:
        InputError: Too few clips were refined.
    """
    measured: dict[str, list[Measured]] = {"network": [], "refined": []}
    for count, clip in enumerate(clips, start=1):
        measured["network"].append(measure(clip, network, refine=False))
        found = measure(clip, network, refine=True)
        if found.refined:
            measured["refined"].append(found)
        print(f"clip {count}: {clip.name}", flush=True)
    fewest = min(len(parts) for parts in measured.values())
    if fewest < FEWEST:
        raise InputError(f"{fewest} clips were refined; {FEWEST} are needed: give more (--clips)")
    checked = {answer: checked_on_others(parts) for answer, parts in measured.items()}
    fitted = {answer: fit(pooled(parts)) for answer, parts in measured.items()}
    return Calibration(**fitted), checked


def scores_of_16(network: Any) -> dict[str, float]:
    """Scores of 16 small clips by the network alone, the same on all machines but for rounding."""
    clips = (engine_clip(number, FIRST_SCORED, SCORED_HW) for number in range(16))
    found: ClipScores = evaluate(clips, ModelPredictor(network, refine=False)).pooled
    of_margin = {margin: scores.pairs for margin, scores in found.margins.items()}
    return {
        "own_time_epe_m8": of_margin[8].own_time_epe,
        "motion_ratio_m2": of_margin[2].motion_ratio,
        "motion_ratio_m8": of_margin[8].motion_ratio,
        "leak_m8": of_margin[8].leak,
    }


def show(checked: dict[str, Table]) -> None:
    """Print predicted and measured means for tenths of the points."""
    for answer, curves in checked.items():
        for name, rows in curves.items():
            for row, values in rows.items():
                cells = " ".join(f"{value:6.3f}" for value in values)
                print(f"{answer:8} {name:12} {row:10} {cells}")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, help="a weights file; its record is changed")
    parser.add_argument("--name", default="nano", help="the network that the file is of")
    parser.add_argument("--clips", type=int, default=72, help="how many clips to fit to")
    options = parser.parse_args(words)
    path = options.weights.with_suffix(".json")
    try:
        record = json.loads(path.read_text()) if path.is_file() else {}
        network = load_model(options.name, weights=options.weights)
        clips = (engine_clip(k, FIRST_FITTED, IMAGE_HW) for k in range(options.clips))
        calibration, checked = calibrate(clips, network)
        record["sha256"] = sha256_of(options.weights)
        record["calibration"] = asdict(calibration)
        record["calibration_checked"] = checked
        record["clips16"] = {name: round(v, 5) for name, v in scores_of_16(network).items()}
        with whole_file(path) as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n")
    except (DynapointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(checked)
    print(f"{path}: {record['clips16']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
