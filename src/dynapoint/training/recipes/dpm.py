"""DPM's recipe (arXiv 2503.16318) and a miniature of it."""

from dataclasses import replace

from dynapoint.models.dust3r import config as dust3r_config
from dynapoint.training.dpm_objective import DpmLoss
from dynapoint.training.mixture import DPM_SETS
from dynapoint.training.train_config import CosineDecay, Phase, TrainConfig


def dpm() -> TrainConfig:
    """DPM from DUSt3R's weights, as its paper says and where that is silent as MonST3R's code.

    From the paper: two heads for each image, started as copies of DUSt3R's one; the loss over all
    four maps; the sets and which maps each supervises; images of 512 × 288 and 512 × 336.

    UNCONFIRMED, because the paper does not say, and MonST3R's in its place: AdamW with betas .9 and
    .95 and weight decay .05; half a cosine from 5e-5 to 1e-6 over 50 epochs after 3 of warm-up; 32
    pairs in a step (there 4 on each of 2 GPUs, 4 times; here 4 in each of 8 processes); a frozen
    encoder; pairs of up to 9 frames apart, which MonST3R draws more often the farther apart they
    are, but here all spans are as likely; and what `DpmLoss` and `DPM_SETS` list. MonST3R's random
    crops, its scaling of focal lengths and its far limit of 80 m are left out, gradients are
    clipped, and the engine's aspects vary around the paper's. Which checkpoint of DUSt3R the paper
    starts from is not said either: --start-from chooses.
    """
    processes, batch, epochs = 8, 4, 50
    epoch = sum(each.samples for each in DPM_SETS)
    return TrainConfig(
        name="dpm",
        network=dust3r_config.dpm(),
        phases=(
            Phase(
                frames=2,
                batch=batch,
                pixels=512 * 336,
                largest_span=9,
                difficulties=((0.5, 0.5), (1.0, 0.5)),
                still_camera=0.2,
            ),
        ),
        loss=DpmLoss(),
        sets=DPM_SETS,
        # MonST3R's command freezes these and leaves the encoder's last norm free.
        frozen=("patch_embed.", "enc_blocks."),
        fine_tunes=True,
        checkpoint_blocks=True,
        learning_rate=5e-5,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        clip_norm=1.0,
        ema_decay=None,
        cosine=CosineDecay(per_samples=processes * batch, warmup_share=3 / epochs, least=1e-6),
        steps=epochs * epoch // (processes * batch),
        clip_frames=12,
        mirror=False,
        photometric=0.5,
        checkpoint_seconds=3600.0,
        validate_seconds=7200.0,
        validation_clips=8,
        validation_pixels=512 * 336,
    )


def dpm_miniature() -> TrainConfig:
    """`dpm` in small and from nothing: tests, and a look at a run on a CPU."""
    small = Phase(frames=2, batch=8, pixels=6144, largest_span=9)
    return replace(
        dpm(),
        name="dpm-miniature",
        network=dust3r_config.dpm_miniature(),
        phases=(small,),
        frozen=(),
        fine_tunes=False,
        checkpoint_blocks=False,
        learning_rate=2e-3,
        cosine=CosineDecay(per_samples=8, warmup_share=0.1, least=1e-6),
        steps=200,
        checkpoint_seconds=300.0,
        validate_seconds=900.0,
        validation_clips=2,
        validation_pixels=6144,
    )
