"""TFRecord files of `tf.train.Example` messages, read without TensorFlow.

A record is its length (uint64), a masked CRC-32C of these eight bytes, the data, and a masked
CRC-32C of the data, all little-endian. An Example is a protocol-buffer map from names to lists of
bytes, of float32 or of int64 (TensorFlow's documentation of TFRecord, its `example.proto` and
`feature.proto`; the encoding of protocol buffers as their documentation gives it). Files are mapped
into memory: what is not asked for is not read.
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt32

from dynapoint.datasets.files import damaged, need_file

_HEAD, _TAIL = 12, 4
# The reversed polynomial of Castagnoli's CRC (RFC 3720, section 12.1).
_POLYNOMIAL = 0x82F63B78
_MOST_LANES = 1 << 14


@dataclass(frozen=True, kw_only=True)
class RecordPlace:
    """Where a record lies.

    Attributes:
        offset: Of its data in the file.
        length: Of its data, in bytes.
        fault: Why it cannot be read, or "".
    """

    path: Path
    offset: int
    length: int
    fault: str = ""


def record_places(path: Path) -> list[RecordPlace]:
    """The records of a file; only their heads are read.

    Where the file ends too early or a head is damaged, the last place has a fault: what lies
    beyond it cannot be found.

    Raises:
        InputError: There is no such file, or it is empty.
    """
    size = need_file(path).stat().st_size
    places, start = [], 0
    with open(path, "rb") as file:
        while start < size:
            file.seek(start)
            head = file.read(_HEAD)
            fault = "it ends within a record"
            if len(head) == _HEAD:
                length, check = struct.unpack("<QI", head)
                if check != _masked(crc32c(head[:8])):
                    fault = f"the head of a record at byte {start} has a wrong checksum"
                elif start + _HEAD + length + _TAIL <= size:
                    fault = ""
            if fault:
                places.append(RecordPlace(path=path, offset=start, length=0, fault=fault))
                break
            places.append(RecordPlace(path=path, offset=start + _HEAD, length=length))
            start += _HEAD + length + _TAIL
    return places


class Example:
    """One record, as lists by name."""

    def __init__(self, place: RecordPlace) -> None:
        """Find the names and where their values lie.

        Raises:
            InputError: The record cannot be read, or is no Example.
        """
        self.path = place.path
        if place.fault:
            raise damaged(place.path, place.fault)
        with open(need_file(place.path), "rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        end = place.offset + place.length
        if end + _TAIL > len(mapped):
            raise damaged(place.path, "it ends within a record")
        self._data, self._check = mapped[place.offset : end], bytes(mapped[end : end + _TAIL])
        try:
            self._features = _features(self._data)
        except (_MalformedError, UnicodeDecodeError) as error:
            raise damaged(place.path, f"a record is no tf.train.Example: {error}") from error

    def verify(self) -> None:
        """Look at the checksum of the data, all of which is read for that.

        Raises:
            InputError: The checksum is wrong.
        """
        if struct.unpack("<I", self._check)[0] != _masked(crc32c(self._data)):
            raise damaged(self.path, "the data of a record have a wrong checksum")

    def blobs(self, name: str) -> list[memoryview]:
        """The byte strings of a name.

        Raises:
            InputError: There are none (so do the methods below).
        """
        return [value for value in self._values(name, kind=1) if isinstance(value, memoryview)]

    def floats(self, name: str, shape: tuple[int, ...]) -> Float64[np.ndarray, "..."]:
        """The numbers of a name in this shape (-1 as in NumPy)."""
        parts = [
            np.frombuffer(value, "<f4")
            for value in self._values(name, kind=2)
            if isinstance(value, memoryview)
        ]
        return self._shaped(name, np.concatenate(parts).astype(np.float64), shape)

    def integers(self, name: str, shape: tuple[int, ...]) -> Int64[np.ndarray, "..."]:
        """The whole numbers of a name in this shape (-1 as in NumPy)."""
        numbers: list[int] = []
        try:
            for value in self._values(name, kind=3):
                numbers.extend(_packed(value) if isinstance(value, memoryview) else [value])
        except _MalformedError as error:
            raise damaged(self.path, f"{name} of a record: {error}") from error
        signed = [number - (1 << 64) if number >> 63 else number for number in numbers]
        return self._shaped(name, np.array(signed, np.int64), shape)

    def _values(self, name: str, kind: int) -> list[memoryview | int]:
        if name not in self._features:
            raise damaged(self.path, f"a record has no {name}")
        try:
            lists = [value for number, value in _fields(self._features[name]) if number == kind]
            values = [
                value
                for part in lists
                if isinstance(part, memoryview)
                for number, value in _fields(part)
                if number == 1
            ]
        except _MalformedError as error:
            raise damaged(self.path, f"{name} of a record: {error}") from error
        if not values:
            raise damaged(self.path, f"{name} of a record has no values of the kind wanted")
        return values

    def _shaped(self, name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        try:
            return values.reshape(shape)
        except ValueError as error:
            raise damaged(
                self.path, f"{name} of a record has {values.size} values, not {shape}"
            ) from error


class _MalformedError(ValueError):
    """Bytes that are no protocol buffer."""


def _features(data: memoryview) -> Mapping[str, memoryview]:
    """The Feature of each name, unread."""
    found: dict[str, memoryview] = {}
    for number, features in _fields(data):
        if number != 1 or not isinstance(features, memoryview):
            continue
        for entry_number, entry in _fields(features):
            if entry_number != 1 or not isinstance(entry, memoryview):
                continue
            parts = dict(_fields(entry))
            name, feature = parts.get(1), parts.get(2)
            if isinstance(name, memoryview) and isinstance(feature, memoryview):
                found[str(name, "utf-8")] = feature
    return found


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Number and value of each field of a message, as they follow each other."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _MalformedError(f"a field of unknown kind {kind}")
        if at + length > end:
            raise _MalformedError("a field that ends beyond its message")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _MalformedError("a number that ends beyond its message")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise _MalformedError("a number of more than ten bytes")


def _packed(data: memoryview) -> list[int]:
    """Numbers that follow each other without keys."""
    numbers, at = [], 0
    while at < len(data):
        number, at = _varint(data, at)
        numbers.append(number)
    return numbers


def _masked(crc: int) -> int:
    """A checksum as TFRecord stores it."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFF_FFFF


