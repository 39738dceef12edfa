"""Windows predicted beside each other, each in a process of its own.

A window's refinement is Python and many small arrays, so that threads gain little. Windows do not
depend on each other, and come out to the last bit as one process gives them.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from dynapoint.data.between import Between
from dynapoint.data.frames import Frames
from dynapoint.errors import ModelError
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.inference.long.window_files import write_window
from dynapoint.models.layers.compute import is_small
from dynapoint.models.source import ModelSource
from dynapoint.threads import chosen_processes, settle
from dynapoint.windows.spans import Window

# So often a process asks whether the one that it works for is still there.
_ASKS_S = 1.0
# What a process with a small network takes is bounded, but not nothing.
_MOST = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One window to be predicted.

    Attributes:
        frames: Its frames.
        between: What lies between them.
        focal_px: Of their lens, where it is known.
        window: Which frames of the clip they are.
        folder: What becomes the window's folder.
        poses: Of its cameras, where they are known; nothing is written unless the pictures bear
            them out.
    """

    frames: Frames
    between: Between | None
    focal_px: float | None
    window: Window
    folder: Path
    poses: Float64[np.ndarray, "frame 4 4"] | None = None


def predict_and_write(predictor: WindowPredictor, job: Job) -> None:
    """Predict a window and write what it says."""
    between = job.between
    rec = predictor.predict(
        job.frames,
        focal_px=job.focal_px,
        poses=job.poses,
        between=None if between is None else lambda: between,
    )
    if job.poses is None or (rec.refinement is not None and rec.refinement.poses):
        write_window(rec, job.window, job.folder)


class Pool:
    """Predicts windows: here, or in other processes."""

    def __init__(self, predictor: WindowPredictor, executor: Any) -> None:
        self._predictor = predictor
        self._executor = executor

    @property
    def beside(self) -> int:
        """How many windows are predicted at once."""
        return 1 if self._executor is None else int(self._executor._max_workers)

    def submit(self, job: Job) -> "Future[None]":
        """Have a window predicted; the answer tells when it is written, or why not."""
        if self._executor is not None:
            submitted: Future[None] = self._executor.submit(_in_worker, job)
            return submitted
        done: Future[None] = Future()
        try:
            predict_and_write(self._predictor, job)
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)
        return done


@contextmanager
def pool_of(predictor: WindowPredictor) -> Iterator[Pool]:
    """A pool with as many processes as are of use; they end with the block.

    Raises:
        ModelError: One of them ended before its time.
    """
    count = _processes(predictor)
    if count < 2:
        yield Pool(predictor, None)
        return
    from loky import ProcessPoolExecutor  # noqa: PLC0415 - rarely needed.

    executor = ProcessPoolExecutor(
        max_workers=count,
        initializer=_begin_worker,
        initargs=(_Told.of(predictor), os.getpid()),
        timeout=60,
    )
    try:
        yield Pool(predictor, executor)
    except BrokenProcessPool as error:
        raise ModelError(
            f"one of {count} processes that predict windows was ended from outside, as systems do "
            "that run out of memory; use fewer (DYNAPOINT_THREADS=1) or free some"
        ) from error
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def _processes(predictor: WindowPredictor) -> int:
    """Cores that are free, or threads that were asked for, where processes can load the network."""
    model, source = predictor.model, predictor.info.source
    if source is None or not is_small(model) or not source.weights.is_file():
        return 1
    if predictor.settings()["device"] != "cpu":
        return 1
    return min(_MOST, chosen_processes())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Told:
    """A `WindowPredictor` without its network, which every process loads for itself."""

    source: ModelSource
    name: str
    prepare: Any
    reference: int
    intrinsics: ArrayLike | Any
    lens: Any
    refine: bool

    @classmethod
    def of(cls, predictor: WindowPredictor) -> "_Told":
        source = predictor.info.source
        assert source is not None  # `_processes` looked.
        return cls(
            source=source,
            name=predictor.info.name,
            prepare=predictor.prepare,
            reference=predictor.reference,
            intrinsics=predictor.intrinsics,
            lens=predictor.lens,
            refine=predictor.refine,
        )


_HERE: list[WindowPredictor] = []


def _begin_worker(told: _Told, parent: int) -> None:
    """Load the network into a process that predicts windows for another one."""
    # A terminal interrupts all processes at once; the one that began them ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    from dynapoint.models.catalog import load_model  # noqa: PLC0415
    from dynapoint.models.protocol import info_of  # noqa: PLC0415

    settle(1)
    source = told.source
    model = load_model(
        source.name,
        weights=source.weights,
        device="cpu",
        decoder_weights=source.decoder_weights,  # type: ignore[arg-type]
        precision=source.precision,  # type: ignore[arg-type]
    )
    _HERE[:] = [
        WindowPredictor(
            model=model,
            info=info_of(model, told.name),
            prepare=told.prepare,
            reference=told.reference,
            intrinsics=told.intrinsics,
            lens=told.lens,
            refine=told.refine,
        )
    ]


def _end_with(parent: int) -> None:
    """End this process when the one that it works for is no more, which may have been killed."""
    # Elsewhere a process keeps the number of one that is no more.
    while os.name != "posix" or os.getppid() == parent:
        time.sleep(_ASKS_S)
    os._exit(1)


def _in_worker(job: Job) -> None:
    predict_and_write(_HERE[0], job)
