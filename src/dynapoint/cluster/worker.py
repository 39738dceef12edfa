"""A worker: a process of Ray's that holds the network and makes one scene after another."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dynapoint.cluster.clip_list import Task
from dynapoint.cluster.one_clip import make_clip, worker_name
from dynapoint.cluster.result import ClipResult
from dynapoint.inference.making import ModelLoader, SceneOptions
from dynapoint.threads import VARIABLE, before_torch

if TYPE_CHECKING:
    from dynapoint.models.protocol import PointMapModel


class ClipWorker:
    """Loads the network once. Of two clips in hand, one is fetched and decoded beside the other."""

    def __init__(self, options: SceneOptions, threads: int | None) -> None:
        """Keep how scenes are made.

        Args:
            options: How.
            threads: That compute; None for what suits the network and the worker's share.
        """
        if threads is not None:
            os.environ[VARIABLE] = str(threads)
        before_torch(choose=False)
        self._options = options
        self._load = ModelLoader(options)
        self._turn = Turn()

    def ready(self) -> str:
        """Load the network; returns which process this is.

        Raises:
            ModelError: It cannot be loaded.
        """
        self._load()
        return worker_name()

    def make(self, task: Task, attempt: int) -> ClipResult:
        """Make the scene of a clip (`make_clip`)."""
        with self._turn.of(self._load) as load_model:
            return make_clip(task, self._options, load_model, attempt=attempt)


class Turn:
    """Lets one thread at a time compute; others may read meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def of(
        self, load_model: "Callable[[], PointMapModel]"
    ) -> "Iterator[Callable[[], PointMapModel]]":
        """A block with a loader that waits for the turn, which ends with the block."""
        held = False

        def take() -> "PointMapModel":
            nonlocal held
            if not held:
                held = self._lock.acquire()
            return load_model()

        try:
            yield take
        finally:
            if held:
                self._lock.release()
