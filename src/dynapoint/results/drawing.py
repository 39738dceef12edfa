"""What all drawn sheets share: the colours of paper and ink, the font, and lines that fit."""

from PIL import ImageDraw, ImageFont

PAPER, INK, FAINT = (30, 30, 36), (238, 238, 242), (160, 160, 172)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that sheets look alike everywhere."""
    return ImageFont.load_default(size=size)


def line_height(size: int) -> int:
    """From one line of text to the next, in pixels."""
    return round(1.35 * size)


def wrapped(text: str, size: int, width: int, *, at: str = " ") -> list[str]:
    """A text in lines that are at most so many pixels wide.

    Lines break at `at`, which is then left out; what is too long by itself breaks at spaces, and
    words that are too long where they must.
    """
    letters = font(size)
    lines, current = [], ""
    for piece in text.split(at):
        longer = f"{current}{at}{piece}" if current else piece
        if current and letters.getlength(longer) > width:
            lines.append(current)
            longer = piece
        while len(longer) > 1 and letters.getlength(longer) > width:
            first = wrapped(longer, size, width)[0] if at != " " else _fitting(longer, size, width)
            lines.append(first)
            longer = longer[len(first) :].lstrip()
        current = longer
    return [*lines, current]


def _fitting(word: str, size: int, width: int) -> str:
    """As much of a word's beginning as fits, one letter at least."""
    letters = font(size)
    fits = (n for n in range(len(word) - 1, 1, -1) if letters.getlength(word[:n]) <= width)
    return word[: next(fits, 1)]


def write_lines(
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    lines: list[str],
    *,
    size: int,
    color: tuple[int, int, int],
) -> None:
    """Write lines below each other, the first one's top left at a corner."""
    for index, line in enumerate(lines):
        place = (corner[0], corner[1] + index * line_height(size))
        pen.text(place, line, fill=color, font=font(size))
