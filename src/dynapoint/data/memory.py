"""Whether the pictures of a scene fit into memory, said before they are read."""

from pathlib import Path

from dynapoint.errors import InputError

_MEMORY_FILE = Path("/proc/meminfo")


def require_room(
    count: int, picture_hw: tuple[int, int], *, what: str = "frames", bytes_per_pixel: int = 3
) -> None:
    """Refuse to hold more pictures than there is memory for.

    Where the system does not say how much there is, nothing is refused.

    Args:
        count: How many pictures there are.
        picture_hw: How high and wide each is.
        what: A word for them.
        bytes_per_pixel: 3 for eight bits RGB.

    Raises:
        InputError: They would not fit.
    """
    height, width = picture_hw
    _require(
        count * height * width * bytes_per_pixel,
        f"{count} {what} of {width}x{height} take",
        "use fewer frames (--frames, frames=)",
    )


def require_room_to_decode(path: Path, picture_hw: tuple[int, int], bytes_per_pixel: int) -> None:
    """Refuse to decode an image file for which memory does not suffice.

    Raises:
        InputError: Memory does not suffice.
    """
    height, width = picture_hw
    said = f"image {path} is {width}x{height}, which takes"
    _require(height * width * bytes_per_pixel, said, "make it smaller")


def _require(needed: int, said: str, advice: str) -> None:
    """Refuse what takes more bytes than there are."""
    available = available_bytes()
    if available is not None and needed > available:
        raise InputError(
            f"{said} {needed / 1e9:.1f} GB but {available / 1e9:.1f} GB of memory are free; "
            f"{advice}"
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
