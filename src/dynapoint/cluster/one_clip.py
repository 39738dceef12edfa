"""One clip of many: fetched, reconstructed, written where it belongs; whatever fails is a line."""

import ctypes
import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dynapoint.cluster import places
from dynapoint.cluster.clip_list import Task
from dynapoint.cluster.result import ClipResult, Grades
from dynapoint.data.sources import expand_pattern
from dynapoint.errors import DynapointError, InputError, OutputError
from dynapoint.inference.making import SceneOptions, make_scene
from dynapoint.inference.scenes import ScenePlan, finished, other_clip
from dynapoint.results.on_disk.output_folder import check_output
from dynapoint.whole_file import restore

if TYPE_CHECKING:
    from dynapoint.models.protocol import PointMapModel


def make_clip(
    task: Task,
    options: SceneOptions,
    load_model: "Callable[[], PointMapModel]",
    *,
    attempt: int = 1,
) -> ClipResult:
    """Make the scene of a clip; what goes wrong is told in the result and raised by nothing.

    Args:
        task: The clip.
        options: How all scenes are made.
        load_model: Gives the network when the clip has been read.
        attempt: How often this clip was begun, this time included.
    """
    notes: list[str] = []
    began_s = time.perf_counter()
    try:
        if attempt > 1 and not options.overwrite:
            # Who had it before may have died between its last byte and its word.
            there = already_there(task, options)
            if there is not None:
                return replace(there, skipped=False, attempts=attempt, worker=worker_name())
        with tempfile.TemporaryDirectory(prefix="dynapoint-") as folder:
            began = {"fetch": time.perf_counter()}
            plan, own = _brought_here(task, options, Path(folder))
            stages = _spent(began) if places.is_address(task.clip.sources[0]) else {}
            made = make_scene(plan, own, load_model, notes.append, tell=_unheard)
            stages |= made.seconds
            grades = Grades.of(plan.output)
            give_back_memory()
            if places.is_address(task.output):
                began = {"upload": time.perf_counter()}
                places.upload(plan.output, task.output)
                stages |= _spent(began)
            return ClipResult.of(
                task,
                frames=made.frames.count,
                seconds=time.perf_counter() - began_s,
                stages=stages,
                grade=grades.grade,
                cameras_grade=grades.cameras_grade,
                trust=grades.trust,
                attempts=attempt,
                notes=tuple(notes),
                worker=worker_name(),
                memory_bytes=memory_bytes(),
            )
    except DynapointError as error:
        failure = " ".join(str(error).split())
    except Exception as error:
        # Nobody foresaw it; that one clip meets it is no reason for others to wait.
        failure = f"{type(error).__name__}: {' '.join(str(error).split())} (a fault of dynapoint)"
    return failed(task, failure, attempts=attempt, seconds=time.perf_counter() - began_s)


def failed(
    task: Task, failure: str, *, attempts: int = 1, seconds: float | None = None
) -> ClipResult:
    """What is said of a clip without a scene."""
    return ClipResult.of(
        task, failure=failure, attempts=attempts, seconds=seconds, worker=worker_name()
    )


def already_there(task: Task, options: SceneOptions) -> ClipResult | None:
    """The scene of this very clip, if it is there whole and is not to be replaced; else None.

    Raises:
        OutputError: Something else is in its place, or nothing can be written there.
    """
    if places.is_address(task.output):
        return None if options.overwrite else _there_elsewhere(task)
    plan = _plan(task, task.clip.sources, Path(task.output))
    restore(plan.output)
    there = None if options.overwrite else finished(plan.output)
    if there is None:
        check_output(plan.output, overwrite=options.overwrite)
        return None
    if not _same(task, plan, there.source["identity"]):
        raise other_clip(plan)
    return _skipped(task, there.frame_count, plan.output)


def _there_elsewhere(task: Task) -> ClipResult | None:
    with tempfile.TemporaryDirectory(prefix="dynapoint-") as folder:
        there = places.scene_at(task.output, Path(folder))
        if there is None:
            return None
        plan = _plan(task, task.clip.sources, Path(task.output))
        if not _same(task, plan, there.source["identity"]):
            raise OutputError(
                f"{task.output} holds the scene of another clip than {task.clip.named}; choose "
                "another place, or add --overwrite to replace it"
            )
        return _skipped(task, there.frame_count, Path(folder))


def _same(task: Task, plan: ScenePlan, other: str | None) -> bool:
    """Whether a scene of that identity may be this clip's; who cannot be told apart may be."""
    if places.is_address(task.clip.sources[0]):
        own = places.identity_at(task.clip.sources)
        return None in (own, other) or own == other
    return plan.is_of(other)


def _skipped(task: Task, frame_count: int, folder: Path) -> ClipResult:
    grades = Grades.of(folder)
    return ClipResult.of(
        task,
        skipped=True,
        frames=frame_count,
        grade=grades.grade,
        cameras_grade=grades.cameras_grade,
        trust=grades.trust,
    )


def _brought_here(
    task: Task, options: SceneOptions, folder: Path
) -> tuple[ScenePlan, SceneOptions]:
    """A clip's files on this machine, where its scene is to be written here, and its options."""
    clip = task.clip
    sources = clip.sources
    if any(places.is_address(each) for each in sources):
        place = folder / "source" if len(sources) == 1 else folder / "source" / _above(sources[0])
        sources = tuple(str(places.fetch(each, place)) for each in sources)
    intrinsics = options.intrinsics if clip.intrinsics is None else clip.intrinsics
    if intrinsics is not None and places.is_address(intrinsics):
        intrinsics = str(places.fetch(intrinsics, folder / "intrinsics"))
    output = Path(task.output)
    if places.is_address(task.output):
        output = folder / "scene" / places.name_in(task.output)
        output.parent.mkdir()
    own = replace(options, selection=task.selection(options.selection), intrinsics=intrinsics)
    if clip.intrinsics is not None:
        own.check_given()
    return _plan(task, sources, output, check=True), own


def _above(address: str) -> str:
    """The name of the folder above a file, after which a scene of several images is called."""
    return places.name_in(address.rpartition("/")[0]) or "images"


def _plan(task: Task, sources: tuple[str, ...], output: Path, *, check: bool = False) -> ScenePlan:
    """The plan of a clip whose files are here; unless they are to be checked, they may be missing.

    Raises:
        InputError: A file is missing.
    """
    try:
        found = [path for source in sources for path in expand_pattern(Path(source))]
    except InputError:
        if check:
            raise
        found = [Path(source) for source in sources]
    return ScenePlan(source=tuple(found), label=task.label, output=output)


def worker_name() -> str:
    """Which process this is."""
    return f"{platform.node()}:{os.getpid()}"


def give_back_memory() -> None:
    """Hand freed memory back to the system, which glibc keeps in ever more pieces otherwise."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def memory_bytes() -> int | None:
    """What this process holds in memory; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _spent(began: dict[str, float]) -> dict[str, float]:
    return {name: time.perf_counter() - since for name, since in began.items()}


def _unheard(_: str) -> None:
    """Stages are timed and shown to nobody."""
