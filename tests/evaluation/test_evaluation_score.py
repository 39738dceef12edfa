"""Reading clips, the trivial answers, pooling over clips, JSON and tables."""

import json
import math
import sys
import types
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynapoint.errors import ConfigError, OutputError, SceneError, ShapeError
from dynapoint.evaluation.clips import TruthClip, find_clips, read_clip
from dynapoint.evaluation.predictors import (
    FlatScene,
    ModelPredictor,
    OwnGeometryNothingMoved,
    Remembered,
    TrueGeometryNothingMoved,
    TruthPredictor,
)
from dynapoint.evaluation.report import to_json, to_table, to_tables, write_json
from dynapoint.evaluation.score import (
    evaluate,
    evaluate_paths,
    evaluate_together,
    trivial_answers,
)
from dynapoint.evaluation.scores import list_metrics
from folders import SHARED

BENCH = SHARED / "bench" / "clips"
STRIDE = 4


def _pose(rng, turn_deg, shift):
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    angle = np.deg2rad(turn_deg)
    pose = np.eye(4)
    pose[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    pose[:3, 3] = rng.normal(size=3) * shift
    return pose


def make_clip(seed=0, frames=10, grid_hw=(12, 16), name="made"):
    """A wavy wall and a square that slides before it, seen by a camera that turns and moves."""
    rng = np.random.default_rng(seed)
    height, width = grid_hw[0] * STRIDE, grid_hw[1] * STRIDE
    intrinsics = np.array([[60.0, 0, width / 2], [0, 60.0, height / 2], [0, 0, 1]])
    poses = np.stack([np.eye(4)] + [_pose(rng, 2.0 * i, 0.02 * i) for i in range(1, frames)])
    rows, columns = np.meshgrid(*(np.arange(count) for count in grid_hw), indexing="ij")
    xy = np.stack([columns, rows], axis=-1) * STRIDE + STRIDE // 2 + 0.5
    rays = np.concatenate([(xy - [width / 2, height / 2]) / 60.0, np.ones((*grid_hw, 1))], -1)
    mover = (abs(rows - 5) < 3) & (abs(columns - 8) < 3)
    points = np.empty((frames, frames, *grid_hw, 3))
    for i in range(frames):
        depth = np.where(mover, 2.0, 4.0 + 0.3 * np.sin(columns + rows + i))
        world = (rays * depth[..., None]) @ poses[i, :3, :3].T + poses[i, :3, 3]
        for t in range(frames):
            points[t, i] = world + mover[..., None] * np.array([0.1, 0.02, 0.0]) * (t - i)
    points[:, :, 0, :3] = np.nan  # A corner of sky.
    sky = np.isnan(points[0, :, ..., 0])
    return TruthClip(
        name=name,
        images=rng.integers(0, 255, (frames, height, width, 3), dtype=np.uint8),
        points=points.astype(np.float32),
        visible=np.broadcast_to(~sky, points.shape[:-1]),
        instance=np.where(sky, 255, np.where(mover, 101, 0)).astype(np.uint8),
        intrinsics=intrinsics,
        world_from_camera=poses,
        stride=STRIDE,
    )


def write_files(clip, folder, suffix="png"):
    folder.mkdir(parents=True)
    for i, image in enumerate(clip.images):
        Image.fromarray(image).save(folder / f"rgb_{i:02d}.{suffix}")
    np.savez_compressed(
        folder / "gt.npz",
        points=clip.points,
        visible=clip.visible,
        instance=clip.instance,
        K=clip.intrinsics,
        world_from_camera=clip.world_from_camera,
        stride=clip.stride,
        depth=np.zeros(3),  # A clip may hold more than is read.
    )
    return folder


def _values(scores):
    return {metric.key: metric.value for metric in list_metrics(scores)}


# ---- clips ---------------------------------------------------------------------------------


def test_a_clip_comes_back_as_it_was_written(tmp_path):
    clip = make_clip(frames=3, name="clip_007")
    read = read_clip(write_files(clip, tmp_path / "clip_007"))
    for name in ("images", "points", "visible", "instance", "intrinsics", "world_from_camera"):
        np.testing.assert_array_equal(getattr(read, name), getattr(clip, name))
    assert (read.name, read.stride, read.frame_count) == ("clip_007", STRIDE, 3)
    assert read.image_hw == (48, 64)


def test_grid_pixels_are_centres_in_row_major_order(tmp_path):
    grid_xy = make_clip(frames=2).grid_xy
    assert grid_xy.shape == (12 * 16, 2)
    np.testing.assert_array_equal(grid_xy[[0, 1, 16]], [(2.5, 2.5), (6.5, 2.5), (2.5, 6.5)])
    every_pixel = replace(make_clip(frames=2), stride=1)
    np.testing.assert_array_equal(every_pixel.grid_xy[[0, 17]], [(0.5, 0.5), (1.5, 1.5)])


def test_clips_are_found_alone_or_in_a_folder(tmp_path):
    for name in ("b", "a"):
        write_files(make_clip(frames=2), tmp_path / name, suffix="jpg")
    (tmp_path / "notes").mkdir()
    assert find_clips(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert find_clips(tmp_path / "a") == [tmp_path / "a"]
    assert read_clip(tmp_path / "a").images.shape == (2, 48, 64, 3)
    for wrong in (tmp_path / "none", tmp_path / "notes", tmp_path / "a" / "gt.npz"):
        with pytest.raises(SceneError, match="wanted"):
            find_clips(wrong)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "gt.npz").unlink(), "missing"),
        (lambda folder: (folder / "gt.npz").write_bytes(b"not a zip"), "damaged"),
        (lambda folder: (folder / "gt.npz").write_bytes(b""), "damaged"),
        (lambda folder: _cut(folder / "gt.npz"), "damaged"),
        (lambda folder: np.savez(folder / "gt.npz", points=np.zeros(3)), "has no visible"),
        (lambda folder: (folder / "rgb_01.png").unlink(), "numbered"),
        (lambda folder: (folder / "rgb_02.png").unlink(), "beside 2 images"),
        (lambda folder: (folder / "rgb_01.png").write_bytes(b"noise"), "damaged image"),
        (lambda folder: _cut(folder / "rgb_01.png"), "damaged image"),
        (lambda folder: [file.unlink() for file in folder.glob("rgb*")], "no frames"),
        (lambda folder: _shrink(folder / "rgb_01.png"), "differ in size"),
        (lambda folder: _rewrite(folder, stride=5), "does not fit"),
        (lambda folder: _rewrite(folder, K=np.full((3, 3), np.nan)), "K is not finite"),
        (lambda folder: _rewrite(folder, K=np.eye(4)), "K has shape"),
    ],
)
def test_a_damaged_clip_is_refused_in_one_line(tmp_path, damage, said):
    folder = write_files(make_clip(frames=3), tmp_path / "clip")
    damage(folder)
    with pytest.raises(SceneError, match=said) as caught:
        read_clip(folder)
    assert "\n" not in str(caught.value)


