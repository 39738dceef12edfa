"""Whole settings, tilted cameras, lenses: what their distributions promise."""

import numpy as np
import pytest
import torch

from dynapoint.errors import ConfigError
from dynapoint.synthetic import scene as scenes_module
from dynapoint.synthetic.cameras import CameraPath, random_camera_path, random_focal
from dynapoint.synthetic.driving import random_drive
from dynapoint.synthetic.hands import random_arm
from dynapoint.synthetic.interiors import random_corner, random_shelf
from dynapoint.synthetic.lettering import lettered_sheet
from dynapoint.synthetic.places import _windows, random_corridor, random_street
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.rooms import random_room
from dynapoint.synthetic.scene import SceneConfig, random_scene
from dynapoint.synthetic.settings import Draw, Setting
from dynapoint.synthetic.shallow import random_desk, random_portrait
from dynapoint.synthetic.shapes import join_meshes
from dynapoint.synthetic.vehicles import random_car

_MAKERS = (
    random_desk, random_portrait, random_shelf, random_corner, random_corridor, random_street,
    random_drive, random_room,
)  # fmt: skip
_TAU = np.linspace(0.0, 1.0, 6)


def _draw(seed: int, *, difficulty: float = 1.0, movers: bool = True) -> Draw:
    return Draw(
        rng=np.random.Generator(np.random.PCG64(seed)),
        tau=_TAU,
        difficulty=difficulty,
        aspect=4 / 3,
        camera_moves=seed % 3 > 0,
        movers=movers,
    )


def _far_over_near(config: SceneConfig, count: int) -> np.ndarray:
    """95th over 5th percentile of depth of each scene's frames, seeds from 500."""
    found = []
    frames = torch.arange(config.frames)[None]
    for seed in range(500, 500 + count):
        clip = render_clips([random_scene(seed, config, aspect=4 / 3)], image_hw=(24, 32), seed=0)
        for depth in clip.depth(frames)[0].numpy():
            near, far = np.nanpercentile(depth, [5, 95])
            found.append(far / near)
    return np.array(found)


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_shallow_scenes_are_shallow(difficulty: float) -> None:
    ratios = _far_over_near(SceneConfig(frames=2, difficulty=difficulty, shallow=1.0), 30)
    assert 1.4 < np.median(ratios) < 2.5
    assert (ratios < 3.0).mean() > 0.75
    others = _far_over_near(SceneConfig(frames=2, difficulty=difficulty, shallow=0.0), 20)
    assert np.median(others) > 1.5 * np.median(ratios)


def test_a_fair_share_of_scenes_is_shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[str] = []

    class Stop(Exception):
        pass

    def noted(kind: str):
        def note(draw: Draw) -> Setting:
            kinds.append(kind)
            raise Stop

        return note

    monkeypatch.setattr(scenes_module, "random_shallow_setting", noted("shallow"))
    monkeypatch.setattr(scenes_module, "_open_setting", noted("open"))
    shares = {}
    for difficulty in (0.0, 0.2, 1.0):
        kinds.clear()
        for seed in range(600):
            with pytest.raises(Stop):
                random_scene(seed, SceneConfig(frames=2, difficulty=difficulty), aspect=1.0)
        shares[difficulty] = kinds.count("shallow") / len(kinds)
    # Three standard deviations of 600 draws are .055.
    assert 0.22 < shares[0.2] < 0.34
    assert 0.22 < shares[1.0] < 0.34
    assert 0.09 < shares[0.0] < 0.19


