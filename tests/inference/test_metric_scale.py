"""Metres by a network that tells them of single pictures: a fake one, and a small real one."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import dynapoint
from counting_fake import CountingFake, named_kinds
from dynapoint import cli
from dynapoint.cli.reconstruct import in_pairs
from dynapoint.errors import ConfigError, InputError, ModelError
from dynapoint.inference import metric_scale
from dynapoint.inference.metric_scale import world_scales
from dynapoint.inference.scale import make_metric, told_scale
from dynapoint.models.cards import METRIC_NETWORK
from dynapoint.models.da3 import weights as da3_weights
from dynapoint.models.da3.config import da3_miniature
from dynapoint.models.da3.network import FOCAL_OF_METRES, SKY, Da3Metric
from dynapoint.models.da3.weights import save_da3
from dynapoint.models.protocol import ModelInfo
from fake_model import BOX_DEPTH, WALL_DEPTH, FakeModel, picture_array
from video_files import write_video


class KnowsMetres:
    """Metres as a function of the place in the picture and of how often it was asked.

    What it is told of the focal length is kept, and the size of what it saw.
    """

    patch_size, image_side = 14, 56
    info = ModelInfo(name="knows", weights_sha256="12345678" * 8)

    def __init__(self, metres, *, factors=(1.0,), sky=None) -> None:
        self.metres, self.factors = metres, factors
        self.sky = sky or (lambda x, y: np.zeros_like(x, dtype=bool))
        self.asked: list[tuple[float, tuple[int, int]]] = []

    def metres_and_sky(self, images, focal_px):
        assert images.shape[:3] == (1, 1, 3) and focal_px.shape == (1, 1)
        assert 0 <= images.min() and images.max() <= 1
        height, width = images.shape[3:]
        y, x = np.mgrid[:height, :width] + 0.5
        x, y = x / width, y / height
        factor = self.factors[len(self.asked) % len(self.factors)]
        self.asked.append((float(focal_px), (height, width)))
        found = torch.from_numpy(factor * self.metres(x, y)).float()
        return found[None, None], torch.from_numpy(self.sky(x, y))[None, None]


def as_fake(x, y):
    """The depth that `FakeModel` gives at a place of the picture."""
    box = (np.abs(x - 0.4) < 0.15) & (np.abs(y - 0.5) < 0.2)
    return np.where(box, BOX_DEPTH, WALL_DEPTH)


@pytest.fixture(scope="module")
def plain():
    return dynapoint.reconstruct(picture_array(5, 48, 64), FakeModel(64))


def test_the_scale_is_the_middle_of_the_frames_medians(plain):
    factors = (2.1, 2.5, 2.4, 9.0, 2.2)
    network = KnowsMetres(as_fake, factors=factors)
    rec = make_metric(plain, "metric", network)
    assert float(rec.settings["metres_per_unit"]) == pytest.approx(2.4, rel=1e-6)
    apart = np.abs(np.log(factors) - np.log(2.4))
    spread = 1.4826 * np.median(apart)
    assert float(rec.settings["metres_per_unit_spread"]) == pytest.approx(spread, rel=5e-3)
    assert rec.settings["units"] == "metres" and rec.settings["scale_from"] == "metric"
    assert rec.settings["scale_frames"] == "5"
    assert rec.settings["scale_network"] == "knows (weights 123456781234)"
    np.testing.assert_allclose(rec.own_time_points, 2.4 * plain.own_time_points, rtol=1e-5)
    np.testing.assert_allclose(
        rec.world_from_camera[:, :3, 3], 2.4 * plain.world_from_camera[:, :3, 3], rtol=1e-6
    )
    assert "metres by metric" in repr(rec) and "2.4 m" in repr(rec)
    assert "knows (weights 123456781234) in 5 frames, which spread by 12.9%" in repr(rec)


def test_the_network_is_told_the_scenes_focal_length_in_pixels_of_its_own_images(plain):
    network = KnowsMetres(as_fake)
    known = dynapoint.reconstruct(
        picture_array(3, 48, 64), FakeModel(64), intrinsics=[50, 60, 32, 24]
    )
    make_metric(known, "metric", network)
    # 64 × 48 pixels become 56 × 42.
    assert network.asked == [(pytest.approx((50 + 60) / 2 * 56 / 64), (42, 56))] * 3


@pytest.mark.parametrize("spoil", ["sky", "unsure", "ignored", "no depth"])
def test_pixels_that_do_not_count(plain, spoil):
    """Three quarters of the pixels are a hundred times off, and told apart by one sign only."""

    def metres(x, y):
        off = 100.0 if spoil != "no depth" else 1e-4
        return 3 * as_fake(x, y) * np.where(y < 0.74, off, 1.0)

    rows, columns = plain.map_hw
    lower = np.broadcast_to((np.arange(rows) > 0.76 * rows)[:, None], (rows, columns))
    sky = (lambda x, y: y < 0.76) if spoil == "sky" else None
    scene = plain
    if spoil == "unsure":
        sure = np.where(lower, 2.0, np.linspace(0.5, 1, columns, dtype=np.float32))
        # Of the surer half the larger part lies below.
        sure = np.where((np.arange(rows) < 0.5 * rows)[:, None], 0.0, sure).astype(np.float32)
        scene = replace(plain, own_time_confidence=np.broadcast_to(sure, (5, rows, columns)))
    if spoil == "ignored":
        there = np.broadcast_to(lower.astype(np.float32), (5, rows, columns))
        scene = replace(plain, own_time_confidence=there)
    rec = make_metric(scene, "metric", KnowsMetres(metres, sky=sky))
    assert float(rec.settings["metres_per_unit"]) == pytest.approx(3, rel=1e-6)


def test_metres_are_read_where_the_maps_pixels_lie(plain):
    """Depth that grows along rows and columns, in finer images than the maps."""

    def metres(x, y):
        return 5 + 3 * x + 7 * y

    network = KnowsMetres(metres)
    network.patch_size, network.image_side = 8, 192
    points = plain.own_time_points.copy()
    rows, columns = plain.map_hw
    y, x = np.mgrid[:rows, :columns] + 0.5
    inside = np.linalg.inv(plain.world_from_camera)
    camera = np.einsum("fij,fhwj->fhwi", inside[:, :3, :3], points) + inside[:, None, None, :3, 3]
    camera *= (metres(x / columns, y / rows) / 0.37 / camera[..., 2])[..., None]
    turned = np.einsum("fij,fhwj->fhwi", plain.world_from_camera[:, :3, :3], camera)
    moved = (turned + plain.world_from_camera[:, None, None, :3, 3]).astype(np.float32)
    (found,) = world_scales(replace(plain, own_time_points=moved), network)
    assert found.metres_per_unit == pytest.approx(0.37, rel=1e-5) and found.spread < 1e-6
    assert network.asked[0][1] == (144, 192)


def test_a_long_scene_is_asked_in_a_few_frames_and_one_frame_has_no_spread():
    network = KnowsMetres(as_fake, factors=(1.5,))
    long = dynapoint.reconstruct(picture_array(20, 24, 32), FakeModel(32))
    (found,) = world_scales(long, network)
    assert found.frames == len(network.asked) == metric_scale.MOST_FRAMES
    assert found.metres_per_unit == pytest.approx(1.5, rel=1e-6) and found.spread < 1e-6
    single = dynapoint.reconstruct(picture_array(1, 24, 32), FakeModel(32))
    rec = make_metric(single, "metric", KnowsMetres(as_fake, factors=(1.5,)))
    assert rec.settings["metres_per_unit_spread"] == "unknown"
    assert "spread by unknown" in repr(rec)


def test_every_segment_of_a_long_clip_has_its_own_scale():
    pictures = np.concatenate([picture_array(14, 36, 64), 255 - picture_array(12, 36, 64, seed=5)])
    given = {"frames": "all", "window": 8, "refine": False}
    with named_kinds():
        unit = dynapoint.reconstruct(pictures, CountingFake(), **given)
        assert [part.count for part in unit.segments] == [14, 12]
        network = KnowsMetres(as_fake, factors=(2.0,) * 8 + (5.0,) * 8)
        rec = dynapoint.reconstruct(
            pictures, CountingFake(), **given, scale_from=("metric", network)
        )
        factor = np.repeat([2.0, 5.0], [14, 12])
        assert [float(each) for each in rec.settings["metres_per_unit"].split(", ")] == (
            pytest.approx([2, 5], rel=1e-5)
        )
        np.testing.assert_allclose(
            rec.own_time_points, factor[:, None, None, None] * unit.own_time_points, rtol=1e-4
        )
        np.testing.assert_allclose(
            rec.world_from_camera[:, :3, 3],
            factor[:, None] * unit.world_from_camera[:, :3, 3],
            rtol=1e-4, atol=1e-6,
        )  # fmt: skip
        for frame, time in ((3, 11), (16, 24)):
            before = unit.query(frame=frame, xy=[[25.0, 18.0]], time=time).points
            after = rec.query(frame=frame, xy=[[25.0, 18.0]], time=time).points
            np.testing.assert_allclose(after, factor[frame] * before, rtol=1e-4)
        assert "was 2, 5 m" in repr(rec) and "8, 8 frames" in repr(rec)


def test_scenes_of_which_nothing_is_told(plain):
    everywhere = KnowsMetres(as_fake, sky=lambda x, y: np.ones_like(x, dtype=bool))
    with pytest.raises(InputError, match="nothing but sky"):
        make_metric(plain, "metric", everywhere)
    with pytest.raises(ConfigError, match="of type object tells no metres"):
        metric_scale.metric_network(object(), "cpu")
    with pytest.raises(ConfigError, match=r"scale_from is 'metres'; give \(kind, value\)"):
        told_scale("metres")
    assert told_scale(None) is None and told_scale("metric") == ("metric", METRIC_NETWORK)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    """A randomly filled file of the published layout, in small."""
    torch.manual_seed(0)
    network = Da3Metric(replace(da3_miniature(), across_from=None))
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.normal_(mean=float("norm" in name and name.endswith("weight")), std=0.02)
    path = tmp_path_factory.mktemp("weights") / "metric.safetensors"
    save_da3(network, path)
    return path


@pytest.fixture
def in_small(monkeypatch):
    config = replace(da3_miniature(), name=METRIC_NETWORK, across_from=None)
    for module in (da3_weights, metric_scale):
        if hasattr(module, "da3_metric"):
            monkeypatch.setattr(module, "da3_metric", lambda: config)
    return config


def test_a_small_network_of_the_published_layout_scales_a_scene(plain, in_small, small_file):
    rec = make_metric(plain, "metric", small_file)
    network = da3_weights.load_da3_metric(in_small, small_file)
    logs = []
    for frame in range(plain.frame_count):
        images = metric_scale.network_images(plain.images[frame][None], (84, 112))
        with torch.inference_mode():
            depth, sky = network.depth_and_sky(network.features(images), (84, 112))
        assert (sky < SKY).any()
        focal = plain.intrinsics[frame][[0, 1], [0, 1]].mean() * 112 / 64
        metres = depth[0, 0].numpy() * focal / FOCAL_OF_METRES
        # Every map pixel has its centre in one of 112 × 84.
        at = ((np.arange(64) + 0.5) * 112 / 64).astype(int)
        metres, ground = metres[at[:48]][:, at], sky[0, 0].numpy()[at[:48]][:, at] < SKY
        sure = plain.own_time_confidence[frame]
        counted = ground & (sure >= np.median(sure[ground]))
        logs.append(np.median(np.log(metres[counted] / plain.own_time_depth[frame][counted])))
    wanted = np.exp(np.median(logs))
    assert float(rec.settings["metres_per_unit"]) == pytest.approx(wanted, rel=1e-5)
    with torch.inference_mode():
        told, far = network.metres_and_sky(images, torch.full((1, 1), float(focal)))
        np.testing.assert_array_equal(network.metres(images, torch.full((1, 1), focal)), told)
    assert torch.equal(far, sky >= SKY)


def run(*words) -> int:
    return cli.main([str(word) for word in words])


def test_the_command_takes_it_without_a_value_and_for_several_clips(
    tmp_path, in_small, small_file, capsys
):
    videos = [
        write_video(tmp_path / f"{name}.mp4", frames=int(count))
        for name, count in (("a", "2"), ("b", "3"))
    ]
    out = tmp_path / "out"
    given = ["--scale-from", "metric", *videos, "-o", out, "--no-refine", "--lean"]
    assert run("reconstruct", *given, "--metric-weights", small_file) == 0
    for name, count in (("a", "2"), ("b", "3")):
        settings = json.loads((out / f"{name}.4d" / "manifest.json").read_text())["settings"]
        assert settings["units"] == "metres" and settings["scale_frames"] == count
        assert float(settings["metres_per_unit"]) > 0
        sha256 = hashlib.sha256(small_file.read_bytes()).hexdigest()[:12]
        assert settings["scale_network"] == f"{METRIC_NETWORK} (weights {sha256})"
        assert dynapoint.open(out / f"{name}.4d").settings == settings
    capsys.readouterr()
    assert run("info", out / "b.4d") == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("scale: ")]
    assert "metres by metric" in line and "in 3 frames, which spread by" in line
    assert run("info", out / "b.4d", "--json") == 0
    assert json.loads(capsys.readouterr().out)["scale_words"] == line.removeprefix("scale: ")


def test_the_words_of_the_command_line_come_in_pairs():
    pair = ["--scale-from", "metric", METRIC_NETWORK]
    for spelled in (["--scale-from", "metric"], ["--scale-from=metric"]):
        assert in_pairs(["a", *spelled, "b"]) == ["a", "b", *pair]
    for words in ([], ["--scale-from"], ["metric", "--scale-from"], ["--scale-from", "depth", "d"]):
        assert in_pairs(words) == words


def test_what_is_refused_before_anything_is_loaded(
    tmp_path, monkeypatch, capsys, in_small, small_file
):
    monkeypatch.setenv("DYNAPOINT_HOME", str(tmp_path / "home"))
    video = write_video(tmp_path / "walk.mp4", frames=2)
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    other = replace(da3_miniature(), across_from=None, depth=7, layers=(3, 4, 5, 6))
    save_da3(Da3Metric(other), tmp_path / "other.safetensors")
    for module in ("models.catalog", "inference.metric_scale"):
        monkeypatch.setattr(f"dynapoint.{module}.load_model", None)
    metric = ["--scale-from", "metric"]
    for options, code, words in (
        (metric, 1, f"the weights of '{METRIC_NETWORK}' are not here"),
        ([*metric, "--metric-weights", tmp_path / "none"], 1, "`dynapoint models get da3-metric`"),
        ([*metric, "--metric-weights", tmp_path / "junk.safetensors"], 1, "junk.safetensors"),
        ([*metric, "--metric-weights", tmp_path / "other.safetensors"], 1, "other.safetensors"),
        (["--metric-weights", small_file], 2, "is for --scale-from metric"),
    ):  # fmt: skip
        assert run("reconstruct", video, "-o", tmp_path / "out", *options) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
        assert not (tmp_path / "out").exists()
    with pytest.raises(ModelError, match="are not here"):
        dynapoint.reconstruct(picture_array(2, 24, 32), FakeModel(32), scale_from="metric")
