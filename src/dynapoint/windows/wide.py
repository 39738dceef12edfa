"""Windows of every few frames, which hold several ordinary ones together.

Ordinary windows see a camera for less than a second: where it hardly moves meanwhile, what they say
of its way and of scale is weak, and errors add up from seam to seam. A wide window sees it for
longer, and shares frames with each ordinary one in its span.
"""

from collections.abc import Sequence

from dynapoint.windows.spans import Segment, Window, WindowSizes

# So many frames of a wide one are new in each ordinary window: every fifth of 24 that share 8.
_SHARES = 3


def wide_stride(sizes: WindowSizes) -> int:
    """Every how many frames a wide window has one; 1 where windows are too short for any."""
    return max(1, (sizes.window - sizes.overlap) // _SHARES)


def wide_windows(
    segments: Sequence[Segment], windows: Sequence[Window], sizes: WindowSizes
) -> tuple[Window, ...]:
    """The wide windows of a clip: each overlaps the next by half.

    Args:
        segments: Of the clip.
        windows: Its ordinary windows.
        sizes: Of these.
    """
    stride = wide_stride(sizes)
    if stride == 1:
        return ()
    found: list[Window] = []
    for index, segment in enumerate(segments):
        inside = sum(window.segment == index for window in windows)
        # Two windows that share frames need no third to hold them together.
        if segment.kind != "scene" or inside < 3:
            continue
        frames = list(range(segment.start, segment.stop, stride))
        step = sizes.window // 2
        starts = list(range(0, max(1, len(frames) - sizes.window), step))
        starts.append(max(0, len(frames) - sizes.window))
        for start in dict.fromkeys(starts):
            chosen = tuple(frames[start : start + sizes.window])
            found.append(Window(frames=chosen, segment=index, wide=True))
    return tuple(found)
