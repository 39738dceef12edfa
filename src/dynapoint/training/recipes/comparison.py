"""One size, one diet, three systems: the runs behind the table of docs/notes/comparison.md.

`dpm-nano` and `dept3r-nano` are two of them, and what the package ships under these names.
"""

from dataclasses import replace

from dynapoint.models.layers.config import QueryConfig, TimeDecoderConfig
from dynapoint.models.nano.config import (
    NetworkConfig,
    comparison,
    comparison_dept3r,
    comparison_dpm,
)
from dynapoint.training.train_config import Phase, TrainConfig

SAMPLES, BATCH = 40_000, 16
DEPT3R_CROP = 0.7
"""Least share of either side that DePT3R's centre crop keeps; the paper states none."""


def comparison_run(name: str, network: NetworkConfig, *, frames: int = 2) -> TrainConfig:
    """A run that differs from the others of the table in its network alone.

    Pairs of frames of 64 × 96 pixels, easy scenes first; a constant rate that falls to zero over
    the last fifth. A run of more frames sees as many samples.
    """
    easy, mixed = ((0.0, 1.0),), ((0.0, 0.3), (0.5, 0.35), (1.0, 0.35))
    phase = Phase(frames=frames, pairs=frames, pixels=6144, batch=BATCH, still_camera=0.3)
    steps = SAMPLES // BATCH
    return TrainConfig(
        name=name,
        network=network,
        optimiser="muon",
        warmup_steps=100,
        ema_decay=0.998,
        draws_per_clip=6,
        decay_steps=steps // 5,
        steps=steps,
        phases=(
            replace(phase, until_samples=5_000, difficulties=easy),
            replace(phase, until_samples=SAMPLES, difficulties=mixed),
        ),
        validation_clips=0,
    )


def vdpm_small() -> TrainConfig:
    """V-DPM: the base of all comparisons."""
    return comparison_run("comparison-vdpm", comparison("comparison-vdpm"))


def vdpm_four_frames() -> TrainConfig:
    """The base on four frames at a time, to set one pass beside pairs."""
    return comparison_run("comparison-four-frames", comparison("comparison-four-frames"), frames=4)


def dpm_nano() -> TrainConfig:
    """DPM: pairs through twin decoders."""
    return comparison_run("dpm-nano", comparison_dpm("dpm-nano-1"))


def dept3r_nano() -> TrainConfig:
    """DePT3R, its query added to the query frame's camera token."""
    return _dept3r("dept3r-nano", QueryConfig(), network="dept3r-nano-1")


def dept3r_frame() -> TrainConfig:
    """DePT3R, its query added to all tokens of the query frame."""
    return _dept3r("comparison-dept3r-frame", QueryConfig(into="frame"))


def dept3r_without_intrinsics() -> TrainConfig:
    """DePT3R without its embedding of intrinsics (the paper's ablation)."""
    return _dept3r("comparison-dept3r-no-intrinsics", QueryConfig(intrinsics=False))


def dept3r_without_crop() -> TrainConfig:
    """DePT3R without centre crops (the paper's ablation)."""
    config = _dept3r("comparison-dept3r-no-crop", QueryConfig())
    return replace(config, centre_crop=1.0)


def additive() -> TrainConfig:
    """V-DPM with the time token added to all tokens instead of modulating them (its ablation)."""
    return _decoder("comparison-additive", TimeDecoderConfig(heads=2, conditioning="additive"))


def deeper() -> TrainConfig:
    """V-DPM with a decoder of twice the depth (its ablation)."""
    return _decoder("comparison-depth-2", TimeDecoderConfig(heads=2, depth=2))


def conditioned_head() -> TrainConfig:
    """V-DPM without decoder blocks: the head's tokens are modulated (its ablation)."""
    return _decoder("comparison-head", TimeDecoderConfig(depth=0, conditioning="head"))


def _dept3r(name: str, query: QueryConfig, *, network: str | None = None) -> TrainConfig:
    config = comparison_run(name, comparison_dept3r(network or name, query))
    # The paper's two phases: geometry and intrinsics first, then the query and motion.
    first, second = config.phases
    phases = (replace(first, motion=False), second)
    return replace(config, centre_crop=DEPT3R_CROP, phases=phases)


def _decoder(name: str, decoder: TimeDecoderConfig) -> TrainConfig:
    return comparison_run(name, replace(comparison(name), decoder=decoder))


COMPARISON = {
    recipe().name: recipe
    for recipe in (
        vdpm_small,
        dpm_nano,
        dept3r_nano,
        dept3r_frame,
        vdpm_four_frames,
        additive,
        deeper,
        conditioned_head,
        dept3r_without_intrinsics,
        dept3r_without_crop,
    )
}
