"""Seconds that each answer takes for ten frames of 518 x 294 whose maps are at hand.

    python benchmarks/reductions_speed.py [--noise 0.01] [--threads 2] [--repeats 3]

A clip of the data engine with things that move, its true maps for those of a network, in one unit
of noise along the rays where asked for. Decoding is not part of it. Prints wall-clock and CPU
seconds, the quickest of some repeats, all through the methods of `Reconstruction`; what one answer
keeps for the next (what cameras see, local surfaces) is dropped between them.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from grid_scenes import cube_scene

from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

_FRAMES, _HW = 10, (294, 518)


def engine_scene(seed: int, noise: float) -> tuple[Reconstruction, np.ndarray]:
    """A rendered clip as a scene, and which pixels of frame 0 show its largest mover."""
    config = SceneConfig(frames=_FRAMES, difficulty=1.0)
    scene = random_scene(seed, config, aspect=_HW[1] / _HW[0])
    clip = render_clips([scene], image_hw=_HW, seed=seed)
    frames = torch.arange(_FRAMES)[None]
    points = clip.points(frames, frames)[0].numpy()
    valid = clip.valid(frames)[0].numpy()
    poses = clip.world_from_camera[0].double().numpy()
    draw = np.random.default_rng(0)
    for at, frame in np.ndindex(_FRAMES, _FRAMES):
        # In a column, so that distances change and directions from the frame's camera stay.
        factor = 1 + noise * draw.standard_normal((*_HW, 1), dtype=np.float32)
        eye = poses[frame, :3, 3].astype(np.float32)
        points[at, frame] = np.where(
            valid[frame][..., None], eye + (points[at, frame] - eye) * factor, np.nan
        )
    instance, moving = clip.instance(frames)[0, 0].numpy(), clip.moving(frames)[0, 0].numpy()
    numbers = np.bincount(instance[moving & valid[0]], minlength=1)
    rec = cube_scene(
        clip.images[0].numpy(),
        points,
        np.ones(points.shape[:-1], np.float32),
        world_from_camera=poses,
        intrinsics=clip.intrinsics[0].double().numpy(),
        pixel_map=PixelMap(
            scale=np.ones((_FRAMES, 2)),
            offset=np.zeros((_FRAMES, 2)),
            picture_hw=np.full((_FRAMES, 2), _HW, dtype=np.int64),
            map_hw=_HW,
        ),
        name="truth",
    )
    return rec, (instance == numbers.argmax()) & moving & valid[0]


def answers(mover: np.ndarray) -> dict[str, Callable[[Reconstruction], Any]]:
    """What is timed."""
    return {
        "intrinsics, shared": lambda rec: rec.fit_intrinsics(),
        "cameras, PnP": lambda rec: rec.camera_motion(),
        "motion, a frame over the clip": lambda rec: rec.motion(frame=0),
        "object flow, a pair": lambda rec: rec.object_flow(frame=0, to_time=9),
        "scene flow, a pair": lambda rec: rec.scene_flow(frame=0, to_time=9),
        "optical flow, a pair": lambda rec: rec.optical_flow(frame=0, to_time=9),
        "match, a pair, dense": lambda rec: rec.match(frame=0, to_frame=9),
        "tracks and visibility, all of a frame": lambda rec: rec.track(frame=0),
        "objects of a frame": lambda rec: rec.objects(frames=[0]),
        "one rigid object": lambda rec: rec.rigid_object(frame=0, mask=mover),
        "fusion at a time": lambda rec: rec.fuse(time=0),
        "background": lambda rec: rec.background(),
        "self-check": lambda rec: rec.self_check(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--noise", type=float, default=0.01, help="share of distance")
    parser.add_argument("--seed", type=int, default=1_000_000_003, help="of the scene")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="only answers whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rec, mover = engine_scene(options.seed, options.noise)
    print(f"movers' share of frame 0: {mover.mean():.1%}")
    total = np.zeros(2)
    print("| | wall s | CPU s |\n|---|---|---|")
    for name, ask in answers(mover).items():
        if options.only and options.only not in name:
            continue
        best = np.full(2, np.inf)
        for _ in range(options.repeats):
            fresh = replace(rec)
            start = np.array([time.perf_counter(), time.process_time()])
            ask(fresh)
            spent = np.array([time.perf_counter(), time.process_time()]) - start
            best = np.minimum(best, spent)
        total += best
        print(f"| {name} | {best[0]:.2f} | {best[1]:.2f} |", flush=True)
    print(f"| all together | {total[0]:.2f} | {total[1]:.2f} |")


if __name__ == "__main__":
    main()
