"""What is shown of a long scene: one of its worlds, and no more of its frames than can be shown.

The one place for how many. Short scenes, of as many frames or fewer, are shown whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from dynapoint.data.selection import evenly_spaced
from dynapoint.errors import InputError
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.subscene import main_segment, segment_at, subscene, worlds

Scene = TypeVar("Scene", bound=SceneMaps)

MOST_SHOWN = 120
"""Times of pages and animations, and frames whose points make one cloud."""

MOST_TRACKED = 300
"""Times of tracks as benchmarks have them, whose longest clips are so long."""

MOST_ON_SHEETS = 24
"""Frames that a sheet of panels is made of."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is shown of a scene.

    Attributes:
        segment: Which of its worlds (`subscene.worlds`), by index.
        frames: Which of its frames, by index, increasing.
        notes: What is left out, a line each.
    """

    segment: int
    frames: Sequence[int]
    notes: tuple[str, ...] = ()

    def of(self, scene: Scene) -> Scene:
        """That part of a scene, whose note says what is left out; the scene if nothing is."""
        if not self.notes:
            return scene
        said = [*([scene.frames.note] if scene.frames.note else []), *self.notes]
        return subscene(scene, self.frames, note="; ".join(said) or None)


def shown_part(
    scene: SceneMaps,
    *,
    most: int | None,
    segment: int | None = None,
    time: int | None = None,
) -> Shown:
    """One world of a scene, and of that evenly spaced frames.

    Args:
        scene: The scene.
        most: At most so many frames, the first and last of the world among them; None for all.
        segment: Index of the world; None for that of `time`, or else the longest that shows
            something.
        time: A frame that is to be among them, in the place of its nearest neighbour.

    Raises:
        InputError: There is no such segment, or `time` is not of it.
    """
    parts = worlds(scene)
    if segment is None:
        number = main_segment(scene) if time is None else segment_at(scene, time)
    elif not 0 <= segment < len(parts):
        raise InputError(f"segment is {segment} but the scene has {len(parts)}, from 0")
    else:
        number = segment
    part = parts[number]
    if time is not None and not part.start <= time < part.stop:
        raise InputError(
            f"time is {time} but segment {number} has frames {part.start} to {part.stop - 1}; give "
            "one of these, or leave out the segment"
        )
    notes = []
    if len(parts) > 1:
        alone = f"segment {number} alone, frames {part.start} to {part.stop - 1}"
        if part.kind != "scene":
            alone += f", which is {part.kind} and has nothing to show"
        notes.append(f"{alone}; the scene has {len(parts)}")
    frames: Sequence[int] = range(part.start, part.stop)
    if most is not None and part.count > most:
        frames = _thinned(part.start, part.count, most, time)
        notes.append(f"{len(frames)} of its {part.count} frames, evenly spaced")
    return Shown(segment=number, frames=frames, notes=tuple(notes))


def even_choice(count: int, most: int = MOST_SHOWN) -> list[int]:
    """At most so many evenly spaced indices of `count`, the first among them."""
    return [int(index) for index in evenly_spaced(count, most)]


def _thinned(start: int, count: int, most: int, time: int | None) -> list[int]:
    """Evenly spaced frames with a given one in the place of its nearest, which is not the first."""
    frames = [start + index for index in even_choice(count, most)]
    if time is None or time in frames:
        return frames
    if len(frames) < 2:
        return sorted([*frames, time])
    nearest = min(range(1, len(frames)), key=lambda place: abs(frames[place] - time))
    frames[nearest] = time
    return frames
