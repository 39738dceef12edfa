"""Opened scenes: every answer of the fresh one to the last bit, without video; damage is named."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import dynapoint
from dynapoint import cli
from dynapoint.data.frames import Frames
from dynapoint.errors import ModelError, SceneError
from dynapoint.inference import storing
from dynapoint.inference.pipeline import reconstruct_frames
from dynapoint.models import catalog
from dynapoint.models.cards import ASSETS, CARDS
from dynapoint.models.catalog import load_model
from dynapoint.models.dust3r import weights as dust3r_weights
from dynapoint.models.dust3r.config import dpm_miniature
from dynapoint.models.dust3r.network import DpmNetwork
from dynapoint.models.dust3r.weights import save_dpm
from dynapoint.models.kept.encoded_files import read_encoded, write_encoded
from dynapoint.models.layers.config import QueryConfig
from dynapoint.models.nano.config import tiny
from dynapoint.models.nano.small_networks import build_network
from dynapoint.models.nano.weights import save_network
from dynapoint.models.pairwise import AlignmentConfig, PairwiseVideo
from dynapoint.models.vggt import dept3r_weights
from dynapoint.models.vggt import weights as vggt_weights
from dynapoint.models.vggt.config import vdpm_miniature
from dynapoint.models.vggt.dept3r import Dept3rNetwork
from dynapoint.models.vggt.dept3r_config import dept3r_miniature
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.weights import save_published
from dynapoint.results.on_disk import store
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.types import Cameras, PointMaps
from fake_model import FakeModel, picture_array
from test_systems import randomised

PAIRS = dataclasses.replace(tiny(), decoder=None)
QUERIES = dataclasses.replace(tiny(), decoder=None, query=QueryConfig())
NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "vdpm": lambda: PublishedNetwork(vdpm_miniature()),
    "dept3r": lambda: Dept3rNetwork(dept3r_miniature()),
    "dpm": lambda: DpmNetwork(dpm_miniature()),
    "nano": lambda: build_network(tiny()),
    "dpm-nano": lambda: build_network(PAIRS),
    # A small network's file says which system it is of.
    "dept3r-nano": lambda: build_network(QUERIES),
}


@pytest.fixture
def miniatures(monkeypatch):
    """The large networks' names stand for small ones, and pairs are aligned in a few steps."""
    monkeypatch.setattr(vggt_weights, "vdpm", vdpm_miniature)
    monkeypatch.setattr(dept3r_weights, "dept3r", dept3r_miniature)
    monkeypatch.setattr(dust3r_weights, "dpm", dpm_miniature)
    few = AlignmentConfig(iterations=5)
    monkeypatch.setattr(catalog, "PairwiseVideo", partial(PairwiseVideo, alignment=few))


def weights_of(kind: str, folder: Path, seed: int = 5) -> Path:
    """A weights file of a small network of a kind, in the format of its family."""
    network = randomised(NETWORKS[kind]())
    if seed != 5:
        with torch.no_grad():
            next(network.parameters()).add_(0.01)
    path = folder / f"{kind}-{seed}.safetensors"
    if kind in ("vdpm", "dept3r"):
        path = path.with_suffix(".pt")
        save_published(network, path)
    elif kind == "dpm":
        save_dpm(network, path)
    else:
        save_network(network, path, record={}, dtype=torch.float32)
    return path


def name_of(kind: str) -> str:
    return "nano" if kind.endswith("nano") else kind


def forgetful(rec: Reconstruction) -> Reconstruction:
    """Without what was decoded so far: frames decoded together differ in the last bits."""
    decoder: Any = getattr(rec.decoder, "_network", rec.decoder)
    if decoder is not None:
        decoder._kept.clear()
    return rec


def assert_same_answers(opened: Reconstruction, fresh: Reconstruction) -> None:
    """Every kind of answer, bit for bit."""
    last = fresh.frame_count - 1
    xy = [[20.5, 30.25], [61.0, 12.5], [-3.0, 4.0]]
    questions: dict[str, Callable[[Reconstruction], tuple]] = {
        "all frames": lambda rec: rec.maps_at(time=last),
        "forward": lambda rec: rec.maps(frame=1, time=last),
        "backward": lambda rec: rec.maps(frame=last, time=0),
        "stored": lambda rec: rec.maps(frame=0, time=last),
        "query": lambda rec: tuple(vars(rec.query(frame=1, xy=xy, camera=last)).values()),
        "stored query": lambda rec: tuple(vars(rec.query(frame=0, xy=xy)).values()),
        "tracks": lambda rec: tuple(vars(rec.tracks(frame=last)).values()),
        "stored tracks": lambda rec: tuple(vars(rec.tracks()).values()),
    }
    for name, ask in questions.items():
        for mine, theirs in zip(ask(forgetful(opened)), ask(forgetful(fresh)), strict=True):
            assert np.array_equal(mine, theirs), name
    for name in ("world_from_camera", "intrinsics", "map_intrinsics", "own_time_depth"):
        mine, theirs = getattr(opened, name), getattr(fresh, name)
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs), name


