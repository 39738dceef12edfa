"""The camera after the lens: each step against the same worked out another way."""

import numpy as np
import torch
from scipy import ndimage

from dynapoint.synthetic import develop
from dynapoint.synthetic.materials import Column, mean_colour, random_material
from dynapoint.synthetic.shade import _texture

_SHAPE = (3, 2, 11, 14, 3)


def _images(seed: int = 0) -> torch.Tensor:
    return torch.rand(_SHAPE, generator=torch.Generator().manual_seed(seed))


def test_corners_lose_the_share_asked_for_and_the_middle_nothing() -> None:
    amount = torch.tensor([0.0, 0.25, 0.5])
    light = torch.ones(3, 1, 21, 31, 3)
    kept = develop._darken_corners(light, amount)
    torch.testing.assert_close(kept[:, 0, 10, 15, 0], torch.ones(3))
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        torch.testing.assert_close(kept[:, 0, row, column, 1], 1.0 - amount)
    # The loss goes with the squared distance: the middle of the long side has (31 / 37.4)².
    expected = 1.0 - amount * 31**2 / (31**2 + 21**2)
    torch.testing.assert_close(kept[:, 0, 10, 0, 2], expected)


def test_style_scales_about_grey_and_cuts_at_black_and_white() -> None:
    images = _images()
    contrast, saturation = torch.tensor([1.0, 1.6, 0.8]), torch.tensor([1.0, 0.0, 0.5])
    found = develop._style(images, contrast, saturation).numpy()
    for clip in range(3):
        display = images[clip].numpy().astype(np.float64)
        grey = (display @ np.array([0.299, 0.587, 0.114]))[..., None]
        coloured = grey + float(saturation[clip]) * (display - grey)
        expected = np.clip(0.5 + float(contrast[clip]) * (coloured - 0.5), 0, 1)
        np.testing.assert_allclose(found[clip], expected, atol=1e-6)
    assert np.ptp(found[1], axis=-1).max() < 1e-6
    assert (found[1] == 1.0).any()


def test_sharpening_and_blur_are_the_same_filter_with_other_weights() -> None:
    images = _images(1)
    sigma, sharpening = torch.tensor([0.0, 0.6, 0.0]), torch.tensor([0.0, 0.0, 0.1])
    found = develop._filter(images, sigma, sharpening)
    torch.testing.assert_close(found[0], images[0])
    for clip, side in ((1, float(np.exp(-0.5 / 0.6**2))), (2, -0.1)):
        kernel = np.array([side, 1.0, side]) / (1.0 + 2.0 * side)
        expected = images[clip].numpy().astype(np.float64)
        for axis in (1, 2):
            expected = ndimage.correlate1d(expected, kernel, axis=axis, mode="nearest")
        np.testing.assert_allclose(found[clip].numpy(), expected, atol=1e-6)


def test_the_colour_of_a_material_from_afar_is_its_mean() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    x, y, z = torch.from_numpy(rng.uniform(-40.0, 40.0, (3, 4096)).astype(np.float32))
    errors = []
    for _ in range(60):
        row = random_material(rng, size=1.0, texture=0.8)
        material = torch.from_numpy(row)[:, None].expand(Column.COUNT, 4096)
        seen = _texture(material, (x, y, z), torch.zeros(4096)).mean(1).numpy()
        errors.append(np.abs(seen - mean_colour(row)).max())
    # What is cut off at the ends of a pattern, and joints of tiles, shift the mean a little.
    assert np.median(errors) < 0.01
    assert np.quantile(errors, 0.9) < 0.1
