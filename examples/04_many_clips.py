"""Many clips: one network, a scene each, finished ones passed over, failures told at the end.

    python examples/04_many_clips.py [VIDEO_OR_FOLDER_OF_VIDEOS] [FOLDER]

`dynapoint reconstruct videos/*.mp4 -o scenes` does the same from the command line.
"""

import sys
from pathlib import Path

import dynapoint
from dynapoint import DynapointError

DEMO = Path(dynapoint.__file__).parent / "assets" / "demo.mp4"


def main(source: Path = DEMO, output: Path = Path("out/many_clips")) -> None:
    """Reconstruct every video of `source` into `output`/NAME.4d and print a line for each."""
    videos = sorted(source.glob("*.mp4")) if source.is_dir() else [source]
    network = dynapoint.load_model("nano")  # once for all of them
    failed: dict[str, DynapointError] = {}
    for video in videos:
        scene = output / f"{video.stem}.4d"
        try:
            if not is_there(scene):
                rec = dynapoint.reconstruct(video, network, frames=6)
                # A scene is there whole or not at all, so that a run can be broken off anywhere.
                rec.save(scene)
            print(f"{scene}: {dynapoint.open(scene)}")
        except DynapointError as error:
            failed[video.name] = error
    for name, failure in failed.items():
        print(f"failed: {name}: {failure}")


def is_there(scene: Path) -> bool:
    """Whether a whole scene of this version lies there."""
    try:
        dynapoint.open(scene)
    except DynapointError:
        return False
    return True


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
