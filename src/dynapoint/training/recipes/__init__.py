"""Recipes: complete training runs as Python functions, imported with torch when one is wanted."""

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from dynapoint.errors import ConfigError

if TYPE_CHECKING:
    from dynapoint.training.train_config import TrainConfig

RECIPES: "dict[str, str | Callable[[], TrainConfig]]" = {
    "dpm": "dpm:dpm",
    "dpm-miniature": "dpm:dpm_miniature",
    "dept3r": "dept3r:dept3r",
    "dept3r-miniature": "dept3r:dept3r_miniature",
    "nano": "small:nano",
    "nano-1": "small:nano_1_run",
    "nano-finish": "small:nano_finish",
    "nano-plain": "small:nano_plain",
    "smoke": "small:smoke",
    "vdpm": "vdpm:vdpm",
    "vdpm-miniature": "vdpm:vdpm_miniature",
    "comparison-vdpm": "comparison:vdpm_small",
    "comparison-four-frames": "comparison:vdpm_four_frames",
    "comparison-additive": "comparison:additive",
    "comparison-depth-2": "comparison:deeper",
    "comparison-head": "comparison:conditioned_head",
    "comparison-dept3r-frame": "comparison:dept3r_frame",
    "comparison-dept3r-no-intrinsics": "comparison:dept3r_without_intrinsics",
    "comparison-dept3r-no-crop": "comparison:dept3r_without_crop",
    "dpm-nano": "comparison:dpm_nano",
    "dept3r-nano": "comparison:dept3r_nano",
}
"""What makes each recipe: a function, or "module:function" of this folder."""


def check_name(name: str) -> None:
    """Raise ConfigError, which names the known recipes, where none is called that."""
    if name not in RECIPES:
        close = get_close_matches(name, RECIPES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"unknown recipe {name!r}; {meant}known recipes are {', '.join(sorted(RECIPES))}"
        )


def recipe(name: str) -> "TrainConfig":
    """The recipe of a name; raises ConfigError naming the known ones."""
    check_name(name)
    make = RECIPES[name]
    if isinstance(make, str):
        module, _, function = make.partition(":")
        make = vars(import_module(f"{__name__}.{module}"))[function]
    config: TrainConfig = make()
    return config
