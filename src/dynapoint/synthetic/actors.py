"""Casting a scene: which bodies appear, where they stand, and that they keep clear."""

import numpy as np

from .articulated import random_animal, random_chain, random_person
from .bodies import Body, random_body
from .cameras import CameraPath
from .furniture import random_flag, random_furniture, random_stack
from .stage import Stage

Actor = list[Body]


def random_actors(
    rng: np.random.Generator,
    camera: CameraPath,
    stage: Stage,
    *,
    tau: np.ndarray,
    difficulty: float,
    movers: bool,
) -> list[Actor]:
    """Actors in view of frame 0, apart from each other, the walls and the camera at all times."""
    count = int(rng.integers(4, 7 + round(4 * difficulty)))
    share = rng.uniform(0.5, 1.0) if rng.random() > 0.6 * difficulty else rng.uniform(0.25, 0.7)
    # Some scenes are all of one kind: a street of people, a room of furniture, plain solids.
    lively = rng.uniform(0.0, 0.5) if rng.random() < 0.5 * difficulty else 0.0
    scenery = rng.uniform(0.0, 0.6) if rng.random() < 0.4 * difficulty else 0.0
    actors: list[Actor] = []
    kept = _Company(camera)
    moving = 0
    for index in range(count):
        moves = movers and (moving == 0 or rng.random() < share)
        chance = rng.random()
        for attempt in range(7):
            shrink = 0.85**attempt
            distance = camera.distance * float(np.exp(rng.uniform(np.log(0.45), np.log(1.9))))
            across = rng.uniform(-1.0, 1.0) * camera.half_width * (0.75 if index < 3 else 1.05)
            place = (across * distance, distance)
            size = float(np.exp(rng.normal(np.log(0.42), 0.4))) * (distance / 3.0) ** 0.5 * shrink
            size = min(size, 0.3 * distance)
            low, high = (0.1, 0.4) if difficulty < 0.5 else (0.05, 0.4)
            reach = camera.distance * rng.uniform(low, high) if moves else 0.0
            if chance < lively:
                actor = _creature(rng, tau=tau, place=place, size=size, reach=reach)
            elif chance < lively + scenery and not moves:
                actor = _scenery(rng, times=len(tau), place=place, size=size)
            elif chance > 1.0 - 0.05 * difficulty:
                actor = random_flag(rng, tau=tau, place=place, size=2.5 * size, moving=moves)
            else:
                actor = [
                    random_body(
                        rng, tau=tau, place=place, size=size, reach=reach, difficulty=difficulty,
                        detail=5 if size / distance < 0.12 else 7,
                    )
                ]  # fmt: skip
            if stage.holds(actor) and kept.admits(actor):
                kept.add(actor)
                actors.append(actor)
                moving += any(body.moving for body in actor)
                break
    return actors


def _creature(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    place: tuple[float, float],
    size: float,
    reach: float,
) -> Actor:
    kind = rng.random()
    if kind < 0.6:
        return random_person(rng, tau=tau, place=place, height=2.8 * size, reach=0.7 * reach)
    if kind < 0.85:
        return random_animal(rng, tau=tau, place=place, size=1.8 * size, reach=0.7 * reach)
    return random_chain(rng, tau=tau, place=place, size=2.2 * size, reach=reach)


def _scenery(
    rng: np.random.Generator, *, times: int, place: tuple[float, float], size: float
) -> Actor:
    if rng.random() < 0.4:
        return random_stack(rng, times=times, place=place, size=2.0 * size)
    return random_furniture(rng, times=times, place=place, size=2.2 * size)


class _Company:
    """The bounding spheres of all bodies so far, and the camera's path."""

    def __init__(self, camera: CameraPath) -> None:
        self._cameras = camera.stage_from_camera[:, :3, 3]
        self._margin = 0.1 * camera.distance
        self._centres = np.zeros((0, len(self._cameras), 3))
        self._radii = np.zeros(0)

    def admits(self, actor: Actor) -> bool:
        """Whether no body comes too near to the camera or to another actor's body at any time."""
        centres = np.stack([body.centre for body in actor])
        radii = np.array([body.radius for body in actor])
        gaps = np.linalg.norm(centres - self._cameras, axis=2).min(1) - radii
        if gaps.min() < self._margin:
            return False
        if not len(self._radii):
            return True
        apart = np.linalg.norm(centres[:, None] - self._centres, axis=3).min(2)
        return bool((apart > 0.78 * (radii[:, None] + self._radii)).all())

    def add(self, actor: Actor) -> None:
        """Remember an actor."""
        self._centres = np.concatenate([self._centres, np.stack([b.centre for b in actor])])
        self._radii = np.concatenate([self._radii, [b.radius for b in actor]])
