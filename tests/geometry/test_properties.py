"""What holds for every rigid motion, similarity and camera."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from drawn import (
    clouds,
    examples,
    lenses,
    rigid_motions,
    scales,
    small_sizes,
    sources,
    turns,
)
from dynapoint.evaluation.metrics import normalised_errors, rotation_errors_deg, spearman, track_epe
from dynapoint.geometry import arrays, pinhole, rigid
from dynapoint.geometry.quaternion import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix
from dynapoint.geometry.similarity import (
    fit_similarity,
    fit_similarity_robustly,
    move,
    shared_focal,
    split_similarity,
    weighted_median,
)
from dynapoint.inference.cleaning import clean_poses
from dynapoint.models.layers.pose_encoding import (
    camera_from_world,
    encode_cameras,
    intrinsics_px,
)
from dynapoint.reductions.camera_motion import camera_motion_by_procrustes
from dynapoint.results.pixel_map import PixelMap


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Homogeneous coordinates: what the formulas are compared with."""
    return (np.c_[points, np.ones(len(points))] @ matrix.T)[:, :3]


# --- rigid motions


@examples(200)
@given(rigid_motions())
def test_an_inverse_undoes_its_motion(motion):
    inverse = rigid.invert_rigid(torch.from_numpy(motion)).numpy()
    np.testing.assert_allclose(inverse @ motion, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(inverse, np.linalg.inv(motion), atol=1e-11)


@examples(200)
@given(rigid_motions(), rigid_motions(), clouds())
def test_motions_compose_and_keep_distances(first, second, cloud):
    one, other, points = (torch.from_numpy(array) for array in (first, second, cloud))
    step_by_step = rigid.transform_points(other, rigid.transform_points(one, points)).numpy()
    at_once = rigid.transform_points(other @ one, points).numpy()
    np.testing.assert_allclose(step_by_step, moved(second @ first, cloud), atol=1e-11)
    np.testing.assert_allclose(at_once, step_by_step, atol=1e-11)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(step_by_step, axis=0), axis=1),
        np.linalg.norm(np.diff(cloud, axis=0), axis=1),
        atol=1e-11,
    )


@examples(150)
@given(rigid_motions(), clouds())
def test_into_a_camera_is_the_inverse_of_its_pose(pose, cloud):
    np.testing.assert_allclose(
        arrays.points_in_camera(cloud, pose), moved(np.linalg.inv(pose), cloud), atol=1e-10
    )


@examples(200)
@given(turns(), turns())
def test_angles_between_rotations_are_those_of_their_quotient(first, second):
    wanted = np.linalg.norm(Rotation.from_matrix(first.T @ second).as_rotvec())
    by_numpy = arrays.rotation_angle_rad(first[None], second[None])[0]
    by_torch = float(rigid.rotation_angle_rad(torch.from_numpy(first), torch.from_numpy(second)))
    assert by_numpy == pytest.approx(wanted, abs=2e-8)
    assert by_torch == pytest.approx(wanted, abs=2e-8)
    poses = np.tile(np.eye(4), (2, 1, 1, 1))
    poses[:, 0, :3, :3] = first, second
    assert rotation_errors_deg(*poses)[0] == pytest.approx(np.degrees(wanted), abs=2e-6)


@examples(200)
@given(turns(), scales(), st.booleans())
def test_quaternions_of_any_length_give_proper_rotations_and_back(turn, length, negative):
    quaternion = Rotation.from_matrix(turn).as_quat() * length * (-1 if negative else 1)
    matrix = matrix_from_quaternion_xyzw(torch.from_numpy(quaternion)).numpy()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(matrix) == pytest.approx(1)
    np.testing.assert_allclose(matrix, turn, atol=1e-14)
    back = quaternion_xyzw_from_matrix(torch.from_numpy(matrix)).numpy()
    assert back[3] >= 0
    assert abs(back @ quaternion) / length == pytest.approx(1, abs=1e-14)


@examples(150)
@given(rigid_motions(), lenses(), small_sizes(500))
def test_cameras_are_what_their_encoding_says(pose, lens, image_hw):
    lens[:2, 2] = image_hw[1] / 2, image_hw[0] / 2
    given_pose, given_lens = torch.from_numpy(pose), torch.from_numpy(lens)
    encoding = encode_cameras(given_pose, given_lens, image_hw)
    np.testing.assert_allclose(camera_from_world(encoding), pose, atol=1e-13)
    np.testing.assert_allclose(
        intrinsics_px(encoding, image_hw, clamped=False), lens, rtol=1e-12, atol=1e-12
    )


