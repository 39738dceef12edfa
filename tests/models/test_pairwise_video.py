"""A pair network as a model of video, from exact maps of pairs to a reconstruction."""

import numpy as np
import pytest
import torch

from dynapoint.data.frames import load_frames
from dynapoint.errors import ModelError, ShapeError
from dynapoint.inference.pipeline import reconstruct_frames
from dynapoint.models.pairwise import AlignmentConfig, PairGraphConfig, PairwiseVideo
from dynapoint.models.pairwise.graph import frame_pairs
from dynapoint.models.protocol import ModelInfo, PairModel
from exact_pairs import SURE, SURE_ELSEWHEN, UNSURE, ExactPairs, exact_clip, turn_between_deg

# Float32 vertices and poses of the renderer limit what can be recovered, in scene units.
EXACT = 2e-5
FRAMES = 6
BRIEF = AlignmentConfig(iterations=5)


@pytest.fixture(scope="module")
def clip():
    """A camera that turns and moves, bodies that move by themselves, and sky."""
    return exact_clip(210, frames=FRAMES)


@pytest.fixture(scope="module")
def pair_clip():
    return exact_clip(217, frames=2)


def blank(frames: int) -> torch.Tensor:
    return torch.zeros(1, frames, 3, 32, 40)


def scale_of(own: torch.Tensor, model: ExactPairs) -> torch.Tensor:
    """Scene units of the truth in one of the answer, by frame 0's own map."""
    ratio = own[0].double().norm(dim=-1) / model.points[0, 0].norm(dim=-1)
    return ratio[model.valid[0]].median()


@pytest.mark.parametrize("stride", [1, 2])
def test_every_frame_at_every_time_is_recovered(clip, stride):
    model = ExactPairs(clip)
    video = PairwiseVideo(
        model, alignment=AlignmentConfig(iterations=5, pixel_stride=stride)
    ).eval()
    assert isinstance(model, PairModel) and video.patch_size == 8 and video.image_side == 40
    encoded = video.encode(blank(FRAMES))
    graph = frame_pairs(FRAMES, PairGraphConfig())
    assert model.decoded == graph and model.encoded_frames == FRAMES
    own = encoded.own_time
    scale = scale_of(own.points[0], model)
    cameras = encoded.cameras
    assert torch.equal(cameras.world_from_camera[0, 0], torch.eye(4).double())
    position = cameras.world_from_camera[0, :, :3, 3] / scale
    torch.testing.assert_close(position, model.poses[:, :3, 3], atol=EXACT, rtol=0)
    turn = turn_between_deg(cameras.world_from_camera[0, :, :3, :3], model.poses[:, :3, :3])
    assert turn.max() < 1e-4
    torch.testing.assert_close(cameras.intrinsics[0], model.intrinsics, rtol=1e-6, atol=1e-4)
    assert ((own.confidence[0] == SURE) == model.valid).all()
    largest = 0.0
    for time in range(FRAMES):
        model.decoded.clear()
        maps = video.decode(encoded, time=time, frames=range(FRAMES))
        assert model.decoded == [(frame, time) for frame in range(FRAMES) if frame != time]
        assert torch.equal(maps.points[0, time], own.points[0, time])
        error = (maps.points[0] / scale - model.points[time]).norm(dim=-1)[model.valid]
        assert error.max() < EXACT
        moved = (maps.points - own.points)[0].norm(dim=-1) / scale
        assert moved[model.valid & ~model.moving].max() < EXACT
        largest = max(largest, float(moved[model.moving].max()))
        assert ((maps.confidence[0, time] == SURE) == model.valid[time]).all()
        others = [frame for frame in range(FRAMES) if frame != time]
        assert ((maps.confidence[0, others] == SURE_ELSEWHEN) == model.valid[others]).all()
    assert largest > 0.3
    # Pairs (0, 2), (0, 4), … are in no graph of odd offsets, and are decoded all the same.
    assert not {(0, 2), (4, 0)} & set(graph)


def test_chosen_frames_come_in_their_order(clip):
    video = PairwiseVideo(ExactPairs(clip), alignment=BRIEF)
    encoded = video.encode(blank(FRAMES))
    every = video.decode(encoded, time=2, frames=range(FRAMES))
    some = video.decode(encoded, time=2, frames=[5, 2, 0, 5])
    assert torch.equal(some.points, every.points[:, [5, 2, 0, 5]])
    assert torch.equal(some.confidence, every.confidence[:, [5, 2, 0, 5]])


