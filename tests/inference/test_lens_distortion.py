"""Scenes taken through lenses that are no pinholes: answers in original pixels, files, exports."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import dynapoint
from dynapoint.data.frames import load_frames
from dynapoint.errors import InputError, SceneError
from dynapoint.exports import rerun_rrd
from dynapoint.exports.splat_training import still_mask
from dynapoint.geometry.arrays import pixel_centres, points_in_camera, project
from dynapoint.geometry.distortion import DistortedLens, Distortion
from dynapoint.inference.camera_files import read_cameras
from dynapoint.inference.known_cameras import known_cameras
from dynapoint.inference.prepare import ignored_pixels, prepare_images
from dynapoint.inference.scale import _depth_at_map_pixels
from dynapoint.results.undistorted import as_pinholes
from exact_scenes import exact_scene
from fake_model import FakeModel

LENSES = {
    "barrel": Distortion.of("opencv", [-0.25, 0.06, 0.002, -0.003]),
    "pincushion": Distortion.of("opencv", [0.25, 0.05, -0.001, 0.002, 0.01]),
    "rational": Distortion.of("opencv", [0.1, 0.02, 0.001, 0.001, 0.01, 0.3, 0.05, 0.01]),
    "fisheye": Distortion.of("fisheye", [-0.03, 0.01, -0.002, 0.001]),
}


def with_lens(rec, bent):
    """The scene seen through a lens that distorts: the same maps and pinhole parts."""
    lenses = tuple(DistortedLens.of(matrix, bent) for matrix in rec.intrinsics)
    return replace(rec, pixel_map=replace(rec.pixel_map, lenses=lenses))


def straight_of(rec, frame, xy):
    return rec.pixel_map.lenses[frame].undistorted(np.asarray(xy, dtype=np.float64))


def random_places(rec, frame, count=200, seed=0):
    """Places of a frame's picture that its map shows, as do all pixels of the map around them."""
    height, width = rec.pixel_map.picture_hw[frame]
    xy = np.random.default_rng(seed).uniform(0, [width, height], (count, 2))
    xy = xy[rec.pixel_map.shows(frame, xy)]
    hidden = cv2.dilate((~rec.pixel_map.shown_pixels(frame)).astype(np.uint8), np.ones((3, 3)))
    column, row = rec.pixel_map.to_map(frame, xy).astype(int).T
    return xy[hidden[row, column] == 0]


# Where pixels lie.


@pytest.mark.parametrize("bent", LENSES.values(), ids=LENSES)
@pytest.mark.parametrize("crop_px", [0.0, 3.0])
def test_pixels_of_pictures_and_maps(bent, crop_px):
    rec = with_lens(exact_scene(crop_px=crop_px), bent)
    pixel_map, frame = rec.pixel_map, 2
    height, width = pixel_map.picture_hw[frame]
    xy = np.random.default_rng(1).uniform(-5, [width + 5, height + 5], (3000, 2))
    straight = straight_of(rec, frame, xy)
    in_map = straight * pixel_map.scale[frame] + pixel_map.offset[frame]
    with np.errstate(invalid="ignore"):
        inside = ((xy >= 0) & (xy <= [width, height])).all(axis=1)
        inside &= ((in_map >= 0) & (in_map <= pixel_map.map_hw[::-1])).all(axis=1)
    shown = pixel_map.shows(frame, xy)
    assert np.array_equal(shown, inside)
    assert 0.3 < shown.mean() < 1
    there = pixel_map.to_map(frame, xy)
    np.testing.assert_allclose(there[shown], in_map[shown], atol=2e-6)
    np.testing.assert_allclose(pixel_map.to_picture(frame, in_map[shown]), xy[shown], atol=1e-9)
    # What is not shown is moved to the border of what is.
    assert ((there >= 0) & (there <= pixel_map.map_hw[::-1])).all()
    centres = pixel_centres(pixel_map.map_hw)
    seen = pixel_map.to_picture(frame, centres)
    expected = ((seen > 0) & (seen < [width, height])).all(axis=-1)
    assert np.array_equal(pixel_map.shown_pixels(frame), expected)


def test_barrel_leaves_corners_out_and_pincushion_shows_nothing_in_its_own():
    barrel = with_lens(exact_scene(), LENSES["barrel"]).pixel_map
    pincushion = with_lens(exact_scene(), LENSES["pincushion"]).pixel_map
    corner = np.array([[0.5, 0.5]])
    assert barrel.shown_pixels(0).all() and not barrel.shows(0, corner).any()
    assert pincushion.shows(0, corner).all() and not pincushion.shown_pixels(0)[0, 0]


