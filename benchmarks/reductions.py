"""Every answer of a scene against the truth: with true maps in, and with the maps of networks.

    python benchmarks/reductions.py CLIPS -o table.json
        --rows truth nano V-DPM=runs/vdpm/weights.safetensors

CLIPS is a clip or a folder of clips with truth. A row is `truth`, a model's name, or LABEL=FILE for
weights of a small network, which sees all frames of a clip. All answer on the grid of the clip's
truth, through the methods of `Reconstruction`. Prints a line per measure with a column per row;
where two numbers stand, they are of pairs 2 and 8 frames apart. docs/reductions.md says what the
measures mean.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from dynapoint.evaluation.clips import TruthClip, find_clips, read_clip
from dynapoint.evaluation.metrics import (
    MATCH_RADIUS_PX,
    MOVING_FRACTION_OF_DISTANCE,
    normalised_errors,
    rotation_errors_deg,
    track_epe,
)
from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.results.reconstruction import Reconstruction

sys.path.insert(0, str(Path(__file__).parent))
from grid_scenes import network_scene, true_scene
from visibility import average_precision, calibration_error, in_view

PAIRS = {2: ((0, 2), (4, 6)), 8: ((0, 8), (1, 9))}
_MOVING, _NOTHING = 100, 255
_LEAST_PIXELS = 20
_ORDER = ("own", "focal", "camera", "object flow", "scene", "optical", "motion", "objects", "match")
# Fused points of movers that are farther than this share of the distance from where they belong.
_OFF_PLACE = 0.02


@dataclass
class Pool:
    """Sums over pairs and clips, and what is only known once all is there."""

    sums: dict[str, np.ndarray] = field(default_factory=lambda: defaultdict(lambda: np.zeros(2)))
    kept: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))

    def ratio(self, name: str, above: float, below: float = 1.0) -> None:
        """Adds to both sides of a ratio; of a mean over clips with 1 below."""
        if np.isfinite(above):
            self.sums[name] += above, below

    def keep(self, name: str, *values: np.ndarray) -> None:
        """Keeps rows of values until the end."""
        self.kept[name].append(np.stack([np.asarray(value, np.float64) for value in values]))

    def results(self) -> dict[str, float]:
        """All measures by their names."""
        found = {name: float(above / below) for name, (above, below) in self.sums.items() if below}
        for name, parts in self.kept.items():
            values = np.concatenate(parts, axis=1)
            if len(values) == 1:
                found[f"{name}, median"] = float(np.median(values[0]))
                found[f"{name}, 95 %"] = float(np.percentile(values[0], 95))
                continue
            score, truth = values[0], values[1] > 0.5
            called = score > 0.5
            right = float((called & truth).sum())
            found[f"{name}, AP"] = average_precision(score, truth)
            found[f"{name}, precision"] = right / max(float(called.sum()), 1.0)
            found[f"{name}, recall"] = right / max(float(truth.sum()), 1.0)
            found[f"{name}, IoU"] = right / max(float((called | truth).sum()), 1.0)
            found[f"{name}, ECE"] = calibration_error(score, values[1])
        return found


def moving_bodies(clip: TruthClip) -> np.ndarray:
    """Pixels of every frame that show a body that moves."""
    return (clip.instance >= _MOVING) & (clip.instance != _NOTHING)


def known(clip: TruthClip) -> np.ndarray:
    """Pixels of every frame that have a true point at all times."""
    return np.isfinite(clip.points).all(axis=(0, -1))


def displacement(clip: TruthClip, i: int, j: int) -> np.ndarray:
    """How the points of frame i move until time j."""
    return (clip.points[j, i] - clip.points[i, i]).astype(np.float64)


def moved(clip: TruthClip, i: int, j: int) -> np.ndarray:
    """Pixels of frame i whose points move by more than 1 % of the median distance until time j."""
    distance = np.linalg.norm(clip.points[i, i][known(clip)[i]], axis=-1)
    least = MOVING_FRACTION_OF_DISTANCE * float(np.median(distance))
    return known(clip)[i] & (np.linalg.norm(displacement(clip, i, j), axis=-1) > least)


def directions() -> Iterator[tuple[int, int, int]]:
    """Margin, frame and the other frame, both ways."""
    for margin, pairs in PAIRS.items():
        for i, j in pairs:
            yield margin, i, j
            yield margin, j, i


def length(vectors: np.ndarray) -> np.ndarray:
    """Euclidean, in float64."""
    return np.linalg.norm(vectors.astype(np.float64), axis=-1)


def measure_cameras(clip: TruthClip, rec: Reconstruction, pool: Pool) -> None:
    focal = {"fitted": rec.fit_intrinsics().intrinsics, "network": rec.intrinsics}
    for name, intrinsics in focal.items():
        error = np.median(intrinsics[:, 0, 0]) / clip.intrinsics[0, 0] - 1
        pool.ratio(f"focal length, {name}, error %", 100 * abs(float(error)))
    own = range(clip.frame_count)
    camera = np.linalg.inv(clip.world_from_camera)[:, None, None, :3] @ np.concatenate(
        [clip.points[own, own], np.ones_like(clip.points[own, own][..., :1])], axis=-1
    )[..., None].astype(np.float64)
    depth = float(np.nanmedian(camera[..., 2, 0]))
    cameras = {
        "PnP": rec.camera_motion().world_from_camera,
        "Procrustes": rec.camera_motion_by_procrustes().world_from_camera,
        "network": rec.world_from_camera,
    }
    for name, world_from_camera in cameras.items():
        poses = np.linalg.inv(world_from_camera[0]) @ world_from_camera.astype(np.float64)
        turned = rotation_errors_deg(clip.world_from_camera, poses)[1:]
        shifted = length(poses[1:, :3, 3] - clip.world_from_camera[1:, :3, 3]) / depth
        pool.ratio(f"camera, {name}, rotation °", float(np.median(turned)))
        pool.ratio(f"camera, {name}, translation / depth", float(np.median(shifted)))


def measure_flow(clip: TruthClip, rec: Reconstruction, pool: Pool) -> None:
    for margin, i, j in directions():
        use, moves = known(clip)[i], moved(clip, i, j)
        true = displacement(clip, i, j)
        found = rec.object_flow(frame=i, to_time=j).flow
        error = length(found - true)
        pool.ratio(
            f"object flow, motion ratio m{margin}", error[moves].sum(), length(true)[moves].sum()
        )
        still = use & ~moves
        distance = length(clip.points[i, i][use]).mean()
        pool.ratio(f"object flow, leak m{margin}", length(found[still]).mean() / distance)
        start, end = (
            points_in_camera(clip.points[t, i].astype(np.float64), clip.world_from_camera[t])
            for t in (i, j)
        )
        error = length(rec.scene_flow(frame=i, to_time=j).flow - (end - start))[use] / start[use, 2]
        pool.ratio(f"scene flow, error / depth m{margin}", error.sum(), use.sum())
        whole = length(end - start)[use] / start[use, 2]
        pool.ratio(f"scene flow, true length / depth m{margin}", whole.sum(), use.sum())
        pixel = clip.grid_xy.reshape(*use.shape, 2)
        true_px = project(end, clip.intrinsics) - pixel
        seen = use & clip.visible[j, i]
        found_px = rec.optical_flow(frame=i, to_time=j).flow_px
        error = length(found_px - true_px)[seen]
        pool.ratio(f"optical flow, error px m{margin}", error.sum(), seen.sum())
        pool.ratio(f"optical flow, error grid px m{margin}", error.sum() / clip.stride, seen.sum())
        pool.ratio(
            f"optical flow, true length px m{margin}", length(true_px)[seen].sum(), seen.sum()
        )


def measure_segmentation(clip: TruthClip, rec: Reconstruction, pool: Pool) -> None:
    # Bodies that move by less than 1 % between two times count neither way.
    bodies = moving_bodies(clip)
    for margin, i, j in directions():
        moves = moved(clip, i, j)
        clear = known(clip)[i] & (moves | ~bodies[i])
        probability = rec.motion_between(frame=i, to_time=j).probability
        pool.keep(f"motion of a pair m{margin}", probability[clear], moves[clear])
    for i in range(clip.frame_count):
        far = np.any([moved(clip, i, t) for t in range(clip.frame_count)], axis=0)
        clear = known(clip)[i] & (far | ~bodies[i])
        pool.keep("motion of the clip", rec.motion(frame=i).probability[clear], far[clear])


def measure_objects(clip: TruthClip, rec: Reconstruction, pool: Pool) -> None:
    found = rec.objects().instance
    numbers = np.unique(clip.instance[moving_bodies(clip)])
    bodies = [n for n in numbers if (clip.instance == n).sum() >= _LEAST_PIXELS]
    for number in bodies:
        true = clip.instance == number
        overlaps = [
            (true & (found == n)).sum() / (true | (found == n)).sum()
            for n in np.unique(found[true])
            if n > 0
        ]
        pool.ratio("objects, best IoU", float(max(overlaps, default=0.0)))
    pool.ratio("objects, found / true", float(found.max()), len(bodies))


def measure_matches(clip: TruthClip, rec: Reconstruction, pool: Pool) -> None:
    for margin, i, j in directions():
        found = rec.match(frame=i, to_frame=j)
        camera = points_in_camera(clip.points[j, i].astype(np.float64), clip.world_from_camera[j])
        off = length(np.nan_to_num(found.xy_px - project(camera, clip.intrinsics), nan=np.inf))
        seen = known(clip)[i] & clip.visible[j, i]
        right = seen & (off <= MATCH_RADIUS_PX)
        moving = seen & moved(clip, i, j)
        pool.ratio(f"match, recall m{margin}", right.sum(), seen.sum())
        pool.ratio(f"match, recall moving m{margin}", (right & moving).sum(), moving.sum())
        said = found.valid & found.mutual & known(clip)[i]
        pool.ratio(f"match, precision m{margin}", (right & said).sum(), said.sum())
        pool.ratio(f"match, said m{margin}", (said & seen).sum(), seen.sum())


def measure_tracks(clip: TruthClip, rec: Reconstruction, pool: Pool) -> None:
    for frame in range(clip.frame_count):
        track = rec.track(frame=frame)
        if frame == 0:
            true = clip.points[:, 0].reshape(clip.frame_count, -1, 3).astype(np.float64)
            pool.ratio("tracks, EPE", track_epe(true, track.points.astype(np.float64)))
        for at in range(clip.frame_count):
            if at == frame:
                continue
            asked = in_view(clip, at, frame) & known(clip)[frame].ravel()
            hidden = ~clip.visible[at, frame].ravel()[asked]
            pool.keep("tracks, hidden", 1 - track.visible[at, asked], hidden)


def measure_rigid(clip: TruthClip, rec: Reconstruction, pool: Pool) -> None:
    for frame in (0, 5):
        for number in np.unique(clip.instance[frame][moving_bodies(clip)[frame]]):
            mask = (clip.instance[frame] == number) & known(clip)[frame]
            if mask.sum() < _LEAST_PIXELS:
                continue
            found = rec.rigid_object(frame=frame, mask=mask)
            points = rec.own_time_points[frame][mask].astype(np.float64)
            for at in range(clip.frame_count):
                pose = np.nan_to_num(found.target_from_source[at].astype(np.float64))
                true = displacement(clip, frame, at)[mask]
                motion = points @ pose[:3, :3].T + pose[:3, 3] - points
                raw = rec.object_flow(frame=frame, to_time=at).flow[mask]
                whole = length(true).sum()
                pool.ratio("rigid object, motion ratio", length(motion - true).sum(), whole)
                pool.ratio("rigid object, of its maps", length(raw - true).sum(), whole)


def measure_clouds(clip: TruthClip, rec: Reconstruction, pool: Pool) -> None:
    bodies, use = moving_bodies(clip), known(clip)
    for at in (0, 5):
        cloud = rec.fuse(time=at)
        pixel = (cloud.frame, cloud.row, cloud.column)
        true = clip.points[at][use].astype(np.float64)
        eye = clip.world_from_camera[at, :3, 3]
        apart, nearest = KDTree(true).query(cloud.points)
        real = use[pixel]
        pool.keep("fusion, off surface / distance", (apart / length(true[nearest] - eye))[real])
        of_mover = real & bodies[pixel]
        true = clip.points[at][use & bodies].astype(np.float64)
        apart, nearest = KDTree(true).query(cloud.points[of_mover])
        off = apart / length(true[nearest] - eye) > _OFF_PLACE
        pool.ratio("fusion, movers off place", off.sum(), off.size)
        pool.ratio("fusion, points / pixels", len(cloud.points), use.sum())
    cloud = rec.background()
    pixel = (cloud.frame, cloud.row, cloud.column)
    pool.ratio("background, movers in it", (use & bodies)[pixel].sum(), use[pixel].sum())
    pool.ratio("background, movers in the clip", (use & bodies).sum(), use.sum())
    pool.ratio("self-check, grade", rec.self_check().grade)
    own = range(clip.frame_count)
    pairs = (maps[use].astype(np.float64) for maps in (clip.points[own, own], rec.own_time_points))
    pool.ratio("own-time maps, EPE", float(normalised_errors(*pairs).mean()))


MEASURES: tuple[Callable[[TruthClip, Reconstruction, Pool], None], ...] = (
    measure_cameras,
    measure_flow,
    measure_segmentation,
    measure_objects,
    measure_matches,
    measure_tracks,
    measure_rigid,
    measure_clouds,
)


def score(row: str, clips: list[Path]) -> dict[str, float]:
    """All measures of one row, pooled over clips."""
    label, _, weights = row.partition("=")
    model: Any = None
    if label != "truth":
        from dynapoint.models.catalog import load_model  # noqa: PLC0415

        model = load_model(weights=weights) if weights else load_model(label)
    pool = Pool()
    for path in clips:
        clip = read_clip(path)
        rec = true_scene(clip) if model is None else network_scene(clip, model)
        for measure in MEASURES:
            start = time.process_time()
            measure(clip, rec, pool)
            spent = time.process_time() - start
            print(f"{label} {clip.name} {measure.__name__} {spent:.1f} s", file=sys.stderr)
    return pool.results()


def table(found: dict[str, dict[str, float]]) -> str:
    """Markdown: a line per measure, pairs 2 and 8 frames apart in one cell."""
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    place = {
        name: next((k for k, w in enumerate(_ORDER) if name.startswith(w)), 99) for name in names
    }
    names.sort(key=lambda name: (place[name], name.split(",")[0]))
    lines = ["| | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for name in names:
        if " m8" in name:
            continue
        cells = []
        for row in found.values():
            both = [name, name.replace(" m2", " m8")] if " m2" in name else [name]
            cells.append(" / ".join(f"{row[each]:.3g}" if each in row else "–" for each in both))
        lines.append(f"| {name.replace(' m2', '')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path)
    parser.add_argument("--rows", nargs="+", default=("truth", "nano", "dpm-nano"))
    parser.add_argument("--limit", type=int, help="only the first clips")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    clips = find_clips(options.clips)[: options.limit]
    # Rows that the file has already are not scored again.
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    for row in options.rows:
        label = row.partition("=")[0]
        if label not in found:
            found[label] = score(row, clips)
            options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
