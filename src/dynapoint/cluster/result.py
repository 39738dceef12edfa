"""What became of a clip."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynapoint.cluster.clip_list import Task
from dynapoint.errors import InputError, SceneError
from dynapoint.results.checks import read_check

if TYPE_CHECKING:
    from dynapoint.results.reconstruction import Reconstruction


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """What became of a clip: a scene, or one line that says why not.

    Attributes:
        label: What the clip is called.
        source: Where it came from.
        path: Where its scene is, or was to be.
        start_s: From when on it was used; None from its beginning.
        end_s: Until when.
        tags: Of the list.
        frames: How many frames the scene has.
        seconds: What it took, from the first byte read to the last one written.
        stages: The same for each stage.
        grade: How far its points can be trusted, from 0 to 1 (`self_check`).
        cameras_grade: How far its cameras can be.
        trust: The self-check's first line, in words.
        failure: Why there is no scene; None where there is one.
        skipped: Whether it was there already.
        attempts: How often it was tried.
        notes: What else people want to know of it.
        worker: Which process made it.
        memory_bytes: What that process held afterwards.
    """

    label: str
    source: str
    path: str
    start_s: float | None = None
    end_s: float | None = None
    tags: str | None = None
    frames: int | None = None
    seconds: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    grade: float | None = None
    cameras_grade: float | None = None
    trust: str | None = None
    failure: str | None = None
    skipped: bool = False
    attempts: int = 1
    notes: tuple[str, ...] = ()
    worker: str | None = None
    memory_bytes: int | None = None

    @classmethod
    def of(cls, task: Task, **known: Any) -> "ClipResult":
        """That of a task, with what is known beside it."""
        clip = task.clip
        return cls(
            label=task.label,
            source=clip.named,
            path=task.output,
            start_s=clip.start_s,
            end_s=clip.end_s,
            tags=clip.tags,
            **known,
        )

    def open(self) -> "Reconstruction":
        """The scene, where it lies on this machine.

        Raises:
            InputError: The clip has none.
            SceneError: It is elsewhere, or damaged.
        """
        from dynapoint.inference.opening import open_scene  # noqa: PLC0415 - loads much.

        if self.failure is not None:
            raise InputError(f"{self.label} has no scene: {self.failure}")
        return open_scene(Path(self.path))


@dataclass(frozen=True, kw_only=True)
class Grades:
    """What a scene says of itself."""

    grade: float | None
    cameras_grade: float | None
    trust: str | None

    @classmethod
    def of(cls, scene: Path) -> "Grades":
        """That of a stored scene, or of a folder with its small files."""
        try:
            found = read_check(scene)
        except SceneError:
            found = None
        if found is None:
            return cls(grade=None, cameras_grade=None, trust=None)
        cameras = found["signals"].get("cameras_grade")
        return cls(
            grade=found["grade"],
            cameras_grade=None if cameras is None else float(cameras),
            trust=found["lines"][0] if found["lines"] else None,
        )
