"""Print what the data engine shows beside what real clips show: depth range, lens, motion, picture.

    python benchmarks/scene_statistics.py [--clips 100] [FOLDER ...] [FOLDER=z0 ...]

A folder holds clips with truth: `cameras.json` with `images` and `depth` (16-bit PNG) or `lidar`,
or one folder a clip in the format of `dynapoint synth` (`gt.npz`). An axis after `=` says which
axis of its world points up (`z`, `-y`), with a 0 after it if the ground lies at 0; without it pitch
and roll, or the height, are left out. Every cell holds the 10th, 50th and 90th percentile over
images (or over pairs of neighbouring frames).
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from dynapoint.evaluation.clips import TRUTH_FILE, find_clips, read_clip
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

LONGER_SIDE = 112
ROWS = {
    "log_depth": ("std of log depth", 1.0),
    "far_near": ("far / near (95 / 5 %)", 1.0),
    "fov": ("field of view across, °", 1.0),
    "fov_longer": ("field of view of the longer side, °", 1.0),
    "height": ("camera height / median depth", 1.0),
    "pitch": ("looking down, °", 1.0),
    "roll": ("roll (absolute), °", 1.0),
    "rotation": ("rotation per frame, °", 1.0),
    "translation": ("translation per frame / median depth, %", 100.0),
    "motion": ("image motion per frame, % of the width", 100.0),
    "moving": ("pixels moving, %", 100.0),
    "gradient": ("mean gradient", 1.0),
    "mean": ("mean brightness", 1.0),
    "spread": ("spread of brightness", 1.0),
}


@dataclass(frozen=True, kw_only=True)
class View:
    """One frame of a clip; what is not known is None."""

    image: UInt8[np.ndarray, "height width rgb=3"]
    depth: Float[np.ndarray, " point"]
    fov_deg: float
    world_from_camera: Float[np.ndarray, "4 4"] | None = None
    up: Float[np.ndarray, " xyz=3"] | None = None
    height: float | None = None
    # How far what is seen moves to the next frame, as shares of the image's width.
    motion: Float[np.ndarray, " point"] | None = None
    moving: float | None = None


def measure(clips: Iterator[list[View]]) -> dict[str, list[float]]:
    """Every statistic of every view, and of every pair of neighbouring views."""
    found: dict[str, list[float]] = defaultdict(list)
    for views in clips:
        for view in views:
            _measure_view(view, found)
        for view, after in pairwise(views):
            _measure_step(view, after, found)
    return found


def _measure_view(view: View, found: dict[str, list[float]]) -> None:
    depth = view.depth[np.isfinite(view.depth) & (view.depth > 0)]
    height, width = view.image.shape[:2]
    if len(depth) > 20:
        near, far = np.percentile(depth, [5, 95])
        found["log_depth"].append(float(np.log(depth).std()))
        found["far_near"].append(float(far / near))
        if view.height is not None:
            found["height"].append(view.height / float(np.median(depth)))
    found["fov"].append(view.fov_deg)
    half = np.tan(np.radians(0.5 * view.fov_deg)) * max(height, width) / width
    found["fov_longer"].append(float(np.degrees(2.0 * np.arctan(half))))
    if view.up is not None and view.world_from_camera is not None:
        x, y, z = view.up @ view.world_from_camera[:3, :3]
        found["pitch"].append(float(np.degrees(np.arcsin(np.clip(-z, -1.0, 1.0)))))
        found["roll"].append(float(np.degrees(abs(np.arctan2(x, -y)))))
    if view.moving is not None:
        found["moving"].append(view.moving)
    grey = view.image.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255.0
    steps = [np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)]
    found["gradient"].append(float(np.mean(steps)))
    found["mean"].append(float(grey.mean()))
    found["spread"].append(float(grey.std()))


def _measure_step(view: View, after: View, found: dict[str, list[float]]) -> None:
    if view.motion is not None and len(view.motion):
        found["motion"].append(float(np.median(view.motion)))
    if view.world_from_camera is None or after.world_from_camera is None:
        return
    step = np.linalg.inv(view.world_from_camera) @ after.world_from_camera
    cosine = np.clip(0.5 * (np.trace(step[:3, :3]) - 1.0), -1.0, 1.0)
    found["rotation"].append(float(np.degrees(np.arccos(cosine))))
    depth = np.nanmedian(view.depth)
    found["translation"].append(float(np.linalg.norm(step[:3, 3]) / depth))


def _shares_of_width(
    points: Float[np.ndarray, "point xyz=3"],
    later: Float[np.ndarray, "point xyz=3"],
    focal_per_width: float,
) -> Float[np.ndarray, " point"]:
    """How far points in camera axes move in the image, as shares of its width."""
    seen = np.isfinite(points).all(1) & (points[:, 2] > 0) & (later[:, 2] > 0)
    before, after = (p[seen, :2] / p[seen, 2:] for p in (points, later))
    return focal_per_width * np.linalg.norm(after - before, axis=1)


def engine_clips(
    *, difficulty: float, count: int, frames: int, image_hw: tuple[int, int]
) -> Iterator[list[View]]:
    """Clips of the data engine at a difficulty."""
    config = SceneConfig(frames=frames, difficulty=difficulty)
    height, width = image_hw
    for seed in range(count):
        scene = random_scene(seed, config, aspect=width / height)
        clip = render_clips([scene], image_hw=image_hw, seed=seed)
        every = torch.arange(frames)[None]
        points = clip.points(every, every)[0].double().numpy()
        poses = clip.world_from_camera[0].double().numpy()
        focal = float(clip.intrinsics[0, 0, 0, 0]) / width
        up, offset = scene.look.ground[:3].astype(np.float64), float(scene.look.ground[3])
        moving = clip.moving(every)[0].float().mean((1, 2))
        depth = clip.depth(every)[0].numpy()
        yield [
            View(
                image=clip.images[0, t].numpy(),
                depth=depth[t].ravel(),
                fov_deg=float(np.degrees(2.0 * np.arctan(0.5 / focal))),
                world_from_camera=poses[t],
                up=up,
                height=float(poses[t, :3, 3] @ up + offset),
                motion=_motion(points, poses, t, focal),
                moving=float(moving[t]),
            )
            for t in range(frames)
        ]


def _motion(
    points: Float[np.ndarray, "time frame height width xyz=3"],
    poses: Float[np.ndarray, "frame 4 4"],
    t: int,
    focal: float,
) -> Float[np.ndarray, " point"] | None:
    """Image motion of what frame `t` sees until the next frame, from exact world points."""
    if t + 1 >= len(poses):
        return None
    own, later = (
        (points[k, t].reshape(-1, 3) - poses[k, :3, 3]) @ poses[k, :3, :3] for k in (t, t + 1)
    )
    return _shares_of_width(own, later, focal)


def rendered_clips(folder: Path) -> Iterator[list[View]]:
    """Clips in the package's own format."""
    for path in find_clips(folder):
        clip = read_clip(path)
        focal = float(clip.intrinsics[0, 0]) / clip.image_hw[1]
        poses = clip.world_from_camera.astype(np.float64)
        views = []
        for t in range(clip.frame_count):
            own = (clip.points[t, t].reshape(-1, 3) - poses[t, :3, 3]) @ poses[t, :3, :3]
            instance = clip.instance[t]
            views.append(
                View(
                    image=_small(clip.images[t]),
                    depth=own[:, 2],
                    fov_deg=float(np.degrees(2.0 * np.arctan(0.5 / focal))),
                    world_from_camera=poses[t],
                    motion=_motion(clip.points, poses, t, focal),
                    moving=float(((instance >= 100) & (instance != 255)).mean()),
                )
            )
        yield views