@pytest.mark.parametrize("noise", [0.02, pytest.param(0.005, marks=pytest.mark.slow)])
def test_noisy_maps_give_noisy_motion_and_no_more(clip, noise):
    model = ExactPairs(clip, noise=noise, dtype=torch.float32)
    video = PairwiseVideo(model, alignment=AlignmentConfig(iterations=100, smoothness=0.0))
    encoded = video.encode(blank(FRAMES))
    own = encoded.own_time.points
    scale = scale_of(own[0], model)
    assert own.dtype == torch.float32
    for time in (0, 3):
        maps = video.decode(encoded, time=time, frames=range(FRAMES))
        error = (maps.points[0] / scale - model.points[time]).norm(dim=-1) / model.depth
        others = [frame for frame in range(FRAMES) if frame != time]
        at_own_time = error[time][model.valid[time]].mean()
        elsewhere = error[others][model.valid[others]].mean()
        assert at_own_time < 0.7 * noise
        # Two maps of a pair differ by √2 times one's noise, which lies on that of the own map.
        assert 0.8 * noise < elsewhere < 2.0 * noise


def test_two_frames_are_the_networks_own_answer(pair_clip):
    model = ExactPairs(pair_clip, noise=0.03, dtype=torch.float32)
    video = PairwiseVideo(model)
    encoded = video.encode(blank(2))
    assert model.decoded == [(0, 1), (1, 0)] and not encoded.loss
    points, confidence = model.pair(0, 1)
    for time in range(2):
        maps = video.decode(encoded, time=time, frames=[0, 1])
        assert torch.equal(maps.points[0], points[time])
        assert torch.equal(maps.confidence[0], confidence[time])
        assert torch.equal(encoded.own_time.points[0, time], points[time, time])
        assert torch.equal(encoded.own_time.confidence[0, time], confidence[time, time])
    assert len(model.decoded) == 2
    exact = ExactPairs(pair_clip)
    cameras = PairwiseVideo(exact).encode(blank(2)).cameras
    unit = exact.pair(0, 1)[0][0, 0][..., 2][16, 20] / exact.depth[0, 16, 20]
    position = cameras.world_from_camera[0, :, :3, 3] / unit
    assert position[1].norm() > 0.3
    torch.testing.assert_close(position, exact.poses[:, :3, 3], atol=EXACT, rtol=0)
    turn = turn_between_deg(cameras.world_from_camera[0, :, :3, :3], exact.poses[:, :3, :3])
    assert turn.max() < 1e-4
    torch.testing.assert_close(cameras.intrinsics[0], exact.intrinsics, rtol=1e-6, atol=1e-4)
    # Noise along the rays of frame 1 leaves its camera where it is.
    noisy = encoded.cameras.world_from_camera[0, :, :3, :3]
    assert turn_between_deg(noisy, exact.poses[:, :3, :3]).max() < 0.05


def test_the_second_camera_is_found_without_confidence_too(pair_clip):
    class Unsure(ExactPairs):
        def pair(self, a, b):
            points, confidence = super().pair(a, b)
            return points.where(self.valid[[a, b], ..., None], 0.0), torch.ones_like(confidence)

    model = Unsure(pair_clip)
    cameras = PairwiseVideo(model).encode(blank(2)).cameras
    turn = turn_between_deg(cameras.world_from_camera[0, :, :3, :3], model.poses[:, :3, :3])
    assert (
        turn.max() < 1e-4 and turn_between_deg(model.poses[0, :3, :3], model.poses[1, :3, :3]) > 9
    )


def test_a_single_frame_is_paired_with_itself(pair_clip):
    model = ExactPairs(pair_clip)
    video = PairwiseVideo(model)
    encoded = video.encode(blank(1))
    assert model.decoded == [(0, 0)]
    maps = video.decode(encoded, time=0, frames=[0])
    assert torch.equal(maps.points[0, 0], model.pair(0, 0)[0][0, 0])
    torch.testing.assert_close(
        encoded.cameras.intrinsics[0], model.intrinsics[:1], rtol=1e-6, atol=1e-4
    )
    assert torch.equal(encoded.cameras.world_from_camera, torch.eye(4).double()[None, None])


