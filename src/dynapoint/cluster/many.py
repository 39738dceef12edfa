"""`reconstruct_many`: from many clips to scenes, on this machine or on a cluster."""

import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from dynapoint.cluster import places
from dynapoint.cluster.clip_list import Clip, Task, clips_of, plan_tasks
from dynapoint.cluster.index import INDEX_FILE, Index, check_installed
from dynapoint.cluster.one_clip import already_there, failed, make_clip
from dynapoint.cluster.result import ClipResult
from dynapoint.data.selection import DEFAULT_FRAMES, FrameSelection, selection_of
from dynapoint.errors import ConfigError, DynapointError, OutputError
from dynapoint.inference.making import ModelLoader, SceneOptions
from dynapoint.models.cards import METRIC_NETWORK
from dynapoint.progress import Scope, advance, shown
from dynapoint.results.on_disk.manifest import MANIFEST_FILE

if TYPE_CHECKING:
    from dynapoint.cluster.on_ray import ClusterOptions

# Stores answer slowly and many at once.
_ASKED_AT_ONCE = 16


class ManyOptions(TypedDict, total=False):
    """How all scenes of `reconstruct_many` are made, as `reconstruct` and `load_model` have it.

    Attributes:
        model: The name of a network, which every worker loads once.
        weights: A weights file to use in place of the network's own.
        frames: At most so many of each clip, "all", or a `FrameSelection`.
        intrinsics: A file, or "fx,fy,cx,cy", for all clips that the list does not give their own.
        scale_from: "metric" makes lengths metres by the depth of da3-metric; nothing else belongs
            to more than one clip.
        lean: Write scenes small: without the network and what it keeps of the clip.
        overwrite: Replace scenes that are there.
    """

    model: str
    weights: Path | str | None
    device: str | None
    precision: Literal["float32", "bfloat16"] | None
    decoder_weights: Literal["float32", "bfloat16", "int8"]
    compile_blocks: bool
    frames: "int | Literal['all'] | FrameSelection"
    intrinsics: str | Path | None
    prepare: Literal["default", "published"]
    reference: int
    lens: Literal["shared", "per-frame"]
    scale_from: Literal["metric"] | None
    refine: bool | None
    window: int | None
    overlap: int | None
    lean: bool
    overwrite: bool


def reconstruct_many(
    sources: "str | PathLike[str] | Clip | Sequence[str | PathLike[str] | Clip]",
    *,
    output: "str | PathLike[str]",
    cluster: str | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    threads: int | None = None,
    progress: bool = False,
    **options: "Unpack[ManyOptions]",
) -> Iterator[ClipResult]:
    """Turn many clips into a scene each, `output`/NAME.4d, and give results as they finish.

        for clip in dynapoint.reconstruct_many("clips.csv", output="scenes", cluster="auto"):
            print(clip.label, clip.failure or clip.grade)

    A clip that fails does not stop the others. Scenes that are there already are passed over, so
    that the same call goes on where an earlier one stopped. `output`/index.parquet has a row for
    each clip.

    Args:
        sources: A list (.csv or .parquet with the columns source, start, end, intrinsics, output,
            tags; or .txt with a source in each line), a folder of videos, a glob pattern, a video,
            an address (s3://, gs://, https://), a `Clip`; or a sequence of these.
        output: The folder, or an address, where the scenes go.
        cluster: None computes here, one clip after another. "auto" takes the Ray cluster that runs
            here, or else starts workers on this machine; or the address of a cluster.
        workers: How many; None is as many as the cluster has room for.
        gpus_per_worker: A share of a GPU, e.g. 0.5; None is one where the cluster has GPUs.
        threads: Cores that each worker gets; None is one.
        progress: Show a progress bar on standard error.
        options: How scenes are made, named and meant as for `reconstruct` and `load_model`: model,
            weights, device, precision, decoder_weights, compile_blocks, frames, intrinsics (as
            text), prepare, reference, lens, scale_from ("metric"), refine, window, overlap; and
            lean, overwrite.

    Returns:
        An iterator of `ClipResult`, in the order in which clips finish.

    Raises:
        ConfigError: Two arguments contradict each other, or something is not installed.
        InputError: A list cannot be read, or a source that is named is not there.
        ModelError: The network is unknown, or its weights are not here.
        OutputError: `output` is a scene, or its index cannot be read.
    """
    if cluster is None and (workers, gpus_per_worker, threads) != (None, None, None):
        raise ConfigError("workers, gpus_per_worker and threads belong to a cluster; give cluster")
    chosen = _cluster(cluster, workers, gpus_per_worker, threads)
    job = Job(
        clips=clips_of(sources), output=fspath(output), options=_options(options), cluster=chosen
    )
    return job.run(progress=progress)


def _options(given: "ManyOptions") -> SceneOptions:
    """What was given as all scenes are made with it.

    Raises:
        TypeError: There is no such option.
    """
    unknown = sorted(given.keys() - ManyOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"reconstruct_many has no option {unknown[0]!r}")
    told: dict[str, Any] = {**given, "selection": selection_of(given.get("frames", DEFAULT_FRAMES))}
    told.pop("frames", None)
    if told.get("weights") is not None:
        told["weights"] = Path(told["weights"])
    if told.get("scale_from") not in (None, "metric"):
        raise ConfigError(
            f"scale_from is {told['scale_from']!r}; of many clips only a network tells the scale: "
            'give "metric" or leave it out'
        )
    if told.get("scale_from") is not None:
        told["scale_from"] = ("metric", METRIC_NETWORK)
    if told.get("intrinsics") is not None:
        told["intrinsics"] = fspath(told["intrinsics"])
    return SceneOptions(**told)


