"""DePT3R's recipe (arXiv 2512.13122) and a miniature of it."""

from dataclasses import replace

from dynapoint.models.vggt import dept3r_config
from dynapoint.training.dept3r_objective import Dept3rLoss
from dynapoint.training.mixture import DEPT3R_SETS
from dynapoint.training.train_config import CosineDecay, Phase, TrainConfig


def dept3r() -> TrainConfig:
    """DePT3R from VGGT-1B, as far as the notes on its paper go.

    From them: two phases (cameras, depth, points and the intrinsic embedding; then the query
    embedding and motion as well), the data sets of each, clips of 2 to 10 frames, centre crops, one
    GPU of 48 GB for about three days.

    UNCONFIRMED, because they do not say: the length of the phases and of the stretches in which
    clips have one length; batches; the sets' shares; spacing of frames; resolution (a width of 514
    is reported, no multiple of 14; 518 here) and aspects; the crops' least share; other
    augmentation; the optimiser, its rate and schedule; that the patch embedding is frozen; the
    absence of a running average; the reference (any frame); and what `Dept3rLoss` lists.
    """
    rounds, steps_each, clip_frames = 12, 250, 20
    stretches: list[Phase] = []
    samples = 0
    for motion in (False, True):
        for frames in [*range(2, 11)] * rounds:
            batch = max(1, 12 // frames)
            samples += batch * steps_each
            stretches.append(
                Phase(
                    until_samples=samples,
                    frames=frames,
                    batch=batch,
                    motion=motion,
                    pixels=518 * 392,
                    largest_span=min(2 * (frames - 1), clip_frames - 1),
                    difficulties=((0.5, 0.5), (1.0, 0.5)),
                    still_camera=0.2,
                )
            )
    return TrainConfig(
        name="dept3r",
        network=dept3r_config.dept3r(),
        phases=tuple(stretches),
        loss=Dept3rLoss(),
        sets=DEPT3R_SETS,
        frozen=("patch_embed.",),
        fine_tunes=True,
        checkpoint_blocks=True,
        learning_rate=2e-5,
        weight_decay=0.05,
        clip_norm=1.0,
        ema_decay=None,
        cosine=CosineDecay(per_samples=6, warmup_share=0.05, least=1e-6),
        steps=steps_each * len(stretches),
        groups_held=4,
        clip_frames=clip_frames,
        mirror=False,
        photometric=0.5,
        centre_crop=0.6,
        checkpoint_seconds=3600.0,
        validate_seconds=7200.0,
        validation_clips=8,
        validation_pixels=518 * 392,
    )


def dept3r_miniature() -> TrainConfig:
    """`dept3r` in small and from nothing: tests, and a look at a run on a CPU."""
    first = Phase(until_samples=300, frames=3, batch=3, pixels=2400, largest_span=4, motion=False)
    return replace(
        dept3r(),
        name="dept3r-miniature",
        network=dept3r_config.dept3r_miniature(),
        phases=(first, replace(first, until_samples=600, motion=True)),
        fine_tunes=False,
        learning_rate=2e-3,
        cosine=CosineDecay(per_samples=3, warmup_share=0.1, least=1e-6),
        steps=200,
        clip_frames=8,
        checkpoint_seconds=300.0,
        validate_seconds=900.0,
        validation_clips=2,
        validation_pixels=2400,
    )
