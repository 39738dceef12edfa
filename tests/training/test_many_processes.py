"""A step, a resumed run and a sharded one do not depend on how many processes share them."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from dynapoint.errors import ConfigError
from dynapoint.training.checkpoints import load_state
from dynapoint.training.distributed import Processes
from dynapoint.training.recipes.small import smoke
from dynapoint.training.recipes.vdpm import vdpm_miniature
from dynapoint.training.run import train
from dynapoint.training.samples import every
from dynapoint.training.step_streams import with_streams
from dynapoint.training.trainer import Trainer
from many_processes import RECIPES, group, in_processes, one_step, trainer_of

# Processes and streams; the last cannot share them evenly.
CASES = [(2, 2), (4, 4), (2, 4), (3, 4)]
PUBLISHED = ["dpm", "dept3r", "vdpm"]
# Of the largest gradient: some roundings in float64.
ROUNDING = 1e-13


def steps_in_all_groups(rank: int, systems: list[str], folder: Path) -> None:
    """Gradients of a step in groups of all sizes, and of sharded networks in groups of two."""
    for count, streams in CASES:
        if rank < count:
            processes = group(rank, count, folder / f"meeting-{count}-{streams}")
            for sharded in (False, True):
                for system in PUBLISHED if sharded else systems:
                    if sharded and count != 2:
                        continue
                    found = one_step(
                        system, folder, streams=streams, processes=processes, sharded=sharded
                    )
                    name = f"{system}-{count}-{streams}-{sharded}-{rank}.pt"
                    torch.save(found, folder / name)
            distributed.destroy_process_group()


@pytest.fixture(scope="module")
def groups(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("groups")
    in_processes(4, steps_in_all_groups, list(RECIPES), folder)
    return folder


def check_gradients(found: dict[str, Tensor], whole: dict[str, Tensor], case: Any) -> None:
    largest = max(each.abs().max() for each in whole.values())
    assert found.keys() >= whole.keys(), case
    for name, each in found.items():
        # DDP gives what has no gradient one of zeros.
        wanted = whole.get(name, torch.zeros(()))
        assert (each - wanted).abs().max() < ROUNDING * largest, (case, name)


@pytest.mark.slow
@pytest.mark.parametrize("system", RECIPES)
def test_gradients_of_a_batch_equal_those_of_its_parts(groups, tmp_path, system):
    whole = one_step(system, tmp_path, streams=1, processes=Processes())
    for count, streams in CASES:
        for rank in range(count):
            path = groups / f"{system}-{count}-{streams}-False-{rank}.pt"
            check_gradients(torch.load(path, weights_only=True), whole, path.name)


@pytest.mark.slow
@pytest.mark.parametrize("system", PUBLISHED)
def test_gradients_of_a_sharded_network_are_the_same(groups, tmp_path, system):
    whole = one_step(system, tmp_path, streams=1, processes=Processes())
    for streams in (2, 4):
        for rank in range(2):
            path = groups / f"{system}-2-{streams}-True-{rank}.pt"
            check_gradients(torch.load(path, weights_only=True), whole, path.name)


@pytest.mark.parametrize("system", ["nano", "dpm"])
def test_one_process_adds_up_the_gradients_of_its_streams(tmp_path, system):
    whole = one_step(system, tmp_path, streams=1, processes=Processes())
    for streams in (2, 4):
        found = one_step(system, tmp_path, streams=streams, processes=Processes())
        check_gradients(found, whole, streams)


def test_without_shared_counts_the_parts_would_not_add_up(tmp_path, monkeypatch):
    # The examples differ so that this test file can fail.
    whole = one_step("dpm", tmp_path, streams=1, processes=Processes())
    monkeypatch.setattr(Trainer, "_counts", lambda *_: lambda: None)
    with pytest.raises(AssertionError):
        found = one_step("dpm", tmp_path, streams=4, processes=Processes())
        check_gradients(found, whole, "own counts")


STREAMS = 4


def real_trainer(folder: Path, processes: Processes) -> Trainer:
    """Nano's family in float64 on what its streams render; notes all that it sees."""
    config = dataclasses.replace(
        smoke(),
        phases=(
            dataclasses.replace(smoke().phases[0], until_samples=16, pixels=640, batch=2),
            dataclasses.replace(smoke().phases[0], pixels=640, batch=2, frames=3),
        ),
        draws_per_clip=2,
        groups_held=2,
        clip_frames=4,
        precision="float32",
        streams=STREAMS,
    )
    torch.set_default_dtype(torch.float64)
    try:
        trainer = Trainer(config, folder, processes=processes)
    finally:
        torch.set_default_dtype(torch.float32)
    streams: Any = {number: Noting(each) for number, each in trainer.streams.items()}
    trainer.streams = streams
    return trainer


