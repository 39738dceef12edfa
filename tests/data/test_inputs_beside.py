"""What comes beside the frames: times, masks, known intrinsics, known lengths."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import dynapoint
from dynapoint.data.frames import load_frames
from dynapoint.data.masks import read_ignore_masks
from dynapoint.data.selection import FrameSelection
from dynapoint.errors import InputError
from dynapoint.inference.known_cameras import known_cameras, poses_of_known_cameras
from dynapoint.inference.opening import open_scene
from dynapoint.inference.prepare import ignored_pixels, prepare_images
from dynapoint.inference.scale import make_metric
from dynapoint.models.kept.placed_encoding import PlacedEncoding
from dynapoint.models.layers.config import QueryConfig
from dynapoint.models.nano.config import tiny
from dynapoint.models.nano.small_networks import build_network
from fake_model import CAMERA_STEP, FakeModel, picture_array
from video_files import write_video


def save_images(folder, count=4, height=24, width=32):
    folder.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(picture_array(count, height, width)):
        Image.fromarray(picture).save(folder / f"{index:03d}.png")
    return folder


# Times.


def test_frames_of_equal_time_share_the_first_as_target():
    times_s = [0.5, np.nan, 0.0, 0.5, np.nan, 0.0]
    model = FakeModel(32)
    rec = dynapoint.reconstruct(picture_array(6, 24, 32), model, times_s=times_s)
    assert rec.frames.target_of_frame.tolist() == [0, 1, 2, 0, 4, 2]
    np.testing.assert_array_equal(rec.timestamps_s, times_s)
    # At the time of frame 3 the pixels of any other frame are where they are at frame 0's.
    for time, target in ((3, 0), (5, 2), (4, 4)):
        points, confidence = rec.maps(frame=1, time=time)
        first = rec.maps(frame=1, time=target)
        assert np.array_equal(points, first[0]) and np.array_equal(confidence, first[1])
    assert set(model.decoded) == {(1, 0), (1, 2), (1, 4)}


def test_a_frame_at_an_equal_time_is_at_its_own():
    model = FakeModel(32)
    rec = dynapoint.reconstruct(picture_array(4, 24, 32), model, times_s=[1, 1, 2, 1])
    for frame in (0, 1, 3):
        for time in (0, 1, 3):
            assert np.array_equal(rec.maps(frame=frame, time=time)[0], rec.own_time_points[frame])
    assert model.decoded == []
    assert np.array_equal(rec.maps_at(time=3)[0][[0, 1, 3]], rec.own_time_points[[0, 1, 3]])
    assert model.decoded == [(2, 0)]
    # The camera is that of the frame named, so that what it sees is judged by its own map.
    seen = rec.query(frame=0, xy=[[16, 12]], time=1)
    assert np.array_equal(seen.points, rec.query(frame=0, xy=[[16, 12]], time=0).points)


def test_times_of_the_source_go_with_the_frames_selected():
    times_s = np.arange(10.0) ** 2
    selection = FrameSelection(stride=3)
    frames = load_frames(picture_array(10, 8, 8), selection, times_s=times_s)
    assert frames.timestamps_s.tolist() == [0, 9, 36, 81]
    given = load_frames(picture_array(10, 8, 8), selection, times_s=[3, 1, 2, 1])
    assert given.timestamps_s.tolist() == [3, 1, 2, 1]
    assert given.target_of_frame.tolist() == [0, 1, 2, 1]


def test_a_file_of_times(tmp_path):
    save_images(tmp_path / "photos")
    (tmp_path / "times.txt").write_text("# seconds\n1.5\nnan\n\n1.5  # the other camera\n-2e1\n")
    frames = load_frames(tmp_path / "photos", times_s=tmp_path / "times.txt")
    np.testing.assert_array_equal(frames.timestamps_s, [1.5, np.nan, 1.5, -20])


def test_times_that_cannot_be_used(tmp_path):
    pictures = picture_array(3, 8, 8)
    (tmp_path / "words").write_text("0\nnoon\n2\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for times_s, words in (
        ([0, 1], "2 times were given for 3 images"),
        ([], "0 times were given for 3 images"),
        ([0, np.inf, 1], "one finite value"),
        ([[0, 1, 2]], "shape (1, 3)"),
        (tmp_path / "none", "does not exist"),
        (tmp_path / "words", "line 2 is 'noon'"),
        (tmp_path / "bytes", "cannot be read as text"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            load_frames(pictures, times_s=times_s)
    video = write_video(tmp_path / "clip.mp4", frames=3)
    with pytest.raises(InputError, match="times of its own"):
        load_frames(video, times_s=[0, 1, 2])


# Masks.


def save_mask(path, mask):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 7).save(path)


def test_masks_by_name_reach_the_confidence_at_all_times(tmp_path):
    folder = save_images(tmp_path / "images", 3)
    rng = np.random.default_rng(0)
    masks = rng.random((3, 24, 32)) < 0.02
    for index in (2, 0, 1):
        # One named as COLMAP has it.
        name = "001.png.png" if index == 1 else f"{index:03d}.png"
        save_mask(tmp_path / "masks" / name, masks[index])
    rec = dynapoint.reconstruct(folder, FakeModel(16), ignore_masks=tmp_path / "masks")
    assert np.array_equal(rec.frames.ignore, masks)
    # Every map pixel shows a box of 2 x 2 pixels, here; where one of them is ignored, it is.
    assert rec.map_hw == (16, 16)
    small = np.zeros((3, 16, 16), bool)
    for row in range(16):
        for column in range(16):
            rows = slice(int(row * 1.5), int(np.ceil((row + 1) * 1.5)))
            small[:, row, column] = masks[:, rows, 2 * column : 2 * column + 2].any(axis=(1, 2))
    assert 0 < small.mean() < 0.5
    assert np.array_equal(rec.own_time_confidence == 0, small)
    for time in range(3):
        assert np.array_equal(rec.maps(frame=1, time=time)[1] == 0, small[1])


def test_masks_by_number_belong_to_the_frames_of_the_source(tmp_path):
    video = write_video(tmp_path / "clip.mp4", frames=12)
    for index in range(12):
        # From 1 on, and without zeros in front, so that only the natural order will do.
        mask = np.zeros((64, 96), bool)
        mask[0, : index + 1] = True
        save_mask(tmp_path / "masks" / f"mask{index + 1}.png", mask)
    frames = load_frames(video, FrameSelection(stride=5), ignore_masks=tmp_path / "masks")
    assert frames.ignore.sum(axis=(1, 2)).tolist() == [1, 6, 11]
    for index in range(3, 12):
        (tmp_path / "masks" / f"mask{index + 1}.png").unlink()
    frames = load_frames(video, FrameSelection(stride=5), ignore_masks=tmp_path / "masks")
    assert frames.ignore.sum(axis=(1, 2)).tolist() == [1, 2, 3]


def test_all_ignored_leaves_nothing_and_does_not_fail(tmp_path):
    folder = save_images(tmp_path / "images", 2)
    for index in range(2):
        save_mask(tmp_path / "masks" / f"{index:03d}.png", np.ones((24, 32), bool))
    options = {"ignore_masks": tmp_path / "masks", "intrinsics": [30, 30, 16, 12]}
    rec = dynapoint.reconstruct(folder, FakeModel(32), **options)
    assert (rec.own_time_confidence == 0).all() and np.isfinite(rec.own_time_points).all()
    assert np.isfinite(rec.world_from_camera).all()


def test_masks_in_maps_of_every_preparation(tmp_path):
    rng = np.random.default_rng(0)
    for size, how in (((50, 30), "published"), ((30, 50), "published"), ((31, 47), "default")):
        frames = load_frames(picture_array(1, *size))
        mask = rng.random((1, *size)) < 0.01
        prepared = prepare_images(
            load_frames(frames.images), how=how, image_side=24, patch_size=8
        ).pixel_map
        object.__setattr__(frames, "ignore", mask)
        ignored = ignored_pixels(frames, prepared)[0]
        centres = np.argwhere(mask[0])[:, ::-1] + 0.5
        shown = prepared.shows(0, centres)
        places = np.floor(prepared.to_map(0, centres[shown])).astype(int)
        assert ignored[places[:, 1], places[:, 0]].all()
        assert ignored.mean() < 0.5 and not ignored[~prepared.shown_pixels(0)].any()


def test_kinds_of_masks(tmp_path):
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 255, 255, 0, 0, 0])
    palette.putpixel((1, 2), 1)
    glass = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    glass.putpixel((1, 2), (0, 0, 9, 255))
    deep = Image.fromarray(np.zeros((4, 4), np.uint16))
    deep.putpixel((1, 2), 1)
    large = Image.new("1", (8, 8), 0)
    large.paste(1, (2, 4, 4, 6))
    for image in (palette, glass, deep, large):
        (tmp_path / "masks").mkdir(exist_ok=True)
        image.save(tmp_path / "masks" / "0.png")
        masks = read_ignore_masks(
            tmp_path / "masks",
            file_names=None,
            index=np.array([0]),
            source_count=1,
            picture_hw=np.array([[4, 4]]),
        )
        assert np.argwhere(masks[0]).tolist() == [[2, 1]], image.mode


def test_masks_that_cannot_be_used(tmp_path):
    folder = save_images(tmp_path / "images", 3)

    def refused(words, **files):
        masks = tmp_path / words.replace(" ", "")[:12]
        masks.mkdir()
        for name, shape in files.items():
            save_mask(masks / f"{name}.png", np.ones(shape))
        with pytest.raises(InputError, match=re.escape(words)):
            load_frames(folder, ignore_masks=masks)

    refused("holds no image")
    refused("frame 001.png has no mask", **{"000": (24, 32), "002": (24, 32)})
    refused("is 24x32 but its frame is 32x24", **{f"00{i}": (32, 24) for i in range(3)})
    refused("holds 2 images for 3 frames", a1=(24, 32), a2=(24, 32))
    refused("neither named like a frame nor numbered", a=(24, 32), b=(24, 32))
    with pytest.raises(InputError, match="does not exist"):
        load_frames(folder, ignore_masks=tmp_path / "none")
    (tmp_path / "masks").mkdir()
    for index in range(3):
        (tmp_path / "masks" / f"00{index}.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"000\.png cannot be read"):
        load_frames(folder, ignore_masks=tmp_path / "masks")


# Known intrinsics.


def test_forms_of_intrinsics(tmp_path):
    frames = load_frames(picture_array(3, 24, 32))
    matrix = np.array([[30, 0, 15], [0, 31, 12], [0, 0, 1.0]])
    numbers = [30, 31, 15, 12]
    named = dict(zip(("fx", "fy", "cx", "cy"), numbers, strict=True))
    files = {
        "a.json": json.dumps(numbers),
        "b.json": json.dumps(named),
        "c.json": json.dumps(matrix.tolist()),
        "d.json": json.dumps([named] * 3),
        "e.json": json.dumps([matrix.tolist()] * 3),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    arrays = {"f.npy": matrix, "g.npy": np.array([numbers] * 3), "h.npy": np.stack([matrix] * 3)}
    for name, array in arrays.items():
        np.save(tmp_path / name, array)
    forms = [tmp_path / name for name in (*files, *arrays)]
    for given in (*forms, str(forms[0]), "30, 31,15,12", numbers, matrix, arrays["h.npy"]):
        assert np.array_equal(known_cameras(given, frames).intrinsics, np.stack([matrix] * 3))


def test_intrinsics_of_each_frame_go_with_the_frames_selected():
    frames = load_frames(picture_array(5, 24, 32), FrameSelection(stride=2))
    focals = np.array([[10 + index, 20, 16, 12] for index in range(5)])
    assert known_cameras(focals, frames).intrinsics[:, 0, 0].tolist() == [10, 12, 14]
    assert known_cameras(focals[:3], frames).intrinsics[:, 0, 0].tolist() == [10, 11, 12]


def test_intrinsics_that_cannot_be_used(tmp_path):
    frames = load_frames(picture_array(3, 24, 32))
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text('{"fx": 1}')
    (tmp_path / "c.npy").write_bytes(b"no array")
    for given, words in (
        ("30,30,16", "another shape"),
        ("30,30,16,x", "are no numbers"),
        (str(tmp_path / "none.json"), "does not exist"),
        (tmp_path / "a.json", "cannot be read"),
        (tmp_path / "b.json", "another shape"),
        (tmp_path / "c.npy", "cannot be read"),
        ([-30, 30, 16, 12], "positive focal lengths"),
        ([np.nan, 30, 16, 12], "positive focal lengths"),
        ([[30, 1, 16], [0, 30, 12], [0, 0, 1]], "without skew"),
        ([30, 30, 160, 120], "lies outside frame 0, which is 32x24"),
        (np.tile([30, 30, 16, 12], (2, 1)), "intrinsics of 2 frames"),
    ):
        with pytest.raises(InputError, match=words):
            known_cameras(given, frames)


def test_poses_are_solved_for_known_cameras():
    """Exact points seen by known cameras: poses and world come back, whatever the start."""
    height, width, count = 24, 32, 3
    rng = np.random.default_rng(0)
    intrinsics = np.tile([[40, 0, 15.0], [0, 38, 13], [0, 0, 1]], (count, 1, 1))
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ray = np.stack([(columns - 15) / 40, (rows - 13) / 38, np.ones_like(rows)], axis=-1)
    poses = np.tile(np.eye(4), (count, 1, 1))
    for index in range(count):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)) * 0.02 + np.eye(3))
        poses[index, :3, :3] = turn * np.sign(np.diag(turn))
        poses[index, :3, :3] *= np.sign(np.linalg.det(poses[index, :3, :3]))
        poses[index, :3, 3] = rng.normal(size=3) * 0.1
    depth = rng.uniform(2, 4, (count, height, width, 1))
    points = (
        np.einsum("fij,fhwj->fhwi", poses[:, :3, :3], ray * depth) + poses[:, None, None, :3, 3]
    )
    start = np.tile(np.eye(4), (count, 1, 1))
    solved, world_from_network = poses_of_known_cameras(
        points.astype(np.float32), np.ones((count, height, width), np.float32), intrinsics, start
    )
    assert np.array_equal(solved[0], np.eye(4))
    np.testing.assert_allclose(world_from_network, np.linalg.inv(poses[0]), atol=1e-4)
    np.testing.assert_allclose(solved, np.linalg.inv(poses[0]) @ poses, atol=1e-4)


def test_known_intrinsics_replace_the_predicted_ones_everywhere():
    pictures = picture_array(4, 48, 64)
    plain = dynapoint.reconstruct(pictures, FakeModel(64))
    told = dynapoint.reconstruct(pictures, FakeModel(64), intrinsics=plain.intrinsics)
    # The network was right: nothing changes but by the solver's rounding.
    np.testing.assert_allclose(told.world_from_camera, plain.world_from_camera, atol=1e-4)
    np.testing.assert_allclose(told.own_time_points, plain.own_time_points, atol=1e-3)
    assert told.settings["intrinsics"] == "given" and "intrinsics" not in plain.settings
    other = dynapoint.reconstruct(pictures, FakeModel(64), intrinsics="80,80,30,25")
    np.testing.assert_allclose(other.intrinsics[2], [[80, 0, 30], [0, 80, 25], [0, 0, 1]])
    # World and decoded points are moved alike: what stands still at all times still does.
    still, _ = other.maps(frame=1, time=3)
    np.testing.assert_allclose(still[0, 0], other.own_time_points[1, 0, 0], atol=1e-5)
    moved = other.own_time_points[0].astype(np.float64) - plain.own_time_points[0]
    assert np.abs(moved).max() > 0.01, "camera 0 is elsewhere, with another lens"
    assert np.array_equal(other.world_from_camera[0], np.eye(4))


def test_networks_that_take_intrinsics_are_told_them():
    network = build_network(replace(tiny(), decoder=None, query=QueryConfig())).eval()
    told = []
    encode = network.encode

    def recorded(images, request):
        told.append(request.intrinsics)
        return encode(images, request)

    network.encode = recorded
    pictures = picture_array(2, 32, 32)
    dynapoint.reconstruct(pictures, network)
    rec = dynapoint.reconstruct(pictures, network, intrinsics=[40, 40, 16, 16])
    assert told[0] is None
    scale = rec.map_hw[0] / 32
    assert told[1][0, 1].tolist() == [
        [40 * scale, 0, 16 * scale],
        [0, 40 * scale, 16 * scale],
        [0, 0, 1],
    ]


# Known lengths.


def test_a_metric_scene_is_the_same_scene_in_metres():
    plain = dynapoint.reconstruct(picture_array(4, 48, 64), FakeModel(64))
    depth = plain.own_time_depth[0]
    xy = [[10.5, 10.5], [50.5, 40.5]]
    ends = plain.query(frame=1, xy=xy, time=1).points.astype(np.float64)
    metres = 2.5 * np.linalg.norm(ends[0] - ends[1])
    rec = make_metric(plain, "distance", f"1,10.5,10.5,50.5,40.5,{metres}")
    assert rec.settings["units"] == "metres" and rec.settings["scale_from"] == "distance"
    assert float(rec.settings["metres_per_unit"]) == pytest.approx(2.5, rel=1e-6)
    np.testing.assert_allclose(rec.own_time_points, 2.5 * plain.own_time_points, rtol=1e-5)
    np.testing.assert_allclose(rec.world_from_camera[3, 0, 3], 2.5 * 3 * CAMERA_STEP, rtol=1e-5)
    np.testing.assert_allclose(rec.own_time_depth[0], 2.5 * depth, rtol=1e-5)
    for frame, time in ((0, 3), (2, 1)):
        scaled, _ = rec.maps(frame=frame, time=time)
        np.testing.assert_allclose(scaled, 2.5 * plain.maps(frame=frame, time=time)[0], rtol=1e-5)
    assert np.array_equal(rec.intrinsics, plain.intrinsics)


@pytest.mark.parametrize("shape", [(48, 64), (4, 48, 64), (4, 24, 32), (48, 64, 3), (4, 48, 64, 3)])
def test_the_scale_from_depth(tmp_path, shape):
    plain = dynapoint.reconstruct(picture_array(4, 48, 64), FakeModel(64))
    depth = plain.own_time_depth.astype(np.float64) * 0.37
    given = depth if shape[0] == 4 else depth[0]
    given = given[:, ::2, ::2] if shape[1:3] == (24, 32) else given
    if shape[-1] == 3:
        given = np.stack([given * 9, given * 8, given], axis=-1)
    given = given.copy()
    assert given.shape == shape
    # A third of it wrong or missing.
    rng = np.random.default_rng(0)
    spoiled = rng.random(given.shape[:-1] if shape[-1] == 3 else given.shape)
    given[spoiled < 0.1] = 0
    given[(spoiled > 0.1) & (spoiled < 0.2)] = np.nan
    given[(spoiled > 0.2) & (spoiled < 0.3)] *= 5
    np.save(tmp_path / "depth.npy", given)
    rec = make_metric(plain, "depth", tmp_path / "depth.npy")
    assert float(rec.settings["metres_per_unit"]) == pytest.approx(0.37, rel=0.02)


def test_the_scale_from_a_depth_image(tmp_path):
    plain = dynapoint.reconstruct(picture_array(2, 48, 64), FakeModel(64))
    metres = plain.own_time_depth[0].astype(np.float64) * 1.7
    Image.fromarray(np.round(metres * 1000).astype(np.uint16)).save(tmp_path / "mm.png")
    Image.fromarray(metres.astype(np.float32)).save(tmp_path / "m.tiff")
    for name in ("mm.png", "m.tiff"):
        rec = make_metric(plain, "depth", tmp_path / name)
        assert float(rec.settings["metres_per_unit"]) == pytest.approx(1.7, rel=1e-3)


@pytest.mark.parametrize("hole", [0, -1, 65535, np.nan, np.inf, -np.inf, 65.535])
@pytest.mark.parametrize("name", ["mm.png", "m.tiff", "m.npy", "m16.npy"])
def test_what_stands_for_no_reading_is_no_depth(tmp_path, name, hole):
    plain = dynapoint.reconstruct(picture_array(2, 48, 64), FakeModel(64))
    metres = np.round(plain.own_time_depth[0].astype(np.float64) * 1.7, 3)
    path = tmp_path / name
    if name in ("mm.png", "m16.npy"):
        if not 0 <= hole <= 65535 or hole != int(hole):
            pytest.skip("no number of 16 bits")
        given = np.round(metres * 1000).astype(np.uint16)
        # NumPy's integers are metres.
        given = given if name == "mm.png" else np.round(metres * 100).astype(np.uint16)
    else:
        given = metres.astype(np.float32)
    # More than half without a reading, on one side.
    given[:, :40] = hole
    if name.endswith(".npy"):
        np.save(path, given)
    else:
        Image.fromarray(given).save(path)
    expected = 170 if name == "m16.npy" else 1.7
    rec = make_metric(plain, "depth", path)
    assert float(rec.settings["metres_per_unit"]) == pytest.approx(expected, rel=0.02)


def test_depth_without_any_reading_is_refused(tmp_path):
    plain = dynapoint.reconstruct(picture_array(2, 48, 64), FakeModel(64))
    Image.fromarray(np.full((48, 64), 65535, np.uint16)).save(tmp_path / "none.png")
    with pytest.raises(InputError, match="no positive depth"):
        make_metric(plain, "depth", tmp_path / "none.png")


def pictures_of_two_sizes(folder):
    """The second one has twice the pixels along each side."""
    paths = []
    for number, scale in enumerate((1, 2, 1)):
        picture = Image.fromarray(picture_array(3, 48, 64)[number])
        paths.append(folder / f"{number}.png")
        picture.resize((64 * scale, 48 * scale)).save(paths[-1])
    return paths


def test_what_is_given_in_pixels_of_a_file_goes_with_its_picture(tmp_path):
    frames = load_frames(pictures_of_two_sizes(tmp_path))
    assert "1 images brought to 64x48" in frames.note
    each = [[60, 60, 32, 24], [120, 120, 64, 48], [61, 61, 32, 24]]
    found = known_cameras(each, frames).intrinsics
    assert found[:, 0, 0].tolist() == [60, 60, 61] and found[:, 1, 2].tolist() == [24, 24, 24]
    assert known_cameras(each[0], frames).intrinsics[:, 0, 0].tolist() == [60, 60, 60]
    plain = dynapoint.reconstruct([tmp_path / f"{k}.png" for k in range(3)], FakeModel(64))
    at_home = make_metric(plain, "distance", "0,10.5,10.5,50.5,40.5,3")
    large = make_metric(plain, "distance", "1,21,21,101,81,3")
    small = plain.query(frame=1, xy=[[10.5, 10.5], [50.5, 40.5]], time=1).points
    length = float(np.linalg.norm(small[0].astype(np.float64) - small[1]))
    assert float(large.settings["metres_per_unit"]) == pytest.approx(3 / length, rel=1e-6)
    assert float(at_home.settings["metres_per_unit"]) > 0


def test_the_scale_from_depth_reads_it_at_the_centres_of_the_maps_pixels(tmp_path):
    """Depth that grows along rows and columns, at three times the resolution of the map."""
    plain = dynapoint.reconstruct(picture_array(1, 72, 96), FakeModel(32))
    assert plain.map_hw == (24, 32)
    rows, columns = np.mgrid[:72, :96] + 0.5
    metres = 5 + rows + 2 * columns
    np.save(tmp_path / "depth.npy", metres)
    points = plain.own_time_points.copy()
    # The centre of every third pixel, from the second on, is that of one of the map's.
    points[0] *= (metres[1::3, 1::3] / 0.37 / points[0, ..., 2])[..., None]
    rec = make_metric(replace(plain, own_time_points=points), "depth", tmp_path / "depth.npy")
    assert float(rec.settings["metres_per_unit"]) == pytest.approx(0.37, rel=1e-5)


def test_the_scale_from_a_trajectory(tmp_path):
    rng = np.random.default_rng(0)
    plain = dynapoint.reconstruct(picture_array(6, 48, 64), FakeModel(64))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    true = 0.42 * plain.world_from_camera[:, :3, 3] @ (turn * np.linalg.det(turn)).T + [5, 6, 7]
    true[4] += [0.3, 0, 0]  # One that is wrong.
    lines = np.hstack([plain.timestamps_s[:, None], true, np.tile([0, 0, 0, 1], (6, 1))])
    np.savetxt(tmp_path / "all.txt", lines, header="timestamp tx ty tz qx qy qz qw")
    np.savetxt(tmp_path / "some.txt", lines[[5, 1, 0, 2]] + [0.01, 0, 0, 0, 0, 0, 0, 0])
    for name in ("all.txt", "some.txt"):
        rec = make_metric(plain, "trajectory", tmp_path / name)
        assert float(rec.settings["metres_per_unit"]) == pytest.approx(0.42, rel=0.02), name


def test_lengths_that_cannot_be_used(tmp_path):
    rec = dynapoint.reconstruct(picture_array(3, 48, 64), FakeModel(64))
    np.save(tmp_path / "portrait.npy", np.ones((64, 48)))
    np.save(tmp_path / "two.npy", np.ones((2, 48, 64)))
    np.save(tmp_path / "zero.npy", np.zeros((48, 64)))
    np.save(tmp_path / "nan.npy", np.full((48, 64), np.nan))
    np.save(tmp_path / "flat.npy", np.ones(9))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    Image.new("RGB", (64, 48)).save(tmp_path / "colour.png")
    (tmp_path / "words.txt").write_text("here be poses\n")
    (tmp_path / "short.txt").write_text("0 1 2 3\n")
    (tmp_path / "other.txt").write_text("100 0 0 0 0 0 0 1\n")
    still = "".join(f"{index} 1 1 1 0 0 0 1\n" for index in range(3))
    (tmp_path / "still.txt").write_text(still)
    for kind, value, words in (
        ("depth", "none.npy", "does not exist"),
        ("depth", "portrait.npy", "48x64 for frames of 64x48"),
        ("depth", "two.npy", "the depth of 2 frames"),
        ("depth", "zero.npy", "no positive depth"),
        ("depth", "nan.npy", "no positive depth"),
        ("depth", "flat.npy", "shape (9,)"),
        ("depth", "junk.npy", "cannot be read"),
        ("depth", "colour.png", "depth image"),
        ("trajectory", "none.txt", "does not exist"),
        ("trajectory", "words.txt", "cannot be read"),
        ("trajectory", "short.txt", "1 lines of 4 numbers"),
        ("trajectory", "other.txt", "positions of 0 of 3 frames"),
        ("trajectory", "still.txt", "hardly moves"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            make_metric(rec, kind, tmp_path / value)
    for text, words in (
        ("1,2,3", "six numbers"),
        ("a,b,c,d,e,f", "six numbers"),
        ("0,10,10,20,20,0", "positive number of metres"),
        ("0,10,10,20,20,nan", "positive number of metres"),
        ("0.5,10,10,20,20,1", "index of a frame"),
        ("inf,10,10,20,20,1", "index of a frame"),
        ("nan,10,10,20,20,1", "index of a frame"),
        ("9,10,10,20,20,1", "frame is 9"),
        ("0,10,10,900,20,1", "nothing is known"),
        ("0,10,10,10,10,1", "same point"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            make_metric(rec, "distance", text)


def test_a_still_camera_has_no_scale(tmp_path):
    class Still(FakeModel):
        def encode(self, images):
            encoded = super().encode(images)
            encoded.cameras.world_from_camera[...] = torch.eye(4)
            return encoded

    rec = dynapoint.reconstruct(picture_array(3, 48, 64), Still(64))
    lines = "".join(f"{index} {index} 1 1 0 0 0 1\n" for index in range(3))
    (tmp_path / "true.txt").write_text(lines)
    with pytest.raises(InputError, match="hardly moves"):
        make_metric(rec, "trajectory", tmp_path / "true.txt")


def test_an_encoding_that_nothing_was_done_to_is_kept_as_it_is():
    placed = PlacedEncoding.of({"a": 1}, 3)
    assert placed.stays and placed.to_keep() == {"a": 1} and PlacedEncoding.of(placed, 3) is placed
    points = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert placed.moved(points) is points
    turned = torch.eye(4, dtype=torch.float64)
    turned[:3] = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 4)))
    elsewhere = replace(placed, world_from_network=turned)
    np.testing.assert_allclose(
        elsewhere.scaled(2.0).moved(points), 2 * elsewhere.moved(points), rtol=1e-6
    )
    twice = placed.scaled(2.0)
    assert twice.to_keep() is not placed.encoded
    assert np.array_equal(twice.scaled(0.25).moved(points), points * np.float32(0.5))


def test_a_stored_scene_answers_with_its_times_its_lens_and_its_metres(tmp_path):
    rec = dynapoint.reconstruct(
        picture_array(3, 48, 64),
        times_s=[2, 1, 2],
        intrinsics=[70, 70, 30, 25],
        scale_from=("distance", "0,10,10,50,40,3"),
    )
    plain = dynapoint.reconstruct(
        picture_array(3, 48, 64), times_s=[2, 1, 2], intrinsics=[70, 70, 30, 25]
    )
    unit = float(rec.settings["metres_per_unit"])
    for frame, time in ((1, 2), (2, 0)):
        in_units = plain.maps(frame=frame, time=time)[0]
        off = np.abs(rec.maps(frame=frame, time=time)[0] - unit * in_units)
        assert off.max() < 1e-5 * unit * np.abs(in_units).max()
    rec.save(tmp_path / "scene")
    opened = open_scene(tmp_path / "scene")
    assert opened.settings["units"] == "metres"
    assert opened.frames.target_of_frame.tolist() == [0, 1, 0]
    for frame, time in ((1, 2), (2, 1), (2, 0)):
        fresh, stored = rec.maps(frame=frame, time=time), opened.maps(frame=frame, time=time)
        assert np.array_equal(fresh[0], stored[0]) and np.array_equal(fresh[1], stored[1])
    ends = opened.query(frame=0, xy=[[10, 10], [50, 40]], time=0).points.astype(np.float64)
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(3, rel=1e-5)
