"""A recipe with some of its numbers changed, which says so."""

import json
from collections.abc import Mapping
from dataclasses import replace

from dynapoint.datasets.registry import dataset_card
from dynapoint.errors import ConfigError
from dynapoint.training.checkpoints import TrainingState
from dynapoint.training.data_stream import check_batch
from dynapoint.training.mixture import DataSet
from dynapoint.training.options import Plain
from dynapoint.training.train_config import TrainConfig

# What a cosine takes the place of.
_WITHOUT_COSINE = ("warmup_steps", "decay_steps")


def changed(config: TrainConfig, changes: Mapping[str, Plain]) -> TrainConfig:
    """The configuration with other numbers, listed in its `changed`.

    Args:
        config: A recipe's.
        changes: Values of `Knobs` by name, and `batch`, of every phase.

    Raises:
        ConfigError: A value is none that this recipe can be trained with.
    """
    if config.cosine is not None:
        for name in _WITHOUT_COSINE:
            if name in changes:
                raise ConfigError(
                    f"the rate of {config.name} follows a cosine over all steps, so that "
                    f"--{name.replace('_', '-')} has no meaning; leave it out"
                )
    knobs = {name: value for name, value in changes.items() if name != "batch"}
    phases = config.phases
    if "batch" in changes:
        batch = int(changes["batch"])
        phases = tuple(replace(phase, batch=batch) for phase in phases)
    made = replace(
        config,
        phases=phases,
        changed={**config.changed, **changes},
        **knobs,  # type: ignore[arg-type]
    )
    check_batch(made)
    most = max(phase.frames for phase in phases)
    if made.clip_frames < most:
        raise ConfigError(
            f"--clip-frames is {made.clip_frames} but {config.name} draws samples of {most} "
            f"frames; give {most} or more"
        )
    return made


def with_data(config: TrainConfig, places: Mapping[str, str]) -> TrainConfig:
    """The configuration with sets that are read from folders.

    In a mixture they take their own places, and the data engine keeps those of the sets that are
    not given. A recipe without a mixture is trained on the given sets alone, in equal shares.

    Raises:
        ConfigError: The mixture has no such set.
    """
    if not places:
        return config
    sets = config.sets or tuple(
        DataSet(name=dataset_card(key).title, key=key, samples=1) for key in places
    )
    keys = {each.key for each in sets}
    for key in places:
        if key not in keys:
            raise ConfigError(
                f"the mixture of {config.name} has no {key}; give some of {', '.join(sorted(keys))}"
                ", or take a recipe without a mixture, e.g. nano"
            )
    return replace(config, sets=sets, data=dict(places))


def resumed(
    config: TrainConfig,
    changes: Mapping[str, Plain],
    state: TrainingState,
    data: Mapping[str, str] | None = None,
) -> TrainConfig:
    """The configuration to go on with: what the run was begun with, but for what is said anew.

    How many steps there are is asked for each time: a run that is resumed was to go on. Its
    streams stay as many as they were, however many processes there are now.

    Raises:
        ConfigError: The changes cannot be made, or are of the streams.
    """
    begun = json.loads(state.config_json)
    before = begun.get("changed", {})
    begun_with = {name: value for name, value in before.items() if name != "steps"}
    places = {**begun.get("data", {}), **(data or {})}
    made = with_data(changed(config, {**begun_with, **changes}), places)
    # Runs of older versions do not say; their streams are the processes of now.
    streams = begun.get("streams", 0) or made.streams
    if made.streams not in (0, streams):
        raise ConfigError(
            f"the run has {streams} streams of samples, --streams says {made.streams}; what it has "
            "seen so far depends on them: leave it out, or begin a new run from its weights"
        )
    return replace(made, streams=streams, textures=begun.get("textures", ""))