def test_pixels_beyond_a_right_angle_are_not_shown():
    rec = exact_scene()
    fisheye = np.tile(np.array([[20.0, 0, 40], [0, 20, 30], [0, 0, 1]]), (rec.frame_count, 1, 1))
    rec = with_lens(replace(rec, intrinsics=fisheye), Distortion.of("fisheye", []))
    xy = np.array([[1.0, 30.0], [5.0, 30.0], [20.0, 30.0], [79.0, 59.0]])
    assert rec.pixel_map.shows(0, xy).tolist() == [False, False, True, False]
    there = rec.pixel_map.to_map(0, xy)
    assert np.isfinite(there).all() and there[0, 0] < 1e-3 and np.isclose(there[0, 1], 12)
    answer = rec.query(frame=0, xy=xy, time=0)
    assert answer.valid.tolist() == [False, False, True, False]


# Answers are those of the undistorted scene at the places where these are seen.


@pytest.mark.parametrize("bent", LENSES.values(), ids=LENSES)
def test_queries_and_tracks_are_in_original_pixels(bent):
    plain = exact_scene(frames=3)
    rec = with_lens(plain, bent)
    xy = random_places(rec, 1)
    straight = straight_of(rec, 1, xy)
    assert np.abs(straight - xy).max() > 1
    found, truth = rec.query(frame=1, xy=xy), plain.query(frame=1, xy=straight)
    assert found.valid.all()
    np.testing.assert_allclose(found.points, truth.points, atol=1e-5)
    tracks = rec.track(frame=1, xy=xy)
    assert np.array_equal(tracks.source_xy, xy.astype(np.float32))
    for time in range(3):
        inside = points_in_camera(
            truth.points[time].astype(np.float64), plain.world_from_camera[time]
        )
        seen = rec.pixel_map.lenses[time].distorted(project(inside, plain.intrinsics[time]))
        np.testing.assert_allclose(tracks.xy[time], seen, atol=1e-3)
    at_home = np.isfinite(tracks.xy[1]).all(axis=1)
    # Between pixels answers are bilinear, which a tilted wall is not.
    assert np.median(np.abs(tracks.xy[1] - xy)[at_home]) < 0.01


@pytest.mark.parametrize("bent", LENSES.values(), ids=LENSES)
def test_answers_for_all_pixels_are_in_original_pixels(bent):
    plain = exact_scene(frames=3)
    rec = with_lens(plain, bent)
    centres = pixel_centres(rec.map_hw)
    shown = rec.pixel_map.shown_pixels(0)
    # Optical flow.
    flow, truth = rec.optical_flow(frame=0, to_time=2), plain.optical_flow(frame=0, to_time=2)
    start = plain.pixel_map.to_picture(0, centres)
    lens_0, lens_2 = rec.pixel_map.lenses[0], rec.pixel_map.lenses[2]
    expected = lens_2.distorted(start + truth.flow_px) - lens_0.distorted(start)
    known = flow.valid & np.isfinite(expected).all(axis=-1)
    assert known[shown].mean() > 0.5
    np.testing.assert_allclose(flow.flow_px[known], expected[known], atol=2e-3)
    # Tracks of pixels.
    tracks, straight = rec.track(frame=0, every=3), plain.track(frame=0, every=3)
    np.testing.assert_allclose(
        tracks.source_xy, lens_0.distorted(straight.source_xy), atol=1e-3, equal_nan=True
    )
    np.testing.assert_allclose(
        tracks.xy[2], lens_2.distorted(straight.xy[2]), atol=2e-3, equal_nan=True
    )
    # Matches, of all pixels and of places.
    match, truth = rec.match(frame=0, to_frame=2), plain.match(frame=0, to_frame=2)
    both = match.valid & truth.valid
    assert both.mean() > 0.2
    expected = lens_2.distorted(truth.xy_px)
    np.testing.assert_allclose(match.xy_px[both], expected[both], atol=2e-3)
    xy = random_places(rec, 0, 50)
    match = rec.match(frame=0, to_frame=2, xy=xy)
    truth = plain.match(frame=0, to_frame=2, xy=lens_0.undistorted(xy))
    both = match.valid & truth.valid
    np.testing.assert_allclose(
        match.xy_px[both], lens_2.distorted(truth.xy_px)[both], atol=2e-3, rtol=0
    )


