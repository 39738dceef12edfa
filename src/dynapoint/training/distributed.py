"""One process, or several under `torchrun`."""

import os
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among those of a run."""

    rank: int = 0
    count: int = 1

    @staticmethod
    def start(device: str) -> "Processes":
        """Join the processes that `torchrun` started, or be the only one."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return Processes()
        if device == "cuda":
            # Each process of a machine takes a GPU of its own, which "cuda" then means.
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return Processes(rank=distributed.get_rank(), count=count)

    def wrap(self, module: nn.Module, *, some_unused: bool = False) -> nn.Module:
        """Average gradients over processes where there are several.

        `some_unused` says that steps may leave parameters out, which takes looking for them.
        """
        if self.count == 1:
            return module
        # Views spare a second copy of all gradients.
        return nn.parallel.DistributedDataParallel(
            module, gradient_as_bucket_view=True, find_unused_parameters=some_unused
        )

    def any(self, value: bool) -> bool:
        """Whether the value is true in any process: all of them then act alike."""
        if self.count == 1:
            return value
        flag = torch.tensor(float(value))
        if distributed.get_backend() == "nccl":
            flag = flag.cuda()
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag > 0)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            distributed.barrier()

    def stop(self) -> None:
        """Leave the group."""
        if self.count > 1:
            distributed.destroy_process_group()
