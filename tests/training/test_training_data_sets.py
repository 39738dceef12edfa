"""Training on data sets: exact samples, who sees which, what is damaged, and a whole small run."""

import dataclasses
import json
import math
import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from dynapoint.datasets.places import data_places, named_paths, training_split
from dynapoint.datasets.registry import READERS, dataset_card, open_dataset
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.errors import ConfigError, InputError
from dynapoint.models.tensor_files import read_safetensors
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene
from dynapoint.training import data_sets, run
from dynapoint.training.changes import with_data
from dynapoint.training.clip_pool import ClipPool
from dynapoint.training.data_sets import MOST_FAILURES, DataSets
from dynapoint.training.data_stream import MOST_CLIPS, SampleStream
from dynapoint.training.reading_ahead import ReadingAhead
from dynapoint.training.recipes import recipe
from dynapoint.training.run import train
from dynapoint.training.samples import SamplingConfig, choose_frames, draw_sample
from dynapoint.training.train_config import Phase
from dynapoint.training.truth_samples import Window, centred_window, truth_sample
from dynapoint.types import TruthSample
from miniatures import clips as clip_miniature
from miniatures import real_folders as folder_miniature
from miniatures.engine_clip import engine_clip

PLAIN = SamplingConfig(frames=3, largest_span=5, mirror=False, photometric=0.0)


@pytest.fixture
def own_clips(tmp_path):
    clip_miniature.write_miniature(tmp_path / "clips", engine_clip(), sequences=3)
    return tmp_path / "clips"


@pytest.fixture
def folders(tmp_path):
    folder_miniature.write_miniature(tmp_path / "folders", engine_clip(), sequences=2)
    return tmp_path / "folders"


# ---- one sample ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reference", ["random", "central"])
def test_a_clip_read_from_disk_is_the_engine_s_own_sample(tmp_path, seed, reference):
    clip_miniature.write_miniature(tmp_path, engine_clip(seed=8))
    config = dataclasses.replace(PLAIN, reference=reference)
    scene = random_scene(8, SceneConfig(frames=6, still_camera=0.0), aspect=32 / 24)
    batch = render_clips([scene], image_hw=(24, 32), seed=8)
    true = draw_sample(batch, config, torch.Generator().manual_seed(seed))
    frames = choose_frames(1, 6, config, torch.Generator().manual_seed(seed))[0].tolist()
    (sequence,) = open_dataset("clips", tmp_path)
    found = truth_sample(sequence, frames, image_hw=(24, 32))
    for part in dataclasses.fields(TruthSample):
        a, b = getattr(found, part.name), getattr(true, part.name)
        assert a.dtype == b.dtype and a.shape == b.shape, part.name
        if a.dtype == torch.bool or part.name == "images":
            assert torch.equal(a, b), part.name
        else:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)


class Plane(TruthSequence):
    """A plane before a moving camera, worked out by the ray's own equation; no file is read."""

    dataset = "plane"
    name = "plane"
    frame_count = 4

    def __init__(self, image_hw, motion="still", seed=0):
        rng = np.random.default_rng(seed)
        self.image_hw, self.motion = image_hw, motion
        self.holds = Holds(lens=True, poses=True, depth=True, motion=motion)
        self.normal, self.distance = np.array([0.2, -0.1, 1.0]), 4.0
        self.shift = rng.uniform(-0.3, 0.3, (4, 3))
        self.asked = []

    def image(self, frame):
        height, width = self.image_hw
        ramp = np.linspace(0, 250, width)[None, :, None] * np.ones((height, 1, 3))
        return ramp.round().astype(np.uint8)

    def intrinsics(self, frame):
        height, width = self.image_hw
        return np.array(
            [[width * 0.9, 0, width * 0.47], [0, width * 0.8, height * 0.56], [0, 0, 1]]
        )

    def world_from_camera(self, frame):
        pose = np.eye(4)
        pose[:3, 3] = self.shift[frame]
        return pose

    def depth(self, frame):
        height, width = self.image_hw
        y, x = np.mgrid[:height, :width] + 0.5
        lens = self.intrinsics(frame)
        ray = [(x - lens[0, 2]) / lens[0, 0], (y - lens[1, 2]) / lens[1, 1], np.ones_like(x)]
        along = sum(a * b for a, b in zip(self.normal, ray, strict=True))
        return ((self.distance - self.normal @ self.shift[frame]) / along).astype(np.float32)

    def points(self, frame, time):
        self.asked.append((frame, time))
        own = super().points(frame, frame)
        if time == frame or self.motion == "still":
            return own
        moved = own + np.float32(0.5 * (time - frame))
        if self.motion == "sparse":
            moved[::2] = np.nan
        return moved


