"""One focal length for all windows: found in a few that see more of the camera's way than most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dynapoint.data.frame_stream import FrameStream, StreamedFrame, between_of, frames_of
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.progress import begin
from dynapoint.refinement.lens import LENS_SIGMA

PILOTS = 3
# A pilot takes every so many frames, so that the camera has moved between them.
_STRIDE = 5


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """What one pilot says of the lens: its focal length, and how far the logarithm may be off."""

    focal_px: float
    sigma: float


def pilot_frames(frame_count: int, window: int) -> list[list[int]]:
    """The frames of each pilot, in parts of the clip that are spread over it evenly."""
    span = min(frame_count, window * _STRIDE)
    starts = np.round(np.linspace(0, frame_count - span, PILOTS + 2)[1:-1]).astype(int)
    places = np.round(np.linspace(0, span - 1, min(window, span))).astype(int)
    return [
        [start + place for place in places.tolist()] for start in dict.fromkeys(starts.tolist())
    ]


def find_focal(
    open_again: Callable[[], FrameStream], frame_count: int, predictor: WindowPredictor, window: int
) -> float:
    """The focal length of a clip in pixels of its pictures.

    Pilots are joined by the variances of the logarithms that they tell of.

    Args:
        open_again: Opens the source from its beginning.
        frame_count: How many frames it has.
        predictor: Predicts the pilots.
        window: How many frames it takes at once.
    """
    begin("lens")
    pilots = []
    for wanted in pilot_frames(frame_count, window):
        with open_again() as stream:
            taken = _taken(stream, wanted)
            frames = frames_of(taken, stream)
        rec = predictor.predict(frames, between=partial(between_of, taken))
        lens = rec.intrinsics[:, [0, 1], [0, 1]]
        found = rec.refinement
        sigma = found.lens_sigma if found is not None and found.poses else LENS_SIGMA
        pilots.append(Pilot(focal_px=float(np.exp(np.log(lens).mean())), sigma=sigma))
    return joined_focal(pilots)


def joined_focal(pilots: Sequence[Pilot]) -> float:
    """The mean of the logarithms, by what each is worth."""
    weight = np.array([1 / max(pilot.sigma, 1e-3) ** 2 for pilot in pilots])
    logs = np.log([pilot.focal_px for pilot in pilots])
    return float(np.exp((weight * logs).sum() / weight.sum()))


def _taken(stream: FrameStream, wanted: Sequence[int]) -> list[StreamedFrame]:
    """Some frames of a stream."""
    keep, taken = set(wanted), []
    for index, frame in enumerate(stream.frames(start=wanted[0]), start=wanted[0]):
        if index in keep:
            taken.append(frame)
        if index >= wanted[-1]:
            break
    return taken