class Noting:
    """A stream in float64 that keeps the images it gave."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.seen: dict[int, Tensor] = {}

    def phase_of(self, step):
        return self.stream.phase_of(step)

    def sample(self, step):
        sample = self.stream.sample(step)
        self.seen[step] = sample.images
        return every(sample, lambda each: each.double() if each.is_floating_point() else each)


def go_on(rank: int, count: int, until: int, folder: Path, *, resume: bool) -> None:
    """Some steps in a group of processes, from the checkpoint of a folder or from nothing."""
    meeting = folder / f"meeting-{count}-{until}"
    processes = Processes() if count == 1 else group(rank, count, meeting)
    trainer = real_trainer(folder, processes)
    if resume:
        trainer.resume()
    while trainer.step < until:
        trainer.train_step()
    trainer.save()
    streams: Any = trainer.streams
    seen = {number: each.seen for number, each in streams.items()}
    torch.save(seen, folder / f"seen-{count}-{until}-{rank}.pt")
    if count > 1:
        distributed.destroy_process_group()


def three_and_two(rank: int, folder: Path) -> None:
    """Two steps in three processes, which share four streams, then two more in two."""
    go_on(rank, 3, 2, folder, resume=False)
    if rank < 2:
        go_on(rank, 2, 4, folder, resume=True)


def check_same_state(one: Path, other: Path, *, tolerance: float) -> None:
    """Two checkpoints hold the same tensors to a tolerance, and the same of all else."""
    mine, theirs = (load_state(folder) for folder in (one, other))
    assert (mine.step, mine.samples) == (theirs.step, theirs.samples)
    for kind in ("network", "ema"):
        check_same(getattr(mine, kind), getattr(theirs, kind), tolerance)
    for ours, wanted in zip(mine.optimisers, theirs.optimisers, strict=True):
        assert ours["param_groups"] == wanted["param_groups"]
        assert ours["state"].keys() == wanted["state"].keys()
        for index, values in wanted["state"].items():
            check_same(ours["state"][index], values, tolerance)


def check_same(ours: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert ours.keys() == wanted.keys()
    for name, value in wanted.items():
        assert type(ours[name]) is type(value) is Tensor, name
        torch.testing.assert_close(ours[name], value, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_a_run_goes_on_the_same_with_another_number_of_processes(tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        folder.mkdir()
    go_on(0, 1, 4, alone, resume=False)
    in_processes(3, three_and_two, shared)
    wanted = torch.load(alone / "seen-1-4-0.pt", weights_only=True)
    found: dict[int, dict[int, Tensor]] = {number: {} for number in range(STREAMS)}
    for path in shared.glob("seen-*.pt"):
        for number, steps in torch.load(path, weights_only=True).items():
            # No step of a stream is seen by two processes.
            assert not found[number].keys() & steps.keys()
            found[number] |= steps
    assert found.keys() == wanted.keys()
    for number, steps in wanted.items():
        assert steps.keys() == found[number].keys() == set(range(4))
        assert all(torch.equal(images, found[number][step]) for step, images in steps.items())
    # Adam turns roundings of gradients that are nearly zero into steps of more.
    check_same_state(shared, alone, tolerance=1e-9)
    assert load_state(alone).samples == 4 * 2 * STREAMS


def sharded_then_not(rank: int, system: str, folder: Path) -> None:
    """Two sharded steps; two more in a run that takes up the checkpoint, sharded as well."""
    processes = group(rank, 2, folder / "meeting")
    for steps in (2, 4):
        trainer = trainer_of(system, folder, streams=2, processes=processes, sharded=True)
        if steps > 2:
            trainer.resume()
        while trainer.step < steps:
            trainer.train_step()
        trainer.save()
        processes.wait()
    shown: list[dict[str, Tensor]] = []
    trainer._validate(lambda each: shown.append(each.averaged_network().state_dict()))
    if rank == 0:
        torch.save(shown[0], folder / "shown.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("system", PUBLISHED)
def test_checkpoints_of_sharded_runs_are_the_same_files(tmp_path, system):
    alone, sharded = tmp_path / "alone", tmp_path / "sharded"
    sharded.mkdir()
    trainer = trainer_of(system, alone, streams=2, processes=Processes())
    while trainer.step < 4:
        trainer.train_step()
    trainer.save()
    in_processes(2, sharded_then_not, system, sharded)
    check_same_state(sharded, alone, tolerance=1e-9)
    shown = torch.load(sharded / "shown.pt", weights_only=True)
    # What is validated is made anew, in float32.
    saved = {name: each.float() for name, each in load_state(sharded).network.items()}
    check_same(shown, saved, 0)
    # One process goes on with what two wrote.
    again = trainer_of(system, sharded, streams=2, processes=Processes())
    again.resume()
    again.train_step()
    trainer.train_step()
    check_same(again.network.state_dict(), trainer.network.state_dict(), 1e-9)


def test_streams_that_processes_cannot_share():
    config = dataclasses.replace(vdpm_miniature(), streams=4)
    with pytest.raises(ConfigError, match="5 processes for a run of 4 streams"):
        with_streams(config, Processes(count=5))
    with pytest.raises(ConfigError, match="3 processes cannot share 4 streams"):
        with_streams(config, Processes(count=3), sharded=True)
    assert with_streams(config, Processes(count=3)).streams == 4
    unsaid = dataclasses.replace(config, streams=0)
    assert with_streams(unsaid, Processes(count=3)).streams == 3
    # 10**9 scenes, 256 a group of clips and stream, 4 steps a group.
    longest = 10**9 // (256 * 4) * 4
    with_streams(dataclasses.replace(config, steps=longest), Processes())
    with pytest.raises(ConfigError, match="would come to scenes they have seen"):
        with_streams(dataclasses.replace(config, steps=longest + 1), Processes())


def test_runs_that_cannot_be_sharded(tmp_path):
    with pytest.raises(ConfigError, match="here is one; start several by torchrun"):
        Trainer(vdpm_miniature(), tmp_path, processes=Processes(), sharded=True)
    two = Processes(count=2)
    with pytest.raises(ConfigError, match="tiny fits into every device"):
        Trainer(smoke(), tmp_path, processes=two, sharded=True)
    config = dataclasses.replace(vdpm_miniature(), optimiser="muon")
    with pytest.raises(ConfigError, match="muon needs whole matrices"):
        Trainer(config, tmp_path, processes=two, sharded=True)


def test_a_run_that_cannot_be_sharded_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="start several by torchrun"):
        train("vdpm-miniature", tmp_path / "run", device="cpu", shard=True)
    assert not (tmp_path / "run").exists()