# Clips of two frames are not aligned, and keep their maps as they are.
@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("nano", 3),
        ("dpm-nano", 3),
        ("dept3r-nano", 3),
        ("dept3r", 3),
        ("dpm", 2),
        *(pytest.param(kind, 3, marks=pytest.mark.slow) for kind in ("vdpm", "dpm")),
    ],
)
def test_an_opened_scene_answers_as_the_fresh_one(tmp_path, miniatures, kind, count):
    weights = weights_of(kind, tmp_path)
    model = load_model(name_of(kind), weights=weights, device="cpu", precision=None)
    pictures = picture_array(count, 40, 80)
    fresh = dynapoint.reconstruct(pictures, model)
    fresh.save(tmp_path / "scene.4d")
    # A pass more than encoding took changes nothing of what is kept.
    fresh.maps_at(time=count - 1)
    fresh.save(tmp_path / "again.4d")
    sizes = {
        (tmp_path / f"{s}.4d" / "encoded.safetensors").stat().st_size for s in ("scene", "again")
    }
    assert len(sizes) == 1
    weights.unlink()
    anew = dynapoint.open(tmp_path / "scene.4d", device="cpu")
    assert_same_answers(anew, fresh)
    assert (anew.model_name, anew.weights_sha256) == (fresh.model_name, fresh.weights_sha256)


def test_nano_itself(tmp_path):
    fresh = dynapoint.reconstruct(ASSETS / "demo.mp4", "nano", frames=3)
    fresh.save(tmp_path / "scene.4d")
    opened = dynapoint.open(tmp_path / "scene.4d")
    for frame, time in ((1, 2), (2, 0), (0, 2)):
        mine, theirs = (
            opened.maps(frame=frame, time=time),
            forgetful(fresh).maps(frame=frame, time=time),
        )
        assert np.array_equal(mine[0], theirs[0]) and np.array_equal(mine[1], theirs[1])
    network = store.read_arrays(tmp_path / "scene.4d").manifest.network
    assert network.weights_file == "weights.safetensors"
    assert network.weights_bytes == (ASSETS / CARDS["nano-2"].weights_file).stat().st_size


@pytest.fixture(scope="module")
def nano_scene(tmp_path_factory) -> Path:
    """A scene of a small network, its weights beside it."""
    folder = tmp_path_factory.mktemp("nano")
    weights = weights_of("nano", folder)
    rec = dynapoint.reconstruct(picture_array(3, 60, 80), load_model("nano", weights=weights))
    rec.save(folder / "scene.4d")
    return folder / "scene.4d"


@pytest.fixture
def scene(nano_scene, tmp_path) -> Path:
    """A copy that may be damaged."""
    shutil.copytree(nano_scene, tmp_path / "scene.4d")
    return tmp_path / "scene.4d"


def edit_manifest(scene: Path, edit: Callable[[dict], None]) -> None:
    path = scene / "manifest.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def refused(match: str, ask: Callable[[], object]) -> None:
    with pytest.raises(SceneError, match=match) as error:
        ask()
    assert "\n" not in str(error.value)


def further(scene: Path, **options: Any) -> object:
    """A question that needs the network."""
    return dynapoint.open(scene, **options).maps(frame=1, time=2)