def _cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _shrink(file):
    Image.new("RGB", (8, 8)).save(file)


def _rewrite(folder, **changes):
    with np.load(folder / "gt.npz") as held:
        np.savez(folder / "gt.npz.new.npz", **({**held} | changes))
    (folder / "gt.npz.new.npz").replace(folder / "gt.npz")


# ---- predictors ----------------------------------------------------------------------------


def test_truth_is_re_referenced_to_the_first_frame_shown():
    clip = make_clip(seed=4)
    frames = (3, 7)
    prediction = TruthPredictor().predict(clip, frames)
    np.testing.assert_allclose(prediction.world_from_camera[0], np.eye(4), atol=1e-12)
    for position in (0, 1):
        camera_from_world = np.linalg.inv(prediction.world_from_camera[position])
        own = prediction.points[position, position]
        pixels = (own @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]) @ clip.intrinsics.T
        seen = np.isfinite(prediction.points[position, position]).all(axis=-1)
        assert seen.sum() == 12 * 16 - 3
        np.testing.assert_allclose(
            pixels[seen, :2] / pixels[seen, 2:], clip.grid_xy[seen], atol=1e-4
        )


def test_times_and_source_frames_choose_positions_of_the_frames_shown():
    clip = make_clip()
    for predictor in trivial_answers().values():
        everything = predictor.predict(clip, (1, 4, 8))
        some = predictor.predict(clip, (1, 4, 8), times=[2], source_frames=[0, 2])
        np.testing.assert_array_equal(some.points, everything.points[[2]][:, [0, 2]])
        assert some.world_from_camera.shape == (3, 4, 4)


