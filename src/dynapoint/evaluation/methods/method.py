"""What a method is: it answers tasks."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, UInt8

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.errors import InputError
from dynapoint.evaluation.protocols.task import Answer, Task


@dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """What tells a method apart from others, and from itself with other options.

    Attributes:
        name: The row of the tables and the folder of its predictions.
        weights_sha256: Of a network's weights file; "" without one.
        options: All else that changes its answers, in words; predictions with other ones are stale.
    """

    name: str
    weights_sha256: str = ""
    options: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What a method is shown.

    Attributes:
        task: What is asked.
        truth: Where the pictures come from. A method that is scored looks at `images` and
            `intrinsics` alone; the trivial answers know more.
    """

    task: Task
    truth: TruthSequence

    @cached_property
    def images(self) -> UInt8[np.ndarray, "frame height width rgb=3"]:
        """The frames shown, in the task's order.

        Raises:
            InputError: A file is missing or damaged, or pictures differ in size.
        """
        pictures = [self.truth.image(frame) for frame in self.task.frames]
        sizes = sorted({picture.shape[:2] for picture in pictures})
        if len(sizes) > 1:
            raise InputError(
                f"{self.task.key}: pictures are of {len(sizes)} sizes ({sizes[0]} and {sizes[1]}, "
                "height and width); tasks need one; prepare the set so"
            )
        return np.stack(pictures)

    @cached_property
    def intrinsics(self) -> Float64[np.ndarray, "frame 3 3"] | None:
        """In pixels of the pictures; None where the method is not told."""
        if not self.task.known_lens:
            return None
        return np.stack([self.truth.intrinsics(frame) for frame in self.task.frames])

    @cached_property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of the pictures; one is read for it."""
        height, width = self.truth.image(self.task.frames[0]).shape[:2]
        return height, width


@runtime_checkable
class Method(Protocol):
    """Answers tasks. Baselines are modules of `evaluation.baselines`."""

    @property
    def info(self) -> MethodInfo:
        """What it is; known before anything that takes long is loaded."""
        ...

    def answer(self, question: Question) -> Answer:
        """Answer a task; what the method cannot say stays None.

        Raises:
            DynapointError: It cannot go on at all, e.g. for lack of memory.
        """
        ...