def test_arrays_are_mapped_and_read_only(scene):
    rec = dynapoint.open(scene)
    assert isinstance(rec.own_time_points, np.memmap)
    for array in (rec.own_time_points, rec.world_from_camera, rec.tracks().points):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_what_is_stored_needs_neither_torch_nor_the_network(scene):
    code = (
        "import sys, dynapoint, numpy as np\n"
        f"rec = dynapoint.open({str(scene)!r})\n"
        "assert np.isfinite(rec.maps(frame=0, time=2)[0]).all()\n"
        "assert np.isfinite(rec.maps(frame=1, time=1)[0]).all()\n"
        "assert rec.tracks().points.shape[0] == 3 and rec.images.shape == (3, 60, 80, 3)\n"
        "assert rec.own_time_depth.max() > 0\n"
        "from dynapoint.cli import main\n"
        f"assert main(['info', {str(scene)!r}]) == 0\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "torch" not in done.stdout.split("LOADED")[1].split()


def test_frames_come_back_nearly_as_they_were(tmp_path):
    pictures = picture_array(3, 45, 61)
    dynapoint.reconstruct(pictures, FakeModel(32)).save(tmp_path / "s")
    frames = dynapoint.open(tmp_path / "s").frames
    assert (frames.count, frames.image_hw, frames.sizes_hw) == (3, (45, 61), None)
    assert "images" not in vars(frames), "images are read on first use"
    apart = np.abs(frames.images.astype(int) - pictures)
    assert apart.mean() < 1.5 and apart.max() < 12
    assert frames.images is frames.images
    with Image.open(tmp_path / "s" / "frames" / "000001.jpg") as image:
        # No colour is shared between pixels.
        assert image.layer[1][1:3] == image.layer[0][1:3] == (1, 1)


def frames_of_all_kinds() -> Frames:
    images = np.full((3, 48, 64, 3), 255, np.uint8)
    sizes = np.array([[48, 40], [30, 64], [48, 64]])
    for image, picture, (height, width) in zip(
        images, picture_array(3, 48, 64), sizes, strict=True
    ):
        image[:height, :width] = picture[:height, :width]
    ignore = np.zeros((3, 48, 64), bool)
    ignore[1, 5:20, 7:30] = True
    return Frames(
        images=images,
        timestamps_s=np.array([0.5, np.nan, 0.5]),
        source_frame_index=np.array([0, 4, 9]),
        name="walk",
        note="3 of 10 frames used",
        sizes_hw=sizes,
        source_count=10,
        file_names=("a.png", "b.png", "c.png"),
        ignore=ignore,
    )


def test_all_that_frames_know_is_kept(tmp_path):
    frames = frames_of_all_kinds()
    rec = reconstruct_frames(frames, FakeModel(32), prepare="published")
    rec.save(tmp_path / "s")
    opened = dynapoint.open(tmp_path / "s")
    for field in dataclasses.fields(Frames):
        if field.name != "images":
            mine, theirs = getattr(opened.frames, field.name), getattr(frames, field.name)
            assert np.array_equal(mine, theirs, equal_nan=field.name == "timestamps_s"), field.name
    for index, (height, width) in enumerate(frames.sizes_hw):
        assert (opened.images[index, height:] == 255).all()
        assert (opened.images[index, :, width:] == 255).all()
    for name in ("scale", "offset", "picture_hw", "map_from_image"):
        mine, theirs = getattr(opened.pixel_map, name), getattr(rec.pixel_map, name)
        assert np.array_equal(mine, theirs), name
    assert opened.settings == rec.settings and opened.settings["prepare"] == "published"


def test_a_frame_at_a_time_that_it_shares_is_stored(tmp_path):
    rec = reconstruct_frames(frames_of_all_kinds(), FakeModel(32), prepare="published")
    rec.save(tmp_path / "s")
    opened = dynapoint.open(tmp_path / "s")
    assert np.array_equal(opened.maps(frame=2, time=0)[0], rec.own_time_points[2])
    refused("holds no network", lambda: opened.maps(frame=1, time=0))


def test_an_opened_scene_is_stored_as_it_is(scene, tmp_path):
    dynapoint.open(scene).save(tmp_path / "copy")
    for path in scene.rglob("*"):
        # What is made of the frames' colours differs: these are JPEGs now.
        of_colors = ("images.npy", "contact_sheet.png", "self_check.json")
        if path.is_file() and path.name not in of_colors:
            copy = tmp_path / "copy" / path.relative_to(scene)
            assert copy.read_bytes() == path.read_bytes(), path


def test_a_model_without_a_file_keeps_no_network(tmp_path):
    fresh = dynapoint.reconstruct(picture_array(4, 48, 80), FakeModel(32))
    fresh.save(tmp_path / "s")
    opened = dynapoint.open(tmp_path / "s")
    assert np.array_equal(opened.maps(frame=0, time=3)[0], fresh.maps(frame=0, time=3)[0])
    query = [rec.query(frame=0, xy=[[31.0, 20.0]]) for rec in (opened, fresh)]
    assert np.array_equal(query[0].points, query[1].points)
    assert np.array_equal(query[0].visible, query[1].visible)
    refused(
        "holds no network, as its model 'FakeModel'", lambda: opened.query(frame=1, xy=[[1, 1]])
    )
    (tmp_path / "weights").write_bytes(b"x")
    refused(
        "weights are of no use",
        lambda: dynapoint.open(tmp_path / "s", weights=tmp_path / "weights"),
    )


def test_large_weights_are_not_copied_but_known(tmp_path, miniatures, monkeypatch):
    weights, other = weights_of("vdpm", tmp_path), weights_of("vdpm", tmp_path, seed=6)
    monkeypatch.setattr(storing, "LARGEST_WEIGHTS_BYTES", weights.stat().st_size - 1)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("DYNAPOINT_HOME", str(home))
    rec = dynapoint.reconstruct(picture_array(3, 60, 80), load_model("vdpm", weights=weights))
    scene = tmp_path / "s"
    rec.save(scene)
    assert not list(scene.glob("weights*"))
    refused("does not hold its weights.*models get vdpm.*--weights", lambda: further(scene))
    assert np.array_equal(further(scene, weights=weights)[0], rec.maps(frame=1, time=2)[0])
    refused("was made with weights of", lambda: dynapoint.open(scene, weights=other))
    refused("no weights file at", lambda: dynapoint.open(scene, weights=tmp_path / "none.pt"))
    shutil.copyfile(other, home / "vdpm.pt")
    refused("vdpm.pt has SHA-256", lambda: further(scene))
    shutil.copyfile(weights, home / "vdpm.pt")
    assert np.array_equal(further(scene)[0], rec.maps(frame=1, time=2)[0])


def test_weights_that_changed_since_are_not_copied(tmp_path):
    weights = weights_of("nano", tmp_path)
    rec = dynapoint.reconstruct(picture_array(2, 60, 80), load_model("nano", weights=weights))
    shutil.copyfile(weights_of("nano", tmp_path, seed=6), weights)
    rec.save(tmp_path / "s")
    assert not list((tmp_path / "s").glob("weights*"))
    # Weights of that name are on every machine, but others.
    refused("was made with weights of", lambda: dynapoint.open(tmp_path / "s").tracks(frame=1))


def test_devices_that_are_not_there_are_named(scene):
    with pytest.raises(ModelError, match="'nowhere' cannot be used"):
        further(scene, device="nowhere")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda s: (s / "manifest.json").unlink(), r"holds no manifest\.json"),
    "manifest cut": (
        lambda s: (s / "manifest.json").write_text((s / "manifest.json").read_text()[:99]),
        "cannot be read as JSON",
    ),
    "manifest a list": (lambda s: (s / "manifest.json").write_text("[]"), "is not of a dynapoint"),
    "old version": (
        lambda s: edit_manifest(s, lambda m: m.update(version=2)),
        "has version 2 but this dynapoint reads versions 3 to 5",
    ),
    "no network entry": (lambda s: edit_manifest(s, lambda m: m.pop("network")), "network is miss"),
    "strange network entry": (
        lambda s: edit_manifest(s, lambda m: m["network"].update(colour="red")),
        "colour",
    ),
    "weights elsewhere": (
        lambda s: edit_manifest(s, lambda m: m["network"].update(weights_file="../w.pt")),
        "weights_file is",
    ),
    "frames miscounted": (
        lambda s: edit_manifest(s, lambda m: m.update(frame_count=4)),
        "the scene needs",
    ),
    "array gone": (
        lambda s: (s / "own_time_points.npy").unlink(),
        "own_time_points.npy is missing",
    ),
    "array cut": (
        lambda s: (s / "track_points.npy").write_bytes((s / "track_points.npy").read_bytes()[:-9]),
        "track_points.npy is damaged",
    ),
    "array empty": (
        lambda s: (s / "track_visible.npy").write_bytes(b""),
        "track_visible.npy is damaged",
    ),
    "array of another shape": (
        lambda s: np.save(s / "picture_hw.npy", np.zeros((3, 3), np.int64)),
        r"picture_hw.npy holds int64 \(3, 3\)",
    ),
    "array a ZIP": (
        lambda s: np.savez((s / "intrinsics.npy").open("wb"), np.tile(np.eye(3), (3, 1, 1))),
        "intrinsics.npy is damaged",
    ),
    "array of a strange header": (
        lambda s: (s / "intrinsics.npy").write_bytes(
            (s / "intrinsics.npy").read_bytes().replace(b"'descr'", b"('desc'")
        ),
        "intrinsics.npy is damaged",
    ),
    "array a text": (
        lambda s: (s / "timestamps_s.npy").write_text("1 2 3"),
        "timestamps_s.npy is damaged",
    ),
    "cameras not finite": (
        lambda s: np.save(s / "world_from_camera.npy", np.full((3, 4, 4), np.nan)),
        "world_from_camera.npy is damaged",
    ),
    "lenses turned round": (
        lambda s: np.save(s / "intrinsics.npy", -np.load(s / "intrinsics.npy")),
        "intrinsics.npy is damaged",
    ),
    "maps of no size": (
        lambda s: np.save(s / "map_from_image.npy", np.zeros((3, 3, 3))),
        "map_from_image.npy is damaged",
    ),
    "pictures of no size": (
        lambda s: np.save(s / "picture_hw.npy", np.full((3, 2), -5)),
        "picture_hw.npy is damaged",
    ),
    "pictures larger than said": (
        lambda s: np.save(s / "picture_hw.npy", np.full((3, 2), 10**9)),
        "picture_hw.npy is damaged",
    ),
    "endless times": (
        lambda s: np.save(s / "timestamps_s.npy", np.array([0, np.inf, 2])),
        "timestamps_s.npy is damaged",
    ),
    "frames from before": (
        lambda s: np.save(s / "source_frame_index.npy", np.array([-1, 0, 1])),
        "source_frame_index.npy is damaged",
    ),
    "array pickled": (
        lambda s: np.save(s / "intrinsics.npy", np.array([{}]), allow_pickle=True),
        "intrinsics.npy is damaged",
    ),
    "frame gone": (lambda s: (s / "frames" / "000002.jpg").unlink(), "000002.jpg is missing"),
    "encoded gone": (lambda s: (s / "encoded.safetensors").unlink(), "encoded.* is missing"),
    "weights gone": (lambda s: (s / "weights.safetensors").unlink(), "weights.* is missing"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_on_opening(scene, kind):
    damage, match = DAMAGE[kind]
    damage(scene)
    refused(match, lambda: dynapoint.open(scene))


def flip(path: Path, place: int = -5) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["encoded.safetensors", "weights.safetensors"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-7])])
def test_damage_of_the_network_is_named_on_the_first_question(scene, name, damage):
    damage(scene / name)
    rec = dynapoint.open(scene)
    assert np.isfinite(rec.maps(frame=0, time=2)[0]).all()
    refused(f"{name} is damaged", lambda: rec.maps(frame=1, time=2))


