"""Groups of gloo processes on this machine that train miniatures in float64.

They are forked from a server that has imported torch once. What a worker finds, it saves.
"""

import dataclasses
import multiprocessing as mp
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conftest import toy_truth
from torch import Tensor, distributed

from dynapoint.training.distributed import Processes
from dynapoint.training.recipes.dept3r import dept3r_miniature
from dynapoint.training.recipes.dpm import dpm_miniature
from dynapoint.training.recipes.small import smoke
from dynapoint.training.recipes.vdpm import vdpm_miniature
from dynapoint.training.samples import every
from dynapoint.training.sharding import whole
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.training.trainer import Trainer
from dynapoint.types import TruthSample

RECIPES = {
    "nano": smoke,
    "dpm": dpm_miniature,
    "dept3r": dept3r_miniature,
    "vdpm": vdpm_miniature,
}
EXAMPLES = 4
# Frames, height and width of its samples.
SHAPES = {"nano": (3, 16, 24), "dpm": (2, 32, 48), "dept3r": (3, 28, 42), "vdpm": (3, 28, 42)}


def in_processes(count: int, work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(rank, *arguments)` in so many processes, all of which must end well."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["many_processes"])
    workers = [
        context.Process(target=_alone, args=(work, rank, *arguments)) for rank in range(count)
    ]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join(timeout=240)
            assert worker.exitcode == 0
    finally:
        for worker in workers:
            worker.kill()


def _alone(work: Callable[..., None], rank: int, *arguments: Any) -> None:
    torch.set_num_threads(1)
    work(rank, *arguments)


def group(rank: int, count: int, meeting: Path) -> Processes:
    """Join a group of `count` processes that meet at a file."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=count
    )
    return Processes(rank=rank, count=count)


def config_of(system: str, *, streams: int, **changes: Any) -> TrainConfig:
    """A recipe in small, whose rate does not depend on the batch."""
    return dataclasses.replace(
        RECIPES[system](),
        cosine=None,
        learning_rate=1e-3,
        clip_norm=1e9,
        precision="float32",
        streams=streams,
        **changes,
    )


def uneven_truth(frames: int, height: int, width: int) -> TruthSample:
    """Four examples that differ in their numbers of pixels and maps with truth, one has none."""
    truth = toy_truth(EXAMPLES, frames, height, width)
    valid, supervised = truth.valid.clone(), truth.supervised.clone()
    valid[1, :, 9:] = False
    supervised[2] = torch.eye(frames, dtype=torch.bool)
    valid[3] = False
    changed = dataclasses.replace(truth, valid=valid, supervised=supervised)
    return every(changed, lambda each: each.double() if each.is_floating_point() else each)


class Part:
    """One of `count` equal parts of the examples, at every step."""

    def __init__(self, system: str, part: int, count: int) -> None:
        size = EXAMPLES // count
        own = slice(part * size, (part + 1) * size)
        self.part = every(uneven_truth(*SHAPES[system]), lambda each: each[own])
        self.phase = Phase(until_samples=10**6, frames=SHAPES[system][0])

    def sample(self, step: int) -> TruthSample:
        return self.part

    def phase_of(self, step: int) -> Phase:
        return self.phase


def trainer_of(
    system: str, folder: Path, *, streams: int, processes: Processes, **options: Any
) -> Trainer:
    """A trainer in float64 on the uneven examples, shared out among some streams."""
    torch.set_default_dtype(torch.float64)
    try:
        config = config_of(system, streams=streams)
        trainer = Trainer(config, folder, processes=processes, **options)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {each.dtype for each in trainer.network.parameters()} == {torch.float64}
    own: Any = {number: Part(system, number, streams) for number in trainer.streams}
    trainer.streams = own
    return trainer


def one_step(
    system: str, folder: Path, *, streams: int, processes: Processes, **options: Any
) -> dict[str, Tensor]:
    """The gradients of a step on the examples, whole."""
    trainer = trainer_of(system, folder, streams=streams, processes=processes, **options)
    trainer.train_step()
    named = trainer.network.named_parameters()
    found = {name: each.grad for name, each in named if each.grad is not None}
    return {name: whole(each).clone() for name, each in found.items()}
