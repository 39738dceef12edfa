"""Follow pixels through a clip, in space and in the images, with whether they are seen.

python examples/02_tracks_and_visibility.py [VIDEO] [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import dynapoint

DEMO = Path(dynapoint.__file__).parent / "assets" / "demo.mp4"


def main(video: Path = DEMO, output: Path = Path("out/tracks")) -> None:
    """Track a grid of places of the first frame and draw them into every frame."""
    rec = dynapoint.reconstruct(video, frames=12)
    height, width = rec.frames.image_hw

    # Places are (column, row) in original pixels, pixel centres at half-integers.
    x, y = np.meshgrid((np.arange(16) + 0.5) * width / 16, (np.arange(12) + 0.5) * height / 12)
    tracks = rec.track(frame=0, xy=np.stack([x.ravel(), y.ravel()], axis=1))
    # tracks.points (times, tracks, 3) in the world; tracks.xy (times, tracks, 2) in the images;
    # tracks.visible (times, tracks), a probability; tracks.confidence, larger is better.
    seen = tracks.visible > 0.5
    print(f"{seen.shape[1]} tracks; seen at the last time: {seen[-1].mean():.0%}")

    moved = np.linalg.norm(tracks.points - tracks.points[0], axis=-1).max(axis=0)
    print(f"the farthest one goes {moved.max():.3f}, the median one {np.median(moved):.3f}")

    output.mkdir(parents=True, exist_ok=True)
    for time in range(rec.frame_count):
        picture = Image.fromarray(rec.images[time])
        pen = ImageDraw.Draw(picture)
        for (column, row), visible in zip(tracks.xy[time].tolist(), seen[time], strict=True):
            if np.isfinite([column, row]).all():
                color = (255, 220, 0) if visible else (120, 120, 120)
                pen.ellipse([column - 2, row - 2, column + 2, row + 2], fill=color)
        picture.save(output / f"frame_{time:02d}.png")
    np.savez_compressed(output / "tracks.npz", points=tracks.points, xy=tracks.xy, seen=seen)
    print(f"look at the pictures in {output}; gray dots are hidden")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
