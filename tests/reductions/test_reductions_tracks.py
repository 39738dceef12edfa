"""Tracks of pixels over times that are given one by one."""

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from dynapoint.errors import InputError
from dynapoint.geometry.pinhole import pixel_centres, project
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.reductions.tracks import TimeOfFrame, track_pixels
from dynapoint.reductions.visibility import agreement, seen_surface, visibility
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

FRAMES, HW = 4, (36, 48)


class Exact:
    """Truth of a small clip, as `track_pixels` takes it."""

    def __init__(self) -> None:
        scene = random_scene(16, SceneConfig(frames=FRAMES, difficulty=1.0), aspect=HW[1] / HW[0])
        clip = render_clips([scene], image_hw=HW, seed=16)
        every = torch.arange(FRAMES)[None]
        truth = clip.truth(every, every)
        self.points, self.valid = truth.points[0], truth.valid[0]
        self.visible = truth.visible[0]
        self.poses, self.intrinsics = clip.world_from_camera[0], clip.intrinsics[0]

    def at(self, frame: int, time: int) -> TimeOfFrame:
        own, sure = self.points[time, time].nan_to_num(0), self.valid[time].float()
        surface = seen_surface(own, sure, self.poses[time], self.intrinsics[time])
        return self.points[time, frame].clone(), self.valid[frame] * 3.0, surface

    def times(self, frame: int) -> Iterator[TimeOfFrame]:
        return (self.at(frame, time) for time in range(FRAMES))


@pytest.fixture(scope="module")
def exact() -> Exact:
    return Exact()


def test_all_pixels_over_all_times(exact: Exact) -> None:
    tracks = track_pixels(exact.times(1), own_time=1)
    count = HW[0] * HW[1]
    assert tracks.points.shape == (FRAMES, count, 3) and tracks.xy.shape == (FRAMES, count, 2)
    assert torch.equal(tracks.source_xy, pixel_centres(HW).reshape(-1, 2))
    valid = exact.valid[1].reshape(-1)
    for time in range(FRAMES):
        truth = exact.points[time, 1].reshape(-1, 3)
        assert torch.equal(tracks.points[time][valid], truth[valid])
        camera = transform_points(invert_rigid(exact.poses[time]), truth)
        xy = project(camera, exact.intrinsics[time])
        assert torch.allclose(tracks.xy[time][valid], xy[valid], atol=1e-3, equal_nan=True)
    assert (tracks.xy[1] - tracks.source_xy)[valid].abs().max() < 1e-2
    assert (tracks.confidence[:, valid] == 3).all()
    assert (tracks.visible[1][valid] == 1).all()
    right = (tracks.visible > 0.5) == exact.visible[:, 1].flatten(1)
    assert right[:, valid].double().mean() > 0.97
    assert 0.1 < (~exact.visible[:, 1].flatten(1)[:, valid]).double().mean() < 0.6


def test_a_mask_and_pixels_are_parts_of_all(exact: Exact) -> None:
    every = track_pixels(exact.times(0), own_time=0)
    mask = torch.rand(HW, generator=torch.Generator().manual_seed(0)) < 0.1
    row, column = mask.nonzero().unbind(1)
    masked = track_pixels(exact.times(0), own_time=0, mask=mask)
    listed = track_pixels(
        exact.times(0), own_time=0, pixels=torch.stack([column, row], dim=1).flip(0)
    )
    for name in ("points", "xy", "visible", "confidence"):
        whole, part = getattr(every, name), getattr(masked, name)
        torch.testing.assert_close(
            whole[:, mask.reshape(-1)], part, equal_nan=True, rtol=0, atol=1e-5
        )
        assert torch.equal(getattr(listed, name).flip(1).nan_to_num(-7), part.nan_to_num(-7))
    assert torch.equal(listed.source_xy.flip(0), masked.source_xy)