@pytest.mark.parametrize(
    ("picture_hw", "image_hw"),
    [((72, 96), (24, 32)), ((70, 131), (32, 40)), ((50, 40), (32, 24)), ((20, 30), (40, 40))],
)
def test_points_lie_on_the_rays_of_their_pixels_at_every_size(picture_hw, image_hw):
    sequence = Plane(picture_hw)
    sample = truth_sample(sequence, [2, 0, 3], image_hw=image_hw)
    assert sample.valid.all() and sample.supervised.all() and not sample.moving.any()
    lens, poses = sample.intrinsics[0].double(), sample.world_from_camera[0].double()
    torch.testing.assert_close(poses[0], torch.eye(4, dtype=torch.float64))
    scale = max(image_hw[0] / picture_hw[0], image_hw[1] / picture_hw[1])
    y, x = np.mgrid[: image_hw[0], : image_hw[1]] + 0.5
    for k in range(3):
        torch.testing.assert_close(
            sample.points[0, :, k], sample.points[0, :1, k].expand(3, -1, -1, -1)
        )
        camera = (sample.points[0, k, k].double() - poses[k, :3, 3]).numpy()
        pixel = camera @ lens[k].numpy().T
        off = np.abs(pixel[..., :2] / pixel[..., 2:] - np.stack([x, y], axis=-1))
        # Thirds of a size have centres of pixels at their own centres.
        assert off.max() < (1e-4 if scale == 1 / 3 else 0.5 * max(1.0, scale) + 1e-4)
        # They lie on the plane, wherever the pixel was taken from.
        world = sample.points[0, k, k].double().numpy() + sequence.shift[2]
        np.testing.assert_allclose(world @ sequence.normal, 4.0, rtol=1e-5)


@pytest.mark.parametrize("image_hw", [(24, 32), (40, 24), (100, 150)])
@pytest.mark.parametrize("kept", [1.0, 0.6])
def test_pictures_and_lenses_are_cut_and_scaled_alike(image_hw, kept):
    sequence = Plane((60, 90))
    window = centred_window((60, 90), image_hw, kept)
    rows, columns = image_hw
    assert 0 <= window.left <= window.left + columns / window.scale <= 90 + 1e-9
    assert 0 <= window.top <= window.top + rows / window.scale <= 60 + 1e-9
    lens, point = sequence.intrinsics(0), np.array([0.3, -0.2, 2.5])
    before, after = (matrix @ point / point[2] for matrix in (lens, window.lens(lens)))
    wanted = (before[:2] - (window.left, window.top)) * window.scale
    np.testing.assert_allclose(after[:2], wanted, atol=1e-10)
    # A ramp stays the same ramp, read at the centres of the new pixels.
    image = window.picture(sequence.image(0)) * 255
    x = window.left + (np.arange(columns) + 0.5) / window.scale - 0.5
    inner = (x > 2 / window.scale + 2) & (x < 87 - 2 / window.scale)
    assert inner.sum() > columns / 3
    np.testing.assert_allclose(
        image[:, :, inner], (x * 250 / 89)[inner] + 0 * image[:, :, inner], atol=1.1
    )


