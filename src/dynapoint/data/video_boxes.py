"""What FFmpeg keeps to itself of a video file: the part that is shown, and where the file ends.

MP4 and MOV are boxes of a length and a name (ISO/IEC 14496-12), Matroska and WebM elements of an
identity and a length (RFC 8794, RFC 9559), AVI chunks of a name and a length.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Boxes in which pictures or their index lie; others may be rubbish behind the end.
_BOXES_NEEDED = frozenset({b"mdat", b"moov", b"moof"})
_SEGMENT, _TRACKS = 0x18538067, 0x1654AE6B
_CLUSTER, _VOID, _CHECKSUM = 0x1F43B675, 0xEC, 0xBF
# What a segment is made of (RFC 9559): lists, settings, clusters; and what a cluster is made of.
_PARTS = frozenset(
    {0x114D9B74, 0x1549A966, _TRACKS, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
    | {_VOID, _CHECKSUM}
)
_CLUSTER_PARTS = frozenset({0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, _VOID, _CHECKSUM})
_ENTRY, _KIND, _VIDEO = 0xAE, 0x83, 0xE0
# Video, sound, subtitles, metadata: what FFmpeg makes streams of.
_KINDS = frozenset({1, 2, 17, 33})
_WIDTH, _HEIGHT = 0xB0, 0xBA
_CROPS = {"bottom": 0x54AA, "top": 0x54BB, "left": 0x54CC, "right": 0x54DD}
# Headers longer than this are not searched.
_LONGEST_HEADER = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A window of the coded picture, in coded pixels; the file means pictures of `coded_wh`."""

    left: int
    top: int
    width: int
    height: int
    coded_wh: tuple[int, int]


def clean_aperture(
    path: Path, format_name: str, *, stream_id: int, stream_index: int
) -> Crop | None:
    """The window that an MP4, MOV or Matroska file says is shown of a stream; None if all is.

    Args:
        path: The file.
        format_name: FFmpeg's name of its format.
        stream_id: FFmpeg's number of the stream, which is the track's in MP4.
        stream_index: Its place among FFmpeg's streams, which is the track's in Matroska.
    """
    try:
        with path.open("rb") as file:
            if "mp4" in format_name:
                return _sensible(_aperture_of_mp4(file, stream_id))
            if "matroska" in format_name:
                return _sensible(_crop_of_matroska(file, stream_index))
    # A header that contradicts itself says nothing of the picture.
    except (OSError, struct.error, ValueError, ZeroDivisionError, LookupError):
        pass
    return None


def breaks_off(path: Path, format_name: str) -> bool:
    """Whether a file ends before the last part that it announces."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            if "mp4" in format_name:
                return any(
                    end > size for name, _, end in _boxes(file, 0, size) if name in _BOXES_NEEDED
                )
            if "matroska" in format_name:
                return any(end is not None and end > size for _, _, end in _elements(file, 0, size))
            if format_name == "avi":
                return any(end > size for end in _riffs(file, size))
    except (OSError, struct.error, ValueError):
        pass
    return False


def tears(path: Path, format_name: str) -> list[int]:
    """Where a Matroska file is torn: places behind which a reader has to look for a new beginning.

    What lay there is lost without FFmpeg saying so.
    """
    if "matroska" not in format_name:
        return []
    found: list[int] = []
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            for identity, start, end in _elements(file, 0, size):
                if identity == _SEGMENT:
                    found += _tears_between(file, start, min(end or size, size))
    except (OSError, ValueError, IndexError):
        pass
    return found


def _tears_between(file: BinaryIO, start: int, end: int) -> Iterator[int]:
    """Where the parts of a segment, or of its clusters, do not follow each other."""
    while start < end:
        reached = start
        for identity, content, stop in _elements(file, start, end):
            if identity not in _PARTS:
                break
            if identity == _CLUSTER:
                # One of unknown length ends where the next part begins.
                limit = end if stop is None else min(stop, end)
                reached = content
                for inner, _, inner_stop in _elements(file, content, limit):
                    if inner not in _CLUSTER_PARTS or inner_stop is None:
                        break
                    reached = inner_stop
                if stop is not None and reached < limit:
                    yield reached
                    reached = limit
                if stop is None:
                    break
            else:
                reached = end if stop is None else stop
        if reached >= end:
            return
        if _begins_part(file, reached) and reached > start:
            start = reached
            continue
        yield reached
        start = _next_cluster(file, reached + 1, end)


def _begins_part(file: BinaryIO, place: int) -> bool:
    file.seek(place)
    head = file.read(4)
    return int.from_bytes(head, "big") in _PARTS or (bool(head) and head[0] in (0xEC, 0xBF))


def _next_cluster(file: BinaryIO, start: int, end: int) -> int:
    """Where the next cluster begins, or the end."""
    wanted = _CLUSTER.to_bytes(4, "big")
    while start < end:
        file.seek(start)
        piece = file.read(min(1 << 20, end - start))
        place = piece.find(wanted)
        if place >= 0:
            return start + place
        if len(piece) < 4:
            break
        start += len(piece) - 3
        if len(piece) < 1 << 20:
            break
    return end


def _sensible(crop: Crop | None) -> Crop | None:
    """A window that lies in the picture and is not all of it; else None."""
    if crop is None:
        return None
    wide, high = crop.coded_wh
    inside = crop.left >= 0 and crop.top >= 0 and crop.width > 0 and crop.height > 0
    inside &= crop.left + crop.width <= wide and crop.top + crop.height <= high
    return crop if inside and (crop.width, crop.height) != crop.coded_wh else None


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte of the content and end of each box; the last may end behind `end`."""
    while start + 8 <= end:
        file.seek(start)
        size, name = struct.unpack(">I4s", file.read(8))
        content = start + 8
        if size == 1:
            size = struct.unpack(">Q", file.read(8))[0]
            content += 8
        elif size == 0:
            size = end - start
        if size < content - start:
            return
        yield name, content, start + size
        start += size


