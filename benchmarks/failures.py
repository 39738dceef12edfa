"""The worst clip of each subset of `dynapoint evaluate synthetic -o OUT`, as a picture.

    python benchmarks/failures.py OUT [--method nano] [-o docs/pictures/failures.jpg]

By the depth of whole clips: the first picture, its true depth, what the method says of it after the
scale of least squares over the clip, and the error. Needs matplotlib.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynapoint.datasets.registry import open_dataset
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.harness.predicting import method_folder
from dynapoint.evaluation.measures.depth_fit import fit_depth
from dynapoint.evaluation.predictions.files import prediction_file, read_prediction
from dynapoint.evaluation.protocols.synthetic import PROTOCOLS
from dynapoint.evaluation.protocols.task import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Failure:
    """One clip: depths of its first picture on the task's grid, NaN where there is no surface."""

    title: str
    picture: np.ndarray
    truth: np.ndarray
    said: np.ndarray
    abs_rel: float


def worst_clips(output: Path, method: str) -> Iterator[Failure]:
    """The clip of each subset whose depth is worst."""
    sequences = {each.name: each for each in open_dataset("clips", output / "clips")}
    folder = method_folder(output, method)
    for which in PROTOCOLS[0].sets:
        found = []
        for name in which.sequences or ():
            sequence = sequences[name]
            for task in which.sampling(sequence):
                path = prediction_file(folder, task)
                if task.depth and path.is_file():
                    found.append(_failure(sequence, task, path, which.title))
        if found:
            yield max(found, key=lambda each: each.abs_rel)


def _failure(sequence: TruthSequence, task: Task, path: Path, subset: str) -> Failure:
    answer, _ = read_prediction(path, task, sequence.image_hw)
    assert answer.depth is not None
    grid = slice(task.stride // 2, None, task.stride)
    truth = np.stack([sequence.depth(frame)[grid, grid] for frame in task.frames])
    known = np.isfinite(truth)
    said = answer.depth.astype(np.float64)
    scale = fit_depth("scale_l2", said[known], truth[known].astype(np.float64)).scale
    said = scale * said
    error = np.abs(said[known] - truth[known]) / truth[known]
    return Failure(
        title=f"{subset}: {sequence.name}",
        picture=sequence.image(task.frames[0]),
        truth=truth[0],
        said=np.where(known[0], said[0], np.nan),
        abs_rel=float(error.mean()),
    )


def draw(failures: list[Failure], path: Path) -> None:
    """A row for each."""
    import matplotlib  # noqa: PLC0415 - only a picture needs it.

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(
        len(failures), 4, figsize=(10, 2 * len(failures)), layout="constrained", squeeze=False
    )
    for row, each in zip(axes, failures, strict=True):
        low, high = np.nanpercentile(each.truth, [1, 99])
        error = np.abs(each.said - each.truth) / each.truth
        row[0].imshow(each.picture)
        row[0].set_title(each.title, fontsize=9)
        row[1].imshow(1 / each.truth, vmin=1 / high, vmax=1 / low, cmap="turbo")
        row[1].set_title("true", fontsize=9)
        row[2].imshow(1 / each.said, vmin=1 / high, vmax=1 / low, cmap="turbo")
        row[2].set_title("said", fontsize=9)
        row[3].imshow(error, vmin=0, vmax=1, cmap="magma")
        row[3].set_title(f"error (AbsRel of the clip {each.abs_rel:.2f})", fontsize=9)
        for cell in row:
            cell.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--method", default="nano")
    parser.add_argument("-o", "--picture", type=Path, default=Path("failures.jpg"))
    options = parser.parse_args()
    failures = list(worst_clips(options.output, options.method))
    for each in failures:
        print(f"{each.title}: AbsRel {each.abs_rel:.3f}")
    draw(failures, options.picture)


if __name__ == "__main__":
    main()
