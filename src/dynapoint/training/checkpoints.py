"""Training state on disk: written atomically, read with `weights_only=True`."""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from dynapoint.errors import ModelError
from dynapoint.whole_file import whole_file

FILE_NAME = "training.pt"


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """All that a run needs to go on exactly where it was."""

    step: int
    samples: int
    seconds: float
    config_json: str
    network: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimisers: list[dict[str, Any]]


def save_state(state: TrainingState, folder: Path) -> Path:
    """Write a checkpoint beside the old one and put it in its place in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    parts = {
        "step": state.step,
        "samples": state.samples,
        "seconds": state.seconds,
        "config": state.config_json,
        "network": state.network,
        "ema": state.ema,
        "optimisers": state.optimisers,
    }
    with whole_file(path) as partial:
        torch.save(parts, partial)
    return path


def load_state(folder: Path) -> TrainingState:
    """Read the checkpoint of a folder; raises ModelError where there is none or it is damaged."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise ModelError(f"no checkpoint {FILE_NAME} in {folder}; train without --resume first")
    try:
        parts = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return TrainingState(
            step=parts["step"],
            samples=parts["samples"],
            seconds=parts["seconds"],
            config_json=parts["config"],
            network=parts["network"],
            ema=parts["ema"],
            optimisers=parts["optimisers"],
        )
    except (UnpicklingError, RuntimeError, KeyError, TypeError, EOFError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as a training checkpoint ({error}); start a new run"
        ) from error
