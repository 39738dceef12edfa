"""PLY (Stanford polygon format, binary little endian): clouds for MeshLab, CloudCompare, Open3D."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from dynapoint.exports.clouds import Cloud, fused_cloud, own_time_cloud, units
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file, export_folder
from dynapoint.progress import steps
from dynapoint.results.reconstruction import Reconstruction

# What all vertices are: a place and a colour.
COLORED_PLACE = [
    *((axis, "<f4") for axis in "xyz"),
    *((channel, "u1") for channel in ("red", "green", "blue")),
]
_VERTEX = np.dtype([*COLORED_PLACE, ("confidence", "<f4")])
_AXES = "camera of frame 0; x right, y down, z forward"
_TYPES = {"<f4": "float", "|u1": "uchar", "<i4": "int"}


def write_ply(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write points, colours (sRGB, as images have them) and confidence.

    With `options.time`, one file: the pixels of all frames at that time, fused. Without, a folder
    with a file per time, `time_0000.ply` and so on: each frame's pixels at its own time.
    Positions are in the world as it is (OpenCV axes: image-up is -y), which a comment in the file
    says, because PLY has no axes of its own.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    if options.time is not None:
        time = options.times(rec)[0]
        with export_file(path, ".ply", overwrite=options.overwrite) as partial:
            partial.write_bytes(
                ply_bytes(fused_cloud(rec, time, options), _moment(rec, time), unit=units(rec))
            )
        return
    with export_folder(path, "ply", overwrite=options.overwrite, note=rec.frames.note) as folder:
        for time in steps(options.times(rec), "clouds", wanted=rec.progress):
            cloud = own_time_cloud(rec, time, options)
            (folder / f"time_{time:04d}.ply").write_bytes(
                ply_bytes(cloud, _moment(rec, time), unit=units(rec))
            )


def _moment(rec: Reconstruction, time: int) -> str:
    """A time in words."""
    return f"time {time}, {rec.timestamps_s[time]:.6f} s"


def ply_bytes(cloud: Cloud, moment: str, *, axes: str = _AXES, unit: str = "scene units") -> bytes:
    """A cloud as the content of a file, whose comments say of which time it is and what axes."""
    vertices = colored_vertices(cloud.points, cloud.colors, _VERTEX)
    vertices["confidence"] = cloud.confidence
    comments = [f"written by dynapoint; {moment}", f"world: {axes}; {unit}"]
    return ply_header(comments, vertex=(len(vertices), _VERTEX)) + vertices.tobytes()


def ply_header(comments: Sequence[str], **elements: tuple[int, np.dtype]) -> bytes:
    """What stands before the data; each kind of element is how many there are, and of what."""
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {words}" for words in comments)]
    for kind, (count, record) in elements.items():
        lines.append(f"element {kind} {count}")
        lines += [f"property {_TYPES[record[name].str]} {name}" for name in record.names or ()]
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")


def colored_vertices(
    points: Float[np.ndarray, "point xyz=3"],
    colors: UInt8[np.ndarray, "point rgb=3"],
    record: np.dtype,
) -> Shaped[np.ndarray, " point"]:
    """Records that begin as `COLORED_PLACE` does, with that filled in."""
    vertices = np.empty(len(points), dtype=record)
    for values, names in ((points, "xyz"), (colors, ("red", "green", "blue"))):
        for column, name in enumerate(names):
            vertices[name] = values[:, column]
    return vertices
