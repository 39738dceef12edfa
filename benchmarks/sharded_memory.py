"""Memory of training a published network, traced without computing anything.

    python benchmarks/sharded_memory.py [RECIPE]

What lasts (parameters, gradients, AdamW's two moments) is counted from the parts that each process
of a pretended group gets from FSDP2; what a pass adds is followed by tensors that have shapes and
no values, for one stream of each phase.
"""

import sys
from dataclasses import dataclass, replace
from unittest.mock import patch

import torch
from torch import distributed, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dynapoint.training.data_stream import image_size
from dynapoint.training.distributed import Processes
from dynapoint.training.recipes import recipe
from dynapoint.training.sharding import BLOCKS, local, shard_module
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.training.trainees import trainee_of
from dynapoint.training.trainer import Objective
from dynapoint.types import TruthSample

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Lasting:
    """Bytes of one process that stay from step to step, and those gathered for a pass."""

    parameters: int
    gradients: int
    moments: int
    gathered: int

    @property
    def total(self) -> int:
        """Parameters, gradients and moments."""
        return self.parameters + self.gradients + self.moments


def objective_of(config: TrainConfig) -> Objective:
    """The module of a run, its frozen parts frozen, on the device of the context."""
    trainee = trainee_of(config, "cpu", Processes())
    # Tensors without values cannot be moved, and are where they should be.
    with patch.object(nn.Module, "to", lambda module, *_, **__: module):
        network = trainee.build()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(config.frozen or ("no such",)))
    return Objective(trainee, network)


def bytes_of(parameters: list[nn.Parameter]) -> int:
    return sum(local(each).numel() * each.element_size() for each in parameters)


def lasting(config: TrainConfig, processes: int) -> Lasting:
    """What process 0 holds, whose parts are the largest."""
    with FakeTensorMode():
        objective = objective_of(config)
    blocks = [each for each in objective.modules() if isinstance(each, BLOCKS)]
    in_blocks = {id(each) for block in blocks for each in block.parameters()}
    rest = bytes_of([each for each in objective.parameters() if id(each) not in in_blocks])
    largest = max(bytes_of(list(block.parameters())) for block in blocks)
    if processes > 1:
        with torch.device("meta"):
            objective = objective_of(config)
        distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=processes)
        shard_module(objective, "cpu", Processes(count=processes))
        distributed.destroy_process_group()
    parameters = list(objective.parameters())
    trained = bytes_of([each for each in parameters if each.requires_grad])
    return Lasting(
        parameters=bytes_of(parameters),
        gradients=trained,
        moments=2 * trained,
        # One block is computed with while the next is fetched.
        gathered=rest + 2 * largest if processes > 1 else 0,
    )


def sample_of(config: TrainConfig, phase: Phase) -> TruthSample:
    """A sample of a phase's shape."""
    height, width = image_size(16 / 9, phase.pixels, config.patch_size)
    batch, frames = phase.batch, phase.frames
    maps = (batch, frames, height, width)
    return TruthSample(
        images=torch.rand(batch, frames, 3, height, width),
        points=torch.rand(batch, frames, frames, height, width, 3),
        valid=torch.ones(maps, dtype=torch.bool),
        visible=torch.ones(batch, frames, frames, height, width, dtype=torch.bool),
        moving=torch.ones(maps, dtype=torch.bool),
        supervised=torch.ones(batch, frames, frames, dtype=torch.bool),
        world_from_camera=torch.eye(4).repeat(batch, frames, 1, 1),
        intrinsics=torch.eye(3).repeat(batch, frames, 1, 1),
    )


class Alive(TorchDispatchMode):
    """Follows the memory of all tensors that operations make; every so often it sums what is left.

    Attributes:
        peak: The most bytes that were there at once, but for peaks of less than `EVERY` operations.
    """

    EVERY = 100

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._made: dict[StorageWeakRef, int] = {}
        self._count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and note what it made."""
        results = func(*args, **(kwargs or {}))
        for each in tree_leaves(results):
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                self._made[StorageWeakRef(storage)] = storage.nbytes()
        self._count += 1
        if self._count % self.EVERY == 0:
            self.now()
        return results

    def now(self) -> int:
        """Bytes of what is still there."""
        self._made = {ref: size for ref, size in self._made.items() if not ref.expired()}
        found = sum(self._made.values())
        self.peak = max(self.peak, found)
        return found


def passing(config: TrainConfig, phase: Phase) -> tuple[int, int]:
    """Bytes beside parameters: kept from the forward pass, and at the peak of both passes.

    The second has the gradients as far as they are there by then.
    """
    # What is left to chance has values, so that the mode ends before the pass.
    with FakeTensorMode(allow_non_fake_inputs=True):
        objective = objective_of(config)
        sample = sample_of(config, phase)
    with Alive() as alive:
        parts = objective(sample, phase, torch.Generator().manual_seed(0))
        kept = alive.now()
        parts.total.backward()
    return kept, alive.peak


def main() -> None:
    config = replace(recipe(sys.argv[1] if len(sys.argv) > 1 else "vdpm"), precision="bfloat16")
    print("processes  parameters  gradients  moments  in all  gathered for a pass   (GiB)")
    for processes in (1, 8, 64):
        found = lasting(config, processes)
        numbers = (found.parameters, found.gradients, found.moments, found.total, found.gathered)
        print(f"{processes:9d}", *(f"{each / GIB:10.2f}" for each in numbers))
    for phase in dict.fromkeys(config.phases):
        kept, peak = passing(config, phase)
        print(
            f"{phase.batch} samples of {phase.frames} frames: {kept / GIB:.2f} GiB are kept for "
            f"the backward pass, {peak / GIB:.2f} GiB at the peak of both",
            flush=True,
        )


if __name__ == "__main__":
    main()
