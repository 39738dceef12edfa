"""Whether the pictures of a scene fit into memory, said before they are read."""

from pathlib import Path

from dynapoint.errors import InputError

_MEMORY_FILE = Path("/proc/meminfo")


def require_room(count: int, picture_hw: tuple[int, int]) -> None:
    """Refuse to hold more pictures than there is memory for.

    Where the system does not say how much there is, nothing is refused.

    Raises:
        InputError: `count` pictures of this size, eight bits RGB, would not fit.
    """
    height, width = picture_hw
    needed, available = count * height * width * 3, available_bytes()
    if available is not None and needed > available:
        raise InputError(
            f"{count} frames of {width}x{height} take {needed / 1e9:.1f} GB but "
            f"{available / 1e9:.1f} GB of memory are free; use fewer frames (--frames, frames=)"
        )


def available_bytes() -> int | None:
    """Memory that can be had without swapping, in bytes; None where the system does not say."""
    try:
        lines = _MEMORY_FILE.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
