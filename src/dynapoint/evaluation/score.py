"""Scores of predictors on clips with exact truth, beside the trivial answers."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynapoint.errors import ConfigError
from dynapoint.evaluation.clips import TruthClip, find_clips, read_clip
from dynapoint.evaluation.methods.known import labels_of
from dynapoint.evaluation.metrics import (
    focal_error_percent,
    match_recall,
    rotation_errors_deg,
    score_pairs,
    track_epe,
)
from dynapoint.evaluation.predictors import (
    FlatScene,
    ModelPredictor,
    OwnGeometryNothingMoved,
    Prediction,
    Predictor,
    Remembered,
    TrueGeometryNothingMoved,
    TruthPredictor,
    check_prediction,
    truth_points,
    truth_poses,
)
from dynapoint.evaluation.report import check_writable, write_json
from dynapoint.evaluation.scores import (
    PAIR_STARTS,
    TRACK_FRAMES,
    ClipScores,
    LongScores,
    MarginScores,
    Scores,
)
from dynapoint.progress import steps


def evaluate(clips: Iterable[TruthClip], predictor: Predictor, *, progress: bool = False) -> Scores:
    """Score one predictor on clips; pairs that a short clip does not have are left out."""
    return evaluate_together(clips, {"": predictor}, progress=progress)[""]


def evaluate_together(
    clips: Iterable[TruthClip], predictors: Mapping[str, Predictor], *, progress: bool = False
) -> dict[str, Scores]:
    """Score several predictors, all asked one question before the next is asked.

    Clips are taken one by one, so that a generator needs the memory of one clip only.
    """
    scored: dict[str, list[ClipScores]] = {name: [] for name in predictors}
    for clip in steps(clips, "clip", wanted=True) if progress else clips:
        for name, scores in _score_clip(clip, predictors).items():
            scored[name].append(scores)
    return {name: _pool(of_clips) for name, of_clips in scored.items()}


def evaluate_paths(
    clips_path: Path,
    models: Sequence[str] = ("nano",),
    output: Path | None = None,
    *,
    weights: Sequence[Path] = (),
    progress: bool = False,
) -> dict[str, Scores]:
    """Score models and the trivial answers on stored clips; returns the rows of the tables.

    Args:
        clips_path: a clip folder, or a folder of clips.
        models: names of networks, each of which is loaded once.
        output: a JSON file for all scores, of every clip and pooled; replaced if it exists.
        weights: weights files to load instead of the models' own, one for each of `models`; rows
            then have their names.
        progress: show on standard error which clip it is at.

    Raises:
        ConfigError: there are not as many weights as models, or a model is given twice.
        SceneError: there are no clips, or one is damaged.
        ModelError: a model is unknown or cannot be loaded.
        OutputError: `output` cannot be written.
    """
    if weights and len(weights) != len(models):
        raise ConfigError(
            f"{len(models)} models and {len(weights)} weights files; give one file for each model, "
            "or none"
        )
    # Networks are loaded only where one is scored, not for the trivial answers.
    from dynapoint.models.catalog import load_model  # noqa: PLC0415

    paths = find_clips(clips_path)
    if output is not None:
        check_writable(output)
    files: Sequence[Path | None] = weights or [None] * len(models)
    labels = labels_of(models, files)
    if len(set(labels)) < len(labels):
        raise ConfigError(f"the models {', '.join(labels)} are not all different; give each once")
    networks = {
        label: load_model(model, weights=file)
        for label, model, file in zip(labels, models, files, strict=True)
    }
    clips = (read_clip(path) for path in steps(paths, "clip", wanted=progress))
    rows = evaluate_together(clips, {**model_answers(networks), **trivial_answers()})
    if output is not None:
        write_json(rows, output)
    return rows


def model_answers(networks: Mapping[str, Any]) -> dict[str, Predictor]:
    """Networks by their names, each followed by its own geometry without motion."""
    answers: dict[str, Predictor] = {}
    for name, network in networks.items():
        remembered = Remembered(ModelPredictor(network))
        answers[name] = remembered
        answers[f"{name}, nothing moved"] = OwnGeometryNothingMoved(remembered)
    return answers


def trivial_answers() -> dict[str, Predictor]:
    """The answers that cost nothing, which any score is shown beside, and the truth itself."""
    return {
        "flat scene": FlatScene(),
        "true geometry, nothing moved": TrueGeometryNothingMoved(),
        "truth": TruthPredictor(),
    }


def _score_clip(clip: TruthClip, predictors: Mapping[str, Predictor]) -> dict[str, ClipScores]:
    scored = {name: ClipScores(name=clip.name) for name in predictors}
    for margin, starts in PAIR_STARTS.items():
        for start in starts:
            if start + margin >= clip.frame_count:
                continue
            for name, predictor in predictors.items():
                found = _score_pair(clip, predictor, frames=(start, start + margin))
                margins = {**scored[name].margins, margin: scored[name].margins[margin] + found}
                scored[name] = ClipScores(name=clip.name, margins=margins)
    for name, predictor in predictors.items():
        scored[name] = ClipScores(
            name=clip.name, margins=scored[name].margins, long=_score_long(clip, predictor)
        )
    return scored


def _score_pair(clip: TruthClip, predictor: Predictor, *, frames: tuple[int, int]) -> MarginScores:
    prediction = _checked(clip, predictor, frames=frames, source_frames=(0, 1))
    truth = truth_points(clip, times=frames, source_frames=frames, reference=frames[0])
    confidence = prediction.confidence
    pairs = score_pairs(
        truth[None, :, :, None],
        prediction.points[None, :, :, None],
        None if confidence is None else confidence[None, :, :, None],
    )
    matches = match_recall(
        truth_points=truth,
        predicted_points=prediction.points,
        visible=clip.visible[np.ix_(frames, frames)].reshape(2, 2, -1),
        grid_xy=clip.grid_xy,
        intrinsics=clip.intrinsics,
        world_from_camera=truth_poses(clip, frames=frames, reference=frames[0]),
    )
    return MarginScores(pairs=pairs, matches=matches)


def _score_long(clip: TruthClip, predictor: Predictor) -> LongScores:
    """Tracks of frame 0 and the cameras, from one reconstruction of up to ten frames."""
    frames = range(min(TRACK_FRAMES, clip.frame_count))
    if len(frames) < 2:
        return LongScores()
    started = time.perf_counter()
    prediction = _checked(clip, predictor, frames=frames, source_frames=(0,))
    seconds = time.perf_counter() - started
    truth = truth_points(clip, times=frames, source_frames=(0,), reference=0)
    error = track_epe(truth[:, 0], prediction.points[:, 0])
    poses = truth_poses(clip, frames=frames, reference=0)
    rotations = rotation_errors_deg(poses, prediction.world_from_camera)
    return LongScores(
        clips=1,
        tracked_clips=0 if np.isnan(error) else 1,
        seconds=seconds,
        track_error=0.0 if np.isnan(error) else error,
        rotation_deg_sum=float(np.median(rotations[1:])),
        focal_percent_sum=focal_error_percent(
            float(clip.intrinsics[0, 0]), prediction.focal_px.astype(np.float64)
        ),
    )


def _checked(
    clip: TruthClip, predictor: Predictor, *, frames: Sequence[int], source_frames: Sequence[int]
) -> Prediction:
    prediction = predictor.predict(clip, frames, source_frames=source_frames)
    check_prediction(
        prediction,
        times=len(frames),
        source_frames=len(source_frames),
        grid=len(clip.grid_xy),
        frames=len(frames),
    )
    return prediction


def _pool(of_clips: Sequence[ClipScores]) -> Scores:
    pooled = ClipScores(name="all clips")
    for scores in of_clips:
        pooled = pooled.pooled_with(scores)
    return Scores(pooled=pooled, clips=tuple(of_clips))
