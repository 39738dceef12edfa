"""What windows cost against one pass over all frames, on clips that a network can take at once.

    python benchmarks/long_against_one_pass.py SOURCE [--window 24 --overlap 8] [-o numbers.json]

SOURCE is a video, or a folder of real pictures with true cameras and depth
(`evaluation.real_folders`): then both are compared with the truth too. Without the truth, one pass
takes its place, though it is no truth. Rotation is in degrees, to the first frame. Positions are
compared after the similarity that fits them best, in per cent of the median depth; depth after one
scale for the clip; points of the first frame at later times in the camera of the time, after the
same scale, in per cent of their depth.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import dynapoint
from dynapoint.evaluation.real_folders import RealClip, read_real_clip
from dynapoint.evaluation.trajectory import aligned_path
from dynapoint.geometry.arrays import points_in_camera, rotation_angle_rad
from dynapoint.results.reconstruction import Reconstruction


def depth_of(rec: Reconstruction, frame: int) -> np.ndarray:
    """Depth of every pixel of a frame's map."""
    points = np.asarray(rec.own_time_points[frame], dtype=np.float64)
    return points_in_camera(points, rec.world_from_camera[frame].astype(np.float64))[..., 2]


def cameras_apart(reference: np.ndarray, said: np.ndarray, depth: float) -> dict[str, float]:
    """How two camera paths differ; depth in the unit of the first."""
    moved, _ = aligned_path(reference, said)
    way = np.linalg.norm(moved[:, :3, 3] - reference[:, :3, 3], axis=-1)
    first = [np.linalg.inv(poses[0, :3, :3]) @ poses[:, :3, :3] for poses in (reference, said)]
    turn = np.degrees(rotation_angle_rad(*first))
    return {
        "rotation, mean °": float(turn.mean()),
        "rotation, largest °": float(turn.max()),
        "ATE, % of depth": 100 * float(np.sqrt((way**2).mean())) / depth,
    }


def against_truth(truth: RealClip, rec: Reconstruction) -> dict[str, float]:
    """A reconstruction against what was measured."""
    assert truth.world_from_camera is not None and truth.depth is not None
    true, said = [], []
    for frame in range(rec.frame_count):
        found = depth_of(rec, frame)
        rows, columns = (
            ((np.arange(count) + 0.5) * full / count).astype(int)
            for count, full in zip(found.shape, truth.depth.shape[1:], strict=True)
        )
        measured = truth.depth[frame][np.ix_(rows, columns)]
        good = (measured > 0) & (found > 0)
        true.append(measured[good].astype(np.float64))
        said.append(found[good])
    # Of the folders here a metre is 5000.
    deep, found = np.concatenate(true) / 5000, np.concatenate(said)
    scale = float(np.median(deep) / np.median(found))
    each = [abs(scale * s / (t / 5000) - 1).mean() for s, t in zip(said, true, strict=True)]
    moved = rec.world_from_camera.astype(np.float64)
    numbers = cameras_apart(truth.world_from_camera, moved, float(np.median(deep)))
    return {**numbers, "AbsRel %": 100 * float(np.mean(each))}


def apart(one: Reconstruction, windows: Reconstruction) -> dict[str, float]:
    """Windows against one pass."""
    cameras = [rec.world_from_camera.astype(np.float64) for rec in (one, windows)]
    depths = [
        np.stack([depth_of(rec, frame) for frame in range(rec.frame_count)])
        for rec in (one, windows)
    ]
    logs = np.log(np.maximum(depths[0], 1e-6)) - np.log(np.maximum(depths[1], 1e-6))
    scale = float(np.exp(np.median(logs)))
    numbers = cameras_apart(*cameras, float(np.median(depths[0])))
    numbers["depth %"] = 100 * float(np.median(abs(logs - np.log(scale))))
    for name, place in (("half-way", one.frame_count // 2), ("at the end", one.frame_count - 1)):
        first, second = (
            points_in_camera(np.asarray(rec.maps(frame=0, time=place)[0], np.float64), poses[place])
            for rec, poses in zip((one, windows), cameras, strict=True)
        )
        off = np.linalg.norm(first - scale * second, axis=-1) / abs(first[..., 2])
        numbers[f"points of frame 0 {name}, %"] = 100 * float(np.median(off))
        numbers[f"9 of 10 {name}, %"] = 100 * float(np.quantile(off, 0.9))
    return numbers


def told(label: str, numbers: dict[str, float]) -> None:
    """Print a row."""
    print(f"{label}: " + ", ".join(f"{name} {value:.2f}" for name, value in numbers.items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--window", type=int)
    parser.add_argument("--overlap", type=int)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    truth = read_real_clip(options.source, 10**6) if options.source.is_dir() else None
    source = options.source if truth is None else options.source / "images"
    most = 10**4 if truth is None else len(truth.images)
    said: dict = {"seconds": {}}
    sizes = {"windows": (options.window, options.overlap), "one pass": (most, 1)}
    results: dict[str, Reconstruction] = {}
    for label, (window, overlap) in sizes.items():
        clock = time.process_time()
        rec = dynapoint.reconstruct(source, "nano", frames="all", window=window, overlap=overlap)
        said["seconds"][label] = time.process_time() - clock
        results[label] = rec
        if truth is not None:
            said[label] = against_truth(truth, rec)
            told(f"{label} against the truth", said[label])
    said["apart"] = apart(results["one pass"], results["windows"])
    told("windows against one pass", said["apart"])
    print(json.dumps(said["seconds"]))
    if options.output:
        options.output.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