@examples(150)
@given(st.lists(rigid_motions(), min_size=1, max_size=5), sources())
def test_cleaned_poses_are_rigid_and_start_at_the_identity(motions, rng):
    poses = np.stack(motions)
    rough = poses.copy()
    rough[:, :3, :3] += rng.normal(size=(len(poses), 3, 3)) * 1e-3
    cleaned = clean_poses(rough)
    turned = cleaned[:, :3, :3]
    np.testing.assert_array_equal(cleaned[0], np.eye(4))
    np.testing.assert_allclose(
        turned @ turned.swapaxes(1, 2), np.tile(np.eye(3), (len(poses), 1, 1)), atol=1e-13
    )
    np.testing.assert_allclose(np.linalg.det(turned), 1)
    # What was rigid already stays as it was, seen from frame 0.
    exact = np.linalg.inv(poses[0]) @ poses
    np.testing.assert_allclose(clean_poses(poses), exact, atol=1e-11)


# --- similarities


@examples(200)
@given(rigid_motions(), scales(), clouds(4), sources(), st.booleans())
def test_a_fit_finds_the_similarity_that_was_applied(motion, scale, cloud, rng, robust):
    applied = motion @ np.diag([scale, scale, scale, 1])
    weight = torch.from_numpy(rng.uniform(0.1, 1, len(cloud)))[None]
    source, target = (torch.from_numpy(points)[None] for points in (cloud, moved(applied, cloud)))
    fit = fit_similarity_robustly if robust else fit_similarity
    found = fit(source, target, weight)
    np.testing.assert_allclose(move(found, source), target, atol=1e-9 * max(1, scale))
    found_scale, pose = split_similarity(found)
    assert float(found_scale) == pytest.approx(scale, rel=1e-9)
    np.testing.assert_allclose(pose[0, :3, :3], motion[:3, :3], atol=1e-8)
    np.testing.assert_allclose(pose[0, :3, 3], motion[:3, 3], atol=1e-7 * max(1, scale))


@examples(150)
@given(clouds(3, 8), sources())
def test_between_unlike_clouds_a_rigid_fit_is_the_best_proper_rotation(cloud, rng):
    # Every other pair fits a mirror best, which is no motion.
    target, weight = rng.normal(size=cloud.shape), rng.uniform(0.1, 1, len(cloud))
    one, other, weights = (torch.from_numpy(array)[None] for array in (cloud, target, weight))
    found = fit_similarity(one, other, weights, rigid=True)[0].numpy()
    centred = [points - np.average(points, axis=0, weights=weight) for points in (cloud, target)]
    wanted, _ = Rotation.align_vectors(centred[1], centred[0], weights=weight)
    np.testing.assert_allclose(found[:3, :3], wanted.as_matrix(), atol=1e-6)


@examples(150)
@given(rigid_motions(), scales(), clouds(4), sources())
def test_a_rigid_fit_of_other_units_turns_right_and_never_scales(motion, scale, cloud, rng):
    target = moved(motion, cloud * scale)
    weight = torch.from_numpy(rng.uniform(0.1, 1, len(cloud)))[None]
    found = fit_similarity(
        torch.from_numpy(cloud)[None], torch.from_numpy(target)[None], weight, rigid=True
    )[0].numpy()
    np.testing.assert_allclose(found[:3, :3], motion[:3, :3], atol=1e-8)
    middle = [np.average(points, axis=0, weights=weight[0]) for points in (cloud, target)]
    np.testing.assert_allclose(
        moved(found, middle[0][None])[0], middle[1], atol=1e-9 * max(1, scale)
    )


@examples(40)
@given(rigid_motions(reach=3), st.floats(0.1, 10), sources(), st.booleans())
def test_camera_motion_by_procrustes_finds_the_camera(pose, scale, rng, fit_scale):
    scale = scale if fit_scale else 1.0
    seen = rng.normal((0, 0, 6), size=(1, 6, 8, 3))
    world = moved(pose, seen.reshape(-1, 3) * scale).reshape(seen.shape)
    found = camera_motion_by_procrustes(
        torch.from_numpy(world), torch.from_numpy(seen), torch.ones(1, 6, 8), fit_scale=fit_scale
    )
    np.testing.assert_allclose(found.world_from_camera[0], pose, atol=1e-5)
    assert float(found.scale) == pytest.approx(scale, rel=1e-5)
    assert float(found.inlier_share) == 1


@examples(150)
@given(clouds(2), scales(), sources())
def test_errors_after_normalising_do_not_depend_on_the_units(truth, scale, rng):
    predicted = truth + rng.normal(size=truth.shape)
    np.testing.assert_allclose(
        normalised_errors(truth, predicted * scale),
        normalised_errors(truth * 3, predicted),
        atol=1e-12,
    )
    tracks = np.stack([truth, predicted])
    assert track_epe(tracks, tracks * scale) == pytest.approx(0, abs=1e-13)
    assert track_epe(tracks, tracks + 1) > 1e-6


@examples(150)
@given(clouds(2), scales())
def test_rank_correlation_knows_only_the_order(cloud, scale):
    values, others = cloud[:, 0], cloud[:, 1]
    assert spearman(values, np.exp(values / 10) * scale) == pytest.approx(1)
    assert spearman(values, -values) == pytest.approx(-1)
    assert spearman(values, others) == pytest.approx(spearman(others**3, values))