def real_clip(
    folder: Path, up: Float[np.ndarray, " xyz=3"] | None, *, grounded: bool
) -> Iterator[list[View]]:
    """A recorded clip; image motion is that of still points, from depth and poses."""
    given = json.loads((folder / "cameras.json").read_text())
    metres = 1.0 / float((re.findall(r"value/(\d+)", given.get("depth", "")) or [1000])[0])
    known = not str(given.get("pose_source", "")).startswith("none")
    views: list[View] = []
    last_points = np.zeros((0, 3))
    for frame in given["frames"]:
        if not (folder / frame["file"]).exists():
            continue
        image = np.asarray(Image.open(folder / frame["file"]).convert("RGB"))
        fx, fy, cx, cy = frame["K_fx_fy_cx_cy"]
        width = image.shape[1]
        xy, z = _depth_points(folder, Path(frame["file"]).stem, metres)
        rays = np.stack([(xy[:, 0] - cx) / fx, (xy[:, 1] - cy) / fy, np.ones(len(xy))], 1)
        pose = np.array(frame["T_wc"], np.float64).reshape(4, 4) if known else None
        view = View(
            image=_small(image),
            depth=z,
            fov_deg=float(np.degrees(2.0 * np.arctan(0.5 * width / fx))),
            world_from_camera=pose,
            up=up,
            height=float(up @ pose[:3, 3])
            if grounded and up is not None and pose is not None
            else None,
        )
        if views and pose is not None and views[-1].world_from_camera is not None:
            points = last_points @ views[-1].world_from_camera[:3, :3].T
            points = points + views[-1].world_from_camera[:3, 3] - pose[:3, 3]
            motion = _shares_of_width(last_points, points @ pose[:3, :3], fx / width)
            views[-1] = replace(views[-1], motion=motion)
        last_points = rays * z[:, None]
        views.append(view)
    yield views


