"""Parameters, gradients and optimiser state shared out among processes (FSDP2).

Each process holds a part of every tensor; a block's whole parameters are there while it computes.
Files hold whole tensors: those of a sharded run are the same as any other's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from dynapoint.errors import ConfigError
from dynapoint.models.dust3r.blocks import CrossBlock
from dynapoint.models.layers.blocks import Block, ConditionalBlock
from dynapoint.models.nano.config import NetworkConfig
from dynapoint.training.distributed import Processes
from dynapoint.training.train_config import TrainConfig

try:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, distribute_tensor
except ImportError:  # torch 2.5
    fully_shard = None  # type: ignore[assignment]

BLOCKS = (Block, ConditionalBlock, CrossBlock)
"""What is gathered and let go of one by one; all other parameters stay gathered for a pass."""


def check_sharding(config: TrainConfig, processes: Processes) -> None:
    """Raise ConfigError where a run cannot be sharded, or need not be."""
    if fully_shard is None:
        raise ConfigError("--shard needs torch 2.6 or newer; update it, or leave out --shard")
    if isinstance(config.network, NetworkConfig):
        raise ConfigError(
            f"{config.network.name} fits into every device; leave out --shard, which is for the "
            "published networks"
        )
    if config.optimiser != "adamw":
        raise ConfigError("--shard goes with --optimiser adamw: muon needs whole matrices")
    if processes.count == 1:
        raise ConfigError(
            "--shard shares a network among processes, here is one; start several by torchrun, or "
            "leave out --shard"
        )


def shard_module(module: nn.Module, device: str, processes: Processes) -> nn.Module:
    """Share out a module's parameters, in place; its forward pass then gathers what it needs."""
    mesh = init_device_mesh(torch.device(device).type, (processes.count,))
    for each in list(module.modules()):
        if isinstance(each, BLOCKS):
            fully_shard(each, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds."""
    if fully_shard is not None and isinstance(tensor, DTensor):
        return tensor.to_local()
    return tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, put together where it is shared out: all processes have to ask."""
    if fully_shard is not None and isinstance(tensor, DTensor):
        return tensor.full_tensor()
    return tensor


def shared_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, shared out as another one is if it is."""
    if fully_shard is None or not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    local_device = like.to_local().device
    return distribute_tensor(tensor.to(local_device), like.device_mesh, like.placements)


def whole_tensors(tensors: Mapping[str, Tensor], *, keep: bool = True) -> dict[str, Tensor]:
    """All tensors put together, those that were shared out on the CPU.

    All processes have to ask; one that does not `keep` them gets none.
    """
    found = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if keep:
            found[name] = full if full is tensor else full.cpu()
    return found


def load_shared(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """`load_state_dict` of whole tensors; raises RuntimeError as it does."""
    own = module.state_dict()
    module.load_state_dict(
        {name: shared_like(tensor, own.get(name, tensor)) for name, tensor in tensors.items()}
    )


def whole_state(optimiser: torch.optim.Optimizer, *, keep: bool = True) -> dict[str, Any]:
    """An optimiser's `state_dict` with its tensors put together."""
    state = optimiser.state_dict()
    found = {
        index: whole_tensors(values, keep=keep) if _has_tensors(values) else values
        for index, values in state["state"].items()
    }
    return {**state, "state": found}


def load_shared_state(optimiser: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """`load_state_dict` of an optimiser from a state of whole tensors."""
    parameters = [each for group in optimiser.param_groups for each in group["params"]]
    state = {
        index: {
            name: shared_like(value, parameters[index]) if index < len(parameters) else value
            for name, value in values.items()
        }
        for index, values in saved["state"].items()
    }
    optimiser.load_state_dict({**saved, "state": state})


def _has_tensors(values: Mapping[str, Any]) -> bool:
    return all(isinstance(value, Tensor) for value in values.values())
