"""Textures by hand."""

import numpy as np
import torch

from dynapoint.synthetic.materials import Column
from dynapoint.synthetic.shade import _FRAME_ROWS, _FRAME_START, _mirrored, _texture


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


def test_mirrors_show_sky_above_and_ground_below() -> None:
    rng = np.random.default_rng(2)
    count = 200
    vectors = rng.normal(size=(2, 3, count)).astype(np.float32)
    up, normal = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ray = rng.normal(size=(2, count)).astype(np.float32)
    view = np.concatenate([ray, np.ones((1, count), np.float32)])
    length = np.linalg.norm(view, axis=0)
    # Surfaces that are seen face the viewer.
    normal *= -np.sign((normal * view).sum(0))
    facing = -(normal * view).sum(0) / length
    frame = np.zeros((sum(size for _, size in _FRAME_ROWS), count), np.float32)
    sky = {"horizon": rng.random(3), "zenith": rng.random(3), "bounce_colour": rng.random(3)}
    for name, value in {"up": up, **{k: v[:, None] for k, v in sky.items()}}.items():
        frame[_FRAME_START[name] : _FRAME_START[name] + 3] = value
    mirror = rng.random(count).astype(np.float32)
    surface = np.stack([mirror, *normal, *ray, length, facing]).astype(np.float32)
    colours, share = _mirrored(torch.from_numpy(frame), torch.from_numpy(surface).unbind(0))
    shown = 0
    for k in range(count):
        incoming = view[:, k] / length[k]
        outgoing = incoming - 2.0 * (incoming @ normal[:, k]) * normal[:, k]
        rise = float(outgoing @ up[:, k])
        fresnel = mirror[k] + (1 - mirror[k]) * (1 - facing[k]) ** 5
        np.testing.assert_allclose(share[k], fresnel, atol=1e-5)
        if abs(rise) < 0.1:
            continue
        blend = min(1.4 * rise, 1.0)
        expected = sky["horizon"] + blend * (sky["zenith"] - sky["horizon"])
        expected = expected if rise > 0 else sky["bounce_colour"]
        np.testing.assert_allclose(colours[:, k], expected, atol=1e-5)
        shown += rise > 0
    assert 50 < shown < 150
