"""COLMAP and nerfstudio: cameras, observations, masks and seeds, read with pycolmap and trimesh."""

import json
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from PIL import Image

from dynapoint.errors import InputError, OutputError
from dynapoint.exports.catalog import export
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.splat_training import still_mask
from exact_scenes import IMAGE_HW, NORMAL, exact_scene
from exported_scenes import gray_images
from ply_files import ply_elements


def read_model(folder, kind="binary"):
    model = pycolmap.Reconstruction()
    getattr(model, f"read_{kind}")(str(folder / "sparse" / "0"))
    return model


def in_order(model):
    return [model.images[index] for index in sorted(model.images)]


def projected(model, image, point):
    """Independently of the package: pycolmap's camera and pose."""
    return image.project_point(model.points3D[point].xyz)


@pytest.fixture(scope="module", params=["landscape", "portrait"])
def rec(request):
    return exact_scene(request.param)


@pytest.fixture(scope="module")
def folder(rec, tmp_path_factory):
    return export(rec, "colmap", tmp_path_factory.mktemp("colmap") / "scene")


@pytest.fixture(scope="module")
def studio(rec, tmp_path_factory):
    return export(rec, "nerfstudio", tmp_path_factory.mktemp("nerfstudio") / "scene")


# --- COLMAP


@pytest.mark.parametrize("kind", ["binary", "text"])
def test_pycolmap_reads_our_cameras(rec, folder, kind):
    model = read_model(folder, kind)
    height, width = rec.frames.image_hw
    assert model.num_images() == rec.frame_count
    for frame, image in enumerate(in_order(model)):
        camera = model.cameras[image.camera_id]
        assert image.name == f"frame_{frame:04d}.png" and camera.model.name == "PINHOLE"
        assert (camera.width, camera.height) == (width, height)
        np.testing.assert_allclose(camera.calibration_matrix(), rec.intrinsics[frame])
        np.testing.assert_allclose(
            image.projection_center(), rec.world_from_camera[frame, :3, 3], atol=1e-12
        )
        turn = image.cam_from_world().rotation.matrix()
        np.testing.assert_allclose(turn, rec.world_from_camera[frame, :3, :3].T, atol=1e-12)


def test_text_and_binary_hold_the_same(folder):
    first, second = (read_model(folder, kind) for kind in ("binary", "text"))
    assert sorted(first.points3D) == sorted(second.points3D)
    for index, point in first.points3D.items():
        other = second.points3D[index]
        assert (point.xyz == other.xyz).all() and (point.color == other.color).all()
        assert point.error == other.error
        assert track_of(point) == track_of(other)
    for one, two in zip(in_order(first), in_order(second), strict=True):
        assert [p.xy.tolist() for p in one.points2D] == [p.xy.tolist() for p in two.points2D]
        assert [p.point3D_id for p in one.points2D] == [p.point3D_id for p in two.points2D]


def track_of(point):
    return [(element.image_id, element.point2D_idx) for element in point.track.elements]


def test_observations_lie_on_projections_and_tracks_lead_back(rec, folder):
    model = read_model(folder)
    listed = {
        (point, *pair) for point in model.points3D for pair in track_of(model.points3D[point])
    }
    counted, worst = 0, 0.0
    for image in in_order(model):
        for index, place in enumerate(image.points2D):
            assert (place.point3D_id, image.image_id, index) in listed
            off = np.abs(place.xy - projected(model, image, place.point3D_id)).max()
            worst, counted = max(worst, off), counted + 1
    assert counted == len(listed) and worst < 1e-3
    lengths = np.array([point.track.length() for point in model.points3D.values()])
    assert set(lengths) == {0, *range(2, rec.frame_count + 1)} and np.median(lengths) >= 2
    # What one frame alone sees is a point without a track, whose error nobody knows.
    for point in model.points3D.values():
        assert point.has_error() == (point.track.length() > 0)


def test_points_are_the_still_wall_and_nothing_else(folder):
    points = np.array([point.xyz for point in read_model(folder).points3D.values()])
    np.testing.assert_allclose(points @ NORMAL, 4.0, atol=1e-5)
    assert len(points) > 500


def test_points_have_the_colours_of_their_places(rec, folder):
    model = read_model(folder)
    off = []
    for frame, image in enumerate(in_order(model)):
        for place in image.points2D:
            column, row = np.floor(place.xy).astype(int)
            color = model.points3D[place.point3D_id].color.astype(int)
            # Blue tells frames, red and green places, up to what fusion mixes.
            off.append(abs(color - rec.images[frame, row, column])[:2].max())
    assert np.median(off) < 40