def _cluster(
    address: str | None, workers: int | None, gpus_per_worker: float | None, threads: int | None
) -> "ClusterOptions | None":
    if address is None:
        return None
    from dynapoint.cluster.on_ray import ClusterOptions  # noqa: PLC0415

    return ClusterOptions(
        address=address, workers=workers, gpus_per_worker=gpus_per_worker, threads=threads
    )


@dataclass(kw_only=True)
class Job:
    """Clips that are to become scenes, and how.

    Attributes:
        output: The folder of all scenes, or its address.
        cluster: Where; None is here.
    """

    clips: Sequence[Clip]
    output: str
    options: SceneOptions
    cluster: "ClusterOptions | None" = None

    @property
    def index(self) -> str:
        """Where the index of results is."""
        return places.joined(places.local(self.output), INDEX_FILE)

    def run(self, *, progress: bool) -> Generator[ClipResult, None, None]:
        """Check all that can be checked at once, and give an iterator that makes the scenes.

        Raises:
            ConfigError, InputError, ModelError, OutputError: As `reconstruct_many`.
        """
        self.output = places.local(self.output)
        check_installed()
        self.options.check_model()
        self.options.check_given()
        if places.is_address(self.output):
            places.check_writable(self.output)
        elif (Path(self.output) / MANIFEST_FILE).exists():
            raise OutputError(f"{self.output} is a scene itself; give a folder for all scenes")
        tasks = plan_tasks(self.clips, self.output, self.options.selection)
        return self._results(tasks, Index(self.output), progress=progress)

    def _results(
        self, tasks: Sequence[Task], index: Index, *, progress: bool
    ) -> Generator[ClipResult, None, None]:
        """What becomes of each clip, as it is known."""
        with shown(progress, name="clips", total=len(tasks)) as bar:
            so_far = _SoFar(bar, len(tasks))
            try:
                for result in self._made(tasks, index):
                    so_far.count(result)
                    index.put(result)
                    yield result
            finally:
                # Also where it is interrupted, or nobody wants the rest.
                index.write()

    def _made(self, tasks: Sequence[Task], index: Index) -> Iterator[ClipResult]:
        waiting: list[Task] = []
        for task, found in self._found(tasks, index):
            if found is None:
                waiting.append(task)
            else:
                yield found
        if not waiting:
            return
        if self.cluster is not None:
            from dynapoint.cluster.on_ray import make_on_ray  # noqa: PLC0415

            yield from make_on_ray(waiting, self.options, self.cluster)
            return
        load_model = ModelLoader(self.options)
        for task in waiting:
            # In a context of its own, where no bar is shown whose stages it would go into.
            yield Context().run(make_clip, task, self.options, load_model)

    def _found(
        self, tasks: Sequence[Task], index: Index
    ) -> Iterator[tuple[Task, ClipResult | None]]:
        """Each clip with its scene if that is there, or with why it cannot be made."""

        def look(task: Task) -> ClipResult | None:
            try:
                found = already_there(task, self.options)
                if found is not None:
                    _check_span(task, index)
                return found
            except DynapointError as error:
                return failed(task, " ".join(str(error).split()))

        if not places.is_address(self.output):
            for task in tasks:
                yield task, look(task)
            return
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            yield from zip(tasks, pool.map(look, tasks), strict=True)


def _check_span(task: Task, index: Index) -> None:
    """Refuse a scene of another part of the same clip, as far as the index tells."""
    row, clip = index.row(task.output), task.clip
    if row is None or row["failure"] is not None:
        return
    if (row["start_s"], row["end_s"]) != (clip.start_s, clip.end_s):
        raise OutputError(
            f"{task.output} holds another part of {clip.named}, from {_told(row['start_s'])} to "
            f"{_told(row['end_s'])}; choose another output name, or add --overwrite to replace it"
        )


def _told(seconds: Any) -> str:
    return "its end" if seconds is None else f"{seconds:g} s"


class _SoFar:
    """Says on the bar how fast clips are made, how long the rest takes and how many failed."""

    def __init__(self, bar: Scope, count: int) -> None:
        self._bar, self._count = bar, count
        self._made, self._failed, self._done = 0, 0, 0
        self._began_s = time.monotonic()

    def count(self, result: ClipResult) -> None:
        """One more clip is over."""
        self._done += 1
        self._failed += result.failure is not None
        # What is there already says nothing of what is to come.
        self._made += result.seconds is not None
        words = [f"{self._failed} failed"]
        spent_s = time.monotonic() - self._began_s
        if self._made and spent_s > 0:
            rate = self._made / spent_s
            left_s = (self._count - self._done) / rate
            words = [f"{60 * rate:.3g} a minute", f"{_span_words(left_s)} left", *words]
        advance(self._bar, words=", ".join(words))


def _span_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
