"""Scoring another method: it answers a protocol's tasks in files that `evaluate` reads."""

import sys
from pathlib import Path

import numpy as np

from dynapoint.evaluation.harness.plan import Opened, plan_of
from dynapoint.evaluation.predictions.files import write_prediction
from dynapoint.evaluation.protocols.registry import protocol_of
from dynapoint.evaluation.protocols.task import Answer


def main(clips: Path, output: Path) -> None:
    """Answer a wall to all that the protocol `motion` asks of clips."""
    for _, sequence, task in plan_of(protocol_of("motion"), Opened({"clips": clips})).questions():
        images = np.stack([sequence.image(frame) for frame in task.frames])
        height, width = images.shape[1:3]
        rays = (task.grid_xy((height, width)) - [width / 2, height / 2]) / width
        wall = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=-1)
        points = np.stack([wall for _source, _time in task.maps]).astype(np.float32)
        write_prediction(output, task, images, Answer(points=points), method="a wall")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
