"""Two processes against one that sees both their batches, for the training of three systems.

Run by pytest this file starts itself twice as workers; `python test_training_ddp.py FOLDER` is one.
"""

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import toy_truth

from dynapoint.training.checkpoints import load_state
from dynapoint.training.distributed import Processes
from dynapoint.training.recipes.dept3r import dept3r_miniature
from dynapoint.training.recipes.small import smoke
from dynapoint.training.recipes.vdpm import vdpm_miniature
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.training.trainer import Trainer
from dynapoint.types import TruthSample

STEPS = 3
BAD_STEP = 1


RECIPES = {"nano": smoke, "vdpm": vdpm_miniature, "dept3r": dept3r_miniature}


def config_of(system: str) -> TrainConfig:
    """A recipe in small, with a rate that does not depend on processes."""
    config = RECIPES[system]()
    if system == "nano":
        return config
    return dataclasses.replace(config, cosine=None, warmup_steps=3, learning_rate=1e-3)


def uneven_truth() -> TruthSample:
    """Four examples that differ in how many of their pixels and maps have truth."""
    whole = toy_truth(4, 3, 28, 42)
    valid, supervised = whole.valid.clone(), whole.supervised.clone()
    valid[1, :, 9:] = False
    supervised[2] = torch.eye(3, dtype=torch.bool)
    return dataclasses.replace(whole, valid=valid, supervised=supervised)


class Part:
    """Some examples of one toy batch; one process alone gets a bad batch at one step."""

    def __init__(self, whole: TruthSample, part: slice, *, bad: bool = False):
        parts = {f.name: getattr(whole, f.name)[part] for f in dataclasses.fields(whole)}
        self.good, self.bad = dataclasses.replace(whole, **parts), bad

    def sample(self, step):
        if self.bad and step == BAD_STEP:
            return dataclasses.replace(self.good, images=self.good.images * float("nan"))
        return self.good

    def phase_of(self, step):
        return Phase(until_samples=10**6)


class TwoPhases(Part):
    """One step without motion, which leaves parts of DePT3R's network without gradients."""

    def phase_of(self, step):
        return Phase(until_samples=10**6, motion=step != 1)


def train(
    folder: Path,
    processes: Processes,
    part: slice,
    *,
    bad: bool = False,
    system: str = "nano",
) -> dict:
    """Three steps; gradients of the first, losses, and weights at the end."""
    trainer = Trainer(
        dataclasses.replace(config_of(system), steps=STEPS, clip_norm=1e9, precision="float32"),
        folder,
        processes=processes,
    )
    whole = toy_truth(batch=4) if system == "nano" else uneven_truth()
    stream: Any = TwoPhases if system == "dept3r" else Part
    trainer.streams = {processes.rank: stream(whole, part, bad=bad)}
    gradients: dict[str, torch.Tensor] = {}
    losses: list[float] = []
    skipped: list[int] = []

    def look(report):
        losses.append(report.losses["total"])
        skipped.append(report.skipped)
        if not gradients:
            named = trainer.network.named_parameters()
            gradients.update({n: p.grad.clone() for n, p in named if p.requires_grad})

    trainer.run(on_step=look, on_validate=lambda _: None)
    return {
        "gradients": gradients,
        "losses": losses,
        "skipped": skipped,
        "samples": trainer.samples,
        "weights": trainer.network.state_dict(),
        "average": trainer.average.weights if trainer.average is not None else {},
    }


def worker(folder: Path) -> None:
    torch.set_num_threads(1)
    processes = Processes.start("cpu")
    results = []
    part = slice(0, 2) if processes.rank == 0 else slice(2, 4)
    for bad in (False, True):
        name = "bad" if bad else "good"
        results.append(train(folder / name, processes, part, bad=bad and processes.rank == 1))
    for system in ("vdpm", "dept3r"):
        results.append(train(folder / system, processes, part, system=system))
    torch.save(results, folder / f"rank{processes.rank}.pt")
    processes.stop()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """The results of two workers, and their folder."""
    folder = tmp_path_factory.mktemp("ddp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        # Helpers are found where pytest finds them.
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in workers:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    finally:
        for process in workers:
            process.kill()
    results = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    return results, folder


def test_both_processes_hold_the_same_weights(ranks):
    (first, second), _ = ranks
    for run in range(4):
        for kind in ("weights", "average"):
            for name, value in first[run][kind].items():
                assert torch.equal(value, second[run][kind][name]), (run, kind, name)
    # They saw different examples.
    assert first[0]["losses"] != second[0]["losses"]
    assert first[0]["samples"] == second[0]["samples"] == 4 * STEPS


@pytest.mark.parametrize(("run", "system"), [(0, "nano"), (2, "vdpm"), (3, "dept3r")])
def test_two_processes_equal_one_with_both_batches(ranks, tmp_path, run, system):
    # Nano's terms are means over equally many pixels in both halves, the others' over examples, so
    # that the mean of the halves' gradients is the gradient of the whole.
    first, second = (results[run] for results in ranks[0])
    alone = train(tmp_path, Processes(), slice(0, 4), system=system)
    largest = max(gradient.abs().max() for gradient in alone["gradients"].values())
    for name, gradient in alone["gradients"].items():
        for rank in (first, second):
            assert (rank["gradients"][name] - gradient).abs().max() < 1e-5 * largest, name
    # Optimisers turn the sign of a gradient that is nearly zero into a whole step, so after
    # several steps the losses are compared rather than each weight.
    means = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert means == pytest.approx(alone["losses"], rel=1e-4)


def test_a_bad_batch_in_one_process_is_skipped_in_all(ranks):
    (first, second), _ = ranks
    wanted = [step == BAD_STEP for step in range(STEPS)]
    assert first[1]["skipped"] == second[1]["skipped"] == wanted
    assert all(torch.isfinite(value).all() for value in first[1]["weights"].values())


def test_only_the_first_process_writes_the_checkpoint(ranks):
    (first, _), folder = ranks
    state = load_state(folder / "good")
    assert (state.step, state.samples) == (STEPS, 4 * STEPS)
    for name, value in first[0]["weights"].items():
        assert torch.equal(state.network[name], value)
    assert [path.name for path in (folder / "good").iterdir()] == ["training.pt"]


def test_one_process_needs_no_group():
    processes = Processes.start("cpu")
    module = torch.nn.Linear(1, 1)
    assert processes == Processes(rank=0, count=1)
    assert processes.wrap(module) is module
    assert processes.any(True) and not processes.any(False)
    processes.wait()
    processes.stop()


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
