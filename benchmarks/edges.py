"""How near edges of depth maps are to the truth, coarse and finer (docs/notes/refinement.md).

    python benchmarks/edges.py [CLIPS] [--model nano] [--clips 12] [--seed 1000810000]

CLIPS is a folder of clips with truth (docs/scoring.md); without it, clips of the data engine of
336 x 448 (every third upright), six frames, difficulties .2, .5, .8 and 1 in turn. Each is
reconstructed with and without refinement. Compared are the network's own maps, read at the nearest
pixel and bilinearly (inverse depth), and the finer ones, at all pixels that have truth, by the
own-time EPE under one scale for all frames, and by the mean error of the logarithm of depth, each
frame by its median. "Edge" is within 3 pixels (of 256) of where neighbours' inverse depths differ
by 8 % and three times more than beside them. Crispness is the share of true steps there that a map
makes within 4 pixels (of 448; on coarser truth within two of its pixels).
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dynapoint.evaluation.metrics import normalised_errors
from dynapoint.inference.finer import FINE_SIDE
from dynapoint.inference.pipeline import reconstruct
from dynapoint.inference.refining import small_pictures
from dynapoint.models.catalog import load_model
from dynapoint.refinement.finer import finer_maps
from dynapoint.refinement.setting import Answer
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

SIZES, FRAMES = ((336, 448), (336, 448), (448, 336)), 6
DIFFICULTIES = (0.2, 0.5, 0.8, 1.0)
_STEP, _STEEPER, _NEAR_PX, _NEAR_OF = 0.08, 3.0, 3, 256


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Pictures, own-time points in the world and cameras."""

    images: np.ndarray
    points: np.ndarray
    poses: np.ndarray


def rendered(folder: Path) -> Iterator[Clip]:
    """Clips of a folder."""
    for clip in sorted(folder.iterdir()):
        truth = np.load(clip / "gt.npz")
        files = sorted(clip.glob("rgb_*"))[: len(truth["points"])]
        yield Clip(
            images=np.stack([np.array(Image.open(file)) for file in files]),
            points=np.stack([truth["points"][i, i] for i in range(len(files))]).astype(float),
            poses=truth["world_from_camera"].astype(float),
        )


def made(seed: int, count: int) -> Iterator[Clip]:
    """Clips of the data engine."""
    for index in range(count):
        hw = SIZES[index % len(SIZES)]
        config = SceneConfig(frames=FRAMES, difficulty=DIFFICULTIES[index % len(DIFFICULTIES)])
        scene = random_scene(seed + index, config, aspect=hw[1] / hw[0])
        clip = render_clips([scene], image_hw=hw, seed=seed + index)
        every = torch.arange(FRAMES)[None]
        own = [clip.points(every[:, [i]], every[:, [i]])[0, 0, 0].numpy() for i in range(FRAMES)]
        yield Clip(
            images=clip.images[0].numpy(),
            points=np.stack(own).astype(float),
            poses=clip.world_from_camera[0].double().numpy(),
        )


