"""Clips as tasks of Ray's actors.

Ray places workers on machines, starts and ends them, carries what is said, and tells who died. What
it has no rule for is here: that a clip whose worker died is begun twice more and then given up,
that it is then alone with its worker, so that it takes no other clip with it, and that a worker
whose machine is gone is replaced by as many as the cluster still has room for.
"""

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dynapoint.cluster.clip_list import Task
from dynapoint.cluster.one_clip import failed
from dynapoint.cluster.result import ClipResult
from dynapoint.cluster.worker import ClipWorker
from dynapoint.errors import ConfigError, DynapointError, ModelError
from dynapoint.inference.making import SceneOptions
from dynapoint.progress import complain

ATTEMPTS = 3
"""How often a clip is begun, if its worker dies each time."""

# So often one looks for what the cluster has room for, and says that nothing has started.
_LOOK_S, _STILL_NOTHING_S = 5.0, 60.0
# More workers than these, each in its first moments, do not die by chance. After each death there
# is a pause, twice as long as the one before.
_DEAD_AT_START = 5
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
# Room for what workers are told and say; scenes do not go through Ray.
_STORE_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which cluster, and how much of it.

    Attributes:
        address: "auto" for the cluster that runs here, or else one on this machine alone; or the
            address of one.
        workers: How many; None for as many as there is room for.
        gpus_per_worker: A share of a GPU, or several; None is one where the cluster has any.
        threads: Cores that each worker gets and computes with; None is one.
    """

    address: str = "auto"
    workers: int | None = None
    gpus_per_worker: float | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers is {self.workers}; give 1 or more")
        if self.gpus_per_worker is not None and self.gpus_per_worker < 0:
            raise ConfigError(f"gpus_per_worker is {self.gpus_per_worker:g}; give 0 or more")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads is {self.threads}; give 1 or more")


@dataclass(kw_only=True, eq=False)
class _Worker:
    """A worker, and what it has in hand: its answers to come, with their tasks and attempts."""

    actor: Any
    starting: Any
    hands: dict[Any, tuple[Task, int]] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.starting is None

    @property
    def alone(self) -> bool:
        """Whether it holds a clip that may have ended its last worker."""
        return any(attempt > 1 for _, attempt in self.hands.values())


def make_on_ray(
    tasks: Sequence[Task], options: SceneOptions, cluster: ClusterOptions
) -> Iterator[ClipResult]:
    """Make scenes on a cluster; results come as they are there.

    Raises:
        ConfigError: Ray is not installed, or there is no such cluster.
        ModelError: No worker can load the network.
    """
    ray = _ray()
    began = _connect(ray, cluster.address)
    crew = _Crew(ray, _anywhere(options), cluster)
    waiting = deque((task, 1) for task in tasks)
    try:
        while waiting or crew.busy:
            crew.adjust(len(waiting))
            crew.hand_out(waiting)
            yield from crew.outcomes(waiting)
    finally:
        crew.dismiss()
        if began:
            ray.shutdown()


class _Crew:
    """The workers."""

    def __init__(self, ray: Any, options: SceneOptions, cluster: ClusterOptions) -> None:
        self._ray = ray
        self._cluster, self._options = cluster, options
        self._workers: list[_Worker] = []
        self._next_look_s, self._next_start_s = 0.0, 0.0
        self._dead_at_start = 0
        self._target = 1
        self._last_ready_s = time.monotonic()
        there = ray.cluster_resources()
        gpus = cluster.gpus_per_worker
        if gpus is None:
            cpu_only = (options.device or "cuda").startswith("cpu")
            gpus = 1.0 if there.get("GPU", 0.0) and not cpu_only else 0.0
        self._cpus, self._gpus = cluster.threads or 1, gpus
        # On the same core, decoding beside computing gains nothing and takes memory.
        self._in_hand = 2 if gpus else 1

    @property
    def busy(self) -> bool:
        """Whether any clip is in hand."""
        return any(worker.hands for worker in self._workers)

    def adjust(self, waiting: int) -> None:
        """Have as many workers as there is room and work for."""
        now_s = time.monotonic()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_S
            self._target = self._cluster.workers or self._room()
            if not any(worker.ready for worker in self._workers):
                self._say_nothing_starts(now_s)
        starting = [worker for worker in self._workers if not worker.ready]
        wanted = min(self._target, waiting + sum(bool(each.hands) for each in self._workers))
        for worker in starting[: max(0, len(self._workers) - max(1, wanted))]:
            self._remove(worker)
        while len(self._workers) < wanted and now_s >= self._next_start_s:
            self._workers.append(self._start_one())

    def _start_one(self) -> _Worker:
        actor = (
            self._ray.remote(ClipWorker)
            .options(
                num_cpus=self._cpus,
                num_gpus=self._gpus,
                max_restarts=0,
                max_concurrency=2,
                scheduling_strategy="SPREAD",
            )
            .remote(self._options, self._cluster.threads)
        )
        return _Worker(actor=actor, starting=actor.ready.remote())

    def hand_out(self, waiting: "deque[tuple[Task, int]]") -> None:
        """Give clips to workers with free hands; one that lost its worker gets one of its own."""
        for worker in self._workers:
            while waiting and worker.ready and len(worker.hands) < self._in_hand:
                if worker.hands and (worker.alone or waiting[0][1] > 1):
                    break
                task, attempt = waiting.popleft()
                worker.hands[worker.actor.make.remote(task, attempt)] = (task, attempt)

    def outcomes(self, waiting: "deque[tuple[Task, int]]") -> Iterator[ClipResult]:
        """What came within a second; clips of workers that died wait again, before the others."""
        owners = {ref: worker for worker in self._workers for ref in worker.hands}
        owners |= {each.starting: each for each in self._workers if not each.ready}
        if not owners:
            time.sleep(_PAUSE_S)
            return
        done, _ = self._ray.wait(list(owners), num_returns=1, timeout=1.0)
        for ref in done:
            worker = owners[ref]
            if ref is worker.starting:
                self._started(worker)
            elif ref in worker.hands:
                yield from self._answered(worker, ref, waiting)

    def dismiss(self) -> None:
        """End all workers, whatever they do."""
        for worker in list(self._workers):
            self._remove(worker)

    def _started(self, worker: _Worker) -> None:
        """A worker has loaded the network, or will not."""
        errors = self._ray.exceptions
        try:
            self._ray.get(worker.starting)
        except errors.RayTaskError as error:
            self._remove(worker)
            cause = error.cause
            told = cause if isinstance(cause, DynapointError) else ModelError(_line(error))
            self._lost_at_start(told, hopeless=True)
        except errors.RayError as error:
            self._remove(worker)
            self._lost_at_start(
                ModelError(
                    f"workers end while they load the network ({_line(error)}); give them more "
                    "memory, start fewer (--workers), or tell this process the cluster's token "
                    "(RAY_AUTH_TOKEN)"
                ),
                hopeless=False,
            )
        else:
            worker.starting = None
            self._dead_at_start = 0

    def _lost_at_start(self, error: DynapointError, *, hopeless: bool) -> None:
        """Go on without a worker that could not start, unless none can; raises `error` then.

        Args:
            error: Why it could not.
            hopeless: Whether its place will never do; others may.
        """
        self._dead_at_start += 1
        # A machine that is gone takes workers until it is missed.
        pause_s = min(_PAUSE_S * 2**self._dead_at_start, _LONGEST_PAUSE_S)
        self._next_start_s = time.monotonic() + pause_s
        if not any(worker.ready for worker in self._workers) and (
            self._dead_at_start >= _DEAD_AT_START or (hopeless and not self._workers)
        ):
            raise error
        complain(f"dynapoint: a worker could not start: {error}")

    def _answered(
        self, worker: _Worker, ref: Any, waiting: "deque[tuple[Task, int]]"
    ) -> Iterator[ClipResult]:
        """A clip's result; of a worker that died, what its other clips came to as well."""
        errors = self._ray.exceptions
        try:
            result = self._ray.get(ref)
        except errors.RayTaskError as error:
            task, attempt = worker.hands.pop(ref)
            yield failed(task, f"{_line(error)} (a fault of dynapoint)", attempts=attempt)
        except errors.RayError as error:
            yield from self._died(worker, error, waiting)
        else:
            del worker.hands[ref]
            yield result

    def _died(
        self, worker: _Worker, error: Exception, waiting: "deque[tuple[Task, int]]"
    ) -> Iterator[ClipResult]:
        """A worker is no more."""
        for ref, (task, attempt) in worker.hands.items():
            try:
                yield self._ray.get(ref, timeout=1.0)
            except self._ray.exceptions.RayError:
                if attempt < ATTEMPTS:
                    waiting.appendleft((task, attempt + 1))
                    complain(f"dynapoint: {task.label}: its worker died; it is begun again")
                else:
                    yield failed(
                        task,
                        f"its worker died {ATTEMPTS} times ({_line(error)}); it may take more "
                        "memory than there is: give it fewer frames, or workers more (--workers)",
                        attempts=attempt,
                    )
        self._remove(worker)

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        with suppress(Exception):
            self._ray.kill(worker.actor, no_restart=True)

    def _room(self) -> int:
        """How many workers the cluster has room for, when nobody else uses it."""
        room = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                there = node["Resources"]
                shares = [int(there.get("CPU", 0.0) / self._cpus)]
                shares += [int(there.get("GPU", 0.0) / self._gpus + 1e-6)] if self._gpus else []
                room += min(shares)
        return max(1, room)

    def _say_nothing_starts(self, now_s: float) -> None:
        if now_s - self._last_ready_s > _STILL_NOTHING_S:
            self._last_ready_s = now_s
            complain(
                f"dynapoint: no worker has loaded the network within {_STILL_NOTHING_S:.0f} s; "
                "`ray status` says whether the cluster has no cores or GPUs free"
            )


