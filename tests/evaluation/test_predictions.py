"""Predictions on disk: what is written is read, and what does not fit is refused in a line."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from dynapoint.errors import InputError, OutputError
from dynapoint.evaluation.predictions import files
from dynapoint.evaluation.predictions.files import (
    ARRAYS,
    prediction_file,
    read_made,
    read_prediction,
    safe_name,
    save_prediction,
    wanted_shapes,
    write_prediction,
)
from dynapoint.evaluation.predictions.made import Made, difference, pictures_digest
from dynapoint.evaluation.protocols.task import Answer, Task

HW = (13, 18)
EVERYTHING = Task(
    dataset="set",
    sequence="a/b",
    name="all",
    frames=(4, 2, 7),
    maps=((0, 0), (0, 2), (1, 2), (2, 0)),
    swapped=True,
    depth=True,
    cameras=True,
    moving=True,
    track_xy=((1.5, 2.5), (3.5, 0.5)),
    stride=4,
)


def random_answer(task=EVERYTHING, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=shape) for name, shape in wanted_shapes(task, HW).items()}
    double = ("world_from_camera", "intrinsics")
    given = {
        name: array if name in double else array.astype(np.float32)
        for name, array in arrays.items()
    }
    for name in ("moving", "tracks_visible"):
        given[name] = arrays[name] > 0
    return Answer(**given, metric=True, seconds=1.25, peak_mib=3.5)


def test_shapes_are_those_of_the_grid():
    """Rows 2, 6, 10 of 13 and columns 2, 6, 10, 14 of 18."""
    shapes = wanted_shapes(EVERYTHING, HW)
    assert shapes == {
        "points": (4, 3, 4, 3),
        "confidence": (4, 3, 4),
        "swapped_points": (4, 3, 4, 3),
        "depth": (3, 3, 4),
        "world_from_camera": (3, 4, 4),
        "intrinsics": (3, 3, 3),
        "moving": (3, 3, 4),
        "tracks": (3, 2, 3),
        "tracks_visible": (3, 2),
    }
    assert set(shapes) == set(ARRAYS)
    assert wanted_shapes(Task(dataset="s", sequence="q", name="n", frames=(0,)), HW) == {}


def test_what_is_written_is_read(tmp_path):
    answer, path = random_answer(), prediction_file(tmp_path, EVERYTHING)
    made = Made(task=EVERYTHING.digest, pictures="ab", method="m", weights="cd", options="x=1")
    save_prediction(path, answer, made)
    found, about = read_prediction(path, EVERYTHING, HW)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(answer, name))
        assert getattr(found, name).dtype == getattr(answer, name).dtype
    assert (found.metric, found.seconds, found.peak_mib) == (True, 1.25, 3.5)
    assert about == replace(made, metric=True, seconds=1.25, peak_mib=3.5) == read_made(path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_cannot_be_said_is_left_out(tmp_path):
    path = prediction_file(tmp_path, EVERYTHING)
    save_prediction(path, replace(random_answer(), points=None, tracks=None), Made(task="t"))
    found, _ = read_prediction(path, EVERYTHING, HW)
    assert found.points is None and found.tracks is None and found.depth is not None


def test_what_was_not_asked_is_passed_over(tmp_path):
    path = prediction_file(tmp_path, EVERYTHING)
    save_prediction(path, random_answer(), Made(task="t"))
    found, _ = read_prediction(path, replace(EVERYTHING, maps=(), swapped=False), HW)
    assert found.points is None and found.swapped_points is None and found.depth is not None


@pytest.mark.parametrize("name", ARRAYS)
def test_another_shape_is_refused_by_file_array_and_shapes(tmp_path, name):
    wrong = getattr(random_answer(), name)[:-1]
    path = prediction_file(tmp_path, EVERYTHING)
    save_prediction(path, Answer(**{name: wrong}), Made(task="t"))
    wanted = wanted_shapes(EVERYTHING, HW)[name]
    with pytest.raises(InputError) as caught:
        read_prediction(path, EVERYTHING, HW)
    for said in (str(path), f"{name} has shape {wrong.shape}", f"wanted {wanted}"):
        assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_others_may_write_plain_archives(tmp_path):
    """Other numbers types, 0 and 1 for masks, unknown words in `about`, compressed."""
    path = prediction_file(tmp_path, EVERYTHING)
    path.parent.mkdir(parents=True)
    shapes = wanted_shapes(EVERYTHING, HW)
    np.savez_compressed(
        path,
        depth=np.full(shapes["depth"], 2, np.int64),
        moving=np.ones(shapes["moving"], np.uint8),
        intrinsics=np.ones(shapes["intrinsics"], np.float16),
        about=json.dumps({"task": EVERYTHING.digest, "author": "me", "seconds": 3}),
    )
    found, made = read_prediction(path, EVERYTHING, HW)
    assert found.depth.dtype == np.float32 and (found.depth == 2).all()
    assert found.moving.dtype == bool and found.moving.all()
    assert found.intrinsics.dtype == np.float64
    assert made == Made(task=EVERYTHING.digest, seconds=3.0)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"depth": np.zeros((3, 3, 4))}, "has no `about`"),
        ({"about": "{}"}, "with the `task`'s digest"),
        ({"about": "none"}, "damaged"),
        ({"about": json.dumps({"task": "t", "metric": "yes"})}, "`metric` of `about` is 'yes'"),
        ({"about": json.dumps({"task": "t", "seconds": True})}, "`seconds` of `about` is True"),
        ({"about": json.dumps({"task": "t", "format": True})}, "`format` of `about` is True"),
        ({"about": json.dumps({"task": "t", "seconds": math.nan})}, "`seconds` of `about` is nan"),
        (
            {"about": json.dumps({"task": "t", "peak_mib": math.inf})},
            "`peak_mib` of `about` is inf",
        ),
        ({"about": json.dumps({"task": "t", "peak_mib": -1})}, "`peak_mib` of `about` is -1"),
        ({"about": json.dumps({"task": "t"}), "point": np.zeros(3)}, "an array 'point'"),
        ({"about": json.dumps({"task": "t"}), "depth": np.array("deep")}, "depth is of <U4"),
    ],
)
def test_no_prediction_is_refused_in_a_line(tmp_path, arrays, said):
    path = prediction_file(tmp_path, EVERYTHING)
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)
    with pytest.raises(InputError) as caught:
        read_prediction(path, EVERYTHING, HW)
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_what_is_too_large_for_the_precision_is_infinite(tmp_path):
    path = prediction_file(tmp_path, EVERYTHING)
    path.parent.mkdir(parents=True)
    depth = np.full(wanted_shapes(EVERYTHING, HW)["depth"], -1e300)
    np.savez(path, depth=depth, about=json.dumps({"task": EVERYTHING.digest}))
    assert (read_prediction(path, EVERYTHING, HW)[0].depth == -np.inf).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_was_cut_off_is_damaged(tmp_path, share):
    path = prediction_file(tmp_path, EVERYTHING)
    save_prediction(path, random_answer(), Made(task="t"))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match="damaged") as caught:
        read_prediction(path, EVERYTHING, HW)
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.np, "savez", full)
    path = prediction_file(tmp_path, EVERYTHING)
    with pytest.raises(OutputError, match="No space left"):
        save_prediction(path, random_answer(), Made(task="t"))
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "set").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        save_prediction(prediction_file(tmp_path, EVERYTHING), random_answer(), Made(task="t"))


NAMES = ["a/b", "a%2Fb", "..", ".", "", "a b", "été", "x" * 300, "x" * 299 + "y", "a\\b", "c:d"]


def test_names_are_safe_and_told_apart(tmp_path):
    safe = [safe_name(name) for name in NAMES if name]
    assert len(set(safe)) == len(safe)
    for name in safe:
        assert not set(name) & set('/\\: ?*"<>|') and not name.startswith(".")
        assert len(name.encode()) < 200
    assert safe_name("alley_2") == "alley_2" and safe_name("2024-05.left") == "2024-05.left"
    task = replace(EVERYTHING, sequence="../../up", name="n/..")
    path = prediction_file(tmp_path, task)
    assert path.resolve().relative_to(tmp_path.resolve()).parts == path.relative_to(tmp_path).parts


def test_different_questions_of_one_name_are_different_files(tmp_path):
    other = replace(EVERYTHING, stride=2)
    assert prediction_file(tmp_path, EVERYTHING) != prediction_file(tmp_path, other)


def test_anybody_writes_with_what_they_have(tmp_path):
    images = np.zeros((3, *HW, 3), np.uint8)
    path = write_prediction(tmp_path, EVERYTHING, images, random_answer(), method="mine 1.0")
    assert path == prediction_file(tmp_path, EVERYTHING)
    made = read_made(path)
    assert (made.task, made.method) == (EVERYTHING.digest, "mine 1.0")
    assert made.pictures == pictures_digest(images)
    wrong = Answer(depth=np.zeros((3, *HW), np.float32))
    with pytest.raises(InputError, match=r"depth has shape \(3, 13, 18\); wanted \(3, 3, 4\)"):
        write_prediction(tmp_path, EVERYTHING, images, wrong)


def test_what_differs_is_said():
    made = Made(task="t", pictures="p" * 64, method="m", weights="w" * 64, options="o")
    assert difference(made, made) is None
    assert "in format 1, not 2" == difference(made, replace(made, format=2))
    assert "another task" in difference(made, replace(made, task="u"))
    assert difference(made, replace(made, weights="v" * 64)) == (
        "with other weights (wwwwwwww, now vvvvvvvv)"
    )
    assert "other pictures" in difference(made, replace(made, pictures="q"))
    assert difference(made, replace(made, options="z")) == "with other options (o, now z)"
    assert "another method" in difference(made, replace(made, method="n"))
    # What was not said is not compared; where and when it was made never is.
    assert difference(made, Made(task="t")) is difference(Made(task="t"), made) is None
    assert difference(made, replace(made, package="x", commit="y", seconds=9.0)) is None


def test_digests_of_pictures_see_order_values_and_sizes():
    images = np.random.default_rng(0).integers(0, 255, (3, 4, 6, 3), dtype=np.uint8)
    digests = {
        pictures_digest(images),
        pictures_digest(images[::-1]),
        pictures_digest(images[:2]),
        pictures_digest(images.reshape(3, 6, 4, 3)),
        pictures_digest(np.where(images == images[0, 0, 0, 0], 7, images)),
    }
    assert len(digests) == 5
    assert pictures_digest(images) == pictures_digest(list(images))
