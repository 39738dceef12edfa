"""Motion blur against exact positions, and against averages of what moves."""

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from dynapoint.synthetic import motion_blur
from dynapoint.synthetic.batch import stack_scenes
from dynapoint.synthetic.clip import homogeneous_pixels
from dynapoint.synthetic.motion_blur import blur_motion, image_motion, motion_tables
from dynapoint.synthetic.raster import quincunx_grid, rasterize
from dynapoint.synthetic.render import _prepare, render_clips
from dynapoint.synthetic.scene import Scene, SceneConfig, random_scene

_HW = (48, 64)


def _scenes(count: int, frames: int = 4, first: int = 70) -> list[Scene]:
    config = SceneConfig(frames=frames, difficulty=1.0)
    seeds = range(first, first + count)
    return [random_scene(seed, config, aspect=_HW[1] / _HW[0]) for seed in seeds]


def _with_shutter(scene: Scene, shutter: float) -> Scene:
    return replace(scene, look=replace(scene.look, shutter=np.asarray(shutter, np.float32)))


def test_image_motion_is_that_of_the_exact_points() -> None:
    scenes = _scenes(4, first=71)  # with sky
    clip = render_clips(scenes, image_hw=_HW, seed=0)
    batch = stack_scenes(scenes, image_hw=_HW, device="cpu")
    pixels = homogeneous_pixels(batch.vertices.double(), batch.world_from_camera, batch.intrinsics)
    triangles, shading, _ = _prepare(batch, pixels, _HW)
    keys = rasterize(triangles, quincunx_grid(*_HW), images=16)[:, 1::2, : _HW[1]].view(4, 4, *_HW)
    tables = motion_tables(batch, pixels, shading.planes, shading.corners)
    chosen = torch.tensor([3, 1])
    own = keys[chosen]
    found = image_motion(tables, chosen, own & 0xFFFFFFFF, own != 0).double().permute(1, 2, 3, 4, 0)
    y, x = torch.meshgrid(torch.arange(_HW[0]) + 0.5, torch.arange(_HW[1]) + 0.5, indexing="ij")
    pixel = torch.stack([x, y, torch.ones_like(x)], -1).double()
    compared = skies = 0
    for row, c in enumerate(chosen.tolist()):
        for i in range(4):
            times = (max(i - 1, 0), min(i + 1, 3))
            points = clip.points(torch.tensor([[i]] * 4), torch.tensor([times] * 4))[c, :, 0]
            k, poses = clip.intrinsics[c, 0].double(), clip.world_from_camera[c].double()
            sky = clip.face[c, i] < 0
            # A point far along the ray stands for one at infinity.
            far = pixel @ torch.linalg.inv(k).T @ poses[i, :3, :3].T * 1e9
            places = []
            for j, seen in zip(times, points.double(), strict=True):
                seen = torch.where(sky[..., None], far, seen)  # noqa: PLW2901
                camera = (seen - poses[j, :3, 3]) @ poses[j, :3, :3] @ k.T
                places.append(
                    torch.where(camera[..., 2:] > 0, camera[..., :2] / camera[..., 2:], torch.nan)
                )
            expected = (places[1] - places[0]) / (times[1] - times[0])
            # At the camera plane pixels are beyond all bounds.
            known = expected.abs().amax(-1) < 1e3
            error = (found[row, i] - expected).norm(dim=-1) / (1.0 + expected.norm(dim=-1))
            assert error[known].max() < 2e-3
            compared += int((known & (expected.norm(dim=-1) > 0.5)).sum())
            skies += int(sky.sum())
    assert compared > 5_000
    assert skies > 100


def test_truth_and_what_stands_still_are_left_alone() -> None:
    for scene in _scenes(3):
        closed = render_clips([_with_shutter(scene, 0.0)], image_hw=_HW, seed=0)
        blurred = render_clips([_with_shutter(scene, 0.5)], image_hw=_HW, seed=0)
        assert torch.equal(closed.face, blurred.face)
        assert not torch.equal(closed.images, blurred.images)
        still = replace(
            scene,
            vertices=np.repeat(scene.vertices[:1], 4, 0),
            world_from_camera=np.repeat(scene.world_from_camera[:1], 4, 0),
        )
        pair = [
            render_clips([_with_shutter(still, shutter)], image_hw=_HW, seed=0).images
            for shutter in (0.0, 0.5)
        ]
        assert torch.equal(*pair)


def test_even_motion_is_a_box_filter_along_it() -> None:
    rng = np.random.default_rng(0)
    light = ndimage.gaussian_filter(rng.random((60, 90, 3)), (2.0, 2.0, 0.0))
    images = torch.from_numpy(light.astype(np.float32))[None]
    smear = torch.zeros(2, 1, 60, 90)
    smear[0] = 8.0
    # Nearness that falls along the motion, as on a ground that is seen aslant.
    nearness = torch.linspace(1.0, 0.3, 90).expand(1, 60, 90)
    found = blur_motion(images, smear, nearness)[0].numpy()
    expected = ndimage.uniform_filter1d(light, 9, axis=1)
    inner = (slice(None), slice(6, -6))
    error = np.abs(found - expected)[inner].mean()
    assert error < 0.1 * np.abs(light - expected)[inner].mean()


def test_no_pixel_depends_on_which_others_are_computed_with_it(monkeypatch) -> None:
    images, nearness = torch.rand(2, 30, 40, 3), torch.rand(2, 30, 40)
    smear = torch.nn.functional.interpolate(4.0 * torch.randn(2, 2, 3, 4), (30, 40))
    together = blur_motion(images, smear, nearness)
    monkeypatch.setattr(motion_blur, "_CHUNK_CPU", 7)
    assert torch.equal(together, blur_motion(images, smear, nearness))
    alone = [blur_motion(images[[k]], smear[:, [k]], nearness[[k]]) for k in range(2)]
    assert torch.equal(together, torch.cat(alone))
    assert (together - images).abs().max() > 0.1


def test_a_body_in_front_smears_over_what_is_behind_and_a_still_one_does_not() -> None:
    # A bright square moves by (6, 0) pixels before a dark wall; a still post stands before both.
    images = torch.full((1, 40, 70, 3), 0.1)
    smear, nearness = torch.zeros(2, 1, 40, 70), torch.full((1, 40, 70), 0.2)
    images[:, 10:30, 20:40], smear[0, :, 10:30, 20:40], nearness[:, 10:30, 20:40] = 0.9, 6.0, 0.5
    images[:, :, 36:39], smear[..., 36:39], nearness[..., 36:39] = 0.5, 0.0, 1.0
    found = blur_motion(images, smear, nearness)[0, 20, :, 0]
    torch.testing.assert_close(found[36:39], images[0, 20, 36:39, 0])
    # Coverage of a box from 20 to 40 that is averaged over shifts of -3 to 3.
    x = torch.arange(70) + 0.5
    covered = ((x - 17) / 6).clamp(0, 1) - ((x - 37) / 6).clamp(0, 1)
    expected = 0.1 + 0.8 * covered
    free = torch.ones(70, dtype=torch.bool)
    free[33:42] = False
    torch.testing.assert_close(found[free], expected[free], atol=0.09, rtol=0.0)
    assert (found[free] - images[0, 20, free, 0]).abs().max() > 0.25
    # Rows that it does not pass over stay as they are.
    torch.testing.assert_close(blur_motion(images, smear, nearness)[0, :10], images[0, :10])