def test_bad_points_stay_what_they_are_and_spoil_nothing_else(clip):
    class Holes(ExactPairs):
        def pair(self, a, b):
            points, confidence = super().pair(a, b)
            points[:, :, 3, 4], points[:, :, 5, 6, 1] = torch.nan, torch.inf
            confidence[:, :, 7, 8] = torch.nan
            return points, confidence

    model = Holes(clip)
    video = PairwiseVideo(model, alignment=BRIEF)
    encoded = video.encode(blank(FRAMES))
    good = model.valid.clone()
    good[:, 3, 4] = good[:, 5, 6] = good[:, 7, 8] = False
    assert encoded.own_time.points.isfinite().all()
    assert encoded.own_time.confidence.isfinite().all()
    scale = scale_of(encoded.own_time.points[0], model)
    maps = video.decode(encoded, time=1, frames=range(FRAMES))
    error = (maps.points[0] / scale - model.points[1]).norm(dim=-1)[good]
    assert error.max() < EXACT


def test_what_cannot_be_asked_for_is_refused(clip):
    video = PairwiseVideo(ExactPairs(clip), alignment=BRIEF)
    with pytest.raises(ShapeError, match="one clip"):
        video.encode(torch.zeros(2, FRAMES, 3, 32, 40))
    encoded = video.encode(blank(FRAMES))
    for time, frames in ((0, [FRAMES]), (0, [-1]), (FRAMES, [0]), (-1, [0]), (0, [])):
        with pytest.raises(ShapeError, match="from 0 to 5"):
            video.decode(encoded, time=time, frames=frames)

    class Blind(ExactPairs):
        def pair(self, a, b):
            points, confidence = super().pair(a, b)
            return points * torch.nan, confidence

    for frames in (1, 2, FRAMES):
        with pytest.raises(ModelError, match="no finite point"):
            PairwiseVideo(Blind(clip)).encode(blank(frames))


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_maps_behind_the_camera_give_a_finite_answer(clip, frames):
    class Behind(ExactPairs):
        def pair(self, a, b):
            points, confidence = super().pair(a, b)
            return -points, confidence

    video = PairwiseVideo(Behind(clip), alignment=BRIEF)
    encoded = video.encode(blank(frames))
    assert encoded.cameras.world_from_camera.isfinite().all()
    assert (encoded.cameras.intrinsics[0, :, 0, 0] > 0).all()
    assert video.decode(encoded, time=0, frames=range(frames)).points.isfinite().all()


class WithWeights(torch.nn.Module):
    """A pair network with a parameter, a name and a hash."""

    patch_size, image_side = 8, 40
    info = ModelInfo(name="pairs-7", weights_sha256="abc")

    def __init__(self, exact: ExactPairs) -> None:
        super().__init__()
        self.exact = exact
        self.scale = torch.nn.Parameter(torch.ones(()))

    def encode_frames(self, images):
        return self.exact.encode_frames(images)

    def decode_frame_pairs(self, encoded, *, firsts, seconds):
        return self.exact.decode_frame_pairs(encoded, firsts=firsts, seconds=seconds)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_reconstructions_answer_in_original_pixels(clip, capsys, frames, monkeypatch):
    monkeypatch.setattr("dynapoint.progress._NEW_LEAST_S", 0.0)
    monkeypatch.setattr("dynapoint.progress._NEW_SHARE", 0.0)
    exact = ExactPairs(clip, dtype=torch.float32)
    model = PairwiseVideo(WithWeights(exact), alignment=BRIEF).eval()
    assert len(list(model.parameters())) == 1
    images = clip.images[0, :frames].numpy()
    rec = reconstruct_frames(load_frames(images), model, progress=True)
    assert "pairs" in capsys.readouterr().err
    assert rec.model_name == "pairs-7" and rec.weights_sha256 == "abc"
    reconstruct_frames(load_frames(images), model)
    assert not capsys.readouterr().err
    np.testing.assert_allclose(rec.intrinsics, exact.intrinsics[:frames], rtol=1e-5, atol=1e-3)
    scale = float(scale_of(torch.from_numpy(rec.own_time_points.copy()), exact))
    rng = np.random.default_rng(0)
    for frame in range(frames):
        column, row = rng.integers(40, size=50), rng.integers(32, size=50)
        xy = np.stack([column, row], 1) + 0.5
        answer = rec.query(frame=frame, xy=xy)
        sure = exact.valid[frame].numpy()[row, column]
        expected = exact.points[:frames, frame].numpy()[:, row, column]
        assert sure.sum() > 20
        np.testing.assert_allclose(
            answer.points[:, sure] / scale, expected[:, sure], atol=2e-4, rtol=1e-4
        )
        expected_confidence = np.where(np.arange(frames) == frame, SURE, SURE_ELSEWHEN)
        assert (answer.confidence[:, sure] == expected_confidence[:, None]).all()
        assert (answer.confidence[:, ~sure] == UNSURE).all()
    tracks = rec.tracks(frame=0)
    assert tracks.points.shape == (frames, 32, 40, 3)
