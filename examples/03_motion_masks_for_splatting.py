"""Prepare a moving scene for a splat trainer: static masks, poses and seed points for COLMAP.

python examples/03_motion_masks_for_splatting.py [VIDEO] [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import dynapoint

DEMO = Path(dynapoint.__file__).parent / "assets" / "demo.mp4"


def main(video: Path = DEMO, output: Path = Path("out/splatting")) -> None:
    """Say what moves, then write `output`/colmap and, as one cloud, what stands still."""
    rec = dynapoint.reconstruct(video, frames=12)

    # How likely each pixel of frame 0 moves during the clip, at the resolution of the maps.
    motion = rec.motion(frame=0)
    print(f"{(motion.probability > 0.5).mean():.0%} of the pixels of frame 0 move")

    # images/, masks/IMAGE_NAME.png (white where static) and sparse/0, which trainers read:
    # they are told to learn from the white pixels only, so that movers leave no ghosts.
    folder = rec.export(output / "colmap", to="colmap", max_points=20_000, overwrite=True)
    masks = sorted((folder / "masks").iterdir())
    static = np.mean([np.asarray(Image.open(mask)) > 0 for mask in masks])
    print(f"{len(masks)} frames in {folder}; {static:.0%} of their pixels are static")

    # The background alone, all frames laid together, for a look in any viewer of clouds.
    still = rec.background(max_points=20_000)
    print(f"{len(still.points)} points stand still, seen in up to {still.frame_count.max()} frames")
    rec.export(output / "nerfstudio", to="nerfstudio", max_points=20_000, overwrite=True)
    print(f"the same for nerfstudio, with its seed cloud, in {output / 'nerfstudio'}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
