"""How often answers run a network's decoder: once for a time, however many frames are asked of."""

import numpy as np
import pytest

import dynapoint
from dynapoint.results import asking
from fake_model import FakeModel, picture_array

FRAMES = 8
MASK = np.ones((16, 32), dtype=bool)


class Counting(FakeModel):
    """Counts its passes."""

    passes = 0

    def decode(self, encoded, *, time, frames):
        self.passes += 1
        return super().decode(encoded, time=time, frames=frames)


def passes_of(ask):
    """Passes that an answer takes of a reconstruction just made."""
    model = Counting(32)
    rec = dynapoint.reconstruct(picture_array(FRAMES, 40, 80), model)
    model.passes = 0
    answer = ask(rec)
    return model.passes, answer


# What is asked of one frame at all times but its own takes a pass for each of these.
ASKED = {
    "objects": (lambda rec: rec.objects(), FRAMES),
    "objects of some": (lambda rec: rec.objects(frames=[1, 5]), FRAMES),
    "background": (lambda rec: rec.background(), 2),
    "fuse": (lambda rec: rec.fuse(time=3), 1),
    "maps_at": (lambda rec: rec.maps_at(time=3), 1),
    "track": (lambda rec: rec.track(frame=2), FRAMES - 1),
    "tracks": (lambda rec: rec.tracks(frame=0), FRAMES - 1),
    "motion": (lambda rec: rec.motion(frame=3), FRAMES - 1),
    "rigid_object": (lambda rec: rec.rigid_object(frame=0, mask=MASK), FRAMES - 1),
    "query": (lambda rec: rec.query(frame=1, xy=[[9.0, 9.0]]), FRAMES - 1),
    "query at a time": (lambda rec: rec.query(frame=1, xy=[[9.0, 9.0]], time=0), 1),
    "scene_flow": (lambda rec: rec.scene_flow(frame=1, to_time=4), 1),
    "object_flow": (lambda rec: rec.object_flow(frame=1, to_time=4), 1),
    "optical_flow": (lambda rec: rec.optical_flow(frame=1, to_time=4), 1),
    "motion_between": (lambda rec: rec.motion_between(frame=1, to_time=4), 1),
    "match": (lambda rec: rec.match(frame=1, to_frame=4), 1),
    "camera_motion": (lambda rec: rec.camera_motion(), 0),
    "fit_intrinsics": (lambda rec: rec.fit_intrinsics(), 0),
}


@pytest.mark.parametrize("name", ASKED)
def test_no_answer_takes_more_passes_than_it_has_times(name):
    ask, most = ASKED[name]
    found, _ = passes_of(ask)
    assert found <= most


@pytest.mark.parametrize("form", ["colmap", "nerfstudio"])
def test_splat_trainers_take_two(form, tmp_path):
    found, _ = passes_of(lambda rec: rec.export(tmp_path / form, to=form))
    assert found <= 2


def test_few_bytes_at_once_take_more_passes_and_give_the_same(monkeypatch):
    few, together = passes_of(lambda rec: rec.objects())
    monkeypatch.setattr(asking, "_BYTES_AT_ONCE", 3 * FRAMES * 16 * 32 * 16)
    more, in_groups = passes_of(lambda rec: rec.objects())
    assert few <= FRAMES < more <= 3 * FRAMES + 1
    assert np.array_equal(together.instance, in_groups.instance)


def test_frames_in_a_span_are_those_of_one_frame_at_a_time():
    rec = dynapoint.reconstruct(picture_array(4, 40, 80), FakeModel(32))
    for frame, points, confidence in asking.frames_in_span(rec, [2, 0]):
        wanted = asking.maps_in_span(rec, frame)
        assert np.array_equal(points, wanted[0]) and np.array_equal(confidence, wanted[1])
