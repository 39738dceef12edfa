"""Values of a picture or a flow at places between pixels, against SciPy's bilinear ones."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from dynapoint.refinement.flow import pixel_indices, sample, warped

# OpenCV interpolates in steps of so much of a pixel; places on them are exact.
STEP_PX = 1 / 32


def bilinear(values, index):
    """The same by SciPy, channel by channel; `index` (column, row) from the first centre."""
    channels = values.reshape(*values.shape[:2], -1).astype(np.float64)
    found = [
        map_coordinates(channels[..., k], index[..., ::-1].T, order=1, mode="nearest").T
        for k in range(channels.shape[2])
    ]
    return np.stack(found, axis=-1).reshape(*index.shape[:-1], *values.shape[2:])


@pytest.mark.parametrize("channels", [(), (2,), (3,)])
@pytest.mark.parametrize("seed", range(3))
def test_values_are_bilinear_and_those_of_the_border_beyond_it(channels, seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(5, 40, 2).tolist()
    values = rng.normal(size=(height, width, *channels)).astype(np.float32)
    flow = rng.integers(-3 * 32, 3 * 32, (height, width, 2)).astype(np.float32) * STEP_PX
    index = pixel_indices(height, width) + flow
    wanted = bilinear(values, index)
    np.testing.assert_allclose(warped(values, flow), wanted, atol=2e-6)
    np.testing.assert_allclose(sample(values, index + 0.5), wanted, atol=2e-6)


def test_whole_numbers_are_rounded_to_whole_numbers():
    rng = np.random.default_rng(7)
    values = rng.integers(0, 256, (9, 14), dtype=np.uint8)
    flow = rng.integers(-64, 64, (9, 14, 2)).astype(np.float32) * STEP_PX
    found = warped(values, flow)
    assert found.dtype == np.uint8
    wanted = bilinear(values, pixel_indices(9, 14) + flow)
    assert np.abs(found - wanted).max() <= 0.51
