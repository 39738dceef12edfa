"""GLB (binary glTF 2.0): a moving cloud and its cameras, for browsers, Blender and game engines.

glTF has no moving points of its own. There is one node per time, which all share one set of
colours; an animation makes the node of the present time life-size and all others of size zero,
which viewers take for hidden (glTF 2.0, 3.6). Every viewer that plays animations plays this one,
while morph targets, of which there would be one per time, are limited to a few in several.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

import dynapoint
from dynapoint.exports.cloud_parts import MovingCloud
from dynapoint.exports.clouds import moving_cloud, play_times_s, units
from dynapoint.exports.gltf_buffer import GltfBuffer
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file, readable_name
from dynapoint.exports.y_up import Y_UP_FROM_OPENCV, linear_from_srgb, y_up_cameras
from dynapoint.geometry.arrays import typical_depth
from dynapoint.results.reconstruction import Reconstruction

# By default a file stays below 30 MB, of which cameras and the JSON part take a little.
_DEFAULT_BYTES = 28_000_000
_MOST_POINTS = 200_000
_BYTES_PER_POSITION, _BYTES_PER_COLOR = 8, 12
# Indices, which say what is hidden at a time, take two bytes for so many points, else four.
_SHORT_INDICES = 2**16 - 1
# Points farther away than so many median distances are left out, for the steps of 16-bit
# positions are a share of the largest coordinate.
_FARTHEST_MEDIANS = 60.0
_LARGEST = 2**15 - 1


def write_glb(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write a cloud whose points move, a camera per frame, and one that goes along.

    Y is up, units are scene units, colours are linear as glTF demands. Positions are 16-bit
    integers (KHR_mesh_quantization) whose largest error per coordinate `asset.extras` states as
    `position_error`. By default there are as many points as keep the file below 30 MB, at most
    200000. With `options.time`, the cloud of that time stands still.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    limit = options.max_points or _default_points(len(options.times(rec)))
    with export_file(path, ".glb", overwrite=options.overwrite) as partial:
        cloud = moving_cloud(rec, options, max_points=limit)
        partial.write_bytes(_glb(rec, cloud, play_times_s(rec, options)))


def _default_points(times: int) -> int:
    """As many points as fit into the default size whatever is hidden when."""
    short, long = (
        _DEFAULT_BYTES // ((_BYTES_PER_POSITION + index) * times + _BYTES_PER_COLOR)
        for index in (2, 4)
    )
    return max(1, min(_MOST_POINTS, max(min(short, _SHORT_INDICES), long)))


def _glb(rec: Reconstruction, cloud: MovingCloud, shown_s: Float[np.ndarray, " moment"]) -> bytes:
    """The content of the file."""
    buffer = GltfBuffer()
    nodes: list[dict[str, Any]] = []
    meshes: list[dict[str, Any]] = []
    animation: dict[str, Any] = {"name": "play", "samplers": [], "channels": []}
    position_error = _add_points(buffer, cloud, nodes, meshes)
    if len(cloud.times) > 1:
        for index in range(len(cloud.times)):
            _add_toggle(buffer, animation, node=index, index=index, shown_s=shown_s)
    top = list(range(len(cloud.times)))
    cameras = _add_cameras(
        buffer, rec, times=cloud.times, nodes=nodes, animation=animation, shown_s=shown_s
    )
    top += range(len(nodes) - len(cameras) - (len(cloud.times) > 1), len(nodes))
    document: dict[str, Any] = {
        "asset": {
            "version": "2.0",
            "generator": f"dynapoint {dynapoint.__version__}",
            "extras": {
                "source": readable_name(rec.frames.name),
                "units": units(rec),
                **({} if rec.frames.note is None else {"note": rec.frames.note}),
                "position_error": position_error,
            },
        },
        "scene": 0,
        "scenes": [{"name": readable_name(rec.frames.name), "nodes": top}],
        "nodes": nodes,
        "cameras": cameras,
    }
    if meshes:
        document |= {
            "extensionsUsed": ["KHR_mesh_quantization", "KHR_materials_unlit"],
            "extensionsRequired": ["KHR_mesh_quantization"],
            "meshes": meshes,
            "materials": [
                {
                    "name": "points",
                    "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
                    "extensions": {"KHR_materials_unlit": {}},
                }
            ],
        }
    if animation["channels"]:
        document["animations"] = [animation]
    return buffer.to_glb(document)


def _add_points(
    buffer: GltfBuffer,
    cloud: MovingCloud,
    nodes: list[dict[str, Any]],
    meshes: list[dict[str, Any]],
) -> float:
    """Add a node per time, then one below each with its points; returns the largest error.

    The error is that of one coordinate, in scene units.
    """
    shown = cloud.usable & _near(cloud)
    kept = shown.any(axis=0)
    shown, points = shown[:, kept], cloud.points[:, kept].astype(np.float64) @ Y_UP_FROM_OPENCV
    present = points[shown]
    low, high = (present.min(axis=0), present.max(axis=0)) if len(present) else (np.zeros(3),) * 2
    center = (low + high) / 2
    step = float((high - low).max()) / 2 / _LARGEST or 1.0
    for time in cloud.times:
        visible = time == cloud.times[0]
        nodes.append({"name": f"time_{time:04d}", "scale": [1.0 if visible else 0.0] * 3})
    if not len(present):
        return 0.0
    # As floats, because not every reader knows that integers are shares here.
    linear = linear_from_srgb(cloud.colors[kept]).astype(np.float32)
    colors = buffer.add(linear, "vertex")
    for index, time in enumerate(cloud.times):
        now = shown[index]
        if not now.any():
            continue
        # What is hidden now lies on a point that is not, for readers that know no indices.
        placed = np.where(now[:, None], points[index], points[index, np.argmax(now)])
        steps = np.round((placed - center) / step).clip(-_LARGEST, _LARGEST).astype(np.int16)
        primitive: dict[str, Any] = {
            "attributes": {"POSITION": buffer.add(steps, "vertex", bounds=True), "COLOR_0": colors},
            "material": 0,
            "mode": 0,
        }
        if not now.all():
            kind = np.uint16 if len(now) <= _SHORT_INDICES else np.uint32
            primitive["indices"] = buffer.add(np.flatnonzero(now).astype(kind), "index")
        nodes[index]["children"] = [len(nodes)]
        nodes.append(
            {
                "name": f"points_{time:04d}",
                "mesh": len(meshes),
                "translation": center.tolist(),
                "scale": [step] * 3,
            }
        )
        meshes.append({"name": f"points_{time:04d}", "primitives": [primitive]})
    return step / 2


def _near(cloud: MovingCloud) -> np.ndarray:
    """Which points, at which times, are not absurdly far away."""
    distance = np.linalg.norm(cloud.points, axis=-1)
    typical = float(np.median(distance[cloud.usable])) if cloud.usable.any() else 0.0
    return distance <= _FARTHEST_MEDIANS * typical


def _add_toggle(
    buffer: GltfBuffer,
    animation: dict[str, Any],
    *,
    node: int,
    index: int,
    shown_s: Float[np.ndarray, " moment"],
) -> None:
    """Show a node from its time on until the next one begins."""
    last = index == len(shown_s) - 2
    moments = [shown_s[index], shown_s[index + 1]]
    scales = [1.0, 1.0 if last else 0.0]
    if index:
        moments, scales = [shown_s[0], *moments], [0.0, *scales]
    _add_channel(
        buffer,
        animation,
        node=node,
        path="scale",
        moments=np.array(moments),
        values=np.repeat(np.array(scales)[:, None], 3, axis=1),
        interpolation="STEP",
    )


def _add_cameras(
    buffer: GltfBuffer,
    rec: Reconstruction,
    *,
    times: list[int],
    nodes: list[dict[str, Any]],
    animation: dict[str, Any],
    shown_s: Float[np.ndarray, " moment"],
) -> list[dict[str, Any]]:
    """Add a node for the camera of every time and, if there are several, one that goes along.

    glTF cameras have central principal points; where ours is elsewhere, `extras` says so.
    """
    positions, quaternion_xyzw = y_up_cameras(rec, times)
    near = 0.01 * typical_depth(rec.own_time_depth[times])
    cameras = []
    for index, time in enumerate(times):
        height, width = (float(side) for side in rec.frames.picture_hw[time])
        focal_x, focal_y = rec.intrinsics[time, 0, 0], rec.intrinsics[time, 1, 1]
        perspective = {
            "yfov": float(2 * np.arctan(height / 2 / focal_y)),
            "aspectRatio": float((width / focal_x) / (height / focal_y)),
            "znear": near,
        }
        extras = {"intrinsics": rec.intrinsics[time].tolist(), "image_hw": [height, width]}
        cameras.append({"type": "perspective", "perspective": perspective, "extras": extras})
        nodes.append(
            {
                "name": f"camera_{time:04d}",
                "camera": index,
                "translation": positions[index].tolist(),
                "rotation": quaternion_xyzw[index].tolist(),
            }
        )
    if len(times) > 1:
        for path, values in (("translation", positions), ("rotation", quaternion_xyzw)):
            _add_channel(
                buffer,
                animation,
                node=len(nodes),
                path=path,
                moments=shown_s[:-1],
                values=values,
                interpolation="LINEAR",
            )
        nodes.append({**nodes[-len(times)], "name": "camera"})
    return cameras


def _add_channel(
    buffer: GltfBuffer,
    animation: dict[str, Any],
    *,
    node: int,
    path: str,
    moments: Float[np.ndarray, " key"],
    values: Float[np.ndarray, "key value"],
    interpolation: str,
) -> None:
    """Animate one property of a node."""
    sampler = {
        "input": buffer.add(moments.astype(np.float32), "animation", bounds=True),
        "output": buffer.add(values.astype(np.float32), "animation"),
        "interpolation": interpolation,
    }
    target = {"node": node, "path": path}
    animation["channels"].append({"sampler": len(animation["samplers"]), "target": target})
    animation["samplers"].append(sampler)
