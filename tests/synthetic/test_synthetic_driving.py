"""Roads seen from a car and furnished rooms: how many, how deep, where the camera is."""

import numpy as np
import pytest
import torch

from dynapoint.errors import ConfigError
from dynapoint.synthetic import scene as scenes_module
from dynapoint.synthetic.driving import METRE, random_drive
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.rooms import random_room
from dynapoint.synthetic.scene import SceneConfig, assemble, random_scene
from dynapoint.synthetic.settings import Draw, Setting

_ASPECT = 1.6
_TAU = np.linspace(0.0, 1.0, 6)


def _draw(seed: int, *, moving: bool = True) -> Draw:
    rng = np.random.Generator(np.random.PCG64(seed))
    return Draw(rng=rng, tau=_TAU, difficulty=1.0, aspect=_ASPECT, camera_moves=moving, movers=True)


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.3, 0.2), (1.0, 0.0), (0.0, 0.6)])
def test_roads_and_rooms_are_as_many_as_asked_for(
    monkeypatch: pytest.MonkeyPatch, shares: tuple[float, float]
) -> None:
    class Stop(Exception):
        pass

    kinds: list[str] = []

    def noted(kind: str):
        def note(*_: object, **__: object) -> Setting:
            kinds.append(kind)
            raise Stop

        return note

    monkeypatch.setattr(scenes_module, "random_drive", noted("road"))
    monkeypatch.setattr(scenes_module, "random_room", noted("room"))
    for other in ("random_corridor", "random_street", "random_camera_path"):
        monkeypatch.setattr(scenes_module, other, noted("other"))
    config = SceneConfig(frames=2, difficulty=1.0, shallow=0.0, driving=shares[0], rooms=shares[1])
    for seed in range(400):
        with pytest.raises(Stop):
            random_scene(seed, config, aspect=1.0)
    # Three standard deviations of 400 draws are .07.
    for kind, share in zip(("road", "room"), shares, strict=True):
        assert kinds.count(kind) / len(kinds) == pytest.approx(share, abs=0.07)


def test_shares_are_checked() -> None:
    for driving, rooms in ((-0.1, 0.0), (1.1, 0.0), (0.0, -0.1), (0.6, 0.6)):
        with pytest.raises(ConfigError, match="driving"):
            SceneConfig(driving=driving, rooms=rooms)


def test_cameras_are_level_at_the_height_of_cars_and_drive() -> None:
    heights, slopes, travels = [], [], []
    for seed in range(60):
        poses = random_drive(_draw(seed)).camera.stage_from_camera
        heights.append(poses[0, 2, 3] / METRE)
        slopes.append(np.degrees(np.arcsin(poses[:, 2, 2])).mean())
        travels.append(np.linalg.norm(poses[-1, :3, 3] - poses[0, :3, 3]) / METRE)
        still = random_drive(_draw(seed, moving=False)).camera.stage_from_camera
        assert np.ptp(still, axis=0).max() == 0.0
    assert 1.1 <= min(heights) and max(heights) <= 2.3
    assert np.std(slopes) < 5.0
    assert min(travels) < 2.0
    assert max(travels) > 15.0


def test_roads_are_deep_and_traffic_is_seen() -> None:
    frames = torch.arange(len(_TAU))[None]
    spreads, moving = [], 0
    for seed in range(12):
        draw = _draw(seed)
        scene = assemble(draw.rng, random_drive(draw), difficulty=1.0)
        clip = render_clips([scene], image_hw=(40, 64), seed=0)
        depth = clip.depth(frames)[0].numpy()
        spreads.append(np.nanstd(np.log(depth)))
        moving += bool(clip.moving(frames).any())
        # The ground at least fills what is below the horizon.
        assert clip.valid(frames).float().mean((2, 3)).min() > 0.3
    # Of other deep scenes of the engine .41 in the median, of a recorded drive .79.
    assert 0.6 < np.median(spreads) < 1.1
    assert moving >= 9


def test_lenses_are_drawn_evenly() -> None:
    focals = np.array([random_drive(_draw(seed)).camera.focal_per_height for seed in range(150)])
    fields = np.degrees(2 * np.arctan(0.5 * _ASPECT / focals))
    counts, _ = np.histogram(fields, bins=[36, 54, 72, 90])
    assert counts.sum() == len(fields)
    assert counts.min() > 30


def test_rooms_are_closed_and_of_little_depth() -> None:
    frames = torch.arange(len(_TAU))[None]
    spreads, moving, seen = [], 0, []
    for seed in range(12):
        draw = _draw(seed)
        scene = assemble(draw.rng, random_room(draw), difficulty=1.0)
        clip = render_clips([scene], image_hw=(40, 64), seed=0)
        # Walls and a ceiling all around: no ray gets out.
        assert clip.valid(frames).float().mean() > 0.999
        spreads.append(np.log(clip.depth(frames)[0].numpy()).std())
        moving += bool(clip.moving(frames).any())
        seen.append(len(clip.instance(frames).unique()))
    # A recorded kitchen has .31.
    assert 0.2 < np.median(spreads) < 0.55
    assert moving >= 9
    assert np.median(seen) > 12


def test_people_in_rooms_stay_between_the_walls() -> None:
    for seed in range(10):
        setting = random_room(_draw(seed))
        low, high = setting.stage.low, setting.stage.high
        for actor in setting.actors:
            for body in actor:
                if body.moving:
                    assert (body.positions.min((0, 1)) > low - 0.3).all()
                    assert (body.positions.max((0, 1)) < high + 0.3).all()