def test_visibility_is_that_of_the_whole_map(exact: Exact) -> None:
    points, confidence, surface = exact.at(0, 2)
    whole = visibility(surface, points, agreement(surface, points, confidence)).visible
    one = track_pixels([exact.at(0, 2)], pixels=torch.tensor([[7, 30]]))
    assert float(one.visible[0, 0]) == pytest.approx(float(whole[30, 7]), abs=1e-5)


def test_padding_and_points_not_finite_take_part_in_nothing(exact: Exact) -> None:
    def broken(time: int) -> TimeOfFrame:
        points, confidence, surface = exact.at(0, time)
        points[0, :5] = torch.nan
        points[1, 3, 1] = torch.inf
        confidence[2] = 0
        return points, confidence, surface

    bad = torch.zeros(HW, dtype=torch.bool)
    bad[0, :5], bad[1, 3], bad[2] = True, True, True
    tracks = track_pixels((broken(k) for k in range(FRAMES)), own_time=0)
    bad = bad.reshape(-1)
    assert tracks.points[:, bad].isnan().all() and tracks.xy[:, bad].isnan().all()
    assert (tracks.visible[:, bad] == 0).all() and (tracks.confidence[:, bad] == 0).all()
    good = ~bad & exact.valid[0].reshape(-1)
    whole = track_pixels(exact.times(0), own_time=0)
    assert torch.equal(tracks.points[:, good], whole.points[:, good])
    # A few points less to measure the agreement of the maps by.
    assert (tracks.visible - whole.visible)[:, good].abs().max() < 0.1
    nothing = track_pixels(
        ((points, 0 * sure, surface) for points, sure, surface in exact.times(0)), own_time=0
    )
    assert nothing.points.isnan().all() and not nothing.visible.any()
    empty = track_pixels(exact.times(0), mask=torch.zeros(HW, dtype=torch.bool))
    assert empty.points.shape == (FRAMES, 0, 3) and empty.source_xy.shape == (0, 2)


def test_a_point_behind_the_camera_is_not_seen(exact: Exact) -> None:
    points, confidence, surface = exact.at(0, 0)
    tracks = track_pixels([(-points, confidence, surface)])
    valid = exact.valid[0].reshape(-1)
    assert (tracks.visible == 0).all() and tracks.xy.isnan().all()
    assert torch.equal(tracks.points[0, valid], -points.reshape(-1, 3)[valid])


def test_a_single_frame(exact: Exact) -> None:
    tracks = track_pixels([exact.at(3, 3)], own_time=0)
    assert tracks.points.shape[0] == 1
    assert torch.equal(tracks.visible[0] > 0, exact.valid[3].reshape(-1))


def test_maps_are_let_go_one_after_another(exact: Exact) -> None:
    alive: list[weakref.ref[Tensor]] = []

    def stream() -> Iterator[TimeOfFrame]:
        for time in range(FRAMES):
            points, confidence, surface = exact.at(0, time)
            gc.collect()
            # The consumer still holds the last one while it asks for the next.
            assert sum(past() is not None for past in alive) <= 1
            alive.append(weakref.ref(points))
            yield points, confidence, surface
            del points, confidence, surface

    tracks = track_pixels(stream(), pixels=torch.tensor([[4, 4]]))
    assert len(alive) == FRAMES and tracks.points.shape == (FRAMES, 1, 3)


def test_what_cannot_be_tracked_is_refused(exact: Exact) -> None:
    with pytest.raises(InputError, match="no times"):
        track_pixels([])
    with pytest.raises(InputError, match="both mask and pixels"):
        track_pixels(
            exact.times(0), mask=torch.ones(HW, dtype=torch.bool), pixels=torch.tensor([[0, 0]])
        )
    with pytest.raises(InputError, match="2 of 3 pixels lie outside the map of 36 x 48"):
        track_pixels(exact.times(0), pixels=torch.tensor([[0, 0], [48, 0], [0, -1]]))
    with pytest.raises((InputError, TypeCheckError), match=r"3 x 3|mask"):
        track_pixels(exact.times(0), mask=torch.ones(3, 3, dtype=torch.bool))