def _inside(file: BinaryIO, start: int, end: int, *names: bytes) -> tuple[int, int] | None:
    """Content of the first box at the end of a way of names."""
    for wanted in names:
        found = next((box for box in _boxes(file, start, end) if box[0] == wanted), None)
        if found is None:
            return None
        start, end = found[1], found[2]
    return start, end


def _aperture_of_mp4(file: BinaryIO, track_id: int) -> Crop | None:
    """The clean aperture of a track."""
    file.seek(0, 2)
    movie = _inside(file, 0, file.tell(), b"moov")
    if movie is None:
        return None
    for name, start, end in _boxes(file, *movie):
        header = _inside(file, start, end, b"tkhd") if name == b"trak" else None
        if header is None:
            continue
        file.seek(header[0])
        version = file.read(1)[0]
        file.seek(header[0] + (20 if version else 12))
        if struct.unpack(">I", file.read(4))[0] != track_id:
            continue
        entries = _inside(file, start, end, b"mdia", b"minf", b"stbl", b"stsd")
        return None if entries is None else _aperture_of_entry(file, *entries)
    return None


def _aperture_of_entry(file: BinaryIO, start: int, end: int) -> Crop | None:
    """The clean aperture of the first sample entry; of several, pictures may differ."""
    found = list(_boxes(file, start + 8, end))
    if len(found) != 1:
        return None
    _, content, entry_end = found[0]
    file.seek(content + 24)
    coded_wh = struct.unpack(">HH", file.read(4))
    place = _inside(file, content + 78, entry_end, b"clap")
    if place is None:
        return None
    file.seek(place[0])
    sides = struct.unpack(">8i", file.read(32))
    width, height, right, down = (sides[i] / sides[i + 1] for i in range(0, 8, 2))
    return Crop(
        left=round((coded_wh[0] - width) / 2 + right),
        top=round((coded_wh[1] - height) / 2 + down),
        width=round(width),
        height=round(height),
        coded_wh=(coded_wh[0], coded_wh[1]),
    )


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """Identity, first byte of the content and end (None: not said) of each element."""
    while start < end:
        file.seek(start)
        head = file.read(12)
        if not head or not head[0]:
            return
        width = 9 - head[0].bit_length()
        identity = int.from_bytes(head[:width], "big")
        if len(head) <= width or not head[width]:
            return
        length = 9 - head[width].bit_length()
        size = int.from_bytes(head[width : width + length], "big") & ((1 << 7 * length) - 1)
        content = start + width + length
        if size == (1 << 7 * length) - 1:
            yield identity, content, None
            return
        yield identity, content, content + size
        start = content + size


def _crop_of_matroska(file: BinaryIO, track_index: int) -> Crop | None:
    """What Matroska cuts off the picture of a track."""
    file.seek(0, 2)
    end = file.tell()
    segment = next((each for each in _elements(file, 0, end) if each[0] == _SEGMENT), None)
    if segment is None:
        return None
    limit = min(segment[2] or end, end, segment[1] + _LONGEST_HEADER)
    for identity, start, stop in _elements(file, segment[1], limit):
        if identity != _TRACKS or stop is None:
            continue
        entries = [
            _numbers(file, entry_start, entry_end)
            for entry, entry_start, entry_end in _elements(file, start, stop)
            if entry == _ENTRY and entry_end is not None
        ]
        there = [entry for entry in entries if entry.get(_KIND, (0, 0, 0))[0] in _KINDS]
        video = there[track_index].get(_VIDEO)
        return None if video is None else _crop_of_video(file, *video[1:])
    return None


def _crop_of_video(file: BinaryIO, start: int, end: int) -> Crop | None:
    """What the settings of a video track cut off."""
    there = {key: value[0] for key, value in _numbers(file, start, end).items()}
    cut = {side: there.get(identity, 0) for side, identity in _CROPS.items()}
    if not any(cut.values()):
        return None
    wide, high = there[_WIDTH], there[_HEIGHT]
    return Crop(
        left=cut["left"],
        top=cut["top"],
        width=wide - cut["left"] - cut["right"],
        height=high - cut["top"] - cut["bottom"],
        coded_wh=(wide, high),
    )


def _numbers(file: BinaryIO, start: int, end: int) -> dict[int, tuple[int, int, int]]:
    """Each element's content as a number (of its first eight bytes), and where it lies."""
    found = {}
    for identity, content, stop in list(_elements(file, start, end)):
        if stop is None:
            break
        file.seek(content)
        found[identity] = (int.from_bytes(file.read(min(stop - content, 8)), "big"), content, stop)
    return found


def _riffs(file: BinaryIO, size: int) -> Iterator[int]:
    """Where each part of an AVI file ends; what was never filled in says nothing."""
    start = 0
    while start + 12 <= size:
        file.seek(start)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length in (0, 0xFFFFFFFF):
            return
        yield start + 8 + length
        start += 8 + length + length % 2
