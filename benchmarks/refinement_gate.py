"""What refinement does to a network's answers on clips of the data engine, and how its gate judges.

    python benchmarks/refinement_gate.py -o gate.json [--model nano] [--clips 72] [--seed N]

Clips of ten frames: landscape, portrait and wide in turn, difficulties .2, .5, .8 and 1 in turn,
half of the cameras standing still, movers over up to half the picture, bare walls. Each is
reconstructed once without refinement and then refined; the truth gives the rotation error (median
over frames), the error of the focal length and the own-time EPE (docs/scoring.md) of both. The
table says how often refinement makes rotation worse by more than half a degree and the own-time
EPE by more than 5 %, and how the findings rank the errors. Clips that the file has already are not
done again. Measured: docs/notes/refinement.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynapoint.evaluation.metrics import normalised_errors, rotation_errors_deg, spearman
from dynapoint.inference.pipeline import reconstruct
from dynapoint.inference.refining import small_pictures
from dynapoint.models.catalog import load_model
from dynapoint.refinement.refine import refine
from dynapoint.refinement.setting import Answer
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

SIZES = ((192, 256), (256, 192), (144, 256))
DIFFICULTIES = (0.2, 0.5, 0.8, 1.0)
FRAMES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clips", type=int, default=72)
    parser.add_argument("--seed", type=int, default=1_000_500_000)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    done = json.loads(options.output.read_text()) if options.output.is_file() else {}
    network = load_model(options.model)
    for index in range(options.clips):
        name = str(options.seed + index)
        if name not in done:
            done[name] = judged(options.seed + index, index, network)
            options.output.write_text(json.dumps(done, indent=1))
            row = {key: round(value, 3) for key, value in done[name].items() if key != "found"}
            print(name, row, "taken" if done[name]["found"]["poses"] else "left", flush=True)
    print_table(list(done.values()))


def judged(seed: int, index: int, network: Any) -> dict[str, Any]:
    """Errors of one clip before and after, and what was found."""
    image_hw = SIZES[index % len(SIZES)]
    config = SceneConfig(frames=FRAMES, difficulty=DIFFICULTIES[index % len(DIFFICULTIES)])
    scene = random_scene(seed, config, aspect=image_hw[1] / image_hw[0])
    clip = render_clips([scene], image_hw=image_hw, seed=seed)
    rec = reconstruct(clip.images[0].numpy(), network, refine=False)
    before = Answer(
        world_from_camera=rec.world_from_camera,
        intrinsics=rec.map_intrinsics,
        points=rec.own_time_points,
        confidence=rec.own_time_confidence,
    )
    refined = refine(small_pictures(rec.frames, rec.pixel_map), before)
    every = torch.arange(FRAMES)[None]
    own = [clip.points(every[:, [i]], every[:, [i]])[0, 0, 0].numpy() for i in range(FRAMES)]
    poses = clip.world_from_camera[0].double().numpy()
    turned = rotation_errors_deg(np.tile(poses[:1], (FRAMES, 1, 1)), poses)
    row: dict[str, Any] = {"turn": float(np.median(turned[1:]))}
    for name, answer in (("before", before), ("after", refined.answer)):
        turned = rotation_errors_deg(poses, answer.world_from_camera)
        focal = answer.intrinsics[0, 0, 0] / answer.map_hw[1] * image_hw[1]
        row[f"rotation_{name}"] = float(np.median(turned[1:]))
        row[f"focal_{name}"] = abs(float(focal) / float(clip.intrinsics[0, 0, 0, 0]) - 1)
        row[f"own_{name}"] = own_time_epe(np.stack(own), answer.points)
    return row | {"found": refined.found.to_plain()}


def own_time_epe(truth: np.ndarray, points: np.ndarray) -> float:
    """Under one scale for all frames, at every other pixel of the clip."""
    height, width = truth.shape[1:3]
    map_h, map_w = points.shape[1:3]
    rows, columns = np.arange(0, height, 2), np.arange(0, width, 2)
    truth = truth[:, rows][:, :, columns]
    at = ((rows + 0.5) * map_h / height).astype(int), ((columns + 0.5) * map_w / width).astype(int)
    found = points[:, at[0]][:, :, at[1]]
    known = np.isfinite(truth).all(axis=-1)
    return float(normalised_errors(truth[known].astype(float), found[known].astype(float)).mean())


def print_table(rows: list[dict[str, Any]]) -> None:
    """Means, how often refinement does harm, and how well it knows."""
    numbers = {key: np.array([row[key] for row in rows]) for key in rows[0] if key != "found"}
    for key in ("rotation", "focal", "own"):
        before, after = numbers[f"{key}_before"], numbers[f"{key}_after"]
        print(f"{key:9} mean {before.mean():.3f} -> {after.mean():.3f}")
    worse = (numbers["rotation_after"] > numbers["rotation_before"] + 0.5).mean()
    spoiled = (numbers["own_after"] > 1.05 * numbers["own_before"]).mean()
    taken = np.array([row["found"]["poses"] for row in rows])
    print(f"{len(rows)} clips, {taken.mean():.0%} taken")
    print(f"rotation worse by over .5 deg: {worse:.1%}; own-time EPE by over 5 %: {spoiled:.1%}")
    for key in ("turn_sigma_deg", "explained", "explained_plainly", "coverage"):
        found = np.array([row["found"][key] for row in rows])
        print(
            f"Spearman of {key}, rotation error: {spearman(found, numbers['rotation_after']):.2f}"
        )


if __name__ == "__main__":
    main()
