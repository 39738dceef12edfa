"""Scenes for a trainer that renders them itself: built in processes of their own, or on the spot.

Workers are fresh processes ("spawn") that see no GPU. Each holds one end of a pipe and ends when
the other is closed, which the system does where the trainer dies. What they build goes through
files, which the trainer maps: unpickling as much would hold it up.
"""

import multiprocessing as mp
import os
import shutil
import signal
import tempfile
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dynapoint.errors import ModelError
from dynapoint.synthetic.batch import LookBatch, SceneBatch, stack_scenes
from dynapoint.synthetic.clip import ClipBatch
from dynapoint.synthetic.render import render_batch
from dynapoint.training.data_stream import GroupPlan

AT_ONCE = 2
"""Groups that a worker is asked for at a time: it goes on with the next while one is fetched."""

_LOOK = "look."
_CHILD_ENVIRONMENT = {
    # A worker that found the GPU would take memory of it.
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class WorkerError(ModelError):
    """A scene could not be built, or a process that builds scenes has died."""


@dataclass(frozen=True, kw_only=True)
class GroupRequest:
    """A group of clips to build, and to render as well where `rendered` says so.

    `number` is the request's own; it seeds the noise of the images.
    """

    number: int
    phase: int
    plan: GroupPlan
    rendered: bool = False


@dataclass(frozen=True, kw_only=True)
class BuiltGroup:
    """A request and what came of it, on the CPU."""

    request: GroupRequest
    batch: SceneBatch | ClipBatch

    def clips(self, device: torch.device) -> ClipBatch:
        """The clips on a device, rendered there if they were not yet."""
        if isinstance(self.batch, ClipBatch):
            return ClipBatch(**{k: v.to(device) for k, v in _tensors(self.batch).items()})
        tensors = {name: value.to(device) for name, value in _tensors(self.batch).items()}
        return render_batch(
            _scene_batch(tensors), image_hw=self.request.plan.image_hw, seed=self.request.number
        )


class SceneSource(Protocol):
    """Where groups come from."""

    def room(self) -> int:
        """How many more groups to ask for."""
        ...

    def ask(self, request: GroupRequest) -> None:
        """Order a group."""
        ...

    def fetch(self, timeout: float) -> BuiltGroup | None:
        """A group that is ready, in any order; None where there is none in time.

        Raises:
            WorkerError: a scene could not be built or a worker has died. The groups that it had
                been asked for are lost, all others still come.
        """
        ...

    def close(self) -> None:
        """End it."""
        ...


class ScenesOnTheSpot:
    """Builds a group when it is fetched."""

    def __init__(self) -> None:
        self._asked: deque[GroupRequest] = deque()

    def room(self) -> int:
        """One group at a time."""
        return 1 - len(self._asked)

    def ask(self, request: GroupRequest) -> None:
        """Order a group."""
        self._asked.append(request)

    def fetch(self, timeout: float) -> BuiltGroup | None:
        """Build what was asked for."""
        if not self._asked:
            return None
        request = self._asked.popleft()
        try:
            return BuiltGroup(request=request, batch=_build(request))
        except Exception as error:
            raise WorkerError(_complaint(request, repr(error))) from error

    def close(self) -> None:
        """Nothing is held."""


@dataclass(kw_only=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    # What it was asked for and has not answered yet.
    asked: list[int]


class SceneWorkers:
    """Processes that build groups."""

    def __init__(self, count: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="dynapoint-scenes-"))
        self._requests: dict[int, GroupRequest] = {}
        self._workers: list[_Worker] = []
        context = mp.get_context("spawn")
        with _environment(_CHILD_ENVIRONMENT):
            for _ in range(count):
                own, other = context.Pipe()
                process = context.Process(target=_work, args=(other, self._folder), daemon=True)
                process.start()
                # Only the worker holds its end, so that its death is seen here.
                other.close()
                self._workers.append(_Worker(process=process, pipe=own, asked=[]))

    def room(self) -> int:
        """How many more groups keep all workers busy."""
        return sum(AT_ONCE - len(worker.asked) for worker in self._workers)

    def ask(self, request: GroupRequest) -> None:
        """Order a group from the worker that has the least to do."""
        worker = min(self._workers, key=lambda each: len(each.asked))
        try:
            worker.pipe.send(request)
        except OSError:
            self._bury(worker)
        worker.asked.append(request.number)
        self._requests[request.number] = request

    def fetch(self, timeout: float) -> BuiltGroup | None:
        """A group that is ready."""
        if not self._workers:
            raise WorkerError("all processes that build scenes have died; start the run again")
        ready = wait([worker.pipe for worker in self._workers], timeout)
        worker = next((each for each in self._workers if each.pipe in ready), None)
        if worker is None:
            return None
        try:
            number, problem = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker)
        worker.asked.remove(number)
        request = self._requests.pop(number)
        if problem is not None:
            raise WorkerError(_complaint(request, problem))
        path = _path(self._folder, number)
        batch = _from_tensors(load_file(path))
        # What is mapped stays until it is let go of.
        path.unlink()
        return BuiltGroup(request=request, batch=batch)

    def close(self) -> None:
        """End all workers and remove their files."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=5.0)
        self._workers = []
        shutil.rmtree(self._folder, ignore_errors=True)

    def _bury(self, worker: _Worker) -> NoReturn:
        """Let go of a worker that has died, and say so."""
        worker.process.join(timeout=5.0)
        self._workers.remove(worker)
        for number in worker.asked:
            self._requests.pop(number, None)
        raise WorkerError(
            f"a process that builds scenes ended with exit code {worker.process.exitcode}; "
            f"{len(self._workers)} are left"
        )


def _work(pipe: Connection, folder: Path) -> None:
    """What a worker does until the trainer closes the pipe or dies."""
    # Ctrl-C is for the trainer, which then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    while True:
        try:
            request: GroupRequest = pipe.recv()
            pipe.send((request.number, _write(request, folder)))
        except (EOFError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
            return


def _write(request: GroupRequest, folder: Path) -> str | None:
    """Build a group into its file; returns what went wrong, if anything."""
    try:
        tensors = {k: v.contiguous() for k, v in _tensors(_build(request)).items()}
        save_file(tensors, _path(folder, request.number))
    except Exception:
        # The trainer raises it: here nobody would see it.
        return traceback.format_exc()
    return None


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.safetensors"


def _build(request: GroupRequest) -> SceneBatch | ClipBatch:
    plan = request.plan
    scenes = [each.build() for each in plan.scenes]
    batch = stack_scenes(scenes, image_hw=plan.image_hw, device="cpu")
    if not request.rendered:
        return batch
    return render_batch(batch, image_hw=plan.image_hw, seed=request.number)


def _complaint(request: GroupRequest, problem: str) -> str:
    seeds = [each.seed for each in request.plan.scenes]
    return f"a scene among the seeds {seeds[0]} to {seeds[-1]} cannot be built: {problem}"


def _tensors(batch: SceneBatch | ClipBatch) -> dict[str, Tensor]:
    """All tensors of a batch by name; those of the look have a prefix."""
    found: dict[str, Tensor] = {}
    for field in fields(batch):
        value: Any = getattr(batch, field.name)
        if isinstance(value, LookBatch):
            found |= {f"{_LOOK}{each.name}": getattr(value, each.name) for each in fields(value)}
        else:
            found[field.name] = value
    return found


def _from_tensors(tensors: dict[str, Tensor]) -> SceneBatch | ClipBatch:
    if any(name.startswith(_LOOK) for name in tensors):
        return _scene_batch(tensors)
    return ClipBatch(**tensors)


def _scene_batch(tensors: dict[str, Tensor]) -> SceneBatch:
    look = {k.removeprefix(_LOOK): v for k, v in tensors.items() if k.startswith(_LOOK)}
    rest = {k: v for k, v in tensors.items() if not k.startswith(_LOOK)}
    return SceneBatch(**rest, look=LookBatch(**look))


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Other environment variables for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