def test_flow_is_inside_where_the_other_picture_shows_it_and_valid_where_the_lens_does():
    plain = exact_scene(frames=4)
    poses = plain.world_from_camera.copy()
    turn = Rotation.from_rotvec([0, -0.5, 0]).as_matrix()
    poses[3, :3, :3] = poses[3, :3, :3] @ turn
    plain = replace(plain, world_from_camera=poses)
    rec = with_lens(plain, Distortion.of("opencv", [-0.4, 0, 0, 0]))
    flow, truth = rec.optical_flow(frame=0, to_time=3), plain.optical_flow(frame=0, to_time=3)
    start = plain.pixel_map.to_picture(0, pixel_centres(rec.map_hw))
    end = rec.pixel_map.lenses[3].distorted(start + truth.flow_px)
    seen = np.isfinite(end).all(axis=-1)
    assert (truth.valid & ~seen).sum() > 10
    assert np.array_equal(flow.valid, truth.valid & seen)
    assert np.isfinite(flow.flow_px).all() and (flow.flow_px[~flow.valid] == 0).all()
    # Corners of a pincushion's map show nothing.
    rec = with_lens(plain, LENSES["pincushion"])
    flow, truth = rec.optical_flow(frame=0, to_time=2), plain.optical_flow(frame=0, to_time=2)
    end = rec.pixel_map.lenses[2].distorted(start + truth.flow_px)
    within = ((end >= 0) & (end <= [80, 60])).all(axis=-1)
    assert (truth.inside & ~within).sum() > 5
    assert np.array_equal(flow.inside, truth.inside & within)


@pytest.mark.parametrize("bent", LENSES.values(), ids=LENSES)
def test_true_depth_is_read_at_the_original_pixel(bent):
    rec = with_lens(exact_scene(), bent)
    # Any function of places of the undistorted picture will do for depth.
    straight = rec.pixel_map.lenses[1].undistorted(pixel_centres((60, 80)))
    found = _depth_at_map_pixels(rec, 1, 100 + straight[..., 0] + 2 * straight[..., 1], Path("a"))
    x, y = np.moveaxis(pixel_centres(rec.map_hw) / rec.pixel_map.scale[1], -1, 0)
    shown = rec.pixel_map.shown_pixels(1)
    assert np.array_equal(np.isfinite(found), shown)
    # To half a pixel of the picture each way, which pincushion distortion makes smaller.
    assert np.abs(found - (100 + x + 2 * y))[shown].max() < 2.5


# From pictures to a scene, to disk and back.


def shade(xy):
    """A smooth picture as a function of places of the undistorted picture, in [0, 1]."""
    x, y = xy[..., 0], xy[..., 1]
    waves = [np.sin(x / 9 + y / 17), np.sin(x / 13 - y / 8), np.cos(x / 21) * np.sin(y / 6)]
    return 0.5 + 0.4 * np.stack(waves, axis=-1)


HW = (128, 192)
# The lens that `FakeModel` guesses, which brings these pictures to half their size.
MATRIX = np.array([[192.0, 0, 96], [0, 192, 64], [0, 0, 1]])


def taken(bent, hw=HW):
    """Pictures of `shade` through a lens; white where it sees nothing."""
    centres = pixel_centres(hw)
    straight = DistortedLens.of(MATRIX, bent).undistorted(centres)
    assert np.isfinite(straight).all()
    picture = np.round(shade(straight) * 255).astype(np.uint8)
    return np.stack([picture] * 3)


class Watching(FakeModel):
    """Keeps the images that it is given."""

    def encode(self, images):
        self.images = images
        return super().encode(images)


