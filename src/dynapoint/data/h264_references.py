"""H.264: whether a frame that others are built on is gone without a trace.

Decoders conceal that in silence. Every frame carries a number that counts the reference frames
before it (`frame_num`, ITU-T H.264, 7.4.3); a step of more than one says that some are missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_SLICE, _PARTITION_A, _IDR, _SPS, _PPS = 1, 2, 5, 7, 8
# Profiles whose settings say more of colours (7.3.2.1.1).
_HIGH = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_LONGEST_HEADER = 48


@dataclass(frozen=True, kw_only=True)
class _Sequence:
    """Settings of a sequence: how many bits `frame_num` has, and whether it may jump."""

    bits: int
    may_jump: bool
    apart_planes: bool


class ReferenceWatch:
    """Looks at the packets of a stream in their order."""

    def __init__(self, extradata: bytes | None) -> None:
        self._length_size = 0
        self._sequences: dict[int, _Sequence] = {}
        self._sequence_of: dict[int, int] = {}
        self._last: int | None = None
        if extradata and extradata[0] == 1 and len(extradata) > 6:
            self._length_size = (extradata[4] & 3) + 1
            for unit in _units_of_avcc(extradata):
                self._settings(unit)
        elif extradata:
            for unit in _units_by_start_codes(extradata):
                self._settings(unit)

    def misses_a_reference(self, packet: bytes, *, key: bool) -> bool:
        """Whether reference frames are missing between the packets before and this one."""
        sized = self._length_size
        for unit in _units_by_length(packet, sized) if sized else _units_by_start_codes(packet):
            kind = unit[0] & 31
            if kind in (_SPS, _PPS):
                self._settings(unit)
            elif kind in (_SLICE, _PARTITION_A, _IDR):
                try:
                    return self._missing_before(unit, key=key or kind == _IDR)
                except (IndexError, KeyError):
                    return False
        return False

    def _missing_before(self, unit: bytes, *, key: bool) -> bool:
        bits = _Bits(_plain(unit[1:_LONGEST_HEADER]))
        bits.golomb()
        bits.golomb()
        settings = self._sequences[self._sequence_of[bits.golomb()]]
        if settings.apart_planes:
            bits.read(2)
        number = bits.read(settings.bits)
        last = self._last
        if unit[0] & 96 or key:
            self._last = number
        if last is None or key or settings.may_jump:
            return False
        return number not in (last, (last + 1) % (1 << settings.bits))

    def _settings(self, unit: bytes) -> None:
        """Remember the settings of a sequence or a picture; those that make no sense are not."""
        try:
            bits = _Bits(_plain(unit[1:]))
            if unit[0] & 31 == _SPS:
                number, settings = _sequence(bits)
                self._sequences[number] = settings
            elif unit[0] & 31 == _PPS:
                picture = bits.golomb()
                self._sequence_of[picture] = bits.golomb()
        except IndexError:
            pass


def _sequence(bits: "_Bits") -> tuple[int, _Sequence]:
    """The number and settings of a sequence (7.3.2.1.1)."""
    profile = bits.read(8)
    bits.read(16)
    number = bits.golomb()
    apart = False
    if profile in _HIGH:
        chroma = bits.golomb()
        apart = chroma == 3 and bool(bits.read(1))
        bits.golomb()
        bits.golomb()
        bits.read(1)
        if bits.read(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling(bits, 16 if index < 6 else 64)
    frame_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.read(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb()
    return number, _Sequence(bits=frame_bits, may_jump=bool(bits.read(1)), apart_planes=apart)


def _skip_scaling(bits: "_Bits", size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            coded = bits.golomb()
            step = (coded + 1) // 2 if coded % 2 else -(coded // 2)
            following = (last + step + 256) % 256
        last = following or last


class _Bits:
    """Reads numbers of so many bits, and Exp-Golomb codes (9.1); IndexError behind the end."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content, "big")
        self._left = 8 * len(content)

    def read(self, count: int) -> int:
        if count > self._left:
            raise IndexError("the header ends")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def golomb(self) -> int:
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)


def _plain(unit: bytes) -> bytes:
    """Content without the bytes that keep it from looking like a start code (7.4.1)."""
    return unit.replace(b"\0\0\3", b"\0\0")


def _units_of_avcc(extradata: bytes) -> Iterator[bytes]:
    """Settings in MP4's and Matroska's header of H.264 (ISO/IEC 14496-15, 5.3.3.1)."""
    place = 5
    for mask in (31, 255):
        if place >= len(extradata):
            return
        count = extradata[place] & mask
        place += 1
        for _ in range(count):
            size = int.from_bytes(extradata[place : place + 2], "big")
            unit = extradata[place + 2 : place + 2 + size]
            place += 2 + size
            if unit:
                yield unit


def _units_by_length(packet: bytes, sized: int) -> Iterator[bytes]:
    place = 0
    while place + sized < len(packet):
        size = int.from_bytes(packet[place : place + sized], "big")
        place += sized
        if size:
            yield packet[place : place + size]
        place += size


def _units_by_start_codes(packet: bytes) -> Iterator[bytes]:
    place = packet.find(b"\0\0\1")
    while place >= 0:
        following = packet.find(b"\0\0\1", place + 3)
        unit = packet[place + 3 : following if following >= 0 else len(packet)]
        if unit:
            yield unit
        place = following
