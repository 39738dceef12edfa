"""Whether a clip is predicted in windows, and in which."""

from collections.abc import Callable

import numpy as np

from dynapoint.data.frame_stream import FrameStream
from dynapoint.data.selection import DEFAULT_FRAMES, FrameSelection
from dynapoint.models.cards import ModelCard, find_card
from dynapoint.models.protocol import ModelInfo
from dynapoint.windows.plan import check_sizes
from dynapoint.windows.spans import WindowSizes

# Of networks that have no card.
_USUAL = WindowSizes(window=24, overlap=8)


class LongSource:
    """A source of frames, opened at once; what does not come as it comes can be opened again."""

    def __init__(self, open_one: Callable[[], FrameStream]) -> None:
        """Open it for the first time.

        Raises:
            ConfigError: What was asked does not fit the source.
            InputError: The source cannot be used.
        """
        self._open_one = open_one
        self._first: FrameStream | None = open_one()
        self.frame_count = self._first.frame_count

    def open(self) -> FrameStream:
        """Its frames from the beginning."""
        first, self._first = self._first, None
        return self._open_one() if first is None else first

    def close(self) -> None:
        """Close what was opened and not taken."""
        if self._first is not None:
            self._first.close()
            self._first = None


def sure_in_one_pass(selection: FrameSelection, model: "str | ModelInfo") -> bool:
    """Whether a selection is of no more frames than a network sees at once, whatever the source."""
    most = selection.max_frames
    if selection.fps is None and selection.stride is None:
        most = most or DEFAULT_FRAMES
    return most is not None and most <= _at_once(_card(model), model)


def windows_of_clip(
    frame_count: int | None,
    model: "str | ModelInfo",
    *,
    window: int | None = None,
    overlap: int | None = None,
) -> WindowSizes | None:
    """The windows that a clip is to be predicted in; None for one pass over all frames.

    Args:
        frame_count: How many frames it has; None where nobody knows before they come.
        model: The name of a network, or what a network says of itself.
        window: How many frames a window is to have; None for what suits the network.
        overlap: How many of these the next one is to see again.

    Raises:
        ConfigError: There are no such windows.
        ModelError: The name is unknown or retired.
    """
    sizes = sizes_of(model, window, overlap)
    at_once = _at_once(_card(model), model) if window is None else sizes.window
    return sizes if frame_count is None or frame_count > at_once else None


def _card(model: "str | ModelInfo") -> ModelCard | None:
    """The card of a network, if it has one."""
    if isinstance(model, str):
        return find_card(model)
    return None if model.source is None else find_card(model.source.name)


def _at_once(card: ModelCard | None, model: "str | ModelInfo") -> float:
    """How many frames a network sees in one pass; one that does not say takes any number."""
    if card is not None:
        return float(card.at_once)
    most = None if isinstance(model, str) else model.most_frames
    return np.inf if most is None else float(most)


def sizes_of(model: "str | ModelInfo", window: int | None, overlap: int | None) -> WindowSizes:
    """The sizes asked for, completed by what suits the network.

    Raises:
        ConfigError: There are no such windows.
        ModelError: The name is unknown or retired.
    """
    card, usual = _card(model), _USUAL
    if card is not None:
        usual = WindowSizes(window=card.window, overlap=card.overlap)
    if window is not None and overlap is None:
        # The same share of it.
        return check_sizes(window, max(1, round(window * usual.overlap / usual.window)))
    return check_sizes(
        usual.window if window is None else window, usual.overlap if overlap is None else overlap
    )
