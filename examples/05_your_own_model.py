"""Your own model: two properties and two verbs, and everything else works with it.

python examples/05_your_own_model.py [VIDEO] [FOLDER]
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

import dynapoint
from dynapoint import Cameras, PointMaps

DEMO = Path(dynapoint.__file__).parent / "assets" / "demo.mp4"


class Seen(NamedTuple):
    """What is computed once for a clip."""

    own_time: PointMaps
    cameras: Cameras


class Floor:
    """Stands one unit above a floor whose horizon is out of sight; nothing moves."""

    patch_size, image_side = 8, 128

    def encode(self, images: torch.Tensor) -> Seen:
        """Own-time maps and cameras of images (1, frames, 3, height, width), RGB in [0, 1]."""
        _, frames, _, height, width = images.shape
        focal = float(max(height, width))
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        down = (y + height / 8) / focal
        floor = torch.stack([(x - width / 2) / focal / down, torch.ones_like(x), 1 / down], -1)
        points = floor.expand(1, frames, -1, -1, -1)
        lens = torch.tensor([[focal, 0, width / 2], [0, focal, -height / 8], [0, 0, 1]])
        poses, lenses = torch.eye(4).expand(1, frames, 4, 4), lens.expand(1, frames, 3, 3)
        maps = PointMaps(points=points, confidence=torch.ones(points.shape[:-1]))
        return Seen(maps, Cameras(world_from_camera=poses, intrinsics=lenses))

    def decode(self, encoded: Seen, *, time: int, frames: Sequence[int]) -> PointMaps:
        """The pixels of `frames` at `time`: where they always are."""
        own, chosen = encoded.own_time, list(frames)
        return PointMaps(points=own.points[:, chosen], confidence=own.confidence[:, chosen])


def main(video: Path = DEMO, output: Path = Path("out/your_own_model")) -> None:
    """Reconstruct with it, ask, and export."""
    rec = dynapoint.reconstruct(video, Floor(), frames=6)
    print(f"of what frame 0 shows, {rec.motion(frame=0).probability.max():.0%} moves at most")
    print(rec.export(output / "clouds", to="ply"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
