"""Shadows of walls and light through openings against rays cast one by one."""

from dataclasses import replace

import numpy as np
import torch

from dynapoint.synthetic.batch import stack_scenes
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import Scene, SceneConfig, random_scene
from dynapoint.synthetic.screens import screen_tables, screened_light

_CONFIG = SceneConfig(frames=2, difficulty=1.0)


def _scenes(count: int, *, openings: bool) -> list[Scene]:
    """Scenes with walls before the sun, or with an opening in a ceiling."""
    found: list[Scene] = []
    for seed in range(400):
        scene = random_scene(seed, _CONFIG, aspect=1.25)
        if scene.screens.any() and bool(scene.screens[0, 9]) == openings:
            found.append(scene)
        if len(found) == count:
            return found
    raise AssertionError


def _clear_of_rectangle(
    point: np.ndarray, sun: np.ndarray, screen: np.ndarray
) -> tuple[bool, float, float]:
    """Whether the ray from a point to the sun meets a rectangle, how far it is, and by how much."""
    centre, first, second = screen[:9].reshape(3, 3)
    normal = np.cross(first, second)
    if not np.linalg.norm(normal) or abs(normal @ sun) < 1e-3 * np.linalg.norm(normal):
        return False, 1.0, np.inf
    distance = (centre - point) @ normal / (sun @ normal)
    offset = point + distance * sun - centre
    margins = [np.linalg.norm(edge) - abs(offset @ edge) / np.linalg.norm(edge)
               for edge in (first, second)]  # fmt: skip
    return distance > 0 and min(margins) > 0, distance, abs(min(margins))


def test_screens_dim_what_rays_say_they_dim() -> None:
    scenes = _scenes(5, openings=False) + _scenes(4, openings=True)
    scenes.insert(3, replace(scenes[0], screens=np.zeros_like(scenes[0].screens)))
    batch = stack_scenes(scenes, image_hw=(32, 40), device="cpu")
    tables = screen_tables(batch)
    rng = np.random.default_rng(0)
    _, times, vertices = batch.vertices.shape[:3]
    counts = np.zeros(2, int)
    for c, scene in enumerate(scenes):
        faces = scene.faces[rng.integers(len(scene.faces), size=400)]
        weights = rng.dirichlet(np.ones(3), size=400).astype(np.float32)
        for t in range(2):
            image = torch.full((400,), c * times + t)
            corners = torch.from_numpy(faces.astype(np.int64)) + (c * times + t) * vertices
            light = screened_light(tables, image, corners, torch.from_numpy(weights))
            if c == 3:
                assert light is None
                continue
            assert light is not None
            points = np.einsum("nk,nki->ni", weights, scene.vertices[t][faces]).astype(np.float64)
            for point, found in zip(points, light.tolist(), strict=True):
                expected, sure = 1.0, True
                for screen in scene.screens.astype(np.float64):
                    met, distance, margin = _clear_of_rectangle(point, scene.look.sun, screen)
                    sure &= margin > 0.08 * (0.1 + abs(distance)) and abs(distance) > 0.01
                    if screen.any():
                        expected *= met if screen[9] else not met
                if sure:
                    assert abs(found - expected) < 1e-3
                    counts[int(expected)] += 1
    assert counts.min() > 800


def test_penumbra_widens_with_the_distance_from_the_wall() -> None:
    scene = _scenes(1, openings=False)[0]
    up = scene.look.ground[:3].astype(np.float64)
    centre, first, second = scene.screens[0, :9].astype(np.float64).reshape(3, 3)
    top = centre + second * np.sign(second @ up)
    widths = []
    for distance in (1.0, 3.0):
        # Places whose rays pass the wall's upper edge at this distance, from below to above it.
        shifts = np.linspace(-0.4, 0.4, 2001)
        places = top - distance * scene.look.sun + shifts[:, None] * up
        moved = replace(
            scene,
            screens=np.concatenate([scene.screens[:1], np.zeros((1, 10), np.float32)]),
            vertices=np.tile(places.astype(np.float32), (2, 1, 1)),
            texture=np.zeros((2001, 3), np.float32),
        )
        corners = torch.arange(2001)[:, None].expand(-1, 3).contiguous()
        weights = torch.tensor([1.0, 0.0, 0.0]).expand(2001, 3).contiguous()
        tables = screen_tables(stack_scenes([moved], image_hw=(8, 8), device="cpu"))
        light = screened_light(tables, torch.zeros(2001, dtype=torch.int64), corners, weights)
        assert light is not None
        assert light[0] == 0.0
        assert light[-1] == 1.0
        assert bool((light.diff() >= -1e-4).all())
        widths.append(float((light.gt(0.02) & light.lt(0.98)).float().mean()) * 0.8)
    assert widths[0] > 0.01
    np.testing.assert_allclose(widths[1] / widths[0], (0.004 + 0.09) / (0.004 + 0.03), rtol=0.05)
    assert first.any()


def test_a_wall_before_the_sun_darkens_the_picture_below_it() -> None:
    darker = 0
    for scene in _scenes(4, openings=False):
        look = replace(scene.look, exposure=np.ones_like(scene.look.exposure))
        walled = replace(scene, look=look)
        free = replace(walled, screens=np.zeros_like(scene.screens))
        pair = render_clips([walled, free], image_hw=(48, 60), seed=0)
        assert torch.equal(pair.face[0], pair.face[1])
        # Exposure answers to brightness, so shadow shows as contrast between pixels.
        darker += not torch.equal(pair.images[0], pair.images[1])
    assert darker >= 3
