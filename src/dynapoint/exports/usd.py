"""USD (Universal Scene Description): moving points, a moving camera and tracks as curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

import dynapoint
from dynapoint.exports.cloud_parts import MovingCloud
from dynapoint.exports.clouds import moving_cloud, play_times_s, units
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file, readable_name, require
from dynapoint.exports.tracks import held_tracks, moved_points
from dynapoint.exports.y_up import Y_UP_FROM_OPENCV, linear_from_srgb, y_up_cameras
from dynapoint.geometry.arrays import typical_depth
from dynapoint.results.colors import hue_colors
from dynapoint.results.reconstruction import Reconstruction

# Every point has a position at every time, of 12 bytes: about 100 MB by default.
_DEFAULT_POSITIONS = 8_000_000
_MOST_POINTS = 200_000
_TRACKS = 1000
# USD's own default, that of a 35 mm film camera in millimetres; only its ratios matter here.
_APERTURE = 20.955


def write_usd(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write a stage with `/scene/points`, `/scene/camera` and `/scene/tracks`, all over time.

    Y is up; one unit is a scene unit. `metersPerUnit` is 1: true where the scene is metric, and
    otherwise a stand-in, for USD has no word for unknown; `customLayerData` says which by
    `scaleKnown` and `units`, and a comment where it is a stand-in. Time codes count times: those of
    the source, over the median step between them, or 0, 1, 2 and so on with `options.fps`.
    `displayColor` is linear light, as USD has it. Points keep their numbers, at most 200000 of
    them; where one is not known at a time its width is 0. Tracks are the paths of up to 1000 points
    that move. With `options.time`, everything stands still.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written, or usd-core is not installed.
    """
    require("pxr", extra="usd", format_name="usd")
    from pxr import Sdf, Tf  # noqa: PLC0415 - only this export needs it.

    times = options.times(rec)
    limit = options.max_points or min(_MOST_POINTS, _DEFAULT_POSITIONS // len(times))
    with export_file(path, ".usd", ".usdc", overwrite=options.overwrite) as partial:
        cloud = moving_cloud(rec, options, max_points=max(1, limit))
        layer = Sdf.Layer.CreateAnonymous(".usdc")
        _fill(layer, rec, cloud, play_times_s(rec, options))
        # USD tells formats by the names of files.
        named = partial.with_name(partial.name + ".usdc")
        try:
            if not layer.Export(str(named)):
                raise OSError("usd-core could not write it")
            named.replace(partial)
        except Tf.ErrorException as error:
            raise OSError("usd-core could not write it") from error
        finally:
            named.unlink(missing_ok=True)


def _fill(
    layer: Any, rec: Reconstruction, cloud: MovingCloud, shown_s: Float64[np.ndarray, " moment"]
) -> None:
    """Write the scene into a layer."""
    from pxr import Usd, UsdGeom  # noqa: PLC0415 - only this export needs it.

    stage = Usd.Stage.Open(layer)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    per_second = float(1 / np.median(np.diff(shown_s)))
    codes = shown_s[:-1] * per_second
    # Even times count as whole numbers, whatever rounding made of them.
    codes = np.where(np.abs(codes - codes.round()) < 1e-3, codes.round(), codes).tolist()
    stage.SetTimeCodesPerSecond(per_second)
    stage.SetFramesPerSecond(per_second)
    stage.SetStartTimeCode(codes[0])
    stage.SetEndTimeCode(codes[-1])
    layer.customLayerData = {
        "generator": f"dynapoint {dynapoint.__version__}",
        "source": readable_name(rec.frames.name),
        "units": units(rec),
        **({} if rec.frames.note is None else {"note": rec.frames.note}),
        "scaleKnown": units(rec) == "metres",
        "displayColor": "linear light, Rec. 709 primaries",
    }
    if units(rec) != "metres":
        layer.comment = "The size of this scene is not known: metersPerUnit 1 is a stand-in."
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/scene").GetPrim())
    _add_points(stage, cloud, codes)
    _add_camera(stage, rec, cloud.times, codes)
    _add_tracks(stage, cloud)


def _animate(attribute: Any, values: Sequence[Any], codes: list[float]) -> None:
    """Give an attribute a value per time, or one for all if they are equal."""
    if all(value == values[0] for value in values[1:]):
        attribute.Set(values[0])
        return
    for value, code in zip(values, codes, strict=True):
        attribute.Set(value, code)


def _add_points(stage: Any, cloud: MovingCloud, codes: list[float]) -> None:
    """Add the moving cloud."""
    from pxr import UsdGeom, Vt  # noqa: PLC0415 - only this export needs it.

    kept = cloud.usable.any(axis=0)
    usable = cloud.usable[:, kept]
    points = held_tracks(cloud.points[:, kept], usable) @ Y_UP_FROM_OPENCV.astype(np.float32)
    widths = usable * cloud.spacing[kept]
    prim = UsdGeom.Points.Define(stage, "/scene/points")
    at_times = [Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(now)) for now in points]
    _animate(prim.CreatePointsAttr(), at_times, codes)
    _animate(prim.CreateWidthsAttr(), [Vt.FloatArray.FromNumpy(now) for now in widths], codes)
    prim.SetWidthsInterpolation(UsdGeom.Tokens.vertex)
    _animate(prim.CreateExtentAttr(), [_extent(now, cloud.spacing) for now in points], codes)
    colors = linear_from_srgb(cloud.colors[kept]).astype(np.float32)
    primvar = prim.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex)
    primvar.Set(Vt.Vec3fArray.FromNumpy(colors))