def _anywhere(options: SceneOptions) -> SceneOptions:
    """The same options with paths that do not depend on the working folder."""
    weights, intrinsics = options.weights, options.intrinsics
    if weights is not None:
        weights = weights.absolute()
    if intrinsics is not None and Path(intrinsics).is_file():
        intrinsics = str(Path(intrinsics).absolute())
    return replace(options, weights=weights, intrinsics=intrinsics)


def _ray() -> Any:
    """Ray itself."""
    # Nobody asked for what it would tell its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415 - of the extra `cluster`.
    except ImportError as error:
        raise ConfigError(
            "a cluster needs Ray, which is not installed; run `pip install 'dynapoint[cluster]'`"
        ) from error
    return ray


def _connect(ray: Any, address: str) -> bool:
    """Connect to a cluster; returns whether that is to be undone.

    Raises:
        ConfigError: There is none at that address.
    """
    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "auto":
        with suppress(ConnectionError):
            ray.init(address="auto", **quiet)
            return True
        ray.init(
            address="local", include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet
        )
        return True
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {address} ({_line(error)}); give its address, or auto"
        ) from error
    return True


def _line(error: BaseException) -> str:
    """The first line that says something, of what may be pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = getattr(error, "cause", None)
    if cause is not None:
        return f"{type(cause).__name__}: {' '.join(str(cause).split())}"
    return lines[0].rstrip(".") if lines else type(error).__name__
