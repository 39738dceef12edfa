"""Answers of a scene as files: any result's arrays as NPZ, tracks as lines in a PLY."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from dynapoint.exports.clouds import Cloud
from dynapoint.exports.outputs import export_file, with_suffix
from dynapoint.exports.ply import ply_bytes
from dynapoint.reductions.fusion import FusedCloud
from dynapoint.results.colors import hue_colors

_TRACK_VERTEX = np.dtype(
    [
        *((axis, "<f4") for axis in "xyz"),
        *((channel, "u1") for channel in ("red", "green", "blue")),
        ("time", "<i4"),
        ("track", "<i4"),
    ]
)


def write_arrays(result: Any, path: Path, *, overwrite: bool) -> Path:
    """Write the fields of a result, a dataclass of arrays and numbers, as a compressed NPZ.

    Returns:
        The file written: `path`, with `.npz` where its name does not end so.

    Raises:
        OutputError: `path` exists or cannot be written.
    """
    arrays = {field.name: np.asarray(getattr(result, field.name)) for field in fields(result)}
    with export_file(path, ".npz", overwrite=overwrite) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return with_suffix(path, ".npz")


def write_fused_cloud(cloud: FusedCloud, path: Path, *, overwrite: bool) -> Path:
    """Write a fused cloud as PLY: points, colours and confidence.

    Raises:
        OutputError: `path` exists or cannot be written.
    """
    colored = Cloud(
        points=np.asarray(cloud.points),
        colors=np.asarray(cloud.colors),
        confidence=np.asarray(cloud.confidence),
    )
    with export_file(path, ".ply", overwrite=overwrite) as partial:
        partial.write_bytes(ply_bytes(colored, "frames fused"))
    return with_suffix(path, ".ply")


def write_track_lines(
    points: Float[np.ndarray, "time track xyz=3"],
    drawn: Bool[np.ndarray, "time track"],
    path: Path,
    *,
    overwrite: bool,
) -> Path:
    """Write tracks as a PLY of vertices and edges, one colour a track; MeshLab draws the lines.

    Args:
        points: In the world (OpenCV axes), scene units.
        drawn: Which points to write; an edge joins two successive times that both are.
        path: `.ply` is appended where its name does not end so.
        overwrite: Replace a file that is there.

    Raises:
        OutputError: `path` exists or cannot be written.
    """
    times, tracks = drawn.shape
    index = np.full(drawn.shape, -1, dtype=np.int32)
    index[drawn] = np.arange(np.count_nonzero(drawn), dtype=np.int32)
    vertices = np.empty(np.count_nonzero(drawn), dtype=_TRACK_VERTEX)
    for axis in range(3):
        vertices["xyz"[axis]] = points[..., axis][drawn]
    colors = hue_colors(np.arange(tracks) / max(1, tracks))
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = np.broadcast_to(colors[:, channel], drawn.shape)[drawn]
    vertices["time"] = np.broadcast_to(np.arange(times)[:, None], drawn.shape)[drawn]
    vertices["track"] = np.broadcast_to(np.arange(tracks), drawn.shape)[drawn]
    joined = drawn[:-1] & drawn[1:]
    edges = np.stack([index[:-1][joined], index[1:][joined]], axis=1).astype("<i4")
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment written by dynapoint; tracks; world: x right, y down, z forward; scene units",
        f"element vertex {len(vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        "property int time",
        "property int track",
        f"element edge {len(edges)}",
        "property int vertex1",
        "property int vertex2",
        "end_header",
    ]
    with export_file(path, ".ply", overwrite=overwrite) as partial:
        text = "\n".join(header) + "\n"
        partial.write_bytes(text.encode("ascii") + vertices.tobytes() + edges.tobytes())
    return with_suffix(path, ".ply")