def test_images_are_the_frames_and_masks_the_box(rec, folder):
    assert {file.name for file in (folder / "masks").iterdir()} == {
        f"frame_{frame:04d}.png.png" for frame in range(rec.frame_count)
    }
    height, width = rec.frames.image_hw
    columns, rows = np.meshgrid(
        (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    )
    aside = np.maximum(abs(columns - 0.5), abs(rows - 0.5))
    map_pixel = 1 / min(rec.map_hw)
    for frame in range(rec.frame_count):
        image = np.asarray(Image.open(folder / "images" / f"frame_{frame:04d}.png"))
        np.testing.assert_array_equal(image, rec.images[frame])
        mask = np.asarray(Image.open(folder / "masks" / f"frame_{frame:04d}.png.png"))
        assert mask.shape == (height, width) and set(np.unique(mask)) == {0, 255}
        assert (mask[aside < 0.2 - map_pixel] == 0).all()
        assert (mask[aside > 0.2 + map_pixel] == 255).all()


@pytest.mark.parametrize("moving", ["still box", "flat box"])
def test_the_wall_is_not_seen_through_what_hides_it_or_moves(tmp_path, moving):
    # Hidden by something still, and covered by something that moves at its own depth.
    model = read_model(export(exact_scene(moving=moving), "colmap", tmp_path / "c"))
    height, width = IMAGE_HW["landscape"]
    wall, covered = 0, 0
    for image in in_order(model):
        for place in image.points2D:
            if abs(model.points3D[place.point3D_id].xyz @ NORMAL - 4) > 1e-3:
                continue
            wall += 1
            aside = abs(place.xy / (width, height) - 0.5)
            covered += (aside < 0.2 - 1 / 24).all()
    assert wall > 1500 and covered == 0


def test_outlines_of_masks_are_half_way_between_pixels_of_maps():
    rec = exact_scene()
    moving = np.zeros(rec.map_hw, dtype=np.float32)
    moving[6:, 16:] = 1
    still = still_mask(rec, 1, moving)
    expected = np.ones((60, 80), dtype=bool)
    expected[15:, 40:] = False
    assert (still != expected).sum() <= 2


def test_observations_are_what_the_maps_say_where_cameras_disagree(tmp_path):
    exact = exact_scene(moving="nothing")
    bent = exact.intrinsics.copy()
    bent[:, 0, 0] *= 1.03
    off = replace(exact, intrinsics=bent)
    model = read_model(export(off, "colmap", tmp_path / "bent"))
    # The maps know the true cameras: observations are where those project the points.
    for frame, image in enumerate(in_order(model)):
        true = pycolmap.Camera(
            model="PINHOLE",
            width=80,
            height=60,
            params=exact.intrinsics[frame][[0, 1, 0, 1], [0, 1, 2, 2]],
        )
        for place in image.points2D:
            in_camera = image.cam_from_world() * model.points3D[place.point3D_id].xyz
            assert np.abs(true.img_from_cam(in_camera) - place.xy).max() < 0.05
    written = {index: point.error for index, point in model.points3D.items()}
    assert np.mean(list(written.values())) > 0.3
    model.update_point_3d_errors()
    tracked = [index for index, point in model.points3D.items() if point.track.length()]
    assert len(tracked) > 500
    again = [model.points3D[index].error for index in tracked]
    np.testing.assert_allclose(again, [written[index] for index in tracked], atol=1e-6)


def test_bundle_adjustment_of_true_maps_goes_through_and_moves_nothing(rec, folder):
    """COLMAP refuses models that have tracks of one image only."""
    model = read_model(folder)
    pycolmap.bundle_adjustment(model, pycolmap.BundleAdjustmentOptions(print_summary=False))
    model.update_point_3d_errors()
    assert model.compute_mean_reprojection_error() < 1e-3
    for frame, image in enumerate(in_order(model)):
        centre = image.projection_center()
        np.testing.assert_allclose(centre, rec.world_from_camera[frame, :3, 3], atol=1e-4)
        focal_px = model.cameras[image.camera_id].calibration_matrix()[[0, 1], [0, 1]]
        np.testing.assert_allclose(focal_px, rec.intrinsics[frame][[0, 1], [0, 1]], rtol=1e-4)


def test_bundle_adjustment_finds_cameras_again_that_were_pushed_away(rec, folder):
    """Observations alone, which say where cameras are up to a similarity, lead back to them."""
    model = read_model(folder)
    random = np.random.default_rng(1)
    for image in in_order(model)[1:]:
        pose = image.cam_from_world()
        pose.translation = pose.translation + random.normal(0, 0.02, 3)
        image.frame.set_cam_from_world(image.camera_id, pose)
    model.update_point_3d_errors()
    assert model.compute_mean_reprojection_error() > 0.1
    options = pycolmap.BundleAdjustmentOptions(print_summary=False, refine_focal_length=False)
    pycolmap.bundle_adjustment(model, options)
    model.update_point_3d_errors()
    assert model.compute_mean_reprojection_error() < 0.01
    found = np.array([image.projection_center() for image in in_order(model)])
    wanted = rec.world_from_camera[:, :3, 3]
    far, truly_far = (np.linalg.norm(centres - centres[0], axis=1) for centres in (found, wanted))
    np.testing.assert_allclose(far / far[-1], truly_far / truly_far[-1], atol=2e-3)


def test_trainers_find_pictures_of_the_size_of_their_cameras_in_the_order_of_names(folder):
    model = read_model(folder)
    names = [image.name for image in in_order(model)]
    assert names == sorted(names) == sorted(path.name for path in (folder / "images").iterdir())
    for image in in_order(model):
        camera = model.cameras[image.camera_id]
        for path in (f"images/{image.name}", f"masks/{image.name}.png"):
            assert Image.open(folder / path).size == (camera.width, camera.height)


@pytest.mark.parametrize("why", ["all moves", "nothing is usable"])
def test_no_still_point_leaves_cameras_without_points(tmp_path, monkeypatch, why):
    rec = exact_scene()
    if why == "all moves":
        # Told so, because motion of nearly everything is taken for the error of maps.
        everywhere = np.ones(rec.own_time_confidence.shape, dtype=np.float32)
        monkeypatch.setattr(
            "dynapoint.exports.splat_training.moving_at_ends", lambda *_: everywhere
        )
    else:
        nothing = np.zeros_like(rec.own_time_confidence)
        rec = replace(rec, own_time_confidence=nothing)
    folder = export(rec, "colmap", tmp_path / "c")
    for kind in ("binary", "text"):
        model = read_model(folder, kind)
        assert (model.num_images(), model.num_points3D()) == (4, 0)
    assert not np.asarray(Image.open(folder / "masks" / "frame_0002.png.png")).any()
    studio = export(rec, "nerfstudio", tmp_path / "n")
    assert len(ply_elements(studio / "sparse_pc.ply")["vertex"]) == 0


def test_one_frame_and_one_time(rec, tmp_path):
    alone = exact_scene(frames=1)
    folder = export(alone, "colmap", tmp_path / "one")
    model = read_model(folder)
    assert model.num_images() == 1 and model.num_points3D() > 500
    assert np.asarray(Image.open(folder / "masks" / "frame_0000.png.png")).all()
    folder = export(rec, "colmap", tmp_path / "third", ExportOptions(time=2))
    model = read_model(folder)
    assert [image.name for image in in_order(model)] == ["frame_0002.png"]
    np.testing.assert_allclose(
        in_order(model)[0].projection_center(), rec.world_from_camera[2, :3, 3]
    )
    with pytest.raises(InputError):
        export(rec, "colmap", tmp_path / "none", ExportOptions(time=9))


@pytest.mark.parametrize("size", [1e-4, 1e6])
def test_any_size_of_scene(tmp_path, size):
    model = read_model(export(exact_scene(size=size), "colmap", tmp_path / "c"))
    assert model.num_points3D() > 500
    for image in in_order(model):
        for place in image.points2D:
            assert np.abs(place.xy - projected(model, image, place.point3D_id)).max() < 1e-3


def test_what_the_maps_do_not_show_or_the_user_masked_is_not_still(tmp_path):
    rec = exact_scene(moving="nothing", crop_px=4.0)
    ignore = np.zeros(rec.images.shape[:3], dtype=bool)
    ignore[:, 10:20, 30:40] = True
    rec = replace(rec, frames=replace(rec.frames, ignore=ignore))
    folder = export(rec, "colmap", tmp_path / "c")
    mask = np.asarray(Image.open(folder / "masks" / "frame_0001.png.png")) > 0
    # 4 of 40 map pixels on both sides, which are 8 of 80 picture pixels.
    expected = ~ignore[1]
    expected[:, :8] = expected[:, -8:] = False
    np.testing.assert_array_equal(mask, expected)
    model = read_model(folder)
    for image in in_order(model):
        for place in image.points2D:
            assert np.abs(place.xy - projected(model, image, place.point3D_id)).max() < 1e-3


def test_pictures_of_different_sizes_keep_them(tmp_path):
    rec = exact_scene()
    sizes = np.array([[60, 80], [50, 80], [60, 70], [60, 80]])
    pixel_map = replace(rec.pixel_map, picture_hw=sizes)
    rec = replace(rec, frames=replace(rec.frames, sizes_hw=sizes), pixel_map=pixel_map)
    folder = export(rec, "colmap", tmp_path / "c")
    model = read_model(folder)
    for frame, image in enumerate(in_order(model)):
        height, width = sizes[frame]
        camera = model.cameras[image.camera_id]
        assert (camera.height, camera.width) == (height, width)
        picture = np.asarray(Image.open(folder / "images" / image.name))
        np.testing.assert_array_equal(picture, rec.images[frame, :height, :width])
        assert Image.open(folder / "masks" / f"{image.name}.png").size == (width, height)
        places = np.array([place.xy for place in image.points2D])
        assert (places >= 0).all() and (places <= (width, height)).all()


def test_options_thin_and_nothing_is_replaced_unasked(rec, tmp_path):
    folder = export(rec, "colmap", tmp_path / "c", ExportOptions(max_points=100))
    few = read_model(folder).num_points3D()
    assert 50 <= few <= 100
    with pytest.raises(OutputError, match="--overwrite"):
        export(rec, "colmap", folder)
    dark = ExportOptions(overwrite=True, max_points=10**6, confidence_percentile=50.0)
    uneven = np.broadcast_to(np.linspace(0.1, 1, rec.map_hw[0])[:, None], rec.map_hw)
    unsure = replace(rec, own_time_confidence=np.tile(uneven, (4, 1, 1)).astype(np.float32))
    all_of = read_model(export(rec, "colmap", tmp_path / "all")).num_points3D()
    assert read_model(export(unsure, "colmap", folder, dark)).num_points3D() < 0.7 * all_of


# --- nerfstudio


def test_transforms_lead_back_to_our_cameras(rec, studio):
    about = json.loads((studio / "transforms.json").read_text())
    saved_from_world = np.vstack([about["applied_transform"], [0, 0, 0, 1]])
    assert np.linalg.det(saved_from_world) == pytest.approx(1)
    for frame, said in enumerate(about["frames"]):
        pose = np.linalg.inv(saved_from_world) @ said["transform_matrix"]
        pose[:, 1:3] *= -1
        np.testing.assert_allclose(pose, rec.world_from_camera[frame], atol=1e-12)
        # A lens that all frames share stands once, as nerfstudio reads it.
        lens = about | said
        assert ("fl_x" in about) == (len(np.unique(rec.intrinsics, axis=0)) == 1)
        intrinsics = [lens["fl_x"], lens["fl_y"], lens["cx"], lens["cy"]]
        np.testing.assert_allclose(intrinsics, rec.intrinsics[frame][[0, 1, 0, 1], [0, 1, 2, 2]])
        assert (lens["h"], lens["w"]) == rec.frames.image_hw
        # nerfstudio multiplies by 1e-3 and brings depth to the picture's size.
        depth = np.load(studio / said["depth_file_path"]) * 1e-3
        np.testing.assert_allclose(depth, rec.own_time_depth[frame], rtol=1e-6)
        image = np.asarray(Image.open(studio / said["file_path"]))
        np.testing.assert_array_equal(image, rec.images[frame])
        mask = np.asarray(Image.open(studio / said["mask_path"]))
        assert mask.shape == image.shape[:2] and 0.5 < (mask == 255).mean() < 0.95


def test_the_seeds_are_in_the_saved_world_with_up_as_z(studio, folder):
    about = json.loads((studio / "transforms.json").read_text())
    vertex = ply_elements(studio / about["ply_file_path"])["vertex"]
    points = np.stack([vertex[axis] for axis in "xyz"], axis=1)
    ours = points @ np.array(about["applied_transform"])[:, :3]
    np.testing.assert_allclose(ours @ NORMAL, 4.0, atol=1e-5)
    # Redder to the right, greener upwards.
    assert np.corrcoef(vertex["red"], points[:, 0])[0, 1] > 0.8
    assert np.corrcoef(vertex["green"], points[:, 2])[0, 1] > 0.8
    model = read_model(folder)
    np.testing.assert_allclose(
        ours, [model.points3D[index].xyz for index in sorted(model.points3D)], atol=1e-6
    )


def test_mid_grey_stays_mid_grey(tmp_path):
    rec = exact_scene(images=gray_images)
    studio = export(rec, "nerfstudio", tmp_path / "n")
    vertex = ply_elements(studio / "sparse_pc.ply")["vertex"]
    assert (vertex["green"] == 128).all() and len(vertex) > 500
    assert (np.asarray(Image.open(studio / "images" / "frame_0001.png")) == 128).all()
    model = read_model(export(rec, "colmap", tmp_path / "c"))
    assert all((point.color == 128).all() for point in model.points3D.values())
