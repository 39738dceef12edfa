"""Textures by hand."""

import numpy as np
import torch

from dynapoint.synthetic.materials import Column
from dynapoint.synthetic.shade import _texture


def test_tiles_meet_at_regular_joints_of_the_second_colour() -> None:
    row = np.zeros(Column.COUNT, np.float32)
    row[Column.SECOND : Column.SECOND + 3] = 1.0
    row[Column.CHECKER], row[Column.WEIGHT_JOINT] = 1.5, 1.0
    row[Column.CONTRAST], row[Column.BIAS] = 1.0, -0.5
    x = torch.linspace(0.0, 4.0, 40_001)
    middle = torch.full_like(x, (0.25 - 0.4 / (2 * np.pi)) / 1.5)  # a wave's crest: no joint there
    material = torch.from_numpy(row)[:, None].expand(Column.COUNT, len(x))
    bright = _texture(material, (x, middle, middle), torch.zeros_like(x))[0]
    # A wave 2π · 1.5 x + .4 changes its sign where x = (k / 2 - .4 / 2π) / 1.5.
    joints = (np.arange(1, 13) / 2 - 0.4 / (2 * np.pi)) / 1.5
    nearest = np.abs(x.numpy()[:, None] - joints).min(1)
    expected = np.maximum(1.0 - 6.0 * np.abs(np.sin(2 * np.pi * 1.5 * x.numpy() + 0.4)), 0.0)
    np.testing.assert_allclose(bright.numpy(), expected, atol=1e-4)
    assert bright[torch.from_numpy(nearest < 1e-4)].min() > 0.99
    assert bright[torch.from_numpy(nearest > 0.03)].max() == 0.0
    # From afar joints fade away instead of aliasing.
    far = _texture(material, (x, middle, middle), torch.ones_like(x))[0]
    assert far.abs().max() < 1e-6
