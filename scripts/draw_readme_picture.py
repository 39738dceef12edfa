"""Draw the README's picture from a stored scene.

    dynapoint reconstruct dog-example.mp4 -o dog.4d --frames 12 --start 0 --end 1.2
    python scripts/draw_readme_picture.py dog.4d docs/pictures/demo.jpg

Only scenes of clips that may be published: of the data engine, with a free licence, or of TUM. The
clip of the README is assets/examples/dog-example.mp4 of github.com/nv-tlabs/vipe (Apache-2.0).
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import dynapoint
from dynapoint.results.panels import depth_panels, image_panel, motion_panels, track_panel

TIMES = (0, 4, 8)
PANEL_WIDTH = 288
MARGIN, LABEL = 8, 30
PAPER, INK = (255, 255, 255), (40, 40, 48)
TITLES = ("the video", "depth", "how far the first frame's points moved", "the ways they took")


def draw(scene: Path) -> Image.Image:
    """Times downwards; the frame, its depth, and what frame 0's points have done until then."""
    rec = dynapoint.open(scene)
    times, tracks = list(TIMES), rec.tracks()
    height, width = rec.frames.image_hw
    size = (PANEL_WIDTH, round(PANEL_WIDTH * height / width))
    depth = depth_panels(rec.own_time_depth[times])
    motion = motion_panels(tracks, times)
    step = (size[0] + MARGIN, size[1] + MARGIN)
    picture = Image.new("RGB", (4 * step[0] + MARGIN, LABEL + len(times) * step[1]), PAPER)
    pen = ImageDraw.Draw(picture)
    for column, title in enumerate(TITLES):
        place = (MARGIN + column * step[0], 7)
        pen.text(place, title, fill=INK, font=ImageFont.load_default(size=15))
    for row, time in enumerate(times):
        panels = (
            image_panel(rec, time, size),
            depth.panel(row, size),
            motion.panel(row, size),
            track_panel(rec, tracks, time=time, size=size),
        )
        for column, panel in enumerate(panels):
            picture.paste(panel, (MARGIN + column * step[0], LABEL + row * step[1]))
    return picture


if __name__ == "__main__":
    # A page loads quickly with it, and the eye sees no loss.
    draw(Path(sys.argv[1])).save(sys.argv[2], quality=88, optimize=True)
