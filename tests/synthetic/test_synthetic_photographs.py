"""Photographs as textures: look-ups against PyTorch's own, what scenes take, what stays."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from dynapoint.errors import InputError
from dynapoint.synthetic.batch import stack_scenes
from dynapoint.synthetic.materials import Column, random_material
from dynapoint.synthetic.photographs import (
    LEVELS,
    SIDE,
    Photographs,
    lay_on,
    photographed,
    stacked_levels,
    texture_axis,
)
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene
from dynapoint.training.photographs import read_photographs

COUNT = 3


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.rand(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def photographs(pictures: torch.Tensor) -> Photographs:
    return stacked_levels(pictures)


def material_of(number: int, samples: int, *, rate: float, gain: float = 1.0) -> torch.Tensor:
    material = torch.zeros(Column.COUNT, samples)
    material[Column.PHOTO] = number + 1
    material[Column.PHOTO_RATE] = rate
    material[Column.PHOTO_GAIN] = gain
    material[Column.OFFSET] = 0.3
    material[Column.OFFSET + 1] = 0.7
    return material


@pytest.mark.parametrize("level", range(LEVELS))
@pytest.mark.parametrize("axis", range(3))
def test_colours_are_those_of_the_level_mirrored_beyond_its_sides(
    photographs: Photographs, pictures: torch.Tensor, level: int, axis: int
) -> None:
    generator = torch.Generator().manual_seed(level)
    samples, rate, number = 400, 0.4, 1
    at = torch.randn(3, samples, generator=generator) * 5
    material = material_of(number, samples, rate=rate)
    footprint = torch.full((samples,), 2.0**level / (rate * SIDE))
    axes = torch.full((samples,), axis)
    found = photographed(photographs, material, (at[0], at[1], at[2]), axes, footprint)
    across, along = [at[k] for k in range(3) if k != axis]
    # Pictures lie from 0 to 1; grid_sample has them from -1 to 1, and mirrors them as wanted.
    grid = torch.stack([across * rate + 0.3, along * rate + 0.7], -1) * 2 - 1
    picture = functional.avg_pool2d(pictures[number : number + 1], 2**level)
    expected = functional.grid_sample(
        picture, grid[None, None], mode="bilinear", padding_mode="reflection", align_corners=False
    )[0, :, 0]
    torch.testing.assert_close(found, expected, atol=3e-4, rtol=0)


def test_gain_brightens_up_to_white(photographs: Photographs) -> None:
    at = (torch.rand(50), torch.rand(50), torch.rand(50))
    axes, footprint = torch.zeros(50, dtype=torch.long), torch.full((50,), 1e-3)
    plain, bright = (
        photographed(photographs, material_of(0, 50, rate=0.5, gain=gain), at, axes, footprint)
        for gain in (1.0, 1.5)
    )
    torch.testing.assert_close(bright, (plain * 1.5).clamp(0, 1))
    assert (bright == 1).any()


def test_coarse_levels_serve_what_is_far_away(photographs: Photographs) -> None:
    axes = torch.zeros(1, dtype=torch.long)
    at = (torch.zeros(1), torch.zeros(1), torch.zeros(1))
    far = photographed(photographs, material_of(2, 1, rate=1.0), at, axes, torch.tensor([1e3]))
    assert bool(((far > 0.3) & (far < 0.7)).all()), "a mean over 32 × 32 texels of noise"


def test_faces_are_seen_along_the_axis_they_are_square_to() -> None:
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(4, 30, 3, generator=generator)
    faces = torch.randint(0, 30, (4, 200, 3), generator=generator)
    axis = texture_axis(texture, faces)
    for clip in range(4):
        corners = texture[clip][faces[clip]].double().numpy()
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.abs(normal)
        clear = np.sort(length, axis=1)[:, 2] > np.sort(length, axis=1)[:, 1] + 1e-6
        assert (axis[clip].numpy() == length.argmax(axis=1))[clear].all()


def test_bodies_of_one_material_keep_one() -> None:
    rng = np.random.default_rng(0)
    kinds = np.stack([random_material(rng, size=1.0, texture=1.0) for _ in range(6)])
    materials = kinds[np.repeat(np.arange(6), 3)]
    laid = [lay_on(materials, count=40, seed=seed) for seed in range(40)]
    numbers = np.stack([each[:, Column.PHOTO] for each in laid]).astype(int)
    assert (numbers.reshape(40, 6, 3) == numbers.reshape(40, 6, 3)[..., :1]).all()
    assert numbers.min() == 0
    assert 30 < numbers.max() <= 40
    # Seven scenes in ten have any, on seven materials in ten.
    assert 0.3 < (numbers > 0).mean() < 0.65
    assert (lay_on(materials, count=40, seed=3) == laid[3]).all()
    assert not materials[:, Column.PHOTO].any()


def test_photographs_change_colours_alone(photographs: Photographs) -> None:
    plain = SceneConfig(frames=2, difficulty=1.0)
    changed, some = dataclasses.replace(plain, photographs=COUNT), 0
    for seed in range(4):
        scenes = [random_scene(seed, config, aspect=4 / 3) for config in (plain, changed)]
        first, second = (
            render_clips([scene], image_hw=(48, 64), seed=0, photographs=given)
            for scene, given in zip(scenes, (None, photographs), strict=True)
        )
        assert torch.equal(first.face, second.face)
        assert torch.equal(first.vertices, second.vertices)
        assert torch.equal(first.intrinsics, second.intrinsics)
        some += not torch.equal(first.images, second.images)
        # The patterns are still there for those who have no photographs.
        without = render_clips([scenes[1]], image_hw=(48, 64), seed=0)
        assert torch.equal(without.images, first.images)
    assert some >= 2


def test_scenes_and_batches_agree_on_axes() -> None:
    scene = random_scene(2, SceneConfig(frames=1, difficulty=1.0), aspect=1.0)
    batch = stack_scenes([scene, scene], image_hw=(32, 32), device="cpu")
    axis = texture_axis(batch.texture, batch.faces)
    assert torch.equal(axis[0], axis[1])
    assert axis.shape == batch.faces.shape[:2]


def test_pictures_of_a_folder_are_read_in_linear_light(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    Image.new("RGB", (300, 200), (255, 128, 0)).save(tmp_path / "a.png")
    Image.new("RGB", (64, 90), (0, 0, 255)).save(tmp_path / "deeper" / "b.jpg", quality=95)
    (tmp_path / "README.md").write_text("not a picture")
    found = read_photographs(tmp_path)
    assert found.count == 2
    assert len(found.texels) == 2 * sum((SIDE >> level) ** 2 for level in range(LEVELS))
    expected = torch.tensor([1.0, (128 / 255) ** 2.2, 0.0])
    torch.testing.assert_close(found.texels[0], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.texels[-1], torch.tensor([0.0, 0.0, 1.0]), atol=0.03, rtol=0)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        read_photographs(tmp_path)