@examples(150)
@given(st.floats(20, 2000), clouds(1), sources())
def test_the_shared_focal_length_is_the_one_that_projected(focal, cloud, rng):
    cloud[:, 2] = np.abs(cloud[:, 2]) + 0.1
    xy = focal * cloud[:, :2] / cloud[:, 2:]
    weight = torch.from_numpy(rng.uniform(0.1, 1, len(cloud)))
    found = shared_focal(torch.from_numpy(cloud), torch.from_numpy(xy), weight)
    assert float(found) == pytest.approx(focal, rel=1e-9)


@examples(200)
@given(clouds(1, 15))
def test_half_of_the_weight_lies_on_either_side_of_the_weighted_median(cloud):
    values, weight = cloud[:, 0], np.abs(cloud[:, 1])
    middle = float(weighted_median(torch.from_numpy(values), torch.from_numpy(weight)))
    assert middle in values
    half = weight.sum() / 2 * (1 + 1e-12)
    assert weight[values < middle].sum() <= half
    assert weight[values > middle].sum() <= half


# --- projections


@examples(200)
@given(lenses(), small_sizes(), sources())
def test_points_at_pixels_and_depths_fall_on_these_pixels(lens, image_hw, rng):
    xy = rng.uniform(-1, 1, size=(7, 2)) * image_hw[::-1] * 2
    depth = rng.uniform(0.1, 100, size=7)
    intrinsics = torch.from_numpy(lens)
    points = pinhole.unproject(torch.from_numpy(xy), torch.from_numpy(depth), intrinsics)
    np.testing.assert_allclose(points[:, 2], depth)
    np.testing.assert_allclose(pinhole.project(points, intrinsics), xy, atol=1e-9)
    np.testing.assert_allclose(arrays.project(points.numpy(), lens), xy, atol=1e-9)
    homogeneous = points.numpy() @ lens.T
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], xy, atol=1e-9)


@examples(150)
@given(lenses(), clouds(1))
def test_both_projections_agree_and_know_nothing_of_what_is_behind(lens, cloud):
    by_numpy = arrays.project(cloud, lens)
    by_torch = pinhole.project(torch.from_numpy(cloud), torch.from_numpy(lens)).numpy()
    np.testing.assert_allclose(by_numpy, by_torch, rtol=1e-12, equal_nan=True)
    np.testing.assert_array_equal(np.isnan(by_numpy).all(axis=1), cloud[:, 2] <= 0)
    clamped = pinhole.project(torch.from_numpy(cloud), torch.from_numpy(lens), least_depth=0.5)
    far = cloud[:, 2] >= 0.5
    np.testing.assert_allclose(clamped[far], by_numpy[far], rtol=1e-12)
    near = cloud[~far] * [1, 1, 0] + [0, 0, 0.5]
    np.testing.assert_allclose(clamped[~far], arrays.project(near, lens), rtol=1e-12)


@examples(150)
@given(small_sizes(), lenses(), rigid_motions(reach=10), sources())
def test_points_on_rays_are_seen_at_their_pixels_and_depths(map_hw, lens, pose, rng):
    depth = rng.uniform(0.1, 50, size=map_hw)
    seen = arrays.points_in_camera(arrays.points_on_rays(depth, lens, pose), pose)
    centres = arrays.pixel_centres(map_hw)
    np.testing.assert_allclose(seen[..., 2], depth, atol=1e-11)
    np.testing.assert_allclose(arrays.project(seen, lens), centres, atol=1e-7)
    np.testing.assert_array_equal(centres, np.moveaxis(np.indices(map_hw), 0, -1)[..., ::-1] + 0.5)
    np.testing.assert_array_equal(centres, pinhole.pixel_centres(map_hw, dtype=torch.float64))


@examples(150)
@given(small_sizes(20), small_sizes(40), st.floats(-3, 3), st.floats(-3, 3), sources())
def test_places_of_pictures_go_to_maps_and_back(map_hw, picture_hw, left, top, rng):
    pixel_map = PixelMap(
        scale=rng.uniform(0.2, 3, size=(1, 2)),
        offset=np.array([[left, top]]),
        picture_hw=np.array([picture_hw]),
        map_hw=map_hw,
    )
    xy = rng.uniform(-0.2, 1.2, size=(50, 2)) * picture_hw[::-1]
    shown = pixel_map.shows(0, xy)
    placed = pixel_map.to_map(0, xy[shown])
    np.testing.assert_allclose(pixel_map.to_picture(0, placed), xy[shown], atol=1e-4)
    by_matrix = np.c_[xy, np.ones(50)] @ pixel_map.map_from_image[0].T
    on_map = ((by_matrix[:, :2] >= 0) & (by_matrix[:, :2] <= map_hw[::-1])).all(axis=1)
    in_picture = ((xy >= 0) & (xy <= picture_hw[::-1])).all(axis=1)
    np.testing.assert_array_equal(shown, on_map & in_picture)
