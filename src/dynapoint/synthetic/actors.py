"""Casting a scene: which bodies appear, where they stand, and that they keep clear."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from .articulated import random_animal, random_chain, random_person
from .bodies import Body, random_body
from .cameras import CameraPath
from .furniture import random_flag, random_furniture, random_stack, random_thin_furniture
from .stage import Stage

Actor = list[Body]


@runtime_checkable
class Kinds(Protocol):
    """Makes actors of some kinds."""

    def actor(
        self,
        rng: np.random.Generator,
        chance: float,
        *,
        tau: np.ndarray,
        place: tuple[float, float],
        size: float,
        reach: float,
    ) -> Actor:
        """An actor whose kind follows from `chance` in [0, 1); it moves if `reach` > 0."""
        ...


def random_actors(
    rng: np.random.Generator,
    camera: CameraPath,
    stage: Stage,
    *,
    tau: np.ndarray,
    difficulty: float,
    movers: bool,
    crowd: int = 0,
    kinds: Kinds | None = None,
) -> list[Actor]:
    """Actors in view of some frame, apart from each other, the walls and the camera at all times.

    Most stand in view of frame 0. Some pass by: they come into view or leave it later. Now and then
    one fills much of the image, or a thin thing stands close to the camera. `crowd` more make a
    clutter of smaller ones. `kinds` makes them; None draws a mixture.
    """
    count = int(rng.integers(4, 7 + round(4 * difficulty))) + crowd
    share = rng.uniform(0.5, 1.0) if rng.random() > 0.6 * difficulty else rng.uniform(0.25, 0.7)
    # Some scenes are all of one kind: a street of people, a room of furniture, plain solids.
    mixture = kinds or Mixture(
        creatures=rng.uniform(0.0, 0.5) if rng.random() < 0.5 * difficulty else 0.0,
        scenery=rng.uniform(0.0, 0.6) if rng.random() < 0.4 * difficulty else 0.0,
        difficulty=difficulty,
    )
    close_up = rng.random() < 0.15 * difficulty
    passing = rng.uniform(0.0, 0.6) if rng.random() < 0.5 * difficulty else 0.0
    actors: list[Actor] = []
    kept = Company(camera)
    moving = 0
    for index in range(count):
        moves = movers and (moving == 0 or rng.random() < share)
        chance = rng.random()
        passes = moves and index > 0 and rng.random() < passing
        for attempt in range(7):
            place, size = _place(rng, camera, index=index, close_up=close_up and index == 0)
            size *= 0.85**attempt * (0.7 if crowd else 1.0)
            low, high = (0.1, 0.4) if difficulty < 0.5 else (0.05, 0.4)
            reach = camera.distance * rng.uniform(low, high) if moves else 0.0
            reach *= 3.0 if passes else 1.0
            actor = mixture.actor(rng, chance, tau=tau, place=place, size=size, reach=reach)
            if passes:
                actor = _passing_by(actor, place, frame=int(rng.integers(len(tau))))
            if stage.holds(actor) and kept.admits(actor):
                kept.add(actor)
                actors.append(actor)
                moving += any(body.moving for body in actor)
                break
    if rng.random() < 0.25 * difficulty:
        actor = _foreground(rng, camera, times=len(tau))
        if stage.holds(actor) and kept.admits(actor):
            actors.append(actor)
    return actors


def _place(
    rng: np.random.Generator, camera: CameraPath, *, index: int, close_up: bool
) -> tuple[tuple[float, float], float]:
    """Where on the ground an actor stands and how large it is; nearer ones are smaller."""
    if close_up:
        distance = camera.distance * rng.uniform(0.6, 0.95)
        across = rng.uniform(-0.35, 0.35) * camera.half_width
        size = distance * rng.uniform(0.3, 0.5) * min(1.0, 2.0 * camera.half_width)
        return (across * distance, distance), size
    distance = camera.distance * float(np.exp(rng.uniform(np.log(0.45), np.log(1.9))))
    across = rng.uniform(-1.0, 1.0) * camera.half_width * (0.75 if index < 3 else 1.05)
    size = float(np.exp(rng.normal(np.log(0.42), 0.4))) * (distance / 3.0) ** 0.5
    return (across * distance, distance), min(size, 0.3 * distance)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Kinds of actors: the shares of creatures and of scenery; the rest are single bodies."""

    creatures: float
    scenery: float
    difficulty: float

    def actor(
        self,
        rng: np.random.Generator,
        chance: float,
        *,
        tau: np.ndarray,
        place: tuple[float, float],
        size: float,
        reach: float,
    ) -> Actor:
        """An actor whose kind follows from `chance` in [0, 1)."""
        if chance < self.creatures:
            return random_creature(rng, tau=tau, place=place, size=size, reach=reach)
        if chance < self.creatures + self.scenery and reach == 0.0:
            return _scenery(rng, times=len(tau), place=place, size=size)
        if chance > 1.0 - 0.05 * self.difficulty:
            return random_flag(rng, tau=tau, place=place, size=2.5 * size, moving=reach > 0.0)
        detail = 5 if size / place[1] < 0.12 else 7
        return [
            random_body(
                rng, tau=tau, place=place, size=size, reach=reach, difficulty=self.difficulty,
                detail=detail,
            )
        ]  # fmt: skip


