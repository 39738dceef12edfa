"""Optimisers, learning rate and the running average of weights."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.training.sharding import local, whole
from dynapoint.training.train_config import CosineDecay, TrainConfig

MUON_PARTS = ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")
"""Matrices of transformer blocks, whose updates Muon makes orthogonal."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made nearly orthogonal (Jordan et al. 2024, "Muon").

    The update's root mean square is scaled to 0.2, AdamW's usual one, so that both share a learning
    rate (Liu et al. 2025, arXiv 2502.16982). torch.optim.Muon does the same in bf16 alone, which
    is hundreds of times slower on processors without bf16 instructions; this one computes in the
    parameter's own type there, and in bf16 on a GPU.
    """

    def __init__(
        self, parameters: list[nn.Parameter], *, lr: float, weight_decay: float, momentum: float
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all matrices that have a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                by_shape.setdefault(parameter.shape, []).append(parameter)
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
            # Matrices of one shape go together: a GPU needs as long to be told of one as of ten.
            for shape, parameters in by_shape.items():
                gradients = [each.grad for each in parameters if each.grad is not None]
                momenta = [self.state[parameter]["momentum"] for parameter in parameters]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                blends = torch._foreach_lerp(gradients, momenta, group["momentum"])
                updates = orthogonalise(torch.stack(blends)).unbind(0)
                scale = 0.2 * max(shape) ** 0.5
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, updates, alpha=-group["lr"] * scale)


def orthogonalise(
    matrix: Float[Tensor, "*batch rows columns"],
) -> Float[Tensor, "*batch rows columns"]:
    """Push all singular values towards one by five Newton-Schulz steps of degree five."""
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.add(a * x, torch.add(b * gram, gram @ gram, alpha=c) @ x)
    return (x.mT if tall else x).to(matrix.dtype)


def build_optimisers(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for all that is not frozen, or Muon for the blocks' matrices and AdamW for the rest.

    Vectors (norms, biases, tokens) are not decayed. The camera head stays with AdamW: its matrices
    are the largest and see the fewest tokens, so Muon would cost more there than all else together.
    """
    matrices, decayed, plain = [], [], []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        in_block = name.endswith(MUON_PARTS) and not name.startswith("camera_head")
        if config.optimiser == "muon" and in_block:
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
        torch.optim.AdamW(
            groups, lr=config.learning_rate, betas=config.betas, fused=_fused(network)
        )
    ]
    if matrices:
        optimisers.append(
            Muon(
                matrices,
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                momentum=config.betas[1],
            )
        )
    return optimisers


def _fused(network: nn.Module) -> bool | None:
    """One kernel for all parameters on a GPU; the default elsewhere."""
    return True if next(network.parameters()).is_cuda else None


def learning_rate_at(step: int, config: TrainConfig, *, processes: int = 1) -> float:
    """Warm-up from the first step of the run, then constant, then an announced linear decay.

    Or the configuration's cosine.
    """
    if config.cosine is not None:
        return _cosine_rate(step, config, config.cosine, processes)
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.decay_steps > 0:
        rate *= min(1.0, max(0.0, (config.steps - step) / config.decay_steps))
    return rate


def _cosine_rate(step: int, config: TrainConfig, cosine: CosineDecay, processes: int) -> float:
    largest = max(phase.batch for phase in config.phases)
    peak = config.learning_rate * largest * processes / cosine.per_samples
    warmup = cosine.warmup_share * config.steps
    if step + 1 <= warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1.0, config.steps - warmup))
    return cosine.least + (peak - cosine.least) * 0.5 * (1 + math.cos(math.pi * progress))


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> Tensor:
    """Scale gradients to a norm of at most `limit`; returns the norm before."""
    return whole(nn.utils.clip_grad_norm_(list(parameters), limit))


class RunningAverage:
    """An exponential moving average of weights that trusts young weights less (EMA)."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the network's weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        kept, new = [], []
        for name, value in network.state_dict().items():
            average = self.weights[name]
            if average.is_floating_point():
                kept.append(local(average))
                new.append(local(value))
            else:
                average.copy_(value)
        torch._foreach_lerp_(kept, new, 1 - decay)