def test_flat_scene_is_a_plane_of_unit_depth_with_focal_of_the_longer_side():
    clip = make_clip()
    flat = FlatScene().predict(clip, (0, 8))
    assert (flat.focal_px == 64).all()
    assert (flat.points[..., 2] == 1).all()
    np.testing.assert_allclose(flat.points[1, 0, :, :2] * 64 + [32, 24], clip.grid_xy, atol=1e-12)


def test_nothing_moved_repeats_the_own_time_maps():
    clip = make_clip()
    truth = TruthPredictor().predict(clip, (0, 8))
    still = TrueGeometryNothingMoved().predict(clip, (0, 8))
    for time in (0, 1):
        for frame in (0, 1):
            np.testing.assert_array_equal(still.points[time, frame], truth.points[frame, frame])


@dataclass
class _Counting:
    asked: int = 0

    def predict(self, clip, frames, times=None, source_frames=None):
        self.asked += 1
        return TruthPredictor().predict(clip, frames, times, source_frames)


def test_a_model_runs_once_for_its_own_score_and_that_of_its_geometry():
    counting = _Counting()
    remembered = Remembered(counting)
    clips = [make_clip(seed) for seed in (0, 1)]
    evaluate_together(clips, {"model": remembered, "still": OwnGeometryNothingMoved(remembered)})
    assert counting.asked == 2 * (4 + 1)  # Four pairs and one long reconstruction a clip.


# ---- scores --------------------------------------------------------------------------------


def test_truth_is_perfect_and_nothing_moved_has_ratio_one():
    rows = evaluate_together([make_clip(0), make_clip(1)], trivial_answers())
    truth, still, flat = (
        _values(rows[name].pooled)
        for name in ("truth", "true geometry, nothing moved", "flat scene")
    )
    for margin in (2, 8):
        for key in ("own_time_epe", "motion_ratio", "leak", "epe"):
            assert truth[f"{key}_m{margin}"] == pytest.approx(0.0, abs=1e-9)
        for answer in (still, flat):
            assert answer[f"motion_ratio_m{margin}"] == pytest.approx(1.0, abs=1e-6)
            assert answer[f"leak_m{margin}"] == 0.0
        assert still[f"own_time_epe_m{margin}"] == 0.0
        assert flat[f"own_time_epe_m{margin}"] > 0.1
        assert math.isnan(truth[f"confidence_spearman_own_time_m{margin}"])
    assert truth["epe_tracks"] == truth["camera_rotation_deg"] == truth["focal_error_percent"] == 0
    # The clip's cameras turn by 2 degrees a frame (median of 2 … 18), focal 60 against 64.
    assert flat["camera_rotation_deg"] == pytest.approx(10.0)
    assert flat["focal_error_percent"] == pytest.approx(100 * (64 / 60 - 1))


def test_pooled_scores_are_the_exact_pool_of_clips():
    clips = [make_clip(seed, name=f"c{seed}") for seed in range(3)]
    scores = evaluate(iter(clips), TrueGeometryNothingMoved())
    assert [clip.name for clip in scores.clips] == ["c0", "c1", "c2"]
    for margin in (2, 8):
        pooled = scores.pooled.margins[margin]
        parts = [clip.margins[margin] for clip in scores.clips]
        assert pooled.matches.visible == sum(part.matches.visible for part in parts)
        assert pooled.pairs.pairs == 6
        assert pooled.pairs.motion_length == pytest.approx(
            sum(part.pairs.motion_length for part in parts)
        )
    assert scores.pooled.long.clips == 3