def given(bent):
    fx, fy, cx, cy = MATRIX[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    told = {"fx": fx, "fy": fy, "cx": cx, "cy": cy}
    return told | {"model": bent.model, "distortion": list(bent.coefficients)}


@pytest.mark.parametrize("bent", LENSES.values(), ids=LENSES)
@pytest.mark.parametrize("prepare", ["default", "published"])
def test_the_network_sees_what_a_pinhole_sees_and_answers_are_in_original_pixels(
    bent, prepare, tmp_path
):
    model = Watching(image_side=96)
    rec = dynapoint.reconstruct(
        taken(bent), model, intrinsics=given(bent), prepare=prepare, refine=False
    )
    assert rec.distortion == (bent,) * 3
    assert np.array_equal(rec.intrinsics[1], MATRIX)
    shown = rec.pixel_map.shown_pixels(0)
    # Where a cubic filter reaches no border of what is seen.
    shown = cv2.erode(np.pad(shown, 2).astype(np.uint8), np.ones((5, 5)))[2:-2, 2:-2] > 0
    seen = model.images[0, 0].permute(1, 2, 0).numpy()
    straight = pixel_centres(rec.map_hw) * 2
    assert shown.mean() > 0.7
    assert np.abs(seen - shade(straight))[shown].max() < 0.02
    # Truth: a wall at depth 4 with a box at depth 2 before it, which moves.
    xy = random_places(rec, 1, 400)
    ray = np.concatenate(
        [
            (rec.pixel_map.lenses[1].undistorted(xy) - MATRIX[:2, 2]) / 192,
            np.ones((len(xy), 1)),
        ],
        axis=1,
    )
    answer = rec.query(frame=1, xy=xy, time=1)
    assert answer.valid.all()
    depth = np.where(answer.points[:, 2] < 3, 2.0, 4.0)
    pose = rec.world_from_camera[1]
    truth = (ray * depth[:, None]) @ pose[:3, :3].T + pose[:3, 3]
    # To the edge of a pixel of the map, beyond whose centre nothing is extrapolated.
    centre = (rec.pixel_map.to_map(1, xy) > 1).all(axis=1)
    centre &= (rec.pixel_map.to_map(1, xy) < np.array(rec.map_hw[::-1]) - 1).all(axis=1)
    assert np.abs(answer.points - truth)[centre].max() < 0.05
    assert np.median(np.abs(answer.points - truth)[centre]) < 1e-3
    np.testing.assert_allclose(rec.world_from_camera[2, :3, 3], [0.2, 0, 0], atol=1e-3)
    # To disk and back.
    rec.save(tmp_path / "a.4d")
    # Earlier versions would take the lens for a pinhole: they are to refuse the scene.
    assert json.loads((tmp_path / "a.4d" / "manifest.json").read_text())["version"] == 4
    again = dynapoint.open(tmp_path / "a.4d")
    assert again.distortion == rec.distortion
    assert f"deg), {bent.model} undistorted;" in repr(again)
    assert again.pixel_map.lenses == rec.pixel_map.lenses
    assert np.array_equal(again.query(frame=1, xy=xy, time=1).points, answer.points)
    both = [each.track(frame=0, xy=xy).xy for each in (rec, again)]
    np.testing.assert_array_equal(*both)
    manifest = json.loads((tmp_path / "a.4d" / "manifest.json").read_text())
    assert manifest["distortion"] == [
        {"model": bent.model, "coefficients": list(bent.coefficients)}
    ]
    # What the scene shows is what the network saw.
    small = np.load(tmp_path / "a.4d" / "images.npy")[0] / 255
    assert np.abs(small - shade(straight))[shown].max() < 0.03


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ([{"model": "ftheta", "coefficients": [0] * 8}], "model is 'ftheta'"),
        ([{"model": "opencv", "coefficients": [0] * 5}], "not 8 finite numbers"),
        ([{"model": "opencv", "coefficients": [0] * 7 + [float("nan")]}], "not 8 finite numbers"),
        ([{"model": "fisheye", "coefficients": [True] * 4}], "not 4 finite numbers"),
        ([{"model": "fisheye", "coefficients": [0] * 4}] * 2, "2 lenses for 3 frames"),
        ("opencv", "not a list"),
        (["opencv"], "not an object"),
    ],
)
def test_damaged_entries_are_named(entry, words, tmp_path):
    exact = dynapoint.reconstruct(taken(LENSES["barrel"]), FakeModel(96), refine=False)
    exact.save(tmp_path / "a.4d")
    manifest = json.loads((tmp_path / "a.4d" / "manifest.json").read_text())
    (tmp_path / "a.4d" / "manifest.json").write_text(json.dumps(manifest | {"distortion": entry}))
    with pytest.raises(SceneError, match=words):
        dynapoint.open(tmp_path / "a.4d")


def test_pinholes_are_as_before_by_the_bit(tmp_path):
    pictures = taken(Distortion.of("opencv", []))
    without = dynapoint.reconstruct(pictures, FakeModel(96), intrinsics=MATRIX, refine=True)
    zeros = given(Distortion.of("opencv", [0] * 8))
    zero = dynapoint.reconstruct(pictures, FakeModel(96), intrinsics=zeros, refine=True)
    assert zero.distortion is None and without.distortion is None
    for name in ("own_time_points", "own_time_confidence", "world_from_camera", "intrinsics"):
        assert np.array_equal(getattr(zero, name), getattr(without, name))
    without.save(tmp_path / "a.4d")
    manifest = json.loads((tmp_path / "a.4d" / "manifest.json").read_text())
    assert manifest["distortion"] is None
    # Scenes written before there was a word of it.
    del manifest["distortion"]
    (tmp_path / "a.4d" / "manifest.json").write_text(json.dumps(manifest))
    assert dynapoint.open(tmp_path / "a.4d").distortion is None
    assert json.loads((tmp_path / "a.4d" / "manifest.json").read_text())["version"] == 3


@pytest.mark.parametrize("bent", [LENSES["barrel"], LENSES["fisheye"]], ids=["barrel", "fisheye"])
def test_refinement_measures_in_undistorted_pictures(bent):
    rec = dynapoint.reconstruct(taken(bent), FakeModel(96), intrinsics=given(bent), refine=True)
    plain = dynapoint.reconstruct(
        taken(Distortion.of("opencv", [])), FakeModel(96), intrinsics=MATRIX, refine=True
    )
    assert rec.pictures.shape == plain.pictures.shape
    off = np.abs(rec.pictures.astype(int) - plain.pictures)
    assert np.percentile(off, 99) <= 4
    assert rec.pixel_map.lenses is not None and rec.map_hw == plain.map_hw


