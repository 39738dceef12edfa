"""Optimisers, learning rate and the running average of weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dynapoint.errors import ConfigError
from dynapoint.training.recipes import TrainConfig

MUON_PARTS = ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")


def build_optimisers(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the blocks' matrices and AdamW for the rest.

    Vectors (norms, biases, tokens) are not decayed.
    """
    matrices, decayed, plain = [], [], []
    for name, parameter in network.named_parameters():
        if config.optimiser == "muon" and name.endswith(MUON_PARTS):
            matrices.append(parameter)
        elif parameter.ndim >= 2 and not name.endswith("token"):
            decayed.append(parameter)
        else:
            plain.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)
    ]
    if matrices:
        if not hasattr(torch.optim, "Muon"):
            raise ConfigError(
                f"torch {torch.__version__} has no Muon; choose the optimiser adamw or torch >= 2.9"
            )
        optimisers.append(
            torch.optim.Muon(
                matrices,
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimisers


def learning_rate_at(step: int, first_step: int, config: TrainConfig) -> float:
    """Warm-up from the first step of the run, then constant, then an announced linear decay."""
    rate = config.learning_rate * min(1.0, (step - first_step + 1) / max(1, config.warmup_steps))
    if config.decay_steps > 0:
        rate *= min(1.0, max(0.0, (config.steps - step) / config.decay_steps))
    return rate


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> Tensor:
    """Scale gradients to a norm of at most `limit`; returns the norm before."""
    return nn.utils.clip_grad_norm_(list(parameters), limit)


class RunningAverage:
    """An exponential moving average of weights that trusts young weights less (EMA)."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the network's weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            average = self.weights[name]
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)
