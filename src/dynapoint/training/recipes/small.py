"""Recipes of the small networks, from nothing."""

from dataclasses import replace

from dynapoint.models.nano.config import NetworkConfig, nano_1, nano_2, tiny
from dynapoint.training.losses import LossWeights
from dynapoint.training.train_config import Phase, TrainConfig

MIXED = ((0.0, 0.15), (0.5, 0.35), (1.0, 0.5))
"""Shares of the difficulties once motion has begun."""


def nano() -> TrainConfig:
    """The recipe of `nano-2`; docs/notes/nano.md holds the evidence for each choice.

    Small pairs first, since samples count for more than pixels; the image encoder keeps the weights
    it comes with.
    """
    first = Phase(
        until_samples=6_000,
        pixels=3072,
        batch=32,
        difficulties=((0.0, 0.5), (0.5, 0.5)),
        # Of clips of six frames, which show as much motion as longer ones.
        largest_span=5,
    )
    # Cameras of real and rendered clips turn and go twice to five times as far as the engine's do
    # by themselves, and see less far across.
    mixed = replace(
        first, difficulties=MIXED, still_camera=0.2, long_lens=0.65, driving=0.14, rooms=0.14,
        brisk=0.5,
    )  # fmt: skip
    # A network that has seen one size answers another lens and another depth at each other size.
    three = replace(mixed, frames=3, pairs=3, pixels=5632, largest_pixels=12_288, batch=16)
    four = replace(mixed, frames=4, pairs=4, pixels=12_288, batch=12)
    return TrainConfig(
        name="nano",
        network=nano_2(),
        frozen=("stem.encoder.",),
        optimiser="muon",
        warmup_steps=100,
        ema_decay=0.998,
        # Drawn ten times, clips are learned by heart within the hundred steps that hold them: the
        # loss on them was .12 where new ones had .19. Six frames render as fast as four draws want.
        draws_per_clip=4,
        clip_frames=6,
        groups_held=10,
        phases=(
            first,
            replace(mixed, until_samples=60_000),
            replace(three, until_samples=300_000),
            replace(four, until_samples=1_000_000),
            replace(four, frames=6, pairs=6, until_samples=2_000_000),
        ),
        validation_pixels=5632,
    )


def nano_plain() -> TrainConfig:
    """The same without an image encoder: nothing in it has seen a real picture."""
    config = nano()
    assert isinstance(config.network, NetworkConfig)
    return replace(
        config,
        name="nano-plain",
        network=replace(
            config.network,
            name="nano-plain",
            stem=replace(config.network.stem, encoder=None),
            matcher=replace(
                config.network.matcher, from_encoder=False, temperature_init=0.07, missing_init=0.0
            ),
        ),
        frozen=(),
    )


def nano_1_run() -> TrainConfig:
    """The recipe of `nano-1`."""
    easy = ((0.0, 1.0),)
    mixed = MIXED
    return TrainConfig(
        name="nano-1",
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
    """The announced end of a `nano` run: resume it with `--steps` 200 more than it has done.

    The rate falls to zero over the last 200 steps, the average follows faster, and the motion term
    is sharpened, since the motion ratio is measured by the plain norm. However early it begins, it
    has three larger frames at once, as users give more and larger ones than the first phases have.
    """
    run = nano()
    return replace(
        run,
        phases=tuple(phase for phase in run.phases if phase.frames > 2),
        decay_steps=200,
        ema_decay=0.99,
        loss=LossWeights(motion_quadratic_below=0.03),
    )


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
