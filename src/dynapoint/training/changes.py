"""A recipe with some of its numbers changed, which says so."""

import json
from collections.abc import Mapping
from dataclasses import replace

from dynapoint.errors import ConfigError
from dynapoint.training.checkpoints import TrainingState
from dynapoint.training.data_stream import check_batch
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


def resumed(config: TrainConfig, changes: Mapping[str, Plain], state: TrainingState) -> TrainConfig:
    """The configuration to go on with: what the run was begun with, but for what is said anew.

    How many steps there are is asked for each time: a run that is resumed was to go on.
    """
    before = json.loads(state.config_json).get("changed", {})
    begun_with = {name: value for name, value in before.items() if name != "steps"}
    return changed(config, {**begun_with, **changes})
