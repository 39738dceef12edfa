"""Clips of the package's own format, read as a data set."""

import json

import numpy as np
import pytest

from dynapoint.datasets.registry import open_dataset
from dynapoint.errors import InputError
from dynapoint.synthetic.long_clip import LongClip
from dynapoint.synthetic.long_files import write_long_clip
from miniatures.clips import write_miniature
from miniatures.engine_clip import engine_clip


def opened(root):
    return open_dataset("clips", root)


@pytest.mark.parametrize("stride", [1, 3, 4])
def test_all_truth_of_a_clip_stands_at_its_pixels(tmp_path, stride):
    clip = engine_clip()
    write_miniature(tmp_path, clip, stride=stride)
    (sequence,) = opened(tmp_path)
    assert (sequence.name, sequence.frame_count) == ("clip_000", 6)
    assert sequence.image_hw == clip.image_hw
    on_grid = np.zeros(clip.image_hw, bool)
    on_grid[stride // 2 :: stride, stride // 2 :: stride] = True
    for frame in range(6):
        np.testing.assert_array_equal(sequence.image(frame), clip.images[frame])
        np.testing.assert_allclose(sequence.intrinsics(frame), clip.intrinsics[0])
        np.testing.assert_allclose(sequence.world_from_camera(frame), clip.world_from_camera[frame])
        wanted = np.where(on_grid, clip.depth[frame], np.nan)
        np.testing.assert_allclose(sequence.depth(frame), wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(sequence.moving(frame), clip.moving[frame] & on_grid)
        for time in range(6):
            points = np.where(on_grid[..., None], clip.points[time, frame], np.nan)
            np.testing.assert_array_equal(sequence.points(frame, time), points.astype(np.float32))
            seen = clip.visible[time, frame] & on_grid
            np.testing.assert_array_equal(sequence.visible(frame, time), seen)


def test_surfaces_keep_their_numbers(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip)
    (sequence,) = opened(tmp_path)
    for frame in range(6):
        found, true = sequence.instances(frame), clip.instance[frame]
        assert ((found == 0) == (true < 0)).all()
        # One number of the file for one body, and the other way round.
        pairs = set(zip(found[found > 0].tolist(), true[true >= 0].tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_float16_rounds_as_float16_does(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip, points_type=np.float16)
    (sequence,) = opened(tmp_path)
    points = sequence.points(2, 4)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, clip.points[4, 2].astype(np.float16).astype(np.float32))


def test_what_is_asked_for_may_be_written_on(tmp_path):
    write_miniature(tmp_path, engine_clip())
    (sequence,) = opened(tmp_path)
    for ask in (lambda: sequence.points(0, 1), lambda: sequence.visible(0, 1)):
        before = ask().copy()
        ask()[:] = 0
        np.testing.assert_array_equal(ask(), before)


def test_a_changed_file_is_read_again(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip)
    (sequence,) = opened(tmp_path)
    before = sequence.points(0, 0)
    for file in (tmp_path / "clip_000").iterdir():
        file.unlink()
    (tmp_path / "clip_000").rmdir()
    write_miniature(tmp_path, engine_clip(seed=9))
    assert not np.array_equal(opened(tmp_path)[0].points(0, 0), before, equal_nan=True)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "gt.npz").write_bytes(b"PK no zip"), "gt.npz: damaged"),
        (lambda folder: _cut(folder / "gt.npz"), "gt.npz: damaged"),
        (lambda folder: _rewrite(folder, stride=7), "does not fit"),
        (lambda folder: _rewrite(folder, visible=np.zeros(3)), "visible has shape"),
        (lambda folder: (folder / "rgb_05.png").unlink(), "beside 5 images"),
    ],
)
def test_one_damaged_clip_hides_no_other(tmp_path, damage, said):
    write_miniature(tmp_path, engine_clip(), sequences=2)
    damage(tmp_path / "clip_000")
    bad, good = opened(tmp_path)
    assert np.isfinite(good.points(0, 3)).any()
    with pytest.raises(InputError, match=said) as caught:
        bad.points(0, 3)
    assert "\n" not in str(caught.value) and "clip_000" in str(caught.value)


def test_a_clip_without_its_truth_is_not_left_out(tmp_path):
    """A folder of pictures alone is a clip that was not copied whole."""
    write_miniature(tmp_path, engine_clip(), sequences=2)
    first = sorted(tmp_path.iterdir())[0]
    (first / "gt.npz").unlink()
    bad, good = opened(tmp_path)
    assert good.depth(0).any() and bad.name == first.name
    with pytest.raises(InputError, match=rf"{first.name}.gt\.npz"):
        bad.depth(0)


def test_what_a_killed_process_was_writing_is_no_clip(tmp_path):
    write_miniature(tmp_path, engine_clip(), sequences=2)
    first, second = sorted(tmp_path.iterdir())
    first.rename(tmp_path / f".{first.name}.host-1.part")
    assert [each.name for each in opened(tmp_path)] == [second.name]


def test_damaged_pictures_are_named(tmp_path):
    write_miniature(tmp_path, engine_clip())
    _cut(tmp_path / "clip_000" / "rgb_03.png")
    (sequence,) = opened(tmp_path)
    assert sequence.image(2).shape == (24, 32, 3)
    with pytest.raises(InputError, match=r"rgb_03.png: damaged"):
        sequence.image(3)


def test_folders_without_clips(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        opened(tmp_path / "none")
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="no clip in it"):
        opened(tmp_path)


def test_long_clips_are_made_again(tmp_path):
    clip = LongClip(3, 5, image_hw=(24, 32), cuts=(3,))
    write_long_clip(clip, tmp_path / "clip_000")
    (sequence,) = opened(tmp_path)
    assert (sequence.frame_count, sequence.image_hw) == (5, (24, 32))
    np.testing.assert_array_equal(sequence.image(1), clip.frame(1))
    np.testing.assert_array_equal(sequence.world_from_camera(4), clip.world_from_camera[4])
    np.testing.assert_array_equal(sequence.intrinsics(4), clip.intrinsics[4])
    truth = clip.truth(0, 2)
    np.testing.assert_array_equal(sequence.points(0, 2), truth.points)
    np.testing.assert_array_equal(sequence.visible(0, 2), truth.visible)
    np.testing.assert_array_equal(sequence.moving(0), truth.moving)
    own = clip.points(2, 2).astype(np.float64)
    inverse = np.linalg.inv(clip.world_from_camera[2])
    np.testing.assert_allclose(
        sequence.depth(2), own @ inverse[2, :3] + inverse[2, 3], rtol=1e-5, atol=1e-5
    )
    assert np.isnan(sequence.points(0, 4)).all() and not sequence.visible(0, 4).any()


def test_long_clips_that_are_damaged(tmp_path):
    folder = write_long_clip(LongClip(3, 2, image_hw=(24, 32)), tmp_path / "clip_000")
    np.save(folder / "intrinsics.npy", np.eye(3)[None])
    (sequence,) = opened(folder)
    with pytest.raises(InputError, match=r"intrinsics\.npy: damaged"):
        sequence.intrinsics(0)
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps({**recipe, "seed": 4}))
    with pytest.raises(InputError, match="poses are not those"):
        opened(folder)[0].points(0, 0)
    (folder / "recipe.json").write_text("{")
    with pytest.raises(InputError, match=r"recipe\.json: damaged"):
        _ = opened(folder)[0].frame_count


def _cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _rewrite(folder, **changes):
    with np.load(folder / "gt.npz") as held:
        arrays = {**held} | changes
    np.savez(folder / "gt.npz", **arrays)
