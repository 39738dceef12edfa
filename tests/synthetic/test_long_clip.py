"""Long clips: the same for the same seed, truth that fits their pictures, and what they contain."""

from pathlib import Path

import av
import numpy as np
import pytest

from dynapoint import cli
from dynapoint.errors import ConfigError, InputError, OutputError
from dynapoint.geometry.arrays import pixel_centres, points_in_camera, project
from dynapoint.synthetic.long_clip import LongClip
from dynapoint.synthetic.long_files import read_long_clip, write_long_clip

SIZE = (36, 64)


@pytest.fixture(scope="module")
def clip() -> LongClip:
    return LongClip(1, 400, image_hw=SIZE)


@pytest.fixture(scope="module")
def cut_clip() -> LongClip:
    return LongClip(4, 2000, image_hw=SIZE, cuts=(1400,))


def test_same_seed_same_clip(clip: LongClip) -> None:
    again = LongClip(1, 400, image_hw=SIZE)
    assert np.array_equal(clip.world_from_camera, again.world_from_camera)
    # Out of order, so that nothing depends on what was asked for before.
    for index in (310, 7):
        assert np.array_equal(clip.frame(index), again.frame(index))
        assert np.array_equal(clip.points(index, 90), again.points(index, 90), equal_nan=True)
    assert not np.array_equal(clip.frame(7), LongClip(2, 400, image_hw=SIZE).frame(7))


def test_frames_are_pictures_in_one_exposure(clip: LongClip) -> None:
    images = [image for index, image in zip(range(3), clip, strict=False) if index < 3]
    assert images[0].shape == (*SIZE, 3)
    assert images[0].dtype == np.uint8
    assert images[0].std() > 25
    means = [image.mean() for image in images]
    assert np.ptp(means) < 3


def test_own_points_lie_on_the_rays_of_their_pixels(clip: LongClip) -> None:
    for index in (0, 123, 399):
        truth = clip.truth(index)
        camera = points_in_camera(truth.points, clip.world_from_camera[index])
        xy = project(camera, clip.intrinsics[index])
        np.testing.assert_allclose(xy, pixel_centres(SIZE), atol=2e-3)
        assert truth.visible.all()


def test_still_points_stay_and_movers_stop_and_go(clip: LongClip) -> None:
    (start, stop), *_ = clip.stops()
    middle = (start + stop) // 2
    before = clip.truth(middle, middle - 60)
    own, soon = clip.points(middle, middle), clip.points(middle, middle + 4)
    assert np.array_equal(own[~before.moving], before.points[~before.moving])
    assert 0.5 < before.moving.mean() < 0.98
    gone = np.linalg.norm(own - before.points, axis=-1)[before.moving]
    assert np.median(gone) > 0.5
    # The wardrobe rests before the camera.
    assert np.median(np.linalg.norm(own - soon, axis=-1)[before.moving]) < 1e-6


def test_points_that_are_seen_again_look_the_same(clip: LongClip) -> None:
    first, last = 2, 397
    truth = clip.truth(first, last)
    chosen = truth.visible & ~truth.moving
    assert chosen.mean() > 0.3
    xy = project(
        points_in_camera(truth.points[chosen], clip.world_from_camera[last]), clip.intrinsics[last]
    )
    column, row = xy.astype(int).T
    before = clip.frame(first)[chosen].astype(float)
    matched = np.abs(before - clip.frame(last)[row, column]).mean()
    assert matched < 0.6 * np.abs(before - np.roll(before, 50, axis=0)).mean()


def test_the_camera_comes_back_and_stands(cut_clip: LongClip) -> None:
    poses = cut_clip.world_from_camera[:1400]
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    gap = np.linalg.norm(poses[600:, :3, 3] - poses[0, :3, 3], axis=1)
    assert gap.min() < 0.5
    assert steps.sum() > 20
    assert steps.max() < 0.06
    turns = poses[:-1, :3, 2] @ poses[1:, :3, 2].T
    assert np.degrees(np.arccos(np.diagonal(turns).min())) < 3
    assert len(cut_clip.stops()) >= 5
    for start, stop in cut_clip.stops():
        if stop < 1400:
            assert steps[start : stop - 1].mean() < 0.15 * steps.mean()
            assert steps[start : stop - 1].max() > 0


def test_a_cut_begins_another_world(cut_clip: LongClip) -> None:
    assert np.array_equal(cut_clip.world_from_camera[1400], np.eye(4))
    assert [cut_clip.part_of(frame) for frame in (0, 1399, 1400, 1999)] == [0, 0, 1, 1]
    before, behind = cut_clip.frame(1399).astype(int), cut_clip.frame(1400).astype(int)
    assert np.abs(before - behind).mean() > 2.5 * np.abs(before - cut_clip.frame(1398)).mean()
    across = cut_clip.truth(1399, 1400)
    assert np.isnan(across.points).all()
    assert not across.visible.any()


@pytest.mark.parametrize(
    "wrong",
    [{"frame_count": 0}, {"image_hw": (8, 64)}, {"cuts": (0,)}, {"cuts": (20,)}, {"cuts": (9, 4)}],
)
def test_impossible_clips_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        LongClip(0, **{"frame_count": 20, "image_hw": SIZE, **wrong})


def test_frames_beyond_the_clip_are_refused(clip: LongClip) -> None:
    with pytest.raises(IndexError):
        clip.frame(400)
    with pytest.raises(IndexError):
        clip.points(0, -1)


def test_written_clips_are_made_again(tmp_path: Path) -> None:
    clip = LongClip(3, 12, image_hw=SIZE, cuts=(8,))
    folder = write_long_clip(clip, tmp_path / "out" / "clip")
    assert np.array_equal(np.load(folder / "poses.npy"), clip.world_from_camera)
    assert np.load(folder / "intrinsics.npy").shape == (12, 3, 3)
    with av.open(str(folder / "video.mp4")) as video:
        shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(shown) == 12
    assert np.abs(shown[9].astype(float) - clip.frame(9)).mean() < 8
    again = read_long_clip(folder)
    assert np.array_equal(again.points(5, 2), clip.points(5, 2), equal_nan=True)
    with pytest.raises(OutputError, match="already exists"):
        write_long_clip(clip, folder)


def test_clips_of_another_engine_are_refused(tmp_path: Path) -> None:
    folder = write_long_clip(LongClip(3, 3, image_hw=SIZE), tmp_path / "clip")
    np.save(folder / "poses.npy", np.load(folder / "poses.npy") + 1e-3)
    with pytest.raises(InputError, match="another version"):
        read_long_clip(folder)
    (folder / "recipe.json").unlink()
    with pytest.raises(InputError, match="no long clip"):
        read_long_clip(folder)


def test_the_command_line_writes_long_clips(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--clips", "2", "--seed", "5", "--height", "36", "--width", "64")
    words = ["synth", "-o", str(tmp_path / "out"), *options, "--frames", "4"]
    assert cli.main([*words, "--long", "--cut", "2"]) == 0
    second = read_long_clip(tmp_path / "out" / "clip_001")
    assert (second.seed, second.frame_count, second.cuts) == (6, 4, (2,))
    capsys.readouterr()
    words[2] = str(tmp_path / "other")
    for wrong, code in (
        (["--cut", "2"], 2),
        (["--long", "--difficulty", "0.5"], 2),
        (["--long", "--cut", "4"], 1),
    ):
        assert cli.main([*words, *wrong]) == code
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "other").exists()
