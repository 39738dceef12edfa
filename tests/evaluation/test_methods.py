"""Methods: the truth, the trivial answers, and networks through `reconstruct`."""

from dataclasses import replace

import numpy as np
import pytest

import dynapoint
from counting_fake import CountingFake, named_kinds
from dynapoint.errors import ConfigError, InputError, ModelError
from dynapoint.evaluation.methods.known import methods_of
from dynapoint.evaluation.methods.method import Method, Question
from dynapoint.evaluation.methods.network import NetworkMethod
from dynapoint.evaluation.methods.trivial import (
    FlatScene,
    TrueGeometryNothingMoved,
    asks_for_motion,
    nothing_moved,
)
from dynapoint.evaluation.methods.truth import TruthMethod
from dynapoint.evaluation.predictions.files import ARRAYS, check_answer
from dynapoint.evaluation.protocols.task import Task
from dynapoint.models.protocol import ModelInfo
from engine_sequence import EngineSequence, true_answer
from fake_model import FakeModel, picture_array
from miniatures.engine_clip import engine_clip

# One wide picture that goes by, without anything that looks like a cut.
PICTURES = [picture_array(1, 24, 62)[0, :, shift : shift + 32] for shift in range(30)]
SEQUENCE = EngineSequence(engine_clip())
HW = SEQUENCE.image_hw


def everything(**changes):
    task = Task(
        dataset="engine",
        sequence="clip",
        name="all",
        frames=(4, 1, 2),
        maps=((0, 0), (0, 2), (1, 2), (2, 0), (1, 1)),
        swapped=True,
        depth=True,
        cameras=True,
        moving=True,
        track_xy=tuple((x + 0.5, y + 0.5) for x in (3, 14, 29) for y in (5, 12, 22)),
        stride=3,
    )
    return replace(task, **changes)


def ask(method, task, sequence=SEQUENCE):
    question = Question(task=task, truth=sequence)
    answer = method.answer(question)
    check_answer(answer, task, question.image_hw, where="here")
    return answer


def assert_alike(answer, other, **tolerance):
    for name in ARRAYS:
        if name == "confidence":
            continue
        one, two = getattr(answer, name), getattr(other, name)
        assert (one is None) == (two is None), name
        if one is not None:
            np.testing.assert_allclose(one, two, err_msg=name, **tolerance)


# ---- the truth -----------------------------------------------------------------------------


class WithoutTracks(EngineSequence):
    def __init__(self, clip):
        super().__init__(clip)
        self.holds = replace(self.holds, tracks=False)


@pytest.mark.parametrize("sequence", [SEQUENCE, WithoutTracks(engine_clip())])
def test_the_truth_is_that_of_an_implementation_of_the_tests_own(sequence):
    task = everything()
    if sequence.holds.tracks:
        # Tracks start at every fourth pixel of frame 0.
        xy = tuple((x + 0.5, y + 0.5) for x in (2, 14, 30) for y in (6, 18))
        task = everything(frames=(0, 1, 3), track_xy=xy)
    answer = ask(TruthMethod(), task, sequence)
    assert_alike(answer, true_answer(task, sequence), atol=1e-5, rtol=1e-5)
    assert answer.metric and np.isfinite(answer.points).any()


def test_the_truth_says_nothing_that_a_set_does_not_know():
    class Poor(EngineSequence):
        def __init__(self, clip):
            super().__init__(clip)
            self.holds = replace(
                self.holds, motion="own_time", moving=False, depth=False, tracks=False,
                visible=False, metric=False,
            )  # fmt: skip

    answer = ask(TruthMethod(), everything(), Poor(engine_clip()))
    assert answer.moving is None and answer.depth is None and not answer.metric
    own = [source == time for source, time in everything().maps]
    for place, is_own in enumerate(own):
        assert np.isfinite(answer.points[place]).any() == is_own
    assert np.isfinite(answer.tracks[0]).any() and np.isnan(answer.tracks[1:]).all()