def test_pictures_between_the_frames_are_undistorted_too():
    from dynapoint.data.between import Between
    from dynapoint.inference import refining

    bent = LENSES["barrel"]
    frames = load_frames(taken(bent))
    lenses = known_cameras(given(bent), frames).lenses
    pixel_map = prepare_images(frames, image_side=96, patch_size=8, lenses=lenses).pixel_map
    grey = np.stack([cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in taken(bent)])
    seen = []

    def keep(pictures, used):
        seen.append(pictures)
        raise StopIteration

    between = Between(
        pictures=grey,
        source_index=np.arange(3),
        times_s=np.arange(3.0),
        used=np.arange(3),
        in_order=True,
    )
    original, refining.follow = refining.follow, keep
    try:
        with pytest.raises(StopIteration):
            refining.followed_flow(lambda: between, pixel_map)
    finally:
        refining.follow = original
    truth = cv2.cvtColor(taken(Distortion.of("opencv", []))[0], cv2.COLOR_RGB2GRAY)
    assert np.abs(seen[0][0].astype(int) - truth)[2:-2, 2:-2].max() <= 4
    # Of several lenses none is that of the pictures between.
    several = replace(pixel_map, lenses=(*lenses[:2], replace(lenses[2], centre_px=(90.0, 60.0))))
    assert refining.followed_flow(lambda: between, several) is None


@pytest.mark.parametrize("bent", LENSES.values(), ids=LENSES)
def test_a_pixel_is_ignored_if_it_shows_any_that_is(bent):
    rng = np.random.default_rng(2)
    frames = load_frames(taken(bent))
    ignore = np.zeros(frames.images.shape[:3], dtype=bool)
    for row, column in rng.integers(0, [128, 192], (12, 2)):
        ignore[:, row, column] = True
    frames = replace(frames, ignore=ignore)
    lenses = known_cameras(given(bent), frames).lenses
    pixel_map = prepare_images(frames, image_side=96, patch_size=8, lenses=lenses).pixel_map
    found = ignored_pixels(frames, pixel_map)[0]
    # By brute force: a fine grid of places in every pixel of the map.
    fine = (pixel_centres((found.shape[0] * 16, found.shape[1] * 16))) / 16
    place = pixel_map.to_picture(0, fine)
    inside = ((place >= 0) & (place < [192, 128])).all(axis=-1)
    column, row = np.where(inside[..., None], place, 0).astype(int).transpose(2, 0, 1)
    hit = ignore[0, row, column] & inside
    truth = hit.reshape(found.shape[0], 16, found.shape[1], 16).any(axis=(1, 3))
    assert not (truth & ~found).any()
    # What is found beside it is a sliver that the grid misses, or within a bent pixel's box.
    assert (found & ~truth).sum() <= 12 + truth.sum() // 2
    assert truth.any()


@pytest.mark.parametrize("bent", LENSES.values(), ids=LENSES)
def test_depth_and_distance_for_the_scale_are_in_original_pixels(bent, tmp_path):
    centres = pixel_centres(HW)
    straight = DistortedLens.of(MATRIX, bent).undistorted(centres)
    # As `FakeModel` has it, three times as large.
    share = straight / [192, 128]
    box = (np.abs(share[..., 0] - 0.4) < 0.15) & (np.abs(share[..., 1] - 0.5) < 0.2)
    depth = np.where(box, 6.0, 12.0)
    np.save(tmp_path / "depth.npy", depth)
    options = {"intrinsics": given(bent), "refine": False}
    told = ("depth", tmp_path / "depth.npy")
    rec = dynapoint.reconstruct(taken(bent), FakeModel(96), scale_from=told, **options)
    assert np.isclose(np.median(rec.own_time_depth[0]), 12, rtol=1e-4)
    lens = rec.pixel_map.lenses[0]
    ends = lens.distorted(np.array([[150.0, 30.0], [170.0, 90.0]]))
    metres = np.hypot(20, 60) / 192 * 4 * 5
    text = ",".join(map(str, [0, *ends.reshape(-1).tolist(), metres]))
    told = ("distance", text)
    rec = dynapoint.reconstruct(taken(bent), FakeModel(96), scale_from=told, **options)
    assert np.isclose(np.median(rec.own_time_depth[0]), 20, rtol=1e-3)


# Exports.


def exported(rec, tmp_path, to):
    rec.export(tmp_path / to, to=to)
    return tmp_path / to


