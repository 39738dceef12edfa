"""Which frames and tracks tasks show and ask."""

import numpy as np
import pytest

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.protocols.track_queries import track_queries
from dynapoint.evaluation.protocols.whole_sampling import (
    DepthPairs,
    EvenFrames,
    GridOfFirstFrame,
    Stretch,
    TracksOfFirstFrame,
    WholeSequence,
)
from engine_sequence import TRACK_STEP, EngineSequence
from miniatures.engine_clip import engine_clip


class Long(TruthSequence):
    """Only as long as it says."""

    def __init__(self, frame_count: int, name: str = "long"):
        self.dataset, self.name, self.frame_count = "engine", name, frame_count
        self.image_hw = (24, 32)
        self.holds = EngineSequence(engine_clip(seed=38)).holds

    def image(self, frame):
        raise AssertionError("no picture is needed to say what is asked")


@pytest.mark.parametrize(
    ("stretch", "count", "frames"),
    [
        (Stretch(), 4, (0, 1, 2, 3)),
        (Stretch(first=30, count=110), 400, tuple(range(30, 140))),
        (Stretch(first=30, count=110), 120, tuple(range(10, 120))),
        (Stretch(first=30, count=110), 6, (0, 1, 2, 3, 4, 5)),
        (Stretch(step=3, count=90), 1000, tuple(range(0, 270, 3))),
        (Stretch(step=3, count=90), 8, (0, 3, 6)),
        (Stretch(count=64), 128, tuple(range(64))),
    ],
)
def test_stretches(stretch, count, frames):
    assert stretch.frames(count) == frames


def test_a_whole_sequence():
    (task,) = WholeSequence(own_maps=True, cameras=True, stride=2)(Long(3))
    assert (task.frames, task.maps, task.stride) == ((0, 1, 2), ((0, 0), (1, 1), (2, 2)), 2)
    assert task.cameras and not task.depth and not task.moving


def test_even_frames():
    (task,) = EvenFrames(count=8)(Long(100))
    assert len(task.frames) == 8 and task.frames[0] == 0 and task.frames[-1] == 99
    assert len({*np.diff(task.frames)}) <= 2 and task.depth and task.cameras
    assert EvenFrames(count=8)(Long(2))[0].frames == (0, 1)
    bare = Long(5)
    bare.holds = type(bare.holds)()
    assert EvenFrames(count=8)(bare) == ()


def test_pairs_are_the_same_at_every_call_and_others_for_other_sequences():
    sampling = DepthPairs(count=10, farthest=8)
    tasks = sampling(Long(200))
    assert tasks == sampling(Long(200)) and all(task.depth for task in tasks)
    seeds = DepthPairs(count=10, farthest=8, seed=1)
    assert len({tasks, sampling(Long(200, "other")), seeds(Long(200))}) == 3
    assert len({task.name for task in tasks}) == 10
    assert all(1 <= second - first <= 8 for first, second in (task.frames for task in tasks))


def test_all_pairs_are_drawn_where_there_are_no_more():
    tasks = DepthPairs(count=10, farthest=2)(Long(4))
    assert [task.frames for task in tasks] == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    assert DepthPairs(count=10, farthest=8)(Long(1)) == ()


def test_tracks_that_frame_0_sees_are_asked_where_it_sees_them():
    sequence = EngineSequence(engine_clip(seed=38))
    (task,) = TracksOfFirstFrame(count=4)(sequence)
    assert task.frames == (0, 1, 2, 3) and not task.known_lens
    # Tracks of the engine's clip begin at every fourth pixel of frame 0.
    steps = (np.array(task.track_xy) - TRACK_STEP // 2 - 0.5) / TRACK_STEP
    np.testing.assert_allclose(steps, steps.round(), atol=1e-3)
    queries = track_queries(sequence, 0)
    assert len(queries.chosen) == len(task.track_xy) > 20
    assert sequence.tracks().visible[0, queries.chosen].all()
    later = track_queries(sequence, 3)
    assert len(later.chosen) < len(sequence.tracks().visible[3])
    assert ((later.xy >= 0) & (later.xy < (32, 24))).all()


def test_places_can_be_cut_off_to_pixels():
    sequence = EngineSequence(engine_clip(seed=38))
    sequence.intrinsics = lambda frame: (
        np.diag([1.01, 1.01, 1.0]) @ engine_clip(seed=38).intrinsics[frame]
    )
    (asked,), (cut,) = (
        TracksOfFirstFrame(truncated=truncated)(sequence) for truncated in (False, True)
    )
    exact, middle = np.array(asked.track_xy), np.array(cut.track_xy)
    np.testing.assert_array_equal(middle, np.floor(exact) + 0.5)
    assert (middle != exact).any()


def test_a_grid_needs_all_its_frames():
    (task,) = GridOfFirstFrame(frames=3, stride=8)(Long(5))
    assert task.maps == ((0, 0), (0, 1), (0, 2)) and task.grid_hw((24, 32)) == (3, 4)
    assert GridOfFirstFrame(frames=10, stride=8)(Long(9)) == ()