def test_tracks_that_start_in_one_place_are_all_found():
    class Twins(EngineSequence):
        def tracks(self):
            tracks = super().tracks()
            twice = np.concatenate([tracks.xyz, tracks.xyz], axis=1)
            twice[1:, tracks.xyz.shape[1] :] += 1.0
            return replace(tracks, xyz=twice, visible=np.tile(tracks.visible, 2))

    task = everything(frames=(0, 1), track_xy=((14.5, 6.5), (14.5, 6.5)), maps=(), swapped=False)
    answer = ask(TruthMethod(), task, Twins(engine_clip()))
    np.testing.assert_array_equal(answer.tracks[0, 0], answer.tracks[0, 1])
    apart = np.linalg.norm(answer.tracks[1, 0] - answer.tracks[1, 1])
    assert apart == pytest.approx(3**0.5, abs=1e-4)


# ---- trivial answers -----------------------------------------------------------------------


def test_the_flat_scene_is_a_plane_of_depth_one_before_a_camera_that_stands():
    task = everything()
    answer = ask(FlatScene(), task)
    height, width = HW
    focal = max(HW)
    xy = task.grid_xy(HW)
    for maps in (answer.points, answer.swapped_points):
        assert (maps[..., 2] == 1).all()
        seen = maps[..., :2] * focal + np.array([width / 2, height / 2])
        np.testing.assert_allclose(seen, np.broadcast_to(xy, seen.shape), atol=1e-4)
    assert (answer.depth == 1).all() and not answer.moving.any() and answer.tracks_visible.all()
    np.testing.assert_array_equal(answer.world_from_camera, np.tile(np.eye(4), (3, 1, 1)))
    np.testing.assert_array_equal(answer.intrinsics[:, 0, 0], [focal] * 3)
    starts = answer.tracks[0, :, :2] * focal + np.array([width / 2, height / 2])
    np.testing.assert_allclose(starts, task.track_xy, atol=1e-4)
    assert (answer.tracks == answer.tracks[:1]).all()


def test_the_flat_scene_has_the_lens_that_it_is_told():
    answer = ask(FlatScene(), everything(known_lens=True))
    lens = SEQUENCE.intrinsics(4)
    np.testing.assert_array_equal(answer.intrinsics[0], lens)
    pixels = answer.points[0] @ lens.T
    np.testing.assert_allclose(pixels[..., :2], everything().grid_xy(HW), atol=1e-4)


def test_nothing_moved_repeats_own_time_maps_and_the_start_of_tracks():
    task = everything()
    truth, still = ask(TruthMethod(), task), ask(TrueGeometryNothingMoved(), task)
    own = {0: ask(TruthMethod(), everything(maps=((0, 0),))), 1: None}
    np.testing.assert_array_equal(still.points[0], still.points[1])
    np.testing.assert_array_equal(still.points[0], own[0].points[0])
    np.testing.assert_array_equal(still.points[2], truth.points[4])
    np.testing.assert_array_equal(still.swapped_points[2], truth.swapped_points[4])
    np.testing.assert_array_equal(still.tracks, np.tile(truth.tracks[:1], (3, 1, 1)))
    assert not still.moving.any() and still.tracks_visible.all()
    np.testing.assert_array_equal(still.world_from_camera, truth.world_from_camera)
    moved = np.nanmax(np.abs(truth.points[1] - truth.points[0]))
    assert moved > 0.01, "the clip has to move for this to say anything"


def test_an_answers_own_geometry_stands_still():
    task = everything(maps=((0, 1), (0, 0), (1, 0), (1, 1)))
    answer = ask(TruthMethod(), task)
    still = nothing_moved(task, answer)
    for place, own in enumerate((1, 1, 3, 3)):
        for name in ("points", "confidence", "swapped_points"):
            np.testing.assert_array_equal(getattr(still, name)[place], getattr(answer, name)[own])
    # Without a map of frame 1 at its own time nothing can be said of it.
    poor = everything(maps=((0, 0), (1, 0)))
    assert nothing_moved(poor, ask(TruthMethod(), poor)).points is None
    assert nothing_moved(task, replace(answer, points=None)).points is None


