"""How well true maps of rendered clips match: recall, sub-pixel error, precision and time.

    python benchmarks/correspondence.py CLIPS [CLIPS ...] [--noise 0.01] [--pairs 8]

CLIPS is a folder of clips or one clip. Every pair of frames (i, j) is matched at the time of j.
Noise is a relative standard deviation of every point's distance along its ray, drawn per map.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from dynapoint.evaluation.clips import TruthClip, find_clips, read_clip
from dynapoint.evaluation.metrics import MATCH_RADIUS_PX
from dynapoint.geometry.pinhole import project
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.reductions.correspondence import match_pixels


def noisy(points: torch.Tensor, eye: torch.Tensor, noise: float, seed: int) -> torch.Tensor:
    """Points moved along the rays from the camera's place."""
    draw = torch.randn(points.shape[:-1], generator=torch.Generator().manual_seed(seed))
    return eye + (points - eye) * (1 + noise * draw[..., None])


def match_pair(clip: TruthClip, i: int, j: int, noise: float) -> dict[str, np.ndarray]:
    """Every pixel of frame i that has a point in frame j, at the time of j; errors in pixels."""
    points = torch.from_numpy(clip.points[j])
    poses = torch.from_numpy(clip.world_from_camera).float()
    has = points.isfinite().all(dim=-1)
    a, b = (noisy(points[k], poses[k, :3, 3], noise, seed=k) for k in (i, j))
    cpu, wall = time.process_time(), time.perf_counter()
    found = match_pixels(a, has[i].float(), b, has[j].float())
    seconds = time.process_time() - cpu, time.perf_counter() - wall
    camera = transform_points(invert_rigid(poses[j]), points[i].view(-1, 3))
    true = project(camera.double(), torch.from_numpy(clip.intrinsics)).view(*has.shape[1:], 2)
    place = (found.xy_px - 0.5) * clip.stride + clip.stride // 2 + 0.5
    use = has[i]
    return {
        "error": (place - true).norm(dim=-1)[use].nan_to_num(np.inf).numpy(),
        "visible": clip.visible[j, i][use.numpy()],
        "moving": (clip.instance[i] >= 100)[use.numpy()],
        "valid": found.valid[use].numpy(),
        "mutual": found.mutual[use].numpy(),
        "seconds": np.array([seconds]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--pairs", type=int, default=8, help="pairs drawn from each clip")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    rows = []
    for path in [path for folder in options.clips for path in find_clips(folder)]:
        clip = read_clip(path)
        pairs = [(i, j) for i, j in np.ndindex(clip.frame_count, clip.frame_count) if i != j]
        for index in generator.permutation(len(pairs))[: options.pairs]:
            rows.append(match_pair(clip, *pairs[index], options.noise))
    total = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
    error, visible, valid = total["error"], total["visible"], total["valid"]
    sure = valid & total["mutual"]
    print(f"{len(rows)} pairs, {len(error)} points, {visible.mean():.3f} of them visible")
    for name, chosen in (("visible", visible), ("moving", visible & total["moving"])):
        print(
            f"{name}: median error {np.median(error[chosen]):.4f} px, recall within "
            f"{MATCH_RADIUS_PX:g} px {(error[chosen] <= MATCH_RADIUS_PX).mean():.4f}, valid "
            f"{valid[chosen].mean():.4f}, valid and mutual {sure[chosen].mean():.4f}"
        )
    print(
        f"precision for visible: valid {visible[valid].mean():.4f}, and mutual "
        f"{visible[sure].mean():.4f}; hidden ones kept {sure[~visible].mean():.4f}"
    )
    cpu, wall = np.median(total["seconds"], axis=0)
    print(f"median seconds of a pair: {wall:.2f}, on one core {cpu:.2f}")


if __name__ == "__main__":
    main()
