"""`dynapoint train`: a recipe, a folder, a progress bar, logs."""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dynapoint.errors import ConfigError, OutputError
from dynapoint.models.nano.config import NetworkConfig
from dynapoint.progress import advance, shown, steps
from dynapoint.training.changes import changed, resumed, with_data
from dynapoint.training.checkpoints import FILE_NAME, load_state
from dynapoint.training.data_stream import image_size
from dynapoint.training.distributed import Processes
from dynapoint.training.logs import RunLog
from dynapoint.training.options import Plain, check_places
from dynapoint.training.recipes import recipe as find_recipe
from dynapoint.training.step_streams import losses_of, with_streams
from dynapoint.training.train_config import TrainConfig
from dynapoint.training.trainees import trainee_of
from dynapoint.training.trainer import StepReport, Trainer
from dynapoint.training.validation import ValidationPairs, bench_pairs, engine_pairs, validate

if TYPE_CHECKING:
    from dynapoint.evaluation.real_folders import RealClip

WEIGHTS_FILE = "weights.safetensors"
"""The averaged weights of a run, written at each validation, the last of which ends it."""


def train(
    recipe: str,
    output: Path,
    *,
    changes: Mapping[str, Plain] | None = None,
    resume: bool = False,
    start_from: Path | None = None,
    data: Mapping[str, Path] | None = None,
    textures: Path | None = None,
    bench: Path | None = None,
    real: tuple[Path, ...] = (),
    device: str | None = None,
    max_seconds: float | None = None,
    shard: bool = False,
) -> Path:
    """Run a recipe, with some of its numbers changed, into a folder.

    `data` has folders of data sets by their keys, which take their sets' places in the mixture
    (`changes.with_data`); `textures` has photographs that the engine's scenes take materials from.
    With `shard` the processes share out parameters, gradients and optimiser
    state.

    Returns:
        The path of the averaged weights; their record says what was changed.

    Raises:
        ConfigError: the recipe is unknown, cannot be changed so, has no such set in its mixture, or
            fine-tunes and there is nothing to start from.
        ModelError: there is nothing to resume or to start from, or it is damaged or does not fit.
        OutputError: the folder cannot be made, or holds a run and `resume` is false.
        InputError, SceneError: there is nothing to train on in a folder of `data`, or to validate
            on in `real` or `bench`.
    """
    config = find_recipe(recipe)
    check_places(bench=bench, real=real, data=data, textures=textures)
    places = {key: str(place) for key, place in (data or {}).items()}
    if resume:
        config = resumed(config, changes or {}, load_state(output), places)
    else:
        config = with_data(changed(config, changes or {}), places)
        refuse_existing_run(output)
    if textures is not None:
        config = dataclasses.replace(config, textures=str(textures))
    return train_config(
        config,
        output,
        resume=resume,
        start_from=start_from,
        bench=bench,
        real=real,
        device=device,
        max_seconds=max_seconds,
        shard=shard,
    )


def refuse_existing_run(output: Path) -> None:
    """Raise OutputError where a folder holds a run, which a new one would overwrite."""
    if (output / FILE_NAME).exists():
        raise OutputError(
            f"{output} holds a training run ({FILE_NAME}); add --resume to go on with it, or "
            "choose another folder"
        )