def _turns_about(point: np.ndarray, corners: np.ndarray) -> float:
    """How often a closed mesh winds about a point: the solid angle it covers over 4π."""
    a, b, c = (corners[:, k] - point for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    volume = np.einsum("fi,fi->f", a, np.cross(b, c))
    sides = (
        la * lb * lc
        + np.einsum("fi,fi->f", a, b) * lc
        + np.einsum("fi,fi->f", b, c) * la
        + np.einsum("fi,fi->f", c, a) * lb
    )
    return float(2.0 * np.arctan2(volume, sides).sum() / (4.0 * np.pi))


@pytest.mark.parametrize("make", _MAKERS, ids=lambda make: make.__name__)
def test_cameras_are_in_the_open_and_movers_move(make) -> None:
    movers = 0
    for seed in range(8):
        setting = make(_draw(seed))
        bodies = [*setting.stage.bodies, *(b for actor in setting.actors for b in actor)]
        eyes = setting.camera.stage_from_camera[:, :3, 3]
        for body in bodies:
            assert np.isfinite(body.positions).all()
            for t in (0, len(_TAU) - 1):
                corners = body.positions[t][body.mesh.faces]
                assert abs(_turns_about(eyes[t], corners)) < 0.5
        for body in setting.stage.bodies:
            assert np.ptp(body.positions, axis=0).max() == 0.0
        for actor in setting.actors:
            for body in actor:
                assert (np.ptp(body.positions, axis=0).max() > 1e-6) <= body.moving
        movers += any(b.moving for actor in setting.actors for b in actor)
        still = make(_draw(seed, movers=False))
        assert not any(b.moving for actor in still.actors for b in actor)
    assert movers >= 7


def test_a_point_within_a_body_is_found() -> None:
    setting = random_desk(_draw(1))
    ground = setting.stage.bodies[0]
    corners = ground.positions[0][ground.mesh.faces]
    assert _turns_about(corners.mean((0, 1)), corners) == pytest.approx(1.0)


def test_something_is_seen_in_every_frame_of_shallow_scenes() -> None:
    config = SceneConfig(frames=5, difficulty=1.0, shallow=1.0)
    moving_seen = crowded = 0
    for seed in range(40):
        scene = random_scene(seed, config, aspect=4 / 3)
        clip = render_clips([scene], image_hw=(24, 32), seed=0)
        frames = torch.arange(5)[None]
        assert clip.valid(frames).float().mean((2, 3)).min() > 0.5
        bodies_seen = [len(body.unique()) for body in clip.instance(frames)[0]]
        crowded += min(bodies_seen) > 2
        moving_seen += bool(clip.moving(frames).any())
    # A quarter of the clips are of still scenes, and cameras may turn away from all but a wall.
    assert moving_seen > 25
    assert crowded > 30


def test_lenses_are_those_of_cameras_people_use() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    fields = []
    for aspect in (4 / 3, 9 / 16):
        for _ in range(500):
            focal = random_focal(rng, difficulty=1.0, aspect=aspect)
            fields.append(np.degrees(2.0 * np.arctan(0.5 * max(aspect, 1.0) / focal)))
    # Depth cameras have 58 to 64°, phones 62 to 72°, film and cars 40 to 50°.
    assert 59.0 < np.median(fields) < 66.0
    assert np.mean((np.array(fields) > 35.0) & (np.array(fields) < 85.0)) > 0.9
    assert min(fields) < 40.0
    assert max(fields) > 85.0


@pytest.mark.parametrize("share", [0.0, 0.42, 0.83])
def test_long_lenses_are_as_many_as_asked_for(share: float) -> None:
    fields = []
    for seed in range(300):
        # What a scene shows does not matter here, and shallow ones are made quickly.
        scene = random_scene(
            seed, SceneConfig(frames=1, difficulty=0.1, long_lens=share), aspect=4 / 3
        )
        fields.append(np.degrees(2.0 * np.arctan(0.5 * (4 / 3) / scene.focal_per_height)))
    # Other lenses have less than 54° hardly ever, and long ones in 16 of 22 cases.
    assert np.mean(np.array(fields) < 54.0) == pytest.approx(share * 16 / 22, abs=0.08)


def test_shares_of_long_lenses_are_checked() -> None:
    for share in (-0.1, 0.9):
        with pytest.raises(ConfigError, match="long_lens"):
            SceneConfig(long_lens=share)


def _pitch_and_roll_deg(path: CameraPath) -> tuple[np.ndarray, np.ndarray]:
    up = path.stage_from_camera[:, 2, :3]
    return np.degrees(np.arcsin(-up[:, 2])), np.degrees(np.arctan2(up[:, 0], -up[:, 1]))


def test_cameras_are_tilted_and_rolled_at_times_and_never_flip() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    pitches, rolls = [], []
    for _ in range(300):
        path = random_camera_path(rng, tau=_TAU, difficulty=1.0, aspect=1.5, moving=True)
        assert np.isfinite(path.stage_from_camera).all()
        pitch, roll = _pitch_and_roll_deg(path)
        pitches.append(pitch[0])
        rolls.append(roll[0])
        # A camera that passed the vertical would jump to the other side.
        steps = np.einsum("tji,tjk->tik", *(path.stage_from_camera[k, :3, :3] for k in (
            slice(None, -1), slice(1, None))))  # fmt: skip
        angles = np.degrees(np.arccos(np.clip((np.trace(steps, axis1=1, axis2=2) - 1) / 2, -1, 1)))
        assert angles.max() < 75.0
    assert 0.12 < np.mean(np.array(pitches) > 20.0) < 0.5
    assert np.max(pitches) < 80.0
    assert 0.1 < np.mean((np.abs(rolls) > 7.0) & (np.abs(rolls) < 45.0)) < 0.45
    assert 0.0 < np.mean(np.abs(rolls) > 70.0) < 0.1


def test_the_palm_of_an_arm_begins_where_it_is_wanted() -> None:
    rng = np.random.Generator(np.random.PCG64(9))
    for seed in range(20):
        palm = np.array([*rng.normal(size=2), 1.5])
        arm = random_arm(
            np.random.Generator(np.random.PCG64(seed)), tau=_TAU, palm=palm,
            yaw_rad=rng.uniform(-3.0, 3.0), length=0.6, moving=True,
        )  # fmt: skip
        assert np.linalg.norm(arm[1].centre[0] - palm) < 0.15
        assert all(body.moving for body in arm)
        assert max(np.ptp(body.positions, axis=0).max() for body in arm) > 0.02


def test_letters_lie_within_their_sheet_just_before_its_face() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    for _ in range(20):
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        axes *= np.sign(np.linalg.det(axes))
        half = (rng.uniform(0.1, 1.0), rng.uniform(0.1, 1.0))
        sheet, letters = lettered_sheet(
            rng, times=2, centre=(1.0, 2.0, 3.0), axes=axes, half=half
        )  # fmt: skip
        local = [(b.positions[0] - [1.0, 2.0, 3.0]) @ axes for b in (sheet, letters)]
        assert (np.abs(local[1][:, :2]).max(0) <= half).all()
        top = local[0][:, 2].max()
        assert top < local[1][:, 2].min() < 1.5 * top
        corners = local[1][join_meshes([letters.mesh]).faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert (normals[:, 2] > 0).all()


def test_wheels_of_cars_roll_without_slipping() -> None:
    tau = np.linspace(0.0, 1.0, 400)
    for seed in range(6):
        rng = np.random.Generator(np.random.PCG64(seed))
        heading = float(rng.uniform(-3.0, 3.0))
        car = random_car(
            rng, tau=tau, place=(1.0, 2.0), length=2.0, heading_rad=heading, reach=3.0
        )  # fmt: skip
        ahead = np.array([-np.sin(heading), np.cos(heading), 0.0])
        travelled = (car[0].centre - car[0].centre[0]) @ ahead
        assert np.ptp(travelled) > 2.0
        assert min(body.positions[..., 2].min() for body in car) > -1e-9
        for wheel in car[2:]:
            steps = np.diff(wheel.positions, axis=0) @ ahead
            lowest = wheel.positions[:-1, :, 2].argmin(1)
            slip = np.take_along_axis(steps, lowest[:, None], 1)[:, 0]
            assert np.abs(slip).sum() < 0.35 * np.abs(np.diff(travelled)).sum()
            highest = wheel.positions[:-1, :, 2].argmax(1)
            twice = np.take_along_axis(steps, highest[:, None], 1)[:, 0]
            assert np.abs(twice).sum() > 1.6 * np.abs(np.diff(travelled)).sum()


def test_windows_face_outwards_and_lie_on_their_house() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    for _ in range(20):
        wide, high = rng.uniform(2.0, 6.0), rng.uniform(1.5, 7.0)
        mesh = _windows(rng, wide=wide, high=high)
        assert np.abs(mesh.vertices[:, 0]).max() < 0.5 * wide
        assert 0.0 < mesh.vertices[:, 1].min() < mesh.vertices[:, 1].max() < high
        a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
        assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_a_mover_at_times_wears_what_is_behind_it() -> None:
    alike = 0
    for seed in range(60):
        scene = random_scene(seed, SceneConfig(frames=2, difficulty=1.0), aspect=1.0)
        surroundings = np.unique(scene.face_instance[~scene.face_casts])
        movers = np.unique(scene.face_instance[scene.face_moving])
        same = (scene.materials[movers][:, None] == scene.materials[surroundings]).all(-1)
        alike += bool(same.any())
    assert 1 <= alike <= 18
