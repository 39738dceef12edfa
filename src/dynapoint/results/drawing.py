"""What all drawn sheets share: the colours of paper and ink, and the font."""

from PIL import ImageFont

PAPER, INK, FAINT = (30, 30, 36), (238, 238, 242), (160, 160, 172)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that sheets look alike everywhere."""
    return ImageFont.load_default(size=size)