@pytest.mark.parametrize("bent", LENSES.values(), ids=LENSES)
def test_colmap_has_the_lens(bent, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    rec = with_lens(exact_scene(frames=3), bent)
    folder = exported(rec, tmp_path, "colmap")
    sparse = folder / "sparse" / "0"
    names = {"barrel": "OPENCV", "pincushion": "FULL_OPENCV", "rational": "FULL_OPENCV"}
    names["fisheye"] = "OPENCV_FISHEYE"
    for ending in ("txt", "bin"):
        alone = tmp_path / ending
        alone.mkdir()
        for path in sparse.glob(f"*.{ending}"):
            (alone / path.name).write_bytes(path.read_bytes())
        model = pycolmap.Reconstruction(alone)
        assert len(model.points3D) > 20
        for image in model.images.values():
            camera = model.cameras[image.camera_id]
            assert camera.model.name == names[next(k for k in LENSES if LENSES[k] is bent)]
            frame = int(image.name[6:10])
            # A camera's pixels.
            xy = random_places(rec, frame, 50)
            rays = rec.pixel_map.lenses[frame].undistorted(xy) - rec.intrinsics[frame, :2, 2]
            rays = rays / rec.intrinsics[frame][[0, 1], [0, 1]]
            ahead = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
            np.testing.assert_allclose(
                np.array([camera.img_from_cam(each) for each in ahead]), xy, atol=1e-6
            )
            # Points seen there.
            for point in image.get_observation_points2D():
                place = model.points3D[point.point3D_id].xyz
                inside = image.cam_from_world() * place
                assert np.linalg.norm(camera.img_from_cam(inside) - point.xy) < 0.05
    picture = cv2.imread(str(folder / "images" / "frame_0001.png"))[..., ::-1]
    assert np.array_equal(picture, rec.images[1])


@pytest.mark.parametrize("bent", LENSES.values(), ids=LENSES)
def test_masks_are_those_of_the_original_images(bent):
    rec = with_lens(exact_scene(frames=3), bent)
    column = pixel_centres(rec.map_hw)[..., 0].astype(np.float32)
    moving = (column > rec.map_hw[1] / 2).astype(np.float32)
    found = still_mask(rec, 0, moving)
    xy = pixel_centres((60, 80))
    straight = rec.pixel_map.lenses[0].undistorted(xy)[..., 0]
    shown = rec.pixel_map.shows(0, xy.reshape(-1, 2)).reshape(60, 80)
    # Half-way between the centres of two pixels of the map.
    edge = np.abs(straight - 40) < 0.2
    assert np.array_equal(found[~edge], (shown & (straight < 40))[~edge])


def test_nerfstudio_has_the_lens(tmp_path):
    models = {"barrel": "OPENCV", "pincushion": "OPENCV", "fisheye": "OPENCV_FISHEYE"}
    for name, model in models.items():
        bent = LENSES[name]
        plain = exact_scene(frames=3)
        rec = replace(plain, intrinsics=np.stack([plain.intrinsics[0]] * 3))
        rec = with_lens(rec, bent)
        folder = exported(rec, tmp_path / name, "nerfstudio")
        about = json.loads((folder / "transforms.json").read_text())
        assert about["camera_model"] == model
        assert "depth_file_path" not in about["frames"][0]
        # Read by what reads such files here: the same lens.
        (camera,) = read_cameras(folder / "transforms.json")
        assert camera.distortion == bent and camera.image_hw == (60, 80)
        np.testing.assert_allclose(camera.intrinsics, rec.intrinsics[0])


def test_where_cameras_are_pinholes_images_are_undistorted(tmp_path):
    bent = LENSES["rational"]
    rec = dynapoint.reconstruct(taken(bent), FakeModel(96), intrinsics=given(bent), refine=False)
    folder = exported(rec, tmp_path, "nerfstudio")
    about = json.loads((folder / "transforms.json").read_text())
    assert about["camera_model"] == "PINHOLE" and "k1" not in about
    picture = cv2.imread(str(folder / "images" / "frame_0000.png"))[..., ::-1] / 255
    inner = (slice(3, -3), slice(3, -3))
    assert np.abs(picture - shade(pixel_centres(HW)))[inner].max() < 0.03
    tracks = np.load(exported(rec, tmp_path, "tapvid3d").with_suffix(".npz"))
    picture = cv2.imdecode(np.frombuffer(tracks["images_jpeg_bytes"][0], np.uint8), 1)[..., ::-1]
    assert np.abs(picture / 255 - shade(pixel_centres(HW)))[inner].mean() < 0.03
    # Queries project where they are said to be.
    first = tracks["queries_xyt"][:, 2] == 0
    place = project(tracks["tracks_XYZ"][0, first].astype(np.float64), tracks["intrinsics"][0])
    assert np.median(np.abs(place - tracks["queries_xyt"][first, :2])) < 0.05


def test_what_is_ignored_and_what_is_not_seen_is_ignored_in_undistorted_pictures():
    bent = LENSES["pincushion"]
    frames = load_frames(taken(bent))
    ignore = np.zeros(frames.images.shape[:3], dtype=bool)
    ignore[:, 20:40, 30:60] = True
    frames = replace(frames, ignore=ignore)
    rec = dynapoint.reconstruct(taken(bent), FakeModel(96), intrinsics=given(bent), refine=False)
    found = as_pinholes(replace(rec, frames=frames)).frames.ignored(0)
    place = rec.pixel_map.lenses[0].distorted(pixel_centres(HW))
    inside = ((place > 0.5) & (place < [191.5, 127.5])).all(axis=-1)
    beyond = ((place < -0.5) | (place > [192.5, 128.5])).any(axis=-1)
    deep = ((place > [31, 21]) & (place < [59, 39])).all(axis=-1)
    far = ((place < [29, 19]) | (place > [61, 41])).any(axis=-1)
    assert found[deep].all() and found[beyond].all() and beyond.any()
    assert not found[inside & far].any()


def test_rerun_is_given_undistorted_images(tmp_path, monkeypatch):
    pytest.importorskip("rerun")
    logged = []
    monkeypatch.setattr(rerun_rrd, "_log_scene", lambda *given: logged.append(given[2]))
    rec = with_lens(exact_scene(frames=2), LENSES["barrel"])
    rec.export(tmp_path / "a.rrd", to="rerun")
    assert logged[0].distortion is None and (logged[0].images[0] != rec.images[0]).any()


def test_blender_has_undistorted_pictures_behind_its_camera(tmp_path):
    bent = LENSES["barrel"]
    rec = dynapoint.reconstruct(taken(bent), FakeModel(96), intrinsics=given(bent), refine=False)
    folder = exported(rec, tmp_path, "blender")
    picture = cv2.imread(str(folder / "pictures" / "0001.png"))[..., ::-1] / 255
    inner = (slice(3, -3), slice(3, -3))
    assert np.abs(picture - shade(pixel_centres(HW)))[inner].max() < 0.03


def test_every_format_takes_a_lens_that_distorts(tmp_path):
    for name, bent in LENSES.items():
        rec = with_lens(exact_scene(frames=3), bent)
        for to in ("glb", "ply", "html", "depth", "sheet", "usd", "tum", "nuke"):
            if to == "usd":
                pytest.importorskip("pxr")
            rec.export(tmp_path / f"{name}-{to}", to=to)
        about = json.loads((tmp_path / f"{name}-depth" / "depth.json").read_text())
        assert about["distortion"][0]["model"] == bent.model
        assert rec.self_check().grade > 0


@pytest.mark.parametrize("bent", LENSES.values(), ids=LENSES)
def test_depth_images_are_those_of_the_original_pixels(bent, tmp_path):
    plain = exact_scene(frames=2, moving="nothing")
    rec = with_lens(plain, bent)
    rec.export(tmp_path / "depth", to="depth")
    about = json.loads((tmp_path / "depth" / "depth.json").read_text())
    found = cv2.imread(str(tmp_path / "depth" / "frame_0001.png"), -1) * about["scale"]
    xy = random_places(rec, 1, 300).astype(int)
    answer = rec.query(frame=1, xy=xy + 0.5, time=1, camera=1)
    known = answer.confidence > 0
    np.testing.assert_allclose(
        found[xy[known, 1], xy[known, 0]], answer.points[known, 2], rtol=5e-3
    )


# What is given.


FX = {"fx": 500.0, "fy": 510.0, "cx": 320.0, "cy": 240.0}
NUMBERS = [-0.2, 0.05, 0.001, -0.002, 0.01]
OPENCV_YAML = """%YAML:1.0
---
image_width: 640
image_height: 480
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 500., 0., 319.5, 0., 510., 239.5, 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: [ -0.2, 0.05, 0.001, -0.002, 0.01 ]
"""


def test_files_of_cameras(tmp_path):
    wanted = Distortion.of("opencv", NUMBERS)
    named = dict(zip(("k1", "k2", "p1", "p2", "k3"), NUMBERS, strict=True))
    nerfstudio = {"fl_x": 500.0, "fl_y": 510.0, "cx": 320.0, "cy": 240.0, "w": 640, "h": 480}
    nerfstudio |= {"camera_model": "OPENCV", **named, "k4": 0.0, "aabb_scale": 16}
    colmap = "# a line\n1 FULL_OPENCV 640 480 500 510 320 240 -0.2 0.05 0.001 -0.002 0.01 0 0 0\n"
    files = {
        "a.json": json.dumps(FX | {"distortion": NUMBERS}),
        "b.json": json.dumps(FX | named | {"model": "opencv", "width": 640, "height": 480}),
        "c.json": json.dumps(nerfstudio | {"frames": [{"file_path": "a.png"}]}),
        "transforms.json": json.dumps({"frames": [nerfstudio, nerfstudio]}),
        "cameras.txt": colmap,
        "d.yml": OPENCV_YAML,
        "e.json": json.dumps([FX | {"distortion": NUMBERS}] * 3),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    storage = cv2.FileStorage(str(tmp_path / "f.xml"), cv2.FILE_STORAGE_WRITE)
    storage.write("camera_matrix", np.array([[500, 0, 319.5], [0, 510, 239.5], [0, 0, 1.0]]))
    storage.write("distortion_coefficients", np.array([*NUMBERS, *[0.0] * 9]))
    storage.release()
    frames = load_frames(np.zeros((3, 480, 640, 3), dtype=np.uint8))
    for form in (*(tmp_path / name for name in (*files, "f.xml")), FX | {"distortion": NUMBERS}):
        known = known_cameras(form, frames)
        np.testing.assert_allclose(
            known.intrinsics, [[[500, 0, 320], [0, 510, 240], [0, 0, 1]]] * 3
        )
        assert [lens.distortion for lens in known.lenses] == [wanted] * 3
    fisheye = FX | {"model": "fisheye", "distortion": [0.01, 0.02, 0.03, 0.04]}
    colmap = "1 OPENCV_FISHEYE 640 480 500 510 320 240 0.01 0.02 0.03 0.04"
    (tmp_path / "cameras.txt").write_text(colmap)
    yaml = OPENCV_YAML.replace("rows: 5", "rows: 4").replace(", 0.01 ]", " ]")
    (tmp_path / "d.yml").write_text(yaml + "fisheye_model: 1\n")
    for form in (fisheye, tmp_path / "cameras.txt"):
        (found,) = read_cameras(form)
        assert found.distortion == Distortion.of("fisheye", [0.01, 0.02, 0.03, 0.04])
    assert read_cameras(tmp_path / "d.yml")[0].distortion.model == "fisheye"
    radial = "1 SIMPLE_RADIAL 640 480 500 320 240 -0.1"
    (tmp_path / "cameras.txt").write_text(radial)
    (found,) = read_cameras(tmp_path / "cameras.txt")
    assert found.distortion == Distortion.of("opencv", [-0.1])
    assert found.intrinsics[1, 1] == 500
    # One for each frame, of which some are pinholes.
    known = known_cameras([FX, FX | {"k1": -0.1}, FX], frames)
    assert [lens.distortion.is_none for lens in known.lenses] == [True, False, True]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (FX | {"distortion": [0.1] * 6}, "distortion has 6 numbers; give 4 or 5 or 8"),
        (FX | {"distortion": [0.1] * 5, "model": "fisheye"}, "has 5 numbers; give 4 "),
        (FX | {"distortion": [0.1, 0.1, 0.1, np.nan]}, "is not finite"),
        (FX | {"k1": np.inf}, "is not finite"),
        (FX | {"distortion": ["a"] * 4}, "no list of numbers"),
        (FX | {"distortion": NUMBERS, "k1": 0.1}, "given twice"),
        (FX | {"model": "ftheta", "k1": 0.1}, "lens model 'ftheta' is not known"),
        (FX | {"model": "fisheye", "p1": 0.1}, "fisheye has no p1"),
        (FX | {"distorsion": NUMBERS}, "'distorsion', which is not known"),
        (FX | {"distortion": [-0.9, 0, 0, 0]}, "folds 2.. pixels from the principal point"),
        (FX | {"model": "fisheye", "distortion": [-0.9, 0, 0, 0]}, "folds 2.. pixels"),
        (FX | {"w": 1280, "h": 960}, "of pictures of 1280x960 but frame 0 is 640x480"),
        ({"fx": 1.0, "k1": 0.1}, "another shape"),
        ({"camera_angle_x": 0.6, "frames": [{"file_path": "a"}]}, "another shape"),
    ],
)
def test_lenses_that_cannot_be_used(told, words):
    frames = load_frames(np.zeros((2, 480, 640, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=words) as caught:
        known_cameras(told, frames)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("cameras.txt", "1 PINHOLE 640 480 500 510 320", "PINHOLE has 3 parameters"),
        ("cameras.txt", "1 FOV 640 480 500 510 320 240 1", "none of SIMPLE_PINHOLE"),
        ("cameras.txt", "# nothing", "holds 0 cameras"),
        ("cameras.txt", "1 PINHOLE 6 4 1 1 1 1\n2 PINHOLE 6 4 2 2 1 1", "holds 2 cameras"),
        ("a.yml", "%YAML:1.0\n---\nother: 1\n", "no camera_matrix"),
        ("a.yml", "{{{", "cannot be read"),
        ("a.xml", "no XML", "cannot be read"),
    ],
)
def test_files_that_hold_no_camera(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_cameras(tmp_path / name)
    assert "\n" not in str(caught.value)
