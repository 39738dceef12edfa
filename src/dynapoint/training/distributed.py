"""One process, or several under `torchrun`."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True, kw_only=True)
class Share:
    """One of `count` equal parts of a step's samples: the part of number `rank`."""

    rank: int = 0
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Processes(Share):
    """This process among those of a run.

    `keeps_group` says that somebody else made their group, and will end it (Ray Train).
    """

    keeps_group: bool = False

    @staticmethod
    def start(device: str) -> "Processes":
        """Join the processes that `torchrun` or Ray Train started, or be the only one."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return Processes()
        if device == "cuda":
            # Each process of a machine takes a GPU of its own, which "cuda" then means.
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        there = distributed.is_initialized()
        if not there:
            distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return Processes(rank=distributed.get_rank(), count=count, keeps_group=there)

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

    def holding_back(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Inside, gradients of a wrapped module add up in this process alone."""
        if isinstance(module, nn.parallel.DistributedDataParallel):
            return module.no_sync()
        return nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, without gradients."""
        if self.count == 1:
            return values.detach()
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total

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
        """Leave the group, if it is this run's own."""
        if self.count > 1 and not self.keeps_group:
            distributed.destroy_process_group()