def test_damage_of_frames_is_named_when_they_are_read(scene):
    path = scene / "frames" / "000001.jpg"
    whole = path.read_bytes()
    for content in (whole[:200], whole[: len(whole) // 2], b"", b"text"):
        path.write_bytes(content)
        refused("000001.jpg is damaged", lambda: dynapoint.open(scene).images)
    Image.new("RGB", (9, 8)).save(path)
    refused(
        "000001.jpg is 9x8 but the scene's frame is 80x60", lambda: dynapoint.open(scene).images
    )


def test_pictures_too_large_for_any_memory_are_refused_before_it_is_asked_for(scene):
    edit_manifest(scene, lambda m: m.update(image_hw=[10**8, 10**8]))
    np.save(scene / "picture_hw.npy", np.array([[60, 80], [60, 80], [10**8, 10**8]]))
    rec = dynapoint.open(scene)
    refused("000002.jpg is 80x60 but the scene's frame is 1000", lambda: rec.images)


def test_scenes_of_older_versions_and_their_caches_can_be_replaced(scene, nano_scene):
    edit_manifest(scene, lambda m: m.update(version=2))
    (scene / "cache").mkdir()
    (scene / "cache" / "fused.npz").write_bytes(b"x")
    dynapoint.open(nano_scene).save(scene, overwrite=True)
    assert not (scene / "cache").exists() and dynapoint.open(scene).frame_count == 3


def encoded() -> dict:
    half = torch.randn(2, 3, 4, dtype=torch.float64)
    maps = PointMaps(points=torch.randn(1, 2, 3, 4, 3), confidence=torch.rand(1, 2, 3, 4))
    return {
        "maps": maps,
        "cameras": [Cameras(world_from_camera=torch.eye(4)[None], intrinsics=torch.eye(3)[None])],
        "views": (half, half[:1], half.permute(2, 0, 1), half[..., 0].expand(3, 2, 3)),
        "kinds": (torch.arange(3), torch.tensor(2.5).to(torch.bfloat16), torch.zeros(0, 2) > 0),
        "plain": (None, True, 3, 0.1, float("inf"), "word", []),
    }


def same(mine: Any, theirs: Any) -> bool:
    if isinstance(theirs, torch.Tensor):
        alike = mine.dtype == theirs.dtype and mine.shape == theirs.shape
        return alike and torch.equal(mine, theirs)
    if dataclasses.is_dataclass(theirs):
        mine, theirs = (mine, vars(mine)), (theirs, vars(theirs))
        return type(mine[0]) is type(theirs[0]) and same(mine[1], theirs[1])
    if isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(same(mine[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list | tuple):
        alike = type(mine) is type(theirs) and len(mine) == len(theirs)
        return alike and all(same(a, b) for a, b in zip(mine, theirs, strict=True))
    return type(mine) is type(theirs) and mine == theirs


def test_trees_of_tensors_come_back(tmp_path):
    tree = encoded()
    write_encoded(tree, tmp_path / "e.safetensors")
    found = read_encoded(tmp_path / "e.safetensors")
    assert same(found, tree)
    assert found["views"][2].stride() == tree["views"][2].stride()
    with pytest.raises(TypeError, match="a set cannot be kept"):
        write_encoded({"odd": {1, 2}}, tmp_path / "odd.safetensors")
    with pytest.raises(TypeError, match="no dataclass that scenes keep"):
        write_encoded({"odd": frames_of_all_kinds()}, tmp_path / "odd.safetensors")


SKELETONS = {
    "foreign": {"dataclass": "subprocess:Popen", "fields": {"args": {"value": "ls"}}},
    "no dataclass": {"dataclass": "dynapoint.models.catalog:load_model", "fields": {}},
    "borrowed": {"dataclass": "dynapoint.models.nano.network:PointMaps", "fields": {}},
    "unknown module": {"dataclass": "dynapoint.models.magic:Wand", "fields": {}},
    "of other fields": {"dataclass": "dynapoint.types:PointMaps", "fields": {}},
    "no such tensor": {"tensor": "0009", "shape": [2], "order": [0]},
    "other shape": {"tensor": "0000", "shape": [3], "order": [0]},
    "other axes": {"tensor": "0000", "shape": [2], "order": [1]},
    "unused tensor": {"value": 3},
    "nothing": {},
    "no node": [3],
}


@pytest.mark.parametrize("kind", SKELETONS)
def test_only_what_was_written_is_read(tmp_path, kind):
    path = tmp_path / "e.safetensors"
    metadata = {"format": "dynapoint-encoded-1", "skeleton": json.dumps(SKELETONS[kind])}
    save_file({"0000": torch.ones(2)}, path, metadata=metadata)
    refused("e.safetensors", lambda: read_encoded(path))


def test_other_files_are_no_encodings(tmp_path, scene):
    path = scene / "encoded.safetensors"
    save_file(load_file(path), tmp_path / "bare.safetensors")
    refused("has format None", lambda: read_encoded(tmp_path / "bare.safetensors"))
    refused("is missing", lambda: read_encoded(tmp_path / "none.safetensors"))
    for content in (b"", path.read_bytes()[:-3], b"\x80\x04pickle"):
        (tmp_path / "cut").write_bytes(content)
        refused("cut cannot be read", lambda: read_encoded(tmp_path / "cut"))


def test_info(scene, tmp_path, capsys):
    assert cli.main(["info", str(scene)]) == 0
    printed = capsys.readouterr().out
    for words in ("3 of 80x60", "tiny", "focal", "camera path", "encoded.safetensors", "yes: the"):
        assert words in printed
    assert cli.main(["info", str(scene), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    rec = dynapoint.open(scene)
    assert facts["frames"] == 3 and facts["image_hw"] == [60, 80]
    assert facts["focal_px"] == [rec.intrinsics[0, 0, 0], rec.intrinsics[0, 1, 1]]
    everything = sum(path.stat().st_size for path in scene.rglob("*") if path.is_file())
    assert facts["bytes"]["in all"] == everything
    assert facts["further_questions"]["possible"] is True
    dynapoint.reconstruct(picture_array(2, 40, 40), FakeModel(32)).save(tmp_path / "fake")
    assert cli.main(["info", str(tmp_path / "fake"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["further_questions"]["possible"] is False
    assert cli.main(["info", str(tmp_path / "none")]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
