"""The numbers in PNG files, as they are stored."""

from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from dynapoint.datasets.files import damaged

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# In the head of a PNG (W3C recommendation, section 11.2.2): bits a sample, and what a pixel is.
_DEPTH_AT, _COLOUR_AT = 24, 25
_RGB = 2


def png_numbers(
    data: bytes | memoryview, path: Path
) -> UInt8[np.ndarray, "height width *channel"] | UInt16[np.ndarray, "height width *channel"]:
    """The samples of a picture: palette indices and grey without a channel axis, else RGB or RGBA.

    Args:
        data: The bytes of the PNG.
        path: The file that errors name.

    Raises:
        InputError: The bytes are no PNG, or damaged.
    """
    if bytes(data[:8]) != _SIGNATURE or len(data) <= _COLOUR_AT:
        raise damaged(path, "a picture is no PNG")
    try:
        if data[_DEPTH_AT] == 16 and data[_COLOUR_AT] == _RGB:
            return _deep_rgb(data)
        with Image.open(BytesIO(data)) as picture:
            values = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(path, f"a PNG cannot be decoded: {error}") from error
    return values.astype(np.uint16) if data[_DEPTH_AT] == 16 else values


def _deep_rgb(data: bytes | memoryview) -> UInt16[np.ndarray, "height width rgb=3"]:
    """16 bits a sample, which Pillow would cut to 8."""
    import cv2  # noqa: PLC0415

    # Of a picture that is cut off, old OpenCV gives what it could decode, and a newer one writes
    # lines of its own to stderr; Pillow finds that out before.
    with Image.open(BytesIO(data)) as picture:
        picture.verify()
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise ValueError("not 16 bits of RGB")
    return np.ascontiguousarray(values[..., ::-1])