def train_config(
    config: TrainConfig,
    output: Path,
    *,
    resume: bool = False,
    start_from: Path | None = None,
    bench: Path | None = None,
    real: tuple[Path, ...] = (),
    device: str | None = None,
    max_seconds: float | None = None,
    shard: bool = False,
) -> Path:
    """Run a configuration.

    `bench`, a folder of rendered clips, and `real`, folders of real pictures with truth, are added
    to validation, never to training.
    """
    if config.fine_tunes and not resume and start_from is None:
        raise ConfigError(
            f"{config.name} fine-tunes; give the weights to start from with --start-from"
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    processes = Processes.start(device)
    config = with_streams(config, processes, sharded=shard)
    # A file that cannot be used fails before a network is built or a folder made.
    start = trainee_of(config, device, processes).read_start(start_from) if start_from else None
    # What is to be resumed is there already; a wrong name should not leave a folder behind.
    if not resume:
        _make_folder(output)
    trainer = Trainer(config, output, processes=processes, device=device, sharded=shard)
    if resume:
        trainer.resume()
    elif start is not None:
        trainer.start_from(start)
    else:
        trainer.begin()
    log = RunLog(output, active=processes.rank == 0)
    sets = _validation_sets(config, bench) if processes.rank == 0 else {}
    # Reading pictures needs Pillow, which a machine that only trains may lack.
    clips = _real_clips(real) if real and processes.rank == 0 else []
    deadline = time.monotonic() + max_seconds if max_seconds else None
    first = processes.rank == 0
    with shown(first, name="train: step", total=config.steps, done=trainer.step) as work:

        def on_step(report: StepReport) -> None:
            advance(work, words=f"loss {report.losses['total']:.3f}, {report.samples} samples")
            log.step(report)

        trainer.run(
            on_step=on_step,
            on_validate=lambda t: _validate(t, sets, clips, log),
            should_stop=lambda: deadline is not None and time.monotonic() > deadline,
        )
    processes.stop()
    return output / WEIGHTS_FILE


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {output} ({error.strerror}); choose another one"
        ) from error


def training_record(trainer: Trainer) -> dict[str, str]:
    """What a reader of weights should know of how they came about."""
    # Where on this machine the sets lay is not part of it.
    without_places = dataclasses.replace(
        trainer.config,
        data=dict.fromkeys(trainer.config.data, ""),
        textures=Path(trainer.config.textures).name,
    )
    return {
        "recipe": trainer.config.name,
        "steps": str(trainer.step),
        "samples": str(trainer.samples),
        "seconds": f"{trainer.seconds:.0f}",
        "data": data_of(trainer.config.network, trainer.config),
        "changed": json.dumps(trainer.config.changed),
        "config": json.dumps(dataclasses.asdict(without_places)),
    }


def data_of(network: object, config: TrainConfig | None = None) -> str:
    """What a network has seen by its configuration, for those who ask where weights come from."""
    seen = "dynapoint.synthetic, procedural textures only"
    if config is not None and config.textures:
        folder = Path(config.textures).name
        seen = f"dynapoint.synthetic, procedural textures and photographs ({folder})"
    if config is not None and config.data:
        read = [each.name for each in config.sets if each.key in config.data]
        rest = len(read) < len(config.sets)
        seen = ", ".join(read) + (f"; for other sets {seen}" if rest else "")
    if isinstance(network, NetworkConfig) and network.stem.encoder is not None:
        seen += f"; image encoder {network.stem.encoder} trained on ImageNet (Apache-2.0)"
    return seen


def _validation_sets(config: TrainConfig, bench: Path | None) -> dict[str, list[ValidationPairs]]:
    sets = {}
    pixels, multiple = config.validation_pixels, config.patch_size
    if config.validation_clips > 0:
        image_hw = image_size(4 / 3, pixels, multiple)
        for name, difficulty in (("easy", 0.0), ("hard", 1.0)):
            pairs = engine_pairs(
                difficulty=difficulty, count=config.validation_clips, image_hw=image_hw
            )
            sets[name] = [pairs]
    if bench is not None:
        sets["bench"] = bench_pairs(bench, pixels=pixels, multiple=multiple)
    return sets


def _real_clips(folders: tuple[Path, ...]) -> "list[RealClip]":
    from dynapoint.training.real_validation import read_real_clips  # noqa: PLC0415

    return read_real_clips(folders)


def _validate(
    trainer: Trainer,
    sets: dict[str, list[ValidationPairs]],
    clips: "list[RealClip]",
    log: RunLog,
) -> None:
    network = trainer.averaged_network()
    for name, groups in steps(sets.items(), "validation"):
        log.validation(trainer.step, trainer.samples, name, validate(network, groups))
    if clips:
        from dynapoint.training.real_validation import score_real_clip  # noqa: PLC0415

        pixels, multiple = trainer.config.validation_pixels, trainer.config.patch_size
        for clip in steps(clips, "real clip"):
            scores = score_real_clip(network, clip, pixels=pixels, multiple=multiple)
            log.scores(trainer.step, trainer.samples, clip.name, vars(scores))
    if trainer.config.data:
        log.scores(trainer.step, trainer.samples, "data", losses_of(trainer.streams))
    trainer.trainee.save(network, trainer.folder / WEIGHTS_FILE, training_record(trainer))