def _depth_points(
    folder: Path, stem: str, metres: float
) -> tuple[Float[np.ndarray, "point xy=2"], Float[np.ndarray, " point"]]:
    """Where in the image depth was measured, and how deep."""
    if (folder / "lidar" / f"{stem}.npz").exists():
        sweep = np.load(folder / "lidar" / f"{stem}.npz")
        return sweep["uv"].astype(np.float64), sweep["z"].astype(np.float64)
    path = folder / "depth" / f"{stem}.png"
    if not path.exists():
        return np.zeros((0, 2)), np.zeros(0)
    depth = np.asarray(Image.open(path)).astype(np.float64)[::4, ::4] * metres
    row, column = np.nonzero(depth)
    return np.stack([4.0 * column, 4.0 * row], 1), depth[row, column]


def _small(image: UInt8[np.ndarray, "height width rgb=3"]) -> UInt8[np.ndarray, "rows columns 3"]:
    """The image at the size at which engine clips are measured."""
    height, width = image.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _axis(name: str) -> Float[np.ndarray, " xyz=3"]:
    """A unit vector along a signed axis such as `-y`."""
    return np.eye(3)["xyz".index(name[-1])] * (-1.0 if name.startswith("-") else 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", help="folders of clips with truth, FOLDER[=UP]")
    parser.add_argument("--clips", type=int, default=100, help="engine clips at each difficulty")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--difficulties", type=float, nargs="*", default=[0.0, 0.5, 1.0])
    given = parser.parse_args()
    torch.set_num_threads(1)
    image_hw = (LONGER_SIDE * 3 // 4, LONGER_SIDE)
    columns = {
        f"engine {difficulty:g}": measure(
            engine_clips(
                difficulty=difficulty, count=given.clips, frames=given.frames, image_hw=image_hw
            )
        )
        for difficulty in given.difficulties
    }
    for argument in given.folders:
        name, _, up = argument.partition("=")
        folder = Path(name)
        real = (folder / "cameras.json").exists()
        if not real and not list(folder.rglob(TRUTH_FILE)):
            parser.error(f"{folder} holds neither cameras.json nor clips with {TRUTH_FILE}")
        axis = _axis(up.rstrip("0")) if up else None
        clips = (
            real_clip(folder, axis, grounded=up.endswith("0")) if real else rendered_clips(folder)
        )
        columns[folder.name] = measure(clips)
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for key, (title, factor) in ROWS.items():
        cells = []
        for found in columns.values():
            spread = np.percentile(found[key], [10, 50, 90]) * factor if found[key] else []
            cells.append(" / ".join(f"{value:.3g}" for value in spread) or "–")
        print(f"| {title} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
