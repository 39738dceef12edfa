"""Recipes: complete training runs as Python functions."""

from collections.abc import Callable
from difflib import get_close_matches

from dynapoint.errors import ConfigError
from dynapoint.training.recipes.comparison import COMPARISON
from dynapoint.training.recipes.dept3r import dept3r, dept3r_miniature
from dynapoint.training.recipes.dpm import dpm, dpm_miniature
from dynapoint.training.recipes.small import nano, nano_1_run, nano_finish, nano_plain, smoke
from dynapoint.training.recipes.vdpm import vdpm, vdpm_miniature
from dynapoint.training.train_config import TrainConfig

RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "dpm": dpm,
    "dpm-miniature": dpm_miniature,
    "dept3r": dept3r,
    "dept3r-miniature": dept3r_miniature,
    "nano": nano,
    "nano-1": nano_1_run,
    "nano-finish": nano_finish,
    "nano-plain": nano_plain,
    "smoke": smoke,
    "vdpm": vdpm,
    "vdpm-miniature": vdpm_miniature,
    **COMPARISON,
}


def recipe(name: str) -> TrainConfig:
    """The recipe of a name; raises ConfigError naming the known ones."""
    if name not in RECIPES:
        close = get_close_matches(name, RECIPES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"unknown recipe {name!r}; {meant}known recipes are {', '.join(sorted(RECIPES))}"
        )
    return RECIPES[name]()
