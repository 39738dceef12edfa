"""Which streams of samples a process trains on.

What a run sees, and in which step, follows from the seed and the number of its streams; how many
processes share these does not matter. So a run may go on with fewer processes, which take several
streams each, or with more.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from dynapoint.errors import ConfigError
from dynapoint.training.data_stream import HELD_OUT_SEEDS, MOST_CLIPS, SampleStream
from dynapoint.training.distributed import Processes
from dynapoint.training.sharding import check_sharding
from dynapoint.training.train_config import TrainConfig


def with_streams(
    config: TrainConfig, processes: Processes, *, sharded: bool = False
) -> TrainConfig:
    """The configuration with its number of streams, one for each process where none is said.

    Raises:
        ConfigError: There are more processes than streams, the run cannot be `sharded` (which
            wants as many streams for each process), or it is so long that scenes would come again.
    """
    if sharded:
        check_sharding(config, processes)
    streams = config.streams or processes.count
    if processes.count > streams:
        raise ConfigError(
            f"{processes.count} processes for a run of {streams} streams of samples: start "
            f"{streams} processes at most, or begin a run with more --streams"
        )
    if sharded and streams % processes.count:
        raise ConfigError(
            f"{processes.count} processes cannot share {streams} streams of samples evenly, as "
            "--shard wants; start as many processes as divide the streams"
        )
    groups = -(-config.steps // config.draws_per_clip)
    rendered = not config.sets or any(each.key not in config.data for each in config.sets)
    if rendered and groups * streams * MOST_CLIPS > HELD_OUT_SEEDS:
        most = HELD_OUT_SEEDS // (groups * MOST_CLIPS)
        raise ConfigError(
            f"{config.steps} steps of {streams} streams would come to scenes they have seen; use "
            f"at most {most} streams, or larger batches and fewer steps"
        )
    return replace(config, streams=streams)


def own_streams(
    config: TrainConfig, processes: Processes, device: str = "cpu"
) -> dict[int, SampleStream]:
    """The streams of this process by their numbers: every one is some process's."""
    return {
        number: SampleStream(config, rank=number, world_size=config.streams, device=device)
        for number in range(processes.rank, config.streams, processes.count)
    }


def losses_of(streams: Mapping[int, SampleStream]) -> dict[str, float]:
    """What data sets lost, for logs: `DataSets.losses` with the replaced samples of all streams."""
    first, *others = (each.data for each in streams.values())
    replaced = Counter(first.skipped)
    for each in others:
        replaced.update(each.skipped)
    return first.losses() | {f"{key} samples replaced": float(n) for key, n in replaced.items()}