def test_short_clips_lack_the_pairs_they_do_not_have():
    scores = evaluate([make_clip(frames=5)], TruthPredictor())
    assert scores.pooled.margins[2].pairs.pairs == 1
    assert scores.pooled.margins[8].pairs.pairs == 0
    assert math.isnan(_values(scores.pooled)["motion_ratio_m8"])
    assert evaluate([make_clip(frames=1)], TruthPredictor()).pooled.long.clips == 0
    assert evaluate([], TruthPredictor()).clips == ()


@dataclass
class _Wrong:
    change: dict

    def predict(self, clip, frames, times=None, source_frames=None):
        truth = TruthPredictor().predict(clip, frames, times, source_frames)
        return replace(truth, **{name: make(truth) for name, make in self.change.items()})


def test_a_lost_prediction_scores_as_the_origin_through_the_whole_path():
    lost = _Wrong({"points": lambda truth: np.full_like(truth.points, np.nan)})
    origin = _Wrong({"points": lambda truth: np.zeros_like(truth.points)})
    clips = [make_clip()]
    assert evaluate(clips, lost) == evaluate(clips, origin)
    values = _values(evaluate(clips, lost).pooled)
    assert values["own_time_epe_m8"] == pytest.approx(1.0)
    assert values["epe_tracks"] == pytest.approx(1.0)


def test_an_answer_of_another_shape_is_refused():
    wrong = _Wrong({"points": lambda truth: truth.points[:, :, :1]})
    with pytest.raises(ShapeError, match="points"):
        evaluate([make_clip()], wrong)


# ---- report and command --------------------------------------------------------------------


def test_table_and_json_say_the_same(tmp_path):
    rows = evaluate_together([make_clip(name="one")], trivial_answers())
    lines = to_table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    titles = ("own EPE", "ratio", "leak", "recall all", "recall moving", "EPE m2", "EPE m8")
    assert [title for title in titles if title in lines[0]] == list(titles)
    held = json.loads(to_json(rows))
    flat = held["rows"]["flat scene"]
    assert flat["pooled"] == flat["clips"]["one"]
    assert f"{flat['pooled']['own_time_epe_m8']:.3f}" in lines[1]
    assert flat["pooled"]["confidence_spearman_own_time_m8"] is None
    assert held["metrics"]["match_recall_m8"] == {"unit": "share", "better": "higher"}
    write_json(rows, tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text()) == held
    assert [file.name for file in tmp_path.iterdir()] == ["scores.json"]


def test_an_output_that_cannot_be_written_is_said_first(tmp_path):
    write_files(make_clip(frames=3), tmp_path / "clip")
    for output in (tmp_path, tmp_path / "none" / "scores.json"):
        with pytest.raises(OutputError):
            evaluate_paths(tmp_path / "clip", ["nano"], output)


@dataclass
class _Answer:
    points: np.ndarray
    confidence: np.ndarray


class _FakeReconstruction:
    """Depth 1 everywhere, for frames whose first pixel tells their number."""

    def __init__(self, images):
        self.world_from_camera = np.tile(np.eye(4), (len(images), 1, 1))
        self.intrinsics = np.tile(np.diag([66.0, 66.0, 1.0]), (len(images), 1, 1))

    def query(self, *, frame, xy, time):
        points = np.concatenate([(xy - [32, 24]) / 66, np.ones((len(xy), 1))], axis=1)
        return _Answer(points.astype(np.float32), np.linspace(0, 1, len(xy), dtype=np.float32))


@pytest.fixture
def fake_pipeline(monkeypatch):
    calls = []

    def reconstruct(source, *, model, refine):
        calls.append((source.shape, model, refine))
        return _FakeReconstruction(source)

    module = types.ModuleType("dynapoint.inference.pipeline")
    module.reconstruct = reconstruct
    monkeypatch.setitem(sys.modules, "dynapoint.inference.pipeline", module)
    catalog = types.ModuleType("dynapoint.models.catalog")
    catalog.load_model = _FakeNetwork
    monkeypatch.setitem(sys.modules, "dynapoint.models.catalog", catalog)
    return calls


