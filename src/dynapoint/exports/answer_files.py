"""Answers of a scene as files: any result's arrays as NPZ, tracks as lines in a PLY."""

from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from dynapoint.exports.clouds import Cloud
from dynapoint.exports.outputs import export_file, with_suffix
from dynapoint.exports.ply import COLORED_PLACE, colored_vertices, ply_bytes, ply_header
from dynapoint.reductions.fusion import FusedCloud
from dynapoint.results.colors import hue_colors

_TRACK_VERTEX = np.dtype([*COLORED_PLACE, ("time", "<i4"), ("track", "<i4")])
_EDGE = np.dtype([("vertex1", "<i4"), ("vertex2", "<i4")])


def write_arrays(result: Any, path: Path, *, overwrite: bool) -> Path:
    """Write the fields of a result, a dataclass of arrays and numbers, as a compressed NPZ.

    What is None is left out.

    Returns:
        The file written: `path`, with `.npz` where its name does not end so.

    Raises:
        OutputError: `path` exists or cannot be written.
    """
    found = {field.name: getattr(result, field.name) for field in fields(result)}
    arrays = {name: np.asarray(value) for name, value in found.items() if value is not None}
    with export_file(path, ".npz", overwrite=overwrite) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return with_suffix(path, ".npz")


def write_fused_cloud(cloud: FusedCloud[np.ndarray], path: Path, *, overwrite: bool) -> Path:
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
    header = ply_header(
        ["written by dynapoint; tracks; world: x right, y down, z forward; scene units"],
        vertex=(int(np.count_nonzero(drawn)), _TRACK_VERTEX),
        edge=(int(np.count_nonzero(drawn[:-1] & drawn[1:])), _EDGE),
    )
    with export_file(path, ".ply", overwrite=overwrite) as partial, partial.open("wb") as file:
        file.write(header)
        colors = hue_colors(np.arange(drawn.shape[1]) / max(1, drawn.shape[1]))
        # Time by time: vertices and edges of all pixels of a long clip are large.
        for time, (places, here) in enumerate(zip(points, drawn, strict=True)):
            file.write(_vertices(places, here, colors, time).data)
        first = 0
        for here, there in pairwise(drawn):
            both, middle = here & there, first + int(np.count_nonzero(here))
            ends = first + np.cumsum(here)[both] - 1, middle + np.cumsum(there)[both] - 1
            file.write(np.stack(ends, axis=1).astype("<i4").data)
            first = middle
    return with_suffix(path, ".ply")


def _vertices(
    points: Float[np.ndarray, "track xyz=3"],
    drawn: Bool[np.ndarray, " track"],
    colors: UInt8[np.ndarray, "track rgb=3"],
    time: int,
) -> np.ndarray:
    """The vertices of one time."""
    vertices = colored_vertices(points[drawn], colors[drawn], _TRACK_VERTEX)
    vertices["time"], vertices["track"] = time, np.flatnonzero(drawn)
    return vertices