def crc32c(data: bytes | memoryview) -> int:
    """The CRC-32C (Castagnoli) of bytes.

    Data are cut into lanes of equal length that are worked on at once. A CRC's register is linear
    over GF(2): the register after two lanes is that after the first one, moved on by as many zero
    bytes as the second one has, plus that after the second one alone.
    """
    values = np.frombuffer(data, np.uint8)
    lanes = 1 << min(max(0, (len(values) // 256).bit_length() - 1), _MOST_LANES.bit_length() - 1)
    length = len(values) // lanes // 2 * 2
    head = len(values) - length * lanes
    register = 0xFFFF_FFFF
    for byte in values[:head].tolist():
        register = int(_OF_BYTE[(register ^ byte) & 0xFF]) ^ register >> 8
    registers = np.zeros(lanes, np.uint32)
    registers[0] = register
    pairs = np.ascontiguousarray(values[head:].view("<u2").reshape(lanes, length // 2).T)
    for pair in pairs:
        registers = _OF_PAIR[(registers ^ pair) & 0xFFFF] ^ registers >> 16
    zeros = _zero_bytes(length)
    while len(registers) > 1:
        registers = _moved_on(registers[0::2], zeros) ^ registers[1::2]
        zeros = _moved_on(zeros, zeros)
    return int(registers[0]) ^ 0xFFFF_FFFF


def _moved_on(
    registers: UInt32[np.ndarray, " lane"], zeros: UInt32[np.ndarray, "bit=32"]
) -> UInt32[np.ndarray, " lane"]:
    """Registers after zero bytes; `zeros` says what becomes of each bit."""
    result = np.zeros_like(registers)
    for bit in range(32):
        result ^= (registers >> bit & 1) * zeros[bit]
    return result


def _zero_bytes(count: int) -> UInt32[np.ndarray, "bit=32"]:
    """What becomes of each bit of a register when so many zero bytes follow."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    result, power = bits, _OF_BYTE[bits & 0xFF] ^ bits >> 8
    while count:
        if count & 1:
            result = _moved_on(result, power)
        power = _moved_on(power, power)
        count >>= 1
    return result


def _table() -> UInt32[np.ndarray, "byte=256"]:
    """The register after one byte."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ _POLYNOMIAL, table >> 1).astype(np.uint32)
    return table


_OF_BYTE = _table()
_ALL_PAIRS = np.arange(1 << 16, dtype=np.uint32)
# The register after two bytes, the first one in the low half.
_OF_PAIR = _OF_BYTE[_OF_BYTE[_ALL_PAIRS & 0xFF] & 0xFF ^ _ALL_PAIRS >> 8] ^ (
    _OF_BYTE[_ALL_PAIRS & 0xFF] >> 8
)