@pytest.mark.parametrize("scale", [0.21, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_each_pixel_takes_the_nearest_known_one_within_it(scale, share):
    rng = np.random.default_rng(int(scale * 100))
    known = rng.random((27, 35)) < share
    image_hw = (int(20 * scale), int(28 * scale))
    window = Window(left=3, top=5, scale=scale, image_hw=image_hw)
    pixel, found = window.chosen(known)
    # Where the centres of all known pixels of the picture lie in the sample.
    at = (np.argwhere(known) + 0.5 - (5, 3)) * scale
    for row, column in np.ndindex(image_hw):
        y, x = divmod(int(pixel[row, column]), 35)
        if scale > 1:
            # The picture's pixel that holds the centre of the sample's.
            assert (y, x) == (int(5 + (row + 0.5) / scale), int(3 + (column + 0.5) / scale))
            assert found[row, column] == known[y, x]
            continue
        within = (np.floor(at) == (row, column)).all(axis=1)
        assert found[row, column] == within.any()
        if within.any():
            off = np.linalg.norm(at[within] - (row + 0.5, column + 0.5), axis=1)
            here = math.hypot((x - 2.5) * scale - column - 0.5, (y - 4.5) * scale - row - 0.5)
            assert known[y, x] and here == pytest.approx(off.min(), abs=1e-9)


def test_what_is_supervised_follows_from_what_a_set_holds():
    own_time = truth_sample(Plane((24, 32), "own_time"), [0, 1, 3], image_hw=(24, 32))
    assert torch.equal(own_time.supervised[0], torch.eye(3, dtype=torch.bool))
    assert not own_time.visible[0, 0, 1].any() and own_time.visible[0, 1, 1].all()
    # Maps without truth are the frame's own.
    assert torch.equal(own_time.points[0, 0, 1], own_time.points[0, 1, 1])
    sparse = truth_sample(Plane((24, 32), "sparse"), [0, 1], image_hw=(24, 32))
    assert sparse.supervised.all()
    assert not sparse.valid[0, :, ::2].any() and sparse.valid[0, :, 1::2].all()
    # 12 of 24 rows are known at the other time.
    whole = truth_sample(Plane((24, 32), "sparse"), [0, 1], image_hw=(24, 32), least_known=0.5)
    assert torch.equal(whole.supervised[0], torch.eye(2, dtype=torch.bool)) and whole.valid.all()
    asked = Plane((24, 32), "sparse")
    masked = truth_sample(asked, [0, 1], image_hw=(24, 32), supervises="own_time")
    assert masked.valid.all() and set(asked.asked) == {(0, 0), (1, 1)}
    dense = truth_sample(Plane((24, 32), "dense"), [0, 2], image_hw=(24, 32))
    assert dense.supervised.all() and dense.moving.all()
    shift = dense.points[0, 1, 0] - dense.points[0, 0, 0]
    torch.testing.assert_close(shift, torch.ones_like(shift))


def test_masks_are_asked_for_only_where_motion_is_supervised():
    class Last(Plane):
        def moving(self, frame):
            raise self.lacks("a mask of the last frame")

    sequence = Last((24, 32), "own_time")
    sequence.holds = dataclasses.replace(sequence.holds, moving=True)
    assert not truth_sample(sequence, [0, 3], image_hw=(24, 32)).moving.any()
    sequence.motion, sequence.holds = "dense", dataclasses.replace(sequence.holds, motion="dense")
    with pytest.raises(InputError, match="a mask of the last frame"):
        truth_sample(sequence, [0, 3], image_hw=(24, 32))


def test_a_cut_within_a_sample_leaves_the_frames_own_times():
    class Cut(Plane):
        def points(self, frame, time):
            points = super().points(frame, time)
            return points if (frame < 2) == (time < 2) else np.full_like(points, np.nan)

    sample = truth_sample(Cut((24, 32), "dense"), [0, 1, 3], image_hw=(24, 32))
    wanted = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    assert torch.equal(sample.supervised[0], wanted) and sample.valid.all()


def test_visibility_is_found_where_a_set_has_none(own_clips):
    sequence = open_dataset("clips", own_clips)[0]
    true = truth_sample(sequence, [0, 2, 5], image_hw=(24, 32))
    sequence.holds = dataclasses.replace(sequence.holds, visible=False, moving=False)
    found = truth_sample(sequence, [0, 2, 5], image_hw=(24, 32))
    known = true.valid[0].expand(3, -1, -1, -1)
    hidden, said_hidden = ~true.visible[0][known], ~found.visible[0][known]
    assert (hidden == said_hidden).float().mean() > 0.95
    assert hidden.sum() > 200 and (hidden & said_hidden).sum() > 0.7 * hidden.sum()
    # What moves by its points is on a body that moves, and most of these bodies' pixels are found.
    assert not (found.moving & ~true.moving).any()
    assert found.moving.sum() > 0.5 * true.moving.sum()


def test_frames_without_truth_or_pose_are_refused():
    class Dark(Plane):
        def depth(self, frame):
            return np.full(self.image_hw, np.nan, np.float32)

    class Lost(Plane):
        def world_from_camera(self, frame):
            return np.full((4, 4), np.inf)

    with pytest.raises(InputError, match="plane has no truth in frame 1 of plane"):
        truth_sample(Dark((24, 32)), [1, 0], image_hw=(24, 32))
    with pytest.raises(InputError, match="plane has no pose of frame 1 of plane"):
        truth_sample(Lost((24, 32)), [1, 0], image_hw=(24, 32))


# ---- which samples ---------------------------------------------------------------------------


def drawn(sets, number, sampling=PLAIN, key="clips"):
    return sets.sample(
        key, number, sampling, image_hw=(24, 32), supervises="all", step_numbers=MOST_CLIPS
    )


@pytest.fixture
def listed(monkeypatch):
    """Sequences and frames of the samples that are drawn; none is read."""
    seen = []
    nothing = truth_sample(Plane((2, 2)), [0, 1], image_hw=(2, 2))

    def note(sequence, frames, **_):
        seen.append((sequence.name, tuple(frames)))
        return nothing

    monkeypatch.setattr(data_sets, "truth_sample", note)
    return seen


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_no_two_processes_see_the_same_frames(own_clips, listed, world_size):
    """3 clips of 6 frames have 12 first frames of samples of 3: so long is a pass."""
    ranks = [
        DataSets({"clips": str(own_clips)}, seed=4, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    orders = []
    for turn in range(4):
        for number in range(turn * 12 // world_size, (turn + 1) * 12 // world_size):
            for each in ranks:
                drawn(each, number)
        firsts = [(name, min(frames)) for name, frames in listed]
        assert sorted(firsts) == [(f"clip_{k:03d}", f) for k in range(3) for f in range(4)]
        assert all(len(set(frames)) == 3 and max(frames) < 6 for _, frames in listed)
        orders.append(tuple(firsts))
        listed.clear()
    assert len(set(orders)) == 4


def test_samples_are_a_function_of_their_number(own_clips, listed):
    def sequence_of(sets, numbers):
        listed.clear()
        for number in numbers:
            drawn(sets, number)
        return list(listed)

    places = {"clips": str(own_clips)}
    first, again = (DataSets(places, seed=4) for _ in range(2))
    numbers = [7, 0, 300, 12]
    assert sequence_of(first, numbers) == sequence_of(again, numbers)
    assert sequence_of(first, [12]) == sequence_of(again, [12])
    other = DataSets(places, seed=5)
    assert sequence_of(first, range(12)) != sequence_of(other, range(12))


def test_clips_that_are_too_short(own_clips, listed):
    sampling = dataclasses.replace(PLAIN, frames=7, largest_span=9)
    with pytest.raises(InputError, match="no sequence has the 7 frames"):
        drawn(DataSets({"clips": str(own_clips)}, seed=0), 0, sampling)


def test_damaged_sequences_are_left_out_and_said_once(own_clips, capsys):
    (own_clips / "clip_000" / "gt.npz").write_bytes(b"PK")
    for file in (own_clips / "clip_001").glob("rgb*"):
        file.unlink()
    sets = DataSets({"clips": str(own_clips)}, seed=1)
    samples = [drawn(sets, number) for number in range(24)]
    assert all(each.valid.any() for each in samples)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2
    assert said[0].startswith("clips: clip_001 is left out (1 so far): ") and "no frames" in said[0]
    assert said[1].startswith("clips: clip_000 is left out (2 so far): ") and "gt.npz" in said[1]
    told = sets.losses()
    assert told["clips sequences"] == 2 and told["clips sequences left out"] == 2
    assert 6 <= told["clips samples replaced"] <= 60
    again = DataSets({"clips": str(own_clips)}, seed=1)
    # Whatever was found damaged before, a number has the same sample.
    assert torch.equal(drawn(again, 17).images, samples[17].images)


def test_a_set_that_is_damaged_throughout_ends_the_run(own_clips, capsys):
    for folder in own_clips.iterdir():
        (folder / "gt.npz").write_bytes(b"PK")
    sets = DataSets({"clips": str(own_clips)}, seed=1)
    with pytest.raises(InputError, match=f"clips: {MOST_FAILURES} samples in a row") as caught:
        drawn(sets, 0)
    assert "\n" not in str(caught.value)
    assert len(capsys.readouterr().err.strip().splitlines()) == 3


def test_sets_that_cannot_be_trained_on(tmp_path, capsys):
    (tmp_path / "car/images").mkdir(parents=True)
    (tmp_path / "car/masks").mkdir()
    with pytest.raises(InputError, match="none of the 1 sequences of real-folders can be trained"):
        DataSets({"real-folders": str(tmp_path)}, seed=0)


# ---- mixtures --------------------------------------------------------------------------------


def mixed_config(places, **changes):
    phases = (Phase(until_samples=10**6, frames=3, pixels=24 * 32, batch=6),)
    small = dataclasses.replace(recipe("smoke"), phases=phases, mirror=False, photometric=0.0)
    return dataclasses.replace(with_data(small, places), **changes)


def test_samples_stand_where_their_sets_were_drawn(own_clips, folders):
    """A batch of two sets, one of which is read and one of which the engine stands in for."""
    config = mixed_config({"clips": str(own_clips), "real-folders": str(folders)})
    config = dataclasses.replace(config, data={"clips": str(own_clips)})
    stream = SampleStream(config)
    for step in range(3):
        sample = stream.sample(step)
        assert len(sample.images) == 6
        plan = stream._groups[0].plan
        read = [each.key == "clips" for each in plan.sets]
        assert list(plan.read) == [k for k, each in enumerate(read) if each]
        assert 0 < sum(read) < 6 and len(plan.scenes) == 6 - sum(read)
        rendered = draw_sample(stream._groups[0].clips, PLAIN, torch.Generator()).intrinsics
        # The engine's own clips have lenses of their own.
        for place, is_read in enumerate(read):
            own = torch.isclose(sample.intrinsics[place, 0], rendered[:, 0]).flatten(1).all(1)
            assert own.any() != is_read
    again = SampleStream(config)
    for part in dataclasses.fields(TruthSample):
        assert torch.equal(getattr(again.sample(2), part.name), getattr(sample, part.name))
    other = SampleStream(config, rank=1, world_size=2).sample(2)
    assert not torch.equal(other.images, sample.images)


def test_the_next_step_is_read_ahead():
    asked, go_on = [], threading.Event()

    def read(step):
        asked.append((step, threading.current_thread() is threading.main_thread()))
        if step == 3:
            go_on.set()
        if step == 5:
            raise InputError("damaged")
        return step * 10

    ahead = ReadingAhead(read)
    assert [ahead.of(step) for step in (0, 1, 2)] == [0, 10, 20]
    # Step 3 is read though nobody has asked for it yet.
    assert go_on.wait(10)
    assert ahead.of(3) == 30 and ahead.of(4) == 40
    assert [step for step, _ in asked[:5]] == [0, 1, 2, 3, 4] and not any(own for _, own in asked)
    with pytest.raises(InputError, match="damaged"):
        ahead.of(5)
    # A step that is not the next one is read when it is asked for.
    assert ahead.of(8) == 80


def test_reading_ahead_reads_the_same(own_clips):
    config = mixed_config({"clips": str(own_clips)}, mirror=True, photometric=1.0)
    there = SampleStream(config)
    wanted = [there._read(step) for step in range(3)]
    ahead = SampleStream(config, device="cuda")
    assert isinstance(ahead._read.__self__, ReadingAhead)
    found = [ahead._read(step) for step in range(3)]
    # Before 3.11.8, Python cannot read one array and import a module (as tests do) at once.
    ahead._read.__self__._thread.shutdown()
    for one, other in zip(wanted, found, strict=True):
        assert len(one) == len(other) == 6
        for a, b in zip(one, other, strict=True):
            for part in dataclasses.fields(TruthSample):
                assert torch.equal(getattr(a, part.name), getattr(b, part.name))


def test_a_mixture_of_read_sets_alone_renders_nothing(own_clips, folders, monkeypatch):
    monkeypatch.setattr("dynapoint.training.data_stream.render_clips", None)
    config = mixed_config({"clips": str(own_clips), "real-folders": str(folders)})
    sample = SampleStream(config).sample(0)
    assert sample.valid.flatten(1).any(1).all()


def test_sets_of_a_mixture_mask_what_they_do_not_supervise(own_clips):
    config = mixed_config({"clips": str(own_clips)})
    (only,) = config.sets
    own_time = dataclasses.replace(config, sets=(dataclasses.replace(only, supervises="own_time"),))
    sample = SampleStream(own_time).sample(0)
    assert torch.equal(sample.supervised, torch.eye(3, dtype=torch.bool).expand(6, 3, 3))
    assert SampleStream(config).sample(0).supervised.all()


def test_mirrors_and_colours_change_what_is_read_too(own_clips):
    config = mixed_config({"clips": str(own_clips)}, mirror=True, photometric=1.0)
    plain = SampleStream(mixed_config({"clips": str(own_clips)})).sample(0)
    changed = SampleStream(config).sample(0)
    near, far = plain.points[..., 2], changed.points[..., 2]
    same = [torch.equal(a, b) for a, b in zip(near, far, strict=True)]
    mirrored = [torch.equal(a.flip(-1), b) for a, b in zip(near, far, strict=True)]
    assert [a != b for a, b in zip(same, mirrored, strict=True)] == [True] * 6
    assert 0 < sum(mirrored) < 6
    assert not torch.equal(plain.images, changed.images)


def test_a_mixture_takes_its_own_sets_only(own_clips):
    with pytest.raises(ConfigError, match="the mixture of vdpm-miniature has no clips; give some"):
        with_data(recipe("vdpm-miniature"), {"clips": str(own_clips)})
    config = with_data(recipe("dpm-miniature"), {"spring": "somewhere"})
    assert config.sets == recipe("dpm-miniature").sets and config.data == {"spring": "somewhere"}
    assert with_data(recipe("nano"), {}) == recipe("nano")
    with pytest.raises(ConfigError, match="a pool holds rendered clips only"):
        ClipPool(config, device="cpu", workers=0, held=1, draws=1, phase_now=lambda: 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clips"], "--data is 'clips'; give KEY=PATH"),
        (["clips="], "--data is 'clips='; give KEY=PATH"),
        (["kitty=a"], "there is no data set 'kitty'"),
        (["clips=a", "clips=b"], "--data names clips twice"),
    ],
)
def test_words_that_say_no_place(words, said):
    with pytest.raises(ConfigError, match=said):
        data_places(words)
    with pytest.raises(ConfigError, match=said.replace("--data", "--predictions", 1)):
        named_paths(words, "--predictions", "KEY", READERS)


def test_words_that_say_places():
    assert data_places(["clips=x", "sintel=~/y=z"]) == {
        "clips": Path("x"),
        "sintel": Path.home() / "y=z",
    }
    assert named_paths(["any name=x"], "--predictions", "NAME") == {"any name": Path("x")}


# ---- all sets that there are ------------------------------------------------------------------

MODULES = {key: {"own_clips": "clips"}.get(name, name) for key, name in READERS.items()}
THERE = [
    key
    for key, name in READERS.items()
    if find_spec(f"dynapoint.datasets.{name}") and find_spec(f"miniatures.{MODULES[key]}")
]
"""Sets with a reader and a miniature, under the key that the miniature is of."""


def miniature_of(key, root):
    """Write a set's miniature; a sequence of it that can be trained on, if any, and its split."""
    import_module(f"miniatures.{MODULES[key]}").write_miniature(root, engine_clip())
    for split in (training_split(key), *dataset_card(key).splits):
        try:
            (sequence, *_) = open_dataset(key, root, split)
        except InputError:
            continue
        holds = sequence.holds
        return (sequence if holds.lens and holds.poses and holds.depth else None), split
    raise AssertionError(f"no split of {key} is in its miniature")


@pytest.mark.parametrize("key", THERE)
def test_every_set_gives_samples(tmp_path, key):
    sequence, _ = miniature_of(key, tmp_path)
    if sequence is None:
        # Masks or tracks alone.
        assert key in ("davis", "tapvid3d", "worldtrack-adt", "panoptic")
        return
    frames = [min(2, sequence.frame_count - 1), 0]
    sample = truth_sample(sequence, frames, image_hw=(16, 24))
    assert sample.supervised[0].diagonal().all() and sample.valid.float().mean() > 0.3
    lens, poses = sample.intrinsics[0].double(), sample.world_from_camera[0].double()
    centres = torch.from_numpy(np.mgrid[:16, :24][::-1].copy()).permute(1, 2, 0) + 0.5
    for k in range(2):
        camera = (sample.points[0, k, k].double() - poses[k, :3, 3]) @ poses[k, :3, :3]
        image = (camera @ lens[k].T)[sample.valid[0, k]]
        off = (image[:, :2] / image[:, 2:] - centres[sample.valid[0, k]]).abs().amax(1)
        # Points of a laser, and those of tracks, lie where they are, not on the pixel's ray.
        assert off.median() < 0.6 and off.max() < 1.5, key


@pytest.mark.parametrize("name", ["vdpm-miniature", "dpm-miniature", "dept3r-miniature"])
def test_mixtures_read_the_sets_that_are_given(tmp_path, name, monkeypatch):
    """All sets of a mixture whose readers are there; the engine stands in for the others."""
    config = recipe(name)
    places, splits = {}, {}
    for each in config.sets:
        if each.key in THERE:
            places[each.key] = str(tmp_path / each.key)
            _, splits[each.key] = miniature_of(each.key, tmp_path / each.key)
    monkeypatch.setattr(data_sets, "training_split", splits.__getitem__)
    phases = (Phase(frames=2, pixels=900, batch=8, largest_span=3),)
    config = dataclasses.replace(config, phases=phases, phases_in_turn=False, groups_held=1)
    stream = SampleStream(with_data(dataclasses.replace(config, draws_per_clip=1), places))
    read = set()
    for step in range(4):
        sample = stream.sample(step)
        plan = stream._groups[step].plan
        assert sample.valid.flatten(1).any(1).all() and torch.isfinite(sample.points).all()
        for place, each in enumerate(plan.sets):
            read |= {each.key} if place in plan.read else set()
            if each.supervises == "own_time":
                assert torch.equal(sample.supervised[place], torch.eye(2, dtype=torch.bool))
            if each.still and each.key not in places:
                assert not sample.moving[place].any()
    assert read <= set(places) and (not places or read)


# ---- a run -----------------------------------------------------------------------------------


def test_a_miniature_run_on_two_sets(tmp_path, own_clips, folders, monkeypatch, capsys):
    seen = []
    true_sample = data_sets.truth_sample

    def spy(sequence, frames, **more):
        seen.append((sequence.dataset, sequence.name))
        return true_sample(sequence, frames, **more)

    monkeypatch.setattr(data_sets, "truth_sample", spy)
    (own_clips / "clip_002" / "gt.npz").write_bytes(b"PK")
    places = {"clips": own_clips, "real-folders": folders}
    changes = {"steps": 10, "batch": 3, "validation_clips": 0}
    out = tmp_path / "run"
    weights = train("smoke", out, changes=changes, data=places, device="cpu")
    assert {name for name, _ in seen} == {"clips", "real-folders"} and len(seen) >= 30
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    assert steps[-1]["step"] == 10 and all(math.isfinite(line["total"]) for line in steps)
    data = [line for line in lines if line["kind"] == "data"][-1]
    assert data["clips sequences left out"] == 1 and data["real-folders sequences left out"] == 0
    assert "clip_002 is left out" in capsys.readouterr().err
    record = read_safetensors(weights)[1]
    assert record["data"] == "dynapoint clips, Real folders"
    assert str(tmp_path) not in json.dumps(record)
    seen.clear()
    train("smoke", out, resume=True, changes={"steps": 11}, device="cpu")
    # A run that is resumed remembers its folders.
    assert len(seen) >= 3


def test_a_run_refuses_before_it_makes_a_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        train("smoke", tmp_path / "run", data={"clips": tmp_path / "none"}, device="cpu")
    assert not (tmp_path / "run").exists()
    assert run.WEIGHTS_FILE