@dataclass
class _FakeNetwork:
    name: str
    weights: Path | None = None
    patch_size: int = 8
    image_side: int = 64

    def encode(self, images):
        raise AssertionError("the fake pipeline does not run networks")

    decode = encode


def test_a_model_is_asked_for_the_frames_of_the_pair_alone(fake_pipeline):
    prediction = ModelPredictor("nano").predict(make_clip(), (1, 9), source_frames=[0])
    ModelPredictor("nano", refine=False).predict(make_clip(), (1, 9), source_frames=[0])
    asked = (2, 48, 64, 3), "nano"
    assert fake_pipeline == [(*asked, None), (*asked, False)]
    assert prediction.points.shape == (2, 1, 192, 3)
    assert prediction.confidence.shape == (2, 1, 192)


def test_evaluate_paths_shows_the_model_beside_the_trivial_answers(fake_pipeline, tmp_path):
    write_files(make_clip(), tmp_path / "clips" / "one")
    text = to_tables(evaluate_paths(tmp_path / "clips", ["nano"], tmp_path / "scores.json"))
    for name in ("nano ", "nano, nothing moved", "flat scene", "truth", "margin 8", "margin 2"):
        assert name in text
    assert len({id(model) for _, model, _ in fake_pipeline}) == 1  # Loaded once.
    rows = json.loads((tmp_path / "scores.json").read_text())["rows"]
    assert rows["nano"]["pooled"]["focal_error_percent"] == pytest.approx(10.0)
    assert rows["nano"]["pooled"]["confidence_spearman_own_time_m8"] is not None


def test_weights_of_ones_own_are_scored_under_their_own_name(fake_pipeline, monkeypatch, tmp_path):
    loaded = []
    monkeypatch.setattr(
        sys.modules["dynapoint.models.catalog"],
        "load_model",
        lambda name, *, weights: loaded.append((name, weights)) or _FakeNetwork(name),
    )
    write_files(make_clip(), tmp_path / "clips" / "one")
    own = Path("run") / "mine.safetensors"
    clips = tmp_path / "clips"
    assert "mine.safetensors, nothing moved" in evaluate_paths(clips, ["nano"], weights=[own])
    assert loaded == [("nano", own)]
    # Files of one name are told apart by their folders.
    other = Path("other") / "mine.safetensors"
    rows = evaluate_paths(clips, ["nano", "vdpm"], weights=[own, other])
    assert {str(own), f"{other}, nothing moved"} <= set(rows)
    with pytest.raises(ConfigError, match="nano, nano are not all different"):
        evaluate_paths(clips, ["nano", "nano"])
    with pytest.raises(ConfigError, match="2 models and 1 weights files"):
        evaluate_paths(clips, ["nano", "vdpm"], weights=[own])


@pytest.mark.skipif(not BENCH.is_dir(), reason="the shared bench is not beside the repository")
def test_anchors_on_the_bench():
    """What the trivial answers score there, to the digits printed in docs/scoring.md."""
    clips = (read_clip(path) for path in find_clips(BENCH))
    rows = evaluate_together(clips, trivial_answers())
    flat, still, truth = (
        {key: round(value, 3) for key, value in _values(rows[name].pooled).items()}
        for name in ("flat scene", "true geometry, nothing moved", "truth")
    )
    assert (still["epe_m2"], still["epe_m8"], still["epe_tracks"]) == (0.006, 0.022, 0.022)
    assert (still["motion_ratio_m2"], still["motion_ratio_m8"]) == (1.0, 1.0)
    assert (flat["own_time_epe_m2"], flat["own_time_epe_m8"]) == (0.407, 0.411)
    assert (flat["epe_m2"], flat["epe_m8"], flat["epe_tracks"]) == (0.408, 0.416, 0.423)
    assert (truth["match_recall_m2"], truth["match_recall_m8"]) == (0.974, 0.971)
    assert (still["match_recall_moving_m2"], still["match_recall_moving_m8"]) == (0.067, 0.007)
    assert truth["motion_ratio_m8"] == truth["leak_m8"] == truth["own_time_epe_m8"] == 0.0