def _extent(points: Float32[np.ndarray, "point xyz=3"], widths: np.ndarray) -> Any:
    """The corners of a box about points."""
    from pxr import Vt  # noqa: PLC0415 - only this export needs it.

    if not len(points):
        return Vt.Vec3fArray([(0, 0, 0), (0, 0, 0)])
    margin = widths.max(initial=0) / 2
    return Vt.Vec3fArray.FromNumpy(
        np.stack([points.min(axis=0) - margin, points.max(axis=0) + margin]).astype(np.float32)
    )


def _add_camera(stage: Any, rec: Reconstruction, times: list[int], codes: list[float]) -> None:
    """Add a camera that moves as that of the frames."""
    from pxr import Gf, UsdGeom  # noqa: PLC0415 - only this export needs it.

    camera = UsdGeom.Camera.Define(stage, "/scene/camera")
    positions, quaternion_xyzw = y_up_cameras(rec, times)
    place = camera.AddTranslateOp(UsdGeom.XformOp.PrecisionDouble)
    _animate(place.GetAttr(), [Gf.Vec3d(*now) for now in positions.tolist()], codes)
    turn = camera.AddOrientOp(UsdGeom.XformOp.PrecisionDouble)
    _animate(
        turn.GetAttr(), [Gf.Quatd(w, x, y, z) for x, y, z, w in quaternion_xyzw.tolist()], codes
    )
    height, width = rec.frames.picture_hw[times].T.astype(np.float64)
    focal_x, focal_y = rec.intrinsics[times, 0, 0], rec.intrinsics[times, 1, 1]
    center_x, center_y = rec.intrinsics[times, 0, 2], rec.intrinsics[times, 1, 2]
    focal = focal_x / width * _APERTURE
    high = height / focal_y * focal
    for attribute, values in (
        (camera.CreateFocalLengthAttr(), focal),
        (camera.CreateHorizontalApertureAttr(), np.full(len(times), _APERTURE)),
        (camera.CreateVerticalApertureAttr(), high),
        # The window about the axis is shifted by its offsets to the right and upwards.
        (camera.CreateHorizontalApertureOffsetAttr(), (0.5 - center_x / width) * _APERTURE),
        (camera.CreateVerticalApertureOffsetAttr(), (center_y / height - 0.5) * high),
    ):
        _animate(attribute, values.astype(np.float32).tolist(), codes)
    typical = typical_depth(rec.own_time_depth[times])
    camera.CreateClippingRangeAttr(Gf.Vec2f(0.01 * typical, 1000 * typical))


def _add_tracks(stage: Any, cloud: MovingCloud) -> None:
    """Add the whole paths of some points that move, a curve and a colour each."""
    from pxr import UsdGeom, Vt  # noqa: PLC0415 - only this export needs it.

    chosen = moved_points(cloud, _TRACKS)
    if not len(chosen):
        return
    tracks = held_tracks(cloud.points[:, chosen], cloud.usable[:, chosen])
    paths = (tracks @ Y_UP_FROM_OPENCV.astype(np.float32)).transpose(1, 0, 2)
    corners = np.ascontiguousarray(paths.reshape(-1, 3))
    curves = UsdGeom.BasisCurves.Define(stage, "/scene/tracks")
    curves.CreateTypeAttr(UsdGeom.Tokens.linear)
    curves.CreateCurveVertexCountsAttr(Vt.IntArray([len(cloud.times)] * len(chosen)))
    curves.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(corners))
    # A width for each corner though those of a curve are equal: Blender 4.5 reads as many as there
    # are corners whatever the interpolation says, and took what lies beyond one per curve for them.
    widths = np.repeat(cloud.spacing[chosen] / 4, len(cloud.times)).astype(np.float32)
    curves.CreateWidthsAttr(Vt.FloatArray.FromNumpy(widths))
    curves.SetWidthsInterpolation(UsdGeom.Tokens.vertex)
    curves.CreateExtentAttr(_extent(corners, widths))
    colors = linear_from_srgb(hue_colors(np.arange(len(chosen)) / len(chosen)))
    primvar = curves.CreateDisplayColorPrimvar(UsdGeom.Tokens.uniform)
    primvar.Set(Vt.Vec3fArray.FromNumpy(colors.astype(np.float32)))
