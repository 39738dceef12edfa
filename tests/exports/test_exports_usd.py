"""USD: points, camera and tracks over time, read with usd-core."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dynapoint.errors import OutputError
from dynapoint.exports.catalog import export
from dynapoint.exports.clouds import moving_cloud
from dynapoint.exports.options import ExportOptions
from exact_scenes import NORMAL, VELOCITY, Wall, exact_scene
from exported_scenes import gray_images

pxr = pytest.importorskip("pxr", reason="usd-core is not installed: USD is NOT tested")
from pxr import Gf, Usd, UsdGeom  # noqa: E402

OPENCV = np.array([1.0, -1.0, -1.0])


def opened(path):
    return Usd.Stage.Open(str(path))


def prim(stage, name, kind):
    found = kind(stage.GetPrimAtPath(f"/scene/{name}"))
    assert found, name
    return found


def positions(stage, code=None):
    """In our world, at the first time unless told."""
    code = Usd.TimeCode.EarliestTime() if code is None else code
    return np.array(prim(stage, "points", UsdGeom.Points).GetPointsAttr().Get(code)) * OPENCV


@pytest.fixture(scope="module", params=["landscape", "portrait"])
def rec(request):
    return exact_scene(request.param)


@pytest.fixture(scope="module")
def stage(rec, tmp_path_factory):
    return opened(export(rec, "usd", tmp_path_factory.mktemp("usd") / "scene"))


def test_the_stage_says_what_it_is(rec, stage):
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert stage.GetTimeCodesPerSecond() == pytest.approx(10)
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 3)
    assert stage.GetDefaultPrim().GetPath() == "/scene"
    about = stage.GetRootLayer().customLayerData
    assert about["units"] == "scene units" and about["scaleKnown"] is False
    assert "metersPerUnit 1 is a stand-in" in stage.GetRootLayer().comment


def test_points_move_as_in_the_scene(rec, stage):
    cloud = moving_cloud(rec, ExportOptions(), max_points=200_000)
    assert positions(stage, 0).shape == cloud.points.shape[1:] and len(positions(stage, 0)) > 500
    points = prim(stage, "points", UsdGeom.Points)
    for time in range(rec.frame_count):
        np.testing.assert_allclose(positions(stage, time), cloud.points[time], atol=1e-6)
        low, high = np.array(points.GetExtentAttr().Get(time))
        mine = np.array(points.GetPointsAttr().Get(time))
        assert (mine >= low).all() and (mine <= high).all()
    on_wall = abs(positions(stage, 0) @ NORMAL - 4) < 1e-3
    step = positions(stage, 3) - positions(stage, 0)
    assert 0.5 < on_wall.mean() < 0.95
    np.testing.assert_allclose(step[on_wall], 0, atol=1e-6)
    np.testing.assert_allclose(
        step[~on_wall], np.tile(3 * VELOCITY, ((~on_wall).sum(), 1)), atol=1e-5
    )


def test_the_camera_sees_points_at_their_pixels(rec, stage):
    camera = prim(stage, "camera", UsdGeom.Camera)
    height, width = rec.frames.image_hw
    for time in range(rec.frame_count):
        frustum = camera.GetCamera(time).frustum
        seen = frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix()
        points = rec.own_time_points[time].reshape(-1, 3) * OPENCV
        clip = np.array([seen.Transform(Gf.Vec3d(*point)) for point in points.tolist()])
        xy = np.stack([(1 + clip[:, 0]) / 2 * width, (1 - clip[:, 1]) / 2 * height], axis=1)
        rows, columns = np.divmod(np.arange(len(points)), rec.map_hw[1])
        pixel = np.stack([columns + 0.5, rows + 0.5], axis=1) / rec.pixel_map.scale[time]
        np.testing.assert_allclose(xy, pixel, atol=2e-3)


def test_the_camera_is_where_ours_is_and_turns_the_short_way(rec, stage):
    camera = prim(stage, "camera", UsdGeom.Camera)
    for time in range(rec.frame_count):
        pose = np.array(camera.ComputeLocalToWorldTransform(time)).T
        flip = np.diag([*OPENCV, 1.0])
        np.testing.assert_allclose(flip @ pose @ flip, rec.world_from_camera[time], atol=1e-9)
    between = np.array(camera.ComputeLocalToWorldTransform(0.5))
    apart = np.degrees(np.arccos((np.trace(between[:3, :3]) - 1) / 2))
    whole = np.array(camera.ComputeLocalToWorldTransform(1.0))
    assert apart == pytest.approx(
        np.degrees(np.arccos((np.trace(whole[:3, :3]) - 1) / 2)) / 2, 1e-3
    )
    low, high = camera.GetClippingRangeAttr().Get()
    assert low < rec.own_time_depth.min() and high > rec.own_time_depth.max()


def test_a_camera_that_turns_beyond_half_a_turn_never_goes_back(rec, tmp_path):
    poses = rec.world_from_camera.copy()
    angles = np.radians([0, 120, 230, 350])
    poses[:, :3, :3] = Rotation.from_rotvec(angles[:, None] * [0, 1, 0]).as_matrix()
    turning = replace(rec, world_from_camera=poses)
    stage = opened(export(turning, "usd", tmp_path / "a"))
    camera = prim(stage, "camera", UsdGeom.Camera)
    turn = camera.GetOrderedXformOps()[1].GetAttr()
    found = [turn.Get(time) for time in range(4)]
    found = np.array([[each.real, *each.imaginary] for each in found])
    # Not every reader takes the nearer of the two quaternions of a rotation by itself.
    assert ((found[1:] * found[:-1]).sum(axis=1) > 0).all()
    between = np.array(camera.ComputeLocalToWorldTransform(2.5)).T
    halfway = np.radians(290)
    np.testing.assert_allclose(
        between[:3, 2] * OPENCV, [-np.sin(halfway), 0, -np.cos(halfway)], atol=1e-6
    )


def test_image_up_is_up_and_right_is_right(stage):
    points = prim(stage, "points", UsdGeom.Points)
    colors = np.array(points.GetDisplayColorAttr().Get())
    assert points.GetDisplayColorPrimvar().GetInterpolation() == "vertex"
    where = np.array(points.GetPointsAttr().Get(0))
    assert np.corrcoef(colors[:, 0], where[:, 0])[0, 1] > 0.8
    assert np.corrcoef(colors[:, 1], where[:, 1])[0, 1] > 0.8


def test_mid_grey_is_mid_grey_as_linear_light(tmp_path):
    stage = opened(export(exact_scene(images=gray_images), "usd", tmp_path / "gray"))
    colors = np.array(prim(stage, "points", UsdGeom.Points).GetDisplayColorAttr().Get())
    shown = 1.055 * colors ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(shown * 255, 128, atol=0.01)


def test_tracks_are_the_paths_of_what_moves(rec, stage):
    curves = prim(stage, "tracks", UsdGeom.BasisCurves)
    counts = np.array(curves.GetCurveVertexCountsAttr().Get())
    assert curves.GetTypeAttr().Get() == "linear"
    assert (counts == rec.frame_count).all() and len(counts) > 50
    paths = np.array(curves.GetPointsAttr().Get()).reshape(len(counts), -1, 3) * OPENCV
    steps = np.diff(paths, axis=1)
    np.testing.assert_allclose(steps, np.broadcast_to(VELOCITY, steps.shape), atol=1e-5)
    assert len(curves.GetDisplayColorAttr().Get()) == len(counts)
    # Blender reads a width for each corner even where the file has one for each curve.
    assert curves.GetWidthsInterpolation() == "vertex"
    widths = np.array(curves.GetWidthsAttr().Get()).reshape(len(counts), -1)
    assert widths.shape == paths.shape[:2] and (widths == widths[:, :1]).all() and widths.min() > 0


def test_the_validators_of_usd_find_nothing(rec, tmp_path):
    """Those that `usdchecker` runs: metrics, extents, default prim, camera, encapsulation."""
    from pxr import UsdValidation

    def found(path):
        validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
        assert len(validators) > 10
        return UsdValidation.ValidationContext(validators).Validate(opened(path))

    path = export(rec, "usd", tmp_path / "a")
    assert [error.GetMessage() for error in found(path)] == []
    spoilt = opened(path)
    spoilt.ClearMetadata("defaultPrim")
    spoilt.GetRootLayer().Export(str(tmp_path / "b.usdc"))
    assert found(tmp_path / "b.usdc")


def test_times_are_those_of_the_source_or_as_asked(rec, tmp_path):
    stamps = np.array([0.0, 0.1, 0.2, 0.5])
    uneven = replace(rec, frames=replace(rec.frames, timestamps_s=stamps))
    stage = opened(export(uneven, "usd", tmp_path / "a"))
    codes = prim(stage, "points", UsdGeom.Points).GetPointsAttr().GetTimeSamples()
    np.testing.assert_allclose(np.array(codes) / stage.GetTimeCodesPerSecond(), stamps, atol=1e-6)
    stage = opened(export(uneven, "usd", tmp_path / "b", ExportOptions(fps=24.0)))
    codes = prim(stage, "points", UsdGeom.Points).GetPointsAttr().GetTimeSamples()
    assert stage.GetTimeCodesPerSecond() == stage.GetFramesPerSecond() == pytest.approx(24)
    assert codes == [0, 1, 2, 3]


def test_points_unknown_at_a_time_have_no_width_then(rec, tmp_path):
    seen = np.ones(rec.map_hw, dtype=np.float32)
    seen[:5] = 0

    class Gaps(Wall):
        def decode(self, frames, time, *, keep=True):
            for points, sure in super().decode(frames, time):
                known = sure * seen if time == 1 else sure
                yield np.where(known[..., None] > 0, points, np.nan), known

    wall = rec.decoder
    gaps = replace(rec, decoder=Gaps(wall.points, wall.confidence, wall.moving, 1.0))
    stage = opened(export(gaps, "usd", tmp_path / "a"))
    cloud = prim(stage, "points", UsdGeom.Points)
    hidden = [(np.array(cloud.GetWidthsAttr().Get(time)) == 0).sum() for time in range(4)]
    assert hidden[1] > 20 and hidden[0] == hidden[2] == hidden[3] == 0
    for time in range(4):
        # Where it is hidden a point stays where it was last known.
        assert np.isfinite(positions(stage, time)).all()
        assert abs(positions(stage, time)).max() < 20


def test_one_frame_one_time_and_nothing_usable(rec, tmp_path):
    one = opened(export(exact_scene(frames=1), "usd", tmp_path / "one"))
    assert len(positions(one)) > 500 and not one.GetPrimAtPath("/scene/tracks")
    third = opened(export(rec, "usd", tmp_path / "third", ExportOptions(time=2)))
    pose = np.array(prim(third, "camera", UsdGeom.Camera).ComputeLocalToWorldTransform(0.0))
    np.testing.assert_allclose(pose[3, :3] * OPENCV, rec.world_from_camera[2, :3, 3])
    empty = replace(rec, own_time_confidence=np.zeros_like(rec.own_time_confidence))
    empty = replace(
        empty,
        decoder=type(rec.decoder)(
            rec.own_time_points, empty.own_time_confidence, rec.decoder.moving, 1.0
        ),
    )
    stage = opened(export(empty, "usd", tmp_path / "none"))
    assert len(positions(stage)) == 0 and prim(stage, "camera", UsdGeom.Camera)


@pytest.mark.parametrize("size", [1e-4, 1e6])
def test_any_size_of_scene(tmp_path, size):
    stage = opened(export(exact_scene(moving="nothing", size=size), "usd", tmp_path / "a"))
    np.testing.assert_allclose(positions(stage) @ NORMAL / size, 4.0, rtol=1e-5)
    assert not stage.GetPrimAtPath("/scene/tracks")


def test_names_are_taken_as_given_and_nothing_else_is_left(rec, tmp_path):
    thinned = ExportOptions(max_points=100)
    assert export(rec, "usd", tmp_path / "a.usda", thinned).name == "a.usda.usd"
    assert export(rec, "usd", tmp_path / "b.usdc", thinned).name == "b.usdc"
    assert {path.name for path in tmp_path.iterdir()} == {"a.usda.usd", "b.usdc"}
    assert 50 <= len(positions(opened(tmp_path / "b.usdc"))) <= 100
    metric = replace(rec, settings={"units": "metres"})
    stage = opened(export(metric, "usd", tmp_path / "c", thinned))
    about = stage.GetRootLayer().customLayerData
    assert about["units"] == "metres" and about["scaleKnown"] is True
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0 and not stage.GetRootLayer().comment


def test_a_missing_library_is_named_with_its_extra(rec, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(OutputError, match=r"dynapoint\[usd\]"):
        export(rec, "usd", tmp_path / "a")
    assert not list(tmp_path.iterdir())
