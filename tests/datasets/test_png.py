from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynapoint.datasets.png import png_numbers
from dynapoint.errors import InputError
from miniatures.kubric import png

HERE = Path("x.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_numbers_are_those_that_were_written(dtype, channels):
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (7, 5, *channels), dtype)

    read = png_numbers(png(values), HERE)

    assert read.dtype == dtype
    np.testing.assert_array_equal(read, values)


def test_indices_of_a_palette_are_not_colours(tmp_path):
    indices = np.random.default_rng(0).integers(0, 3, (6, 4), np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette([9, 8, 7, 200, 3, 4, 5, 250, 6])
    picture.save(tmp_path / "x.png")

    np.testing.assert_array_equal(png_numbers((tmp_path / "x.png").read_bytes(), HERE), indices)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_damaged_pictures_are_one_line(dtype, channels, capfd):
    values = np.random.default_rng(0).integers(0, 255, (40, 30, *channels), dtype)
    data = png(values)

    for bad in (data[: len(data) // 2], data[:30], b"", b"GIF89a" + data):
        with pytest.raises(InputError, match=r"^x\.png: damaged"):
            png_numbers(bad, HERE)
    assert capfd.readouterr() == ("", "")
