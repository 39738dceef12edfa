"""Videos of the data engine, each of another scene, for benchmarks of many clips."""

from pathlib import Path
from typing import Any

import av

from dynapoint.synthetic.held_out import SUBSETS, held_out_clip

_HW = (120, 160)


def write_engine_videos(folder: Path, count: int, *, frames: int = 8) -> list[Path]:
    """Write `count` videos of `frames` pictures, FOLDER/00000.mp4 and so on, of all subsets."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        subset = SUBSETS[number % len(SUBSETS)]
        clip = held_out_clip(subset, number // len(SUBSETS), frames=frames, image_hw=_HW)
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("libx264", rate=10)
            stream.height, stream.width, stream.pix_fmt = *_HW, "yuv420p"
            stream.options = {"crf": "12"}
            for picture in clip.images[0].numpy():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    return paths
