import struct

import numpy as np
import pytest

from dynapoint.datasets.tfrecord import Example, RecordPlace, crc32c, record_places
from dynapoint.errors import InputError
from miniatures.kubric import crc32c as crc32c_by_byte
from miniatures.kubric import example, field, record, varint


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_crc32c_has_the_published_values(data, crc):
    # RFC 3720, appendix B.4, and the check value of CRC catalogues.
    assert crc32c(data) == crc


@pytest.mark.parametrize("length", [1, 2, 3, 255, 511, 512, 513, 4095, 70001, 262147])
def test_crc32c_in_lanes_is_that_byte_by_byte(length):
    data = np.random.default_rng(length).integers(0, 256, length, np.uint8).tobytes()

    assert crc32c(data) == crc32c_by_byte(data)
    assert crc32c(memoryview(data)) == crc32c_by_byte(data)


def test_records_and_their_values_are_read(tmp_path):
    numbers = np.array([0, 1, 127, 128, -1, -(2**63), 2**63 - 1])
    floats = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    data = example({"a/b": [b"x", b"", b"yz"], "n": numbers, "f": floats, "é": [b"1"]})
    path = tmp_path / "one"
    path.write_bytes(record(b"") + record(data) + record(b"abc"))

    places = record_places(path)

    assert [place.length for place in places] == [0, len(data), 3]
    read = Example(places[1])
    read.verify()
    assert [bytes(blob) for blob in read.blobs("a/b")] == [b"x", b"", b"yz"]
    assert read.integers("n", (-1,)).tolist() == numbers.tolist()
    np.testing.assert_array_equal(read.floats("f", (2, 3)), floats)
    assert len(read.blobs("é")) == 1


def test_values_that_are_not_packed_and_fields_that_are_unknown(tmp_path):
    floats = b"".join(varint(1 << 3 | 5) + struct.pack("<f", number) for number in (1.5, -2))
    numbers = b"".join(varint(1 << 3) + varint(number) for number in (7, 300))
    unknown = varint(9 << 3) + varint(5) + varint(10 << 3 | 1) + bytes(8)
    entries = field(1, field(1, b"f") + unknown + field(2, field(2, floats)))
    entries += field(1, field(1, b"n") + field(2, unknown + field(3, numbers)))
    path = tmp_path / "one"
    path.write_bytes(record(unknown + field(1, entries)))

    read = Example(record_places(path)[0])

    assert read.floats("f", (2,)).tolist() == [1.5, -2]
    assert read.integers("n", (2,)).tolist() == [7, 300]


def test_values_that_are_not_there_are_one_line(tmp_path):
    path = tmp_path / "one"
    path.write_bytes(record(example({"n": np.array([1, 2]), "f": np.array([1.0])})))
    read = Example(record_places(path)[0])

    with pytest.raises(InputError, match=r"one: damaged .a record has no x"):
        read.blobs("x")
    with pytest.raises(InputError, match="n of a record has 2 values"):
        read.integers("n", (3,))
    with pytest.raises(InputError, match="no values of the kind wanted"):
        read.floats("n", (2,))


def test_what_is_damaged_is_found(tmp_path):
    good = record(example({"n": np.arange(300)}))
    path = tmp_path / "one"

    path.write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])
    read = Example(record_places(path)[0])
    with pytest.raises(InputError, match="the data of a record have a wrong checksum"):
        read.verify()

    path.write_bytes(good + good[:3] + bytes([good[3] ^ 4]) + good[4:] + good)
    places = record_places(path)
    assert len(places) == 2
    Example(places[0]).verify()
    with pytest.raises(InputError, match=f"byte {len(good)} has a wrong checksum"):
        Example(places[1])

    for cut in (len(good) + 5, 2 * len(good) - 2):
        path.write_bytes((good + good)[:cut])
        places = record_places(path)
        assert [bool(place.fault) for place in places] == [False, True]
        with pytest.raises(InputError, match="ends within a record"):
            Example(places[1])

    with pytest.raises(InputError, match="no such file"):
        Example(RecordPlace(path=tmp_path / "none", offset=0, length=0))


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x7f\x01",
        b"\x0a",
        b"\x0b\x01",
        b"\x80" * 11,
        field(1, field(1, field(1, b"\xff\xfe") + field(2, b""))),
    ],
)
def test_bytes_that_are_no_example(tmp_path, data):
    path = tmp_path / "one"
    path.write_bytes(record(data))

    with pytest.raises(InputError, match=r"no tf.train.Example"):
        Example(record_places(path)[0])
