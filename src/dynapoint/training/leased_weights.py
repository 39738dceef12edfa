"""What a leased run hands over while it lasts: weights in shards, and scores of them."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from dynapoint.errors import ModelError
from dynapoint.models.cards import ASSETS
from dynapoint.models.nano.weights import load_network
from dynapoint.training.data_stream import image_size
from dynapoint.training.lease_log import LeaseLog
from dynapoint.training.run import training_record
from dynapoint.training.shards import write_shards
from dynapoint.training.train_config import TrainConfig
from dynapoint.training.trainer import Trainer
from dynapoint.training.validation import ValidationPairs, engine_pairs, validate
from dynapoint.whole_file import sha256_of

SAVES = "saves"
AVERAGED, RAW = "ema", "raw"


def fitting_weights(config: TrainConfig, folder: Path = ASSETS) -> Path | None:
    """The newest shipped weights of the very network that a recipe trains, if there are any."""
    for path in sorted(folder.glob("*.safetensors"), reverse=True):
        with suppress(ModelError):
            if load_network(path).config == config.network:
                return path
    return None


class LeasedWeights:
    """Saves and scores a trainer's weights, averaged and raw."""

    def __init__(self, trainer: Trainer, log: LeaseLog, *, validation_clips: int) -> None:
        self._trainer, self._log = trainer, log
        self._clips = validation_clips
        self._sets: dict[str, ValidationPairs] = {}
        # Made once: a new network draws its weights anew.
        self._averaged: Any = trainer.averaged_network()
        numbers = [int(path.name[5:]) for path in self.folder.glob("save-*")]
        self._next = max(numbers, default=-1) + 1

    @property
    def folder(self) -> Path:
        """Where the shards are."""
        return self._trainer.folder / SAVES

    def save(self) -> None:
        """Write both files and their shards, and log their hashes."""
        trainer = self._trainer
        self._update_average()
        files = []
        for name, network in ((AVERAGED, self._averaged), (RAW, trainer.network)):
            path = trainer.folder / f"{name}.safetensors"
            trainer.trainee.save(network, path, training_record(trainer))
            files.append(path)
            # Before the shards are there: who copies them finds the line in the log.
            self._log.write(
                event="saved",
                name=name,
                step=trainer.step,
                samples=trainer.samples,
                bytes=path.stat().st_size,
                sha256=sha256_of(path),
            )
        write_shards(files, self.folder, number=self._next)
        self._next += 1

    def score(self) -> None:
        """Validate the averaged weights on held-out clips, which are made at the first call."""
        trainer = self._trainer
        if self._clips and not self._sets:
            config = trainer.config
            for name, difficulty in (("easy", 0.0), ("hard", 1.0)):
                self._sets[name] = engine_pairs(
                    difficulty=difficulty,
                    count=self._clips,
                    image_hw=image_size(4 / 3, config.validation_pixels, config.patch_size),
                    device=trainer.device,
                )
        self._update_average()
        for name, pairs in self._sets.items():
            scores = validate(self._averaged, [pairs])
            self._log.write(
                event="validation",
                set=name,
                step=trainer.step,
                samples=trainer.samples,
                own_time_epe=scores.own_time_epe,
                motion_ratio=scores.motion_ratio,
                leak=scores.leak,
            )

    def _update_average(self) -> None:
        average = self._trainer.average
        if average is not None:
            self._averaged.load_state_dict(average.weights)
