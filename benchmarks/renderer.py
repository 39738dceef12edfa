"""Measure the data engine: clips per second on one core.

    python benchmarks/renderer.py [--frames 4] [--height 128] [--width 160] [--difficulty 1]

CPU time of this process is measured, so other work on the machine disturbs the numbers less.
"""

import argparse
import time

import torch

from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene


def measure(
    *, frames: int, image_hw: tuple[int, int], difficulty: float, clips: int, rounds: int
) -> dict[str, float]:
    """Median milliseconds per clip of drawing scenes, rendering, and dense truth of all pairs."""
    config = SceneConfig(frames=frames, difficulty=difficulty)
    aspect = image_hw[1] / image_hw[0]
    times: dict[str, list[float]] = {"scene": [], "render": [], "truth": [], "triangles": []}
    for index in range(rounds + 1):
        start = time.process_time()
        seeds = range(index * clips, (index + 1) * clips)
        scenes = [random_scene(seed, config, aspect=aspect) for seed in seeds]
        drawn = time.process_time()
        batch = render_clips(scenes, image_hw=image_hw, seed=index)
        rendered = time.process_time()
        chosen = torch.arange(frames).expand(clips, frames)
        batch.truth(chosen, chosen)
        done = time.process_time()
        # The first round bakes the noise volumes and warms the allocator.
        if index:
            for name, span in zip(
                times, (drawn - start, rendered - drawn, done - rendered), strict=False
            ):
                times[name].append(1e3 * span / clips)
            times["triangles"].append(sum(len(scene.faces) for scene in scenes) / clips)
    return {name: sorted(values)[len(values) // 2] for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--difficulty", type=float, default=1.0)
    parser.add_argument("--clips", type=int, default=8, help="clips per batch")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(
        frames=given.frames,
        image_hw=(given.height, given.width),
        difficulty=given.difficulty,
        clips=given.clips,
        rounds=given.rounds,
    )
    engine = found["scene"] + found["render"]
    print(
        f"{given.frames} frames of {given.height} × {given.width}, {found['triangles']:.0f} "
        f"triangles a clip, one thread:\n"
        f"scene {found['scene']:.1f} ms, render {found['render']:.1f} ms: "
        f"{1e3 / engine:.1f} clips/s\n"
        f"truth of all pairs {found['truth']:.1f} ms: "
        f"{1e3 / (engine + found['truth']):.1f} clips/s with it"
    )


if __name__ == "__main__":
    main()
