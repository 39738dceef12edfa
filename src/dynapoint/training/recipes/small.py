"""Recipes of the small networks, from nothing."""

from dataclasses import replace

from dynapoint.models.config import nano_1, tiny
from dynapoint.training.losses import LossWeights
from dynapoint.training.train_config import Phase, TrainConfig


def nano() -> TrainConfig:
    """The recipe of the shipped small network; docs/nano.md holds the evidence for each choice."""
    easy = ((0.0, 1.0),)
    mixed = ((0.0, 0.15), (0.5, 0.35), (1.0, 0.5))
    return TrainConfig(
        name="nano",
        network=nano_1(),
        optimiser="muon",
        warmup_steps=150,
        ema_decay=0.998,
        draws_per_clip=6,
        phases=(
            Phase(until_samples=3_000, difficulties=easy, batch=16),
            Phase(until_samples=7_000, difficulties=mixed, batch=16),
            Phase(
                until_samples=300_000,
                frames=3,
                pairs=3,
                difficulties=mixed,
                still_camera=0.2,
                batch=11,
            ),
            Phase(
                until_samples=600_000,
                frames=4,
                pairs=4,
                pixels=12_288,
                batch=16,
                difficulties=mixed,
                still_camera=0.2,
            ),
            Phase(
                until_samples=1_600_000,
                frames=6,
                pairs=6,
                pixels=24_576,
                batch=16,
                difficulties=mixed,
                still_camera=0.2,
            ),
        ),
    )


def nano_finish() -> TrainConfig:
    """The announced end of a `nano` run: resume it with `--steps` 400 more than it has done.

    The rate falls to zero over the last 400 steps, and the motion term is sharpened, since the
    motion ratio is measured by the plain norm.
    """
    return replace(nano(), decay_steps=400, loss=LossWeights(motion_quadratic_below=0.03))


def smoke() -> TrainConfig:
    """A run of seconds on a tiny network, for tests and a first look."""
    return TrainConfig(
        name="smoke",
        network=tiny(),
        phases=(Phase(until_samples=10_000, pixels=1536, batch=4),),
        learning_rate=2e-3,
        warmup_steps=10,
        steps=60,
        clip_frames=6,
        checkpoint_seconds=1e9,
        validate_seconds=1e9,
        validation_clips=0,
    )