def test_which_tasks_ask_for_motion():
    still = Task(dataset="d", sequence="s", name="n", frames=(0, 1), maps=((0, 0), (1, 1)))
    assert not asks_for_motion(replace(still, depth=True, cameras=True))
    for asked in ({"maps": ((0, 1),)}, {"moving": True}, {"track_xy": ((0.5, 0.5),)}):
        assert asks_for_motion(replace(still, **asked))


# ---- networks ------------------------------------------------------------------------------


def reconstructed(task, order=None):
    images = np.stack([SEQUENCE.image(frame) for frame in task.frames])
    return dynapoint.reconstruct(images if order is None else images[order], FakeModel())


def test_a_network_is_asked_as_users_ask():
    task = everything()
    answer = ask(NetworkMethod(FakeModel()), task)
    rec, xy = reconstructed(task), task.grid_xy(HW).reshape(-1, 2)
    for place, (source, time) in enumerate(task.maps):
        found = rec.query(frame=source, time=time, xy=xy)
        np.testing.assert_array_equal(answer.points[place].reshape(-1, 3), found.points)
        np.testing.assert_array_equal(answer.confidence[place].ravel(), found.confidence)
    swapped = reconstructed(task, [1, 0, 2])
    for place, (source, time) in enumerate(((1, 1), (1, 2), (0, 2), (2, 1), (0, 0))):
        found = swapped.query(frame=source, time=time, xy=xy)
        np.testing.assert_array_equal(answer.swapped_points[place].reshape(-1, 3), found.points)
    for frame in range(3):
        own = rec.query(frame=frame, time=frame, xy=xy, camera=frame).points[:, 2]
        np.testing.assert_array_equal(answer.depth[frame].ravel(), own)
        column, row = np.floor(rec.pixel_map.to_map(frame, xy)).astype(int).T
        moves = rec.motion(frame=frame).probability[row, column] > 0.5
        np.testing.assert_array_equal(answer.moving[frame].ravel(), moves)
    assert answer.moving.any() and not answer.moving.all()
    np.testing.assert_array_equal(answer.world_from_camera, rec.world_from_camera)
    np.testing.assert_array_equal(answer.intrinsics, rec.intrinsics)
    tracked = rec.query(frame=0, xy=np.array(task.track_xy))
    np.testing.assert_array_equal(answer.tracks, tracked.points)
    np.testing.assert_array_equal(answer.tracks_visible, tracked.visible > 0.5)
    assert answer.seconds > 0 and not answer.metric


def test_each_map_is_decoded_once_and_frames_of_one_time_together():
    network = FakeModel()
    maps = tuple((source, time) for source in range(3) for time in range(3))
    ask(NetworkMethod(network), everything(maps=maps, swapped=False, moving=False, track_xy=()))
    assert sorted(network.decoded) == [pair for pair in maps if pair[0] != pair[1]]


def test_a_known_lens_is_told():
    task = everything(known_lens=True, swapped=False)
    answer = ask(NetworkMethod(FakeModel()), task)
    lenses = np.stack([SEQUENCE.intrinsics(frame) for frame in task.frames])
    np.testing.assert_allclose(answer.intrinsics, lenses, rtol=1e-12)
    guessed = ask(NetworkMethod(FakeModel()), everything(swapped=False))
    assert not np.allclose(guessed.intrinsics, lenses, rtol=1e-3)


def test_one_frame_is_enough():
    task = everything(frames=(2,), maps=((0, 0),), swapped=False)
    answer = ask(NetworkMethod(FakeModel()), task)
    assert not answer.moving.any() and np.isfinite(answer.depth).all()


