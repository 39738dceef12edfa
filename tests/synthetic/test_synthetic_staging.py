"""Who appears where: thin things, passers-by, close-ups."""

from collections import Counter

import numpy as np
import pytest

from dynapoint.synthetic import thin_things
from dynapoint.synthetic.actors import _passing_by
from dynapoint.synthetic.articulated import random_animal
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene


@pytest.mark.parametrize("maker", dict.fromkeys(thin_things._MAKERS), ids=lambda m: m.__name__)
def test_thin_things_are_closed_and_wound_outward(maker) -> None:
    for seed in range(5):
        mesh = maker(np.random.Generator(np.random.PCG64(seed)))
        corners = mesh.vertices[mesh.faces]
        # Parts overlap, so each is looked at alone: edges join corners at equal places.
        _, place = np.unique(np.round(mesh.vertices, 6), axis=0, return_inverse=True)
        faces = place.reshape(-1)[mesh.faces]
        edges: Counter[tuple[int, ...]] = Counter()
        for k in range(3):
            edges.update(map(tuple, faces[:, [k, (k + 1) % 3]].tolist()))
        assert all(edges[b, a] == count for (a, b), count in edges.items())
        volume = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
        assert volume.sum() > 0


def test_who_passes_by_keeps_its_way_and_is_there_in_the_given_frame() -> None:
    tau = np.linspace(0.0, 1.0, 8)
    rng = np.random.Generator(np.random.PCG64(4))
    actor = random_animal(rng, tau=tau, place=(1.0, 3.0), size=1.0, reach=2.0)
    moved = _passing_by(actor, (1.0, 3.0), frame=5)
    np.testing.assert_allclose(moved[0].centre[5, :2], (1.0, 3.0), atol=1e-12)
    assert np.linalg.norm(moved[0].centre[0, :2] - (1.0, 3.0)) > 1.0
    for before, after in zip(actor, moved, strict=True):
        for name in ("positions", "centre"):
            old, new = getattr(before, name), getattr(after, name)
            np.testing.assert_allclose(np.diff(new, axis=0), np.diff(old, axis=0), atol=1e-12)
        shift = after.positions - before.positions
        np.testing.assert_allclose(shift, np.broadcast_to(shift[0, 0], shift.shape), atol=1e-12)
        assert shift[0, 0, 2] == 0.0


def test_some_movers_come_into_view_and_some_leave_it_before_a_still_camera() -> None:
    config = SceneConfig(frames=6, difficulty=1.0, still_camera=1.0)
    scenes = [random_scene(seed, config, aspect=1.25) for seed in range(30)]
    clip = render_clips(scenes, image_hw=(32, 40), seed=0)
    came = left = 0
    for faces, instances, moving in zip(
        clip.face, clip.face_instance, clip.face_moving, strict=True
    ):
        seen = [
            set(instances[f[(f >= 0)].long()][moving[f[f >= 0].long()]].tolist()) for f in faces
        ]
        came += bool(seen[-1] - seen[0])
        left += bool(seen[0] - seen[-1])
    assert came >= 4
    assert left >= 4