def depth_of(points: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Along the cameras' axes."""
    return np.stack(
        [(p - pose[:3, 3]) @ pose[:3, 2] for p, pose in zip(points, poses, strict=True)]
    )


def edges_of(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels beside a step of one frame's true depth, and those near them."""
    import cv2  # noqa: PLC0415 - slow to import.

    inverse = np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0.0)
    beside = np.zeros(depth.shape, bool)
    for along, mark in ((inverse, beside), (inverse.T, beside.T)):
        step = np.abs(np.diff(along, axis=0))
        larger = np.maximum(np.maximum(along[1:], along[:-1]), 1e-9)
        padded = np.pad(step, ((1, 1), (0, 0)), mode="edge")
        around = np.minimum(padded[:-2], padded[2:])
        jump = (step / larger > _STEP) & (step > _STEEPER * around)
        mark[:-1] |= jump
        mark[1:] |= jump
    reach = round(_NEAR_PX * max(depth.shape) / _NEAR_OF)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return beside, beside if reach < 2 else cv2.dilate(beside.astype(np.uint8), disc) > 0


def crispness(found: np.ndarray, true: np.ndarray, beside: np.ndarray) -> tuple[float, float]:
    """How much of true steps of log depth a map makes within few pixels, and how much they are."""
    half = 2 if max(true.shape) > 100 else 1
    made_, all_ = 0.0, 0.0
    for ours, truth, mark in ((found, true, beside), (found.T, true.T, beside.T)):
        step = truth[2 * half :] - truth[: -2 * half]
        ours_step = ours[2 * half :] - ours[: -2 * half]
        used = mark[half:-half] & np.isfinite(step) & (np.abs(step) > 0.1)
        size = np.abs(step[used])
        made_ += float(np.clip(np.sign(step[used]) * ours_step[used], -size, size).sum())
        all_ += float(size.sum())
    return made_, all_


def coarse_answer(rec: Reconstruction) -> Answer:
    """A reconstruction with maps of the network's own size."""
    given = {"world_from_camera": rec.world_from_camera, "intrinsics": rec.map_intrinsics}
    finer = rec.decoder._placed.finer  # type: ignore[attr-defined]
    if finer is None:
        return Answer(points=rec.own_time_points, confidence=rec.own_time_confidence, **given)
    points = finer.points.numpy()
    less = [points.shape[2] / rec.map_hw[1], points.shape[1] / rec.map_hw[0], 1]
    given["intrinsics"] = np.diag(less) @ rec.map_intrinsics
    return Answer(points=points, confidence=np.ones(points.shape[:3], np.float32), **given)


def compared(rec: Reconstruction) -> dict[str, np.ndarray]:
    """Own-time maps: the network's size, the finer size by interpolation, and finer ones."""
    import cv2  # noqa: PLC0415 - slow to import.

    coarse = coarse_answer(rec)
    fine = rec.own_time_points
    if fine is coarse.points:
        pictures = small_pictures(rec.frames, rec.pixel_map, side=FINE_SIDE)
        fine = finer_maps(pictures, coarse)[0].points
    height, width = fine.shape[1:3]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    between = np.empty(fine.shape)
    for frame, pose in enumerate(rec.world_from_camera):
        lens = np.diag([width / coarse.map_hw[1], height / coarse.map_hw[0], 1])
        lens = lens @ coarse.intrinsics[frame]
        depth = 1 / cv2.resize(1 / coarse.depth[frame], (width, height))
        ray = np.stack(
            [(x - lens[0, 2]) / lens[0, 0], (y - lens[1, 2]) / lens[1, 1], x * 0 + 1], -1
        )
        between[frame] = (ray * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
    return {
        "nearest": coarse.points.astype(float),
        "bilinear": between,
        "finer": fine.astype(float),
    }


def row_of(points: np.ndarray, poses: np.ndarray, clip: Clip) -> list[float]:
    """EPE and error of log depth near edges and away, and crispness."""
    height, width = clip.points.shape[1:3]
    rows = ((np.arange(height) + 0.5) * points.shape[1] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * points.shape[2] / width).astype(int)
    found = points[:, rows][:, :, columns]
    with np.errstate(all="ignore"):
        true_log = np.log(depth_of(clip.points, clip.poses))
        found_log = np.log(depth_of(found, poses))
    known = np.isfinite(true_log) & np.isfinite(clip.points).all(axis=-1)
    error = np.zeros(known.shape)
    error[known] = normalised_errors(clip.points[known], found[known])
    near, crisp = np.zeros_like(known), np.zeros(2)
    for frame, depth in enumerate(depth_of(clip.points, clip.poses)):
        beside, near[frame] = edges_of(np.nan_to_num(depth))
        crisp += crispness(found_log[frame], true_log[frame], beside)
    off = found_log - true_log
    off -= np.array([np.median(o[k]) for o, k in zip(off, known, strict=True)])[:, None, None]
    edge, away = known & near, known & ~near
    apart = [error[edge], error[away], np.abs(off[edge]), np.abs(off[away])]
    return [*(float(each.mean()) for each in apart), crisp[0] / max(crisp[1], 1e-9)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1_000_810_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, table = load_model(options.model), {}
    clips = rendered(options.folder) if options.folder else made(options.seed, options.clips)
    for clip in clips:
        for refine in (False, True):
            rec = reconstruct(clip.images, network, refine=refine)
            for name, points in compared(rec).items():
                row = row_of(points, rec.world_from_camera, clip)
                table.setdefault((refine, name), []).append(row)
    print("refined maps      EPE edge  away   log depth edge  away   crispness")
    for (refine, name), found in table.items():
        edge, away, log_edge, log_away, crisp = np.mean(found, axis=0)
        print(
            f"{'yes' if refine else 'no':7} {name:9} {edge:8.4f} {away:.4f} {log_edge:14.4f} "
            f"{log_away:.4f} {crisp:8.3f}"
        )


if __name__ == "__main__":
    main()
