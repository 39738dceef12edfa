"""A first scene: reconstruct a video, store it, open it again and ask it something.

python examples/01_first_scene.py [VIDEO] [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

import dynapoint

DEMO = Path(dynapoint.__file__).parent / "assets" / "demo.mp4"


def main(video: Path = DEMO, output: Path = Path("out/first_scene")) -> None:
    """Reconstruct `video` into `output`/scene.4d and print a few answers."""
    rec = dynapoint.reconstruct(video, frames=12)
    height, width = rec.frames.image_hw
    print(f"{rec.frame_count} frames of {width} x {height}, maps of {rec.map_hw}")
    print(f"focal length {rec.intrinsics[0, 0, 0]:.0f} px")
    print(f"the camera went to {np.round(rec.world_from_camera[-1, :3, 3], 3)} (x right, y down)")

    # A folder of plain arrays; its contact sheet is a picture of everything at a glance.
    scene = output / "scene.4d"
    rec.save(scene, overwrite=True)
    print(f"look at {scene / 'contact_sheet.png'}")

    # The scene answers without the video: the middle pixel of frame 0, at all times.
    opened = dynapoint.open(scene)
    middle = opened.query(frame=0, xy=[[width / 2, height / 2]])
    moved = np.linalg.norm(middle.points[-1] - middle.points[0])
    print(f"the point in the middle is at {middle.points[0, 0]} and moves by {moved:.3f}")

    # And whether it agrees with itself: a grade from 0 to 1, without any truth.
    grade = opened.self_check().grade
    print("self-check: " + ("nothing to compare" if grade is None else f"{grade:.2f}"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
