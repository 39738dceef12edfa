"""A stand-in for Ray: actors are objects here, whose answers come in an order that is told.

`deaths` says whether the worker of a call dies; of dead actors nothing is answered any more.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Ref:
    def __init__(self, actor: "_Actor", call: Callable[[], Any]) -> None:
        self.actor, self.call = actor, call


class _Actor:
    def __init__(self, ray: "FakeRay", worker: Any) -> None:
        self.ray, self.worker, self.dead = ray, worker, False
        self.ready = SimpleNamespace(remote=lambda: _Ref(self, worker.ready))
        self.make = SimpleNamespace(remote=self._make)

    def _make(self, *given: Any) -> _Ref:
        self.ray.most_in_hand = max(self.ray.most_in_hand, 1 + self.ray.in_hand(self))
        ref = _Ref(self, lambda: self.worker.make(*given))
        self.ray.open.append(ref)
        self.ray.asked.append(given)
        return ref


class FakeRay:
    """What `cluster.on_ray` uses of Ray."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(
        self, make: Callable[..., Any], *, cpus: int = 2, gpus: float = 0, ready: Any = None
    ) -> None:
        self.make_worker = lambda: SimpleNamespace(make=make, ready=ready or (lambda: "fake:1"))
        self.resources = {"CPU": float(cpus), "GPU": float(gpus)}
        self.actors: list[_Actor] = []
        self.open: list[_Ref] = []
        self.asked: list[tuple[Any, ...]] = []
        self.most_in_hand = 0
        self.options: dict[str, Any] = {}

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": self.resources}]

    def remote(self, _: type) -> Any:
        def begin(*_: Any) -> _Actor:
            actor = _Actor(self, self.make_worker())
            self.actors.append(actor)
            return actor

        def with_options(**options: Any) -> Any:
            self.options = options
            return SimpleNamespace(remote=begin)

        return SimpleNamespace(options=with_options)

    def in_hand(self, actor: _Actor) -> int:
        return sum(ref.actor is actor for ref in self.open)

    def wait(self, refs: list[_Ref], **_: Any) -> tuple[list[_Ref], list[_Ref]]:
        return refs[:1], refs[1:]

    def get(self, ref: _Ref, timeout: float | None = None) -> Any:
        if ref in self.open:
            self.open.remove(ref)
        if ref.actor.dead:
            raise RayError("The actor died")
        try:
            return ref.call()
        except SystemExit:
            ref.actor.dead = True
            raise RayError("The actor died because its process was killed") from None
        except Exception as error:
            raise RayTaskError(error) from error

    def kill(self, actor: _Actor, **_: Any) -> None:
        actor.dead = True
