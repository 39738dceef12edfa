"""Draw the gallery's pictures: contact sheets of real clips, by the network that ships.

    python scripts/draw_gallery.py EXAMPLES docs/pictures/gallery

Only clips that may be published. EXAMPLES holds

* dog.mp4: assets/examples/dog-example.mp4 of github.com/nv-tlabs/vipe (Apache-2.0);
* climbing_portrait.mp4, mobile_robot_portrait.mp4, humanoid_walk.mp4: of github.com/Any-4D/Any4D
  (Apache-2.0);
* tum_fr1_rpy_a/images: 36 pictures of TUM RGB-D's freiburg1_rpy (CC BY 4.0), from the 362nd on.

`--only NAME` draws one of them.
"""

import argparse
from pathlib import Path
from typing import Any

from PIL import Image

import dynapoint

WIDTH = 1000
"""Of the pictures, which pages show at their own size."""

CLIPS: dict[str, tuple[str, dict[str, Any]]] = {
    "dog": ("dog.mp4", {"frames": dynapoint.FrameSelection(max_frames=12, end_s=1.2)}),
    "dog_whole": ("dog.mp4", {"frames": 24}),
    "climbing": ("climbing_portrait.mp4", {"frames": 12}),
    "mobile_robot": ("mobile_robot_portrait.mp4", {"frames": 12}),
    "humanoid": ("humanoid_walk.mp4", {"frames": 12}),
    "tum": ("tum_fr1_rpy_a/images", {"frames": 12}),
}
"""What is reconstructed for each picture, and with which options."""


def sheet(clip: Path, options: dict[str, Any]) -> Image.Image:
    """The contact sheet of a clip, at the gallery's width."""
    rec = dynapoint.reconstruct(clip, model="nano", **options)
    drawn = rec.contact_sheet().convert("RGB")
    height = round(drawn.height * WIDTH / drawn.width)
    return drawn.resize((WIDTH, height), Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("examples", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--only", choices=list(CLIPS))
    options = parser.parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    for name, (clip, chosen) in CLIPS.items():
        if options.only in (None, name):
            picture = sheet(options.examples / clip, chosen)
            picture.save(options.pictures / f"{name}.jpg", quality=85, optimize=True)
            print(options.pictures / f"{name}.jpg")


if __name__ == "__main__":
    main()