def test_worlds_of_their_own_are_placed_at_the_last_camera_before():
    """Two segments: frames 0, 1 and 2, 3; the second is placed at the camera of frame 1."""
    from dynapoint.evaluation.methods.network import _Asked, _Scene
    from dynapoint.windows.spans import Segment

    task = everything(frames=(0, 1, 2, 3), maps=((2, 2),))
    rec = reconstructed(task)
    first, second = Segment(start=0, stop=2), Segment(start=2, stop=4, begins_with="cut")
    poses = np.array(rec.world_from_camera)
    poses[2:] = np.linalg.inv(poses[2]) @ poses[2:]
    own_world = replace(rec, segments=(first, second), world_from_camera=poses)
    scene = _Scene(own_world)
    np.testing.assert_allclose(scene.world_from_camera[:2], poses[:2])
    np.testing.assert_allclose(scene.world_from_camera[2], poses[1], atol=1e-12)
    np.testing.assert_allclose(scene.world_from_camera[3], poses[1] @ poses[3], atol=1e-12)
    asked = _Asked(task=task, image_hw=HW)
    found = own_world.query(frame=2, time=2, xy=asked.xy).points
    expected = found @ poses[1][:3, :3].T + poses[1][:3, 3]
    points, _ = scene.maps(task.maps, asked)
    np.testing.assert_allclose(points[0].reshape(-1, 3), expected, atol=1e-5)


def test_more_frames_than_a_network_takes_go_through_windows():
    class Short(CountingFake):
        info = ModelInfo(name="short", most_frames=24)

    class Long(EngineSequence):
        def image(self, frame):
            return PICTURES[frame]

    long = Long(engine_clip())
    long.frame_count = len(PICTURES)
    count = len(PICTURES)
    task = Task(
        dataset="engine", sequence="clip", name="long", frames=tuple(range(count)), cameras=True,
        depth=True, maps=((0, 0), (0, count - 1)), stride=4,
    )  # fmt: skip
    network = Short()
    with named_kinds():
        answer = ask(NetworkMethod(network), task, long)
    assert network.encoded > 1
    # The fake's camera steps to the right, and its scene keeps its depth.
    places = answer.world_from_camera[:, :3, 3] / answer.world_from_camera[1, 0, 3]
    np.testing.assert_allclose(places[:, 0], np.arange(count), rtol=0.05, atol=0.05)
    np.testing.assert_allclose(places[:, 1:], 0, atol=0.05)
    assert np.isfinite(answer.points).all() and (answer.depth > 0).all()


def test_methods_by_name(tmp_path):
    nano, truth, flat = methods_of(["nano", "truth", "flat"])
    assert all(isinstance(each, Method) for each in (nano, truth, flat))
    assert nano.info.name == "nano" and len(nano.info.weights_sha256) == 64
    assert "nano-2" in nano.info.options
    assert truth.info.name == "truth" and flat.info.name == "flat scene"
    for wrong, said in ((["nonsense"], "no method 'nonsense'"), (["nano", "nano"], "each once")):
        with pytest.raises(ConfigError, match=said):
            methods_of(wrong)
    with pytest.raises(ConfigError, match="2 models and 1 weights"):
        methods_of(["nano", "truth"], [tmp_path / "w"])
    with pytest.raises(ModelError, match="no weights file"):
        methods_of(["nano"], [tmp_path / "w.safetensors"])
    other = tmp_path / "w.safetensors"
    other.write_bytes(b"weights")
    (mine,) = methods_of(["nano"], [other])
    assert mine.info.name == "w.safetensors"
    assert mine.info.weights_sha256 != nano.info.weights_sha256
    # The file says which network it is of, which may be another.
    assert mine.info.options.startswith("a file loaded as nano-2, ")
    with pytest.raises(ConfigError, match="truth is no network and takes no weights; leave"):
        methods_of(["truth"], [other])


def test_pictures_of_several_sizes_are_refused():
    class Mixed(EngineSequence):
        def image(self, frame):
            return super().image(frame)[:, : 30 if frame == 1 else None]

    with pytest.raises(InputError, match="2 sizes"):
        ask(NetworkMethod(FakeModel()), everything(), Mixed(engine_clip()))