def _passing_by(actor: Actor, place: tuple[float, float], *, frame: int) -> Actor:
    """The actor on the same way, but over `place` in the given frame instead of the first."""
    shift = np.zeros_like(actor[0].centre)
    shift[:, :2] = np.asarray(place) - actor[0].centre[frame, :2]
    return [body.shifted(shift) for body in actor]


def _foreground(rng: np.random.Generator, camera: CameraPath, *, times: int) -> Actor:
    """A thin thing that stands close to the camera of frame 0."""
    distance = camera.distance * rng.uniform(0.25, 0.45)
    across = rng.uniform(-1.1, 1.1) * camera.half_width * distance
    size = min(camera.stage_from_camera[0, 2, 3] * rng.uniform(0.6, 1.3), distance)
    return random_thin_furniture(rng, times=times, place=(float(across), distance), size=size)


def random_creature(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    place: tuple[float, float],
    size: float,
    reach: float,
) -> Actor:
    """A person, an animal or a chain; it moves if `reach` > 0."""
    kind = rng.random()
    if kind < 0.6:
        return random_person(rng, tau=tau, place=place, height=2.8 * size, reach=0.7 * reach)
    if kind < 0.85:
        return random_animal(rng, tau=tau, place=place, size=1.8 * size, reach=0.7 * reach)
    return random_chain(rng, tau=tau, place=place, size=2.2 * size, reach=reach)


def _scenery(
    rng: np.random.Generator, *, times: int, place: tuple[float, float], size: float
) -> Actor:
    kind = rng.random()
    if kind < 0.3:
        return random_stack(rng, times=times, place=place, size=2.0 * size)
    if kind < 0.55:
        return random_thin_furniture(rng, times=times, place=place, size=2.0 * size)
    return random_furniture(rng, times=times, place=place, size=2.2 * size)


class Company:
    """The bounding spheres of all bodies so far, and the camera's path."""

    def __init__(self, camera: CameraPath) -> None:
        self._cameras = camera.stage_from_camera[:, :3, 3]
        self._margin = 0.1 * camera.distance
        self._centres = np.zeros((0, len(self._cameras), 3))
        self._radii = np.zeros(0)

    def admits(self, actor: Actor) -> bool:
        """Whether no body comes too near to the camera or to another actor's body at any time."""
        if not self.clear_of_camera(actor):
            return False
        if not len(self._radii):
            return True
        centres = np.stack([body.centre for body in actor])
        radii = np.array([body.radius for body in actor])
        apart = np.linalg.norm(centres[:, None] - self._centres, axis=3).min(2)
        return bool((apart > 0.78 * (radii[:, None] + self._radii)).all())

    def clear_of_camera(self, actor: Actor) -> bool:
        """Whether no body comes too near to the camera at any time."""
        centres = np.stack([body.centre for body in actor])
        radii = np.array([body.radius for body in actor])
        gaps = np.linalg.norm(centres - self._cameras, axis=2).min(1) - radii
        return bool(gaps.min() >= self._margin)

    def add(self, actor: Actor) -> None:
        """Remember an actor."""
        self._centres = np.concatenate([self._centres, np.stack([b.centre for b in actor])])
        self._radii = np.concatenate([self._radii, [b.radius for b in actor]])
