"""Arrays packed into text for a page: quantised, differenced, deflated, base64.

A page cannot read files beside it when it is opened from a disk, so all is in the page itself.
Neighbours in a cloud or on a path are near each other: differences between them have small high
bytes, which deflate squeezes well once they are apart from the low ones.
"""

import base64
import io
import zlib
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8, UInt16
from PIL import Image

LARGEST_STEP = 65535
_DEFLATE_LEVEL = 7
_JPEG_QUALITY = 85


@dataclass(frozen=True, kw_only=True)
class Box:
    """The box that all positions of a page lie in, and its 16-bit steps.

    Attributes:
        low: Its corner with the least coordinates, in scene units.
        size: Its edges, all positive.
    """

    low: Float64[np.ndarray, "xyz=3"]
    size: Float64[np.ndarray, "xyz=3"]

    @property
    def error(self) -> Float64[np.ndarray, "xyz=3"]:
        """The largest error of a coordinate along each axis: half a step."""
        return self.size / LARGEST_STEP / 2

    def quantised(
        self, points: Float[np.ndarray, "*shape xyz=3"]
    ) -> UInt16[np.ndarray, "*shape xyz=3"]:
        """Steps from the lower corner; points beyond the box are moved onto it."""
        steps = (points.astype(np.float64) - self.low) / self.size * LARGEST_STEP
        return np.round(steps).clip(0, LARGEST_STEP).astype(np.uint16)


def box_around(clouds: list[Float[np.ndarray, "_ xyz=3"]]) -> Box:
    """The smallest box about all points, of size 1 along axes where they have no extent."""
    filled = [cloud for cloud in clouds if len(cloud)]
    low = np.min([cloud.min(axis=0) for cloud in filled] or [np.zeros(3)], axis=0)
    high = np.max([cloud.max(axis=0) for cloud in filled] or [np.zeros(3)], axis=0)
    size = high.astype(np.float64) - low
    return Box(low=low.astype(np.float64), size=np.where(size > 0, size, 1.0))


@dataclass(kw_only=True)
class TextBuffer:
    """Chunks of base64, one after another; chunk i is text[spans[i][0] : spans[i][1]]."""

    pieces: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Characters so far."""
        return self.spans[-1][1] if self.spans else 0

    def add(self, content: bytes) -> int:
        """Append a chunk and give its index."""
        text = base64.b64encode(content).decode("ascii")
        self.spans.append((self.length, self.length + len(text)))
        self.pieces.append(text)
        return len(self.spans) - 1


def deflated(*parts: np.ndarray) -> bytes:
    """Some arrays of bytes, one after another, as a zlib stream."""
    return zlib.compress(b"".join(part.tobytes() for part in parts), _DEFLATE_LEVEL)


def differences(steps: UInt16[np.ndarray, "row column xyz=3"]) -> UInt8[np.ndarray, " byte"]:
    """Differences to the left and the upper neighbour (modulo 2^16), low bytes before high ones.

    In the order x of all, y of all, z of all.
    """
    planes = np.moveaxis(steps, -1, 0)
    across = np.diff(planes, axis=2, prepend=np.uint16(0))
    both = np.diff(across, axis=1, prepend=np.uint16(0)).reshape(-1)
    return np.concatenate([(both & 255).astype(np.uint8), (both >> 8).astype(np.uint8)])


def filled_gaps(
    steps: UInt16[np.ndarray, "row column xyz=3"], known: Bool[np.ndarray, "row column"]
) -> UInt16[np.ndarray, "row column xyz=3"]:
    """The same with places that are not known repeating the last known one of their row."""
    column = np.where(known, np.arange(known.shape[1]), 0)
    at = np.maximum.accumulate(column, axis=1)
    return np.take_along_axis(steps, at[..., None], axis=1)


def ranks(
    confidence: Float[np.ndarray, "*shape"], ordered: Float[np.ndarray, " sample"]
) -> UInt8[np.ndarray, "*shape"]:
    """1 to 255 by the share of `ordered` (ascending) that is not more; 0 where there is no point.

    So hiding the least sure tenth hides no more than that, however many are equally sure.
    """
    share = np.searchsorted(ordered, confidence, side="right") / max(1, len(ordered))
    return np.where(confidence > 0, 1 + np.floor(254 * share), 0).astype(np.uint8)


def jpeg(picture: UInt8[np.ndarray, "height width rgb=3"]) -> bytes:
    """A JPEG file with colours as fine as brightness, so that none runs over edges."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return file.getvalue()
