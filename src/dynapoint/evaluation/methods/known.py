"""Methods by the names of the command line: baselines and trivial answers, or else networks."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from dynapoint.errors import ConfigError
from dynapoint.evaluation.methods.method import Method
from dynapoint.evaluation.methods.network import NetworkMethod
from dynapoint.evaluation.methods.trivial import FlatScene, TrueGeometryNothingMoved
from dynapoint.evaluation.methods.truth import TruthMethod
from dynapoint.models.cards import CARDS, NEWEST, RETIRED, known_models

TRIVIAL: dict[str, Callable[[], Method]] = {
    "truth": TruthMethod,
    "flat": FlatScene,
    "still-truth": TrueGeometryNothingMoved,
}
"""Stand beside every number; named as models, they go through files as any method does."""

BASELINES: dict[str, tuple[str, str]] = {
    "flow": ("flow_maps", "make_method"),
    "flow-truth": ("flow_maps", "make_method_on_truth"),
    "two-view": ("two_view", "make_method"),
    "sfm": ("sfm", "make_method"),
}
"""Modules of `evaluation.baselines` and what makes the method there, by the method's name."""


def methods_of(models: Sequence[str], weights: Sequence[Path] = ()) -> tuple[Method, ...]:
    """The methods of some names; nothing that takes long is loaded.

    Args:
        models: Names of networks, baselines or trivial answers.
        weights: Weights files to load instead of the networks' own, one for each name.

    Raises:
        ConfigError: A name is unknown or given twice, or there are not as many weights as models.
        ModelError: A network's weights are not on this machine.
    """
    if weights and len(weights) != len(models):
        raise ConfigError(
            f"{len(models)} models and {len(weights)} weights files; give one file for each model, "
            "or none"
        )
    files: Sequence[Path | None] = weights or [None] * len(models)
    labels = labels_of(models, files)
    if len(set(labels)) < len(labels):
        raise ConfigError(f"the models {', '.join(labels)} are not all different; give each once")
    return tuple(
        _method(model, label, file)
        for model, label, file in zip(models, labels, files, strict=True)
    )


def labels_of(models: Sequence[str], files: Sequence[Path | None]) -> list[str]:
    """What rows are called: the model, or its file, with folders where names alone are equal."""
    names = [
        model if file is None else file.name for model, file in zip(models, files, strict=True)
    ]
    return [
        name if file is None or names.count(name) == 1 else str(file)
        for name, file in zip(names, files, strict=True)
    ]


def _method(model: str, label: str, file: Path | None) -> Method:
    if file is None and model in TRIVIAL:
        return TRIVIAL[model]()
    if file is None and model in BASELINES:
        module, maker = BASELINES[model]
        made = import_module(f"dynapoint.evaluation.baselines.{module}")
        method: Method = getattr(made, maker)()
        return method
    if file is not None and model in (*TRIVIAL, *BASELINES):
        raise ConfigError(f"{model} is no network and takes no weights; leave {file} out")
    if model not in (*CARDS, *NEWEST, *RETIRED):
        there = ", ".join([*known_models(), *BASELINES, *TRIVIAL])
        raise ConfigError(f"there is no method {model!r}; there are {there}")
    return NetworkMethod(model, name=label, weights=file)
