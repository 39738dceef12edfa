"""`stream`: a clip as it comes, from a file, a pipe, a camera or a growing list."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

from dynapoint.data.frame_stream import open_stream
from dynapoint.data.selection import FrameSelection, selection_of
from dynapoint.errors import ConfigError
from dynapoint.inference.lens import LensRule
from dynapoint.inference.long.deciding import LongSource, sizes_of
from dynapoint.inference.long.in_windows import network_of, predictor_of
from dynapoint.inference.long.long_scene import LongClip
from dynapoint.inference.long.parts import Part, correction
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.inference.long.work_folder import passing_work_folder
from dynapoint.inference.prepare import Preparation
from dynapoint.models.protocol import info_of
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.windows.spans import WindowSizes

if TYPE_CHECKING:
    from dynapoint.models.protocol import PointMapModel


class ClipStream:
    """The parts of a clip, one after another; in the end, the whole of it."""

    def __init__(self, clip: LongSource, predictor: WindowPredictor, sizes: WindowSizes) -> None:
        # Temporary files are there as long as this is.
        self._work = passing_work_folder()
        self._clip = LongClip(clip, predictor, sizes, self._work)
        self._result: Reconstruction | None = None

    def __iter__(self) -> Iterator[Part]:
        """Each window as soon as it is there, then corrections of all cameras.

        Raises:
            DynapointError: What `reconstruct` raises, when it is reached.
        """
        last = -1
        for part in self._clip.parts():
            last = part.index
            yield part
        self._result = self._clip.finished()
        yield correction(last + 1, self._result.world_from_camera)

    @property
    def result(self) -> Reconstruction:
        """The whole clip.

        Raises:
            ConfigError: Its parts have not all come yet.
        """
        if self._result is None:
            raise ConfigError("the clip has not ended; go through all of its parts first")
        return self._result


def stream(
    source: Any,
    model: "str | PointMapModel" = "nano",
    *,
    frames: "int | Literal['all'] | FrameSelection" = "all",
    window: int | None = None,
    overlap: int | None = None,
    device: str | None = None,
    times_s: "ArrayLike | Path | None" = None,
    ignore_masks: "Path | str | None" = None,
    prepare: "Preparation" = "default",
    reference: int = 0,
    intrinsics: "ArrayLike | Mapping[str, Any] | Path | str | None" = None,
    lens: "LensRule" = "shared",
    refine: bool | None = None,
) -> ClipStream:
    """Reconstruct a clip while its frames come; what windows say lies among temporary files.

        for part in dynapoint.stream("walk.mp4"):
            print(part.frames, part.world_from_camera)

    The part of window k comes before the frames of window k + 2 are read.

    Args:
        source: Also "-" (standard input), "camera:0", an open file, an iterator of pictures.
        model: As for `reconstruct`, like all that follows.
        frames: "all", or a selection by rate, stride or span.
        window: How many frames a window has.
        overlap: How many of these the next one sees again.
        device: Where the named network computes.
        times_s: When each image was taken.
        ignore_masks: A folder of masks.
        prepare: How frames are brought to the network's size.
        reference: The frame of each window in whose camera `vdpm` and `vggt` compute.
        intrinsics: Known cameras.
        lens: "shared" keeps one lens: of a file that of a few parts, else the first window's.
        refine: Refine each window by matches between its pictures.

    Returns:
        The parts, to be gone through once; `result` is the whole clip afterwards.

    Raises:
        ConfigError, InputError, ModelError: As `reconstruct`.
    """
    selection = selection_of(frames)
    sizes = sizes_of(model if isinstance(model, str) else info_of(model), window, overlap)
    clip = LongSource(
        lambda: open_stream(source, selection, times_s=times_s, ignore_masks=ignore_masks)
    )
    predictor = predictor_of(
        *network_of(model, device),
        prepare=prepare,
        reference=reference,
        intrinsics=intrinsics,
        lens=lens,
        refine=refine,
    )
    return ClipStream(clip, predictor, sizes)
