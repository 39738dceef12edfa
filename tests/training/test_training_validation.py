"""Validation in training: its pairs, and scores of networks whose scores are known."""

import pytest
import torch

from dynapoint.evaluation.clips import find_clips, read_clip
from dynapoint.models.nano.config import tiny
from dynapoint.models.nano.network import VideoPointMapNetwork
from dynapoint.training.validation import bench_pairs, engine_pairs, predict_pairs, validate
from dynapoint.types import PointMaps
from folders import SHARED

BENCH = SHARED / "bench" / "clips"

pytestmark = pytest.mark.filterwarnings("ignore:`axes` should not be:DeprecationWarning")


@pytest.fixture(scope="module")
def pairs():
    return engine_pairs(difficulty=0.0, count=3)


def test_pairs_move_and_are_always_the_same(pairs):
    assert pairs.truth.shape[:3] == (3, 2, 2)
    assert pairs.truth.shape[3:5] == pairs.images.shape[-2:]
    seen = torch.isfinite(pairs.truth)
    assert seen.float().mean() > 0.5
    # A surface that is seen has a place at both times.
    assert torch.equal(seen[:, 0], seen[:, 1])
    shift = (pairs.truth[:, 1] - pairs.truth[:, 0]).norm(dim=-1)
    assert (shift.nan_to_num() > 0.05).any(dim=(1, 2, 3)).sum() >= 2
    again = engine_pairs(difficulty=0.0, count=3)
    assert torch.equal(again.images, pairs.images)
    other = engine_pairs(difficulty=0.0, count=3, first_seed=3)
    assert not torch.equal(other.images, pairs.images)


def test_fresh_network_says_that_nothing_moved(pairs):
    # Its decoder starts as the own-time map, and "nothing moved" has ratio 1 and leak 0.
    network = VideoPointMapNetwork(tiny()).train()
    scores = validate(network, [pairs])
    assert network.training
    assert scores.pairs == 3
    assert scores.motion_ratio == pytest.approx(1, abs=1e-6)
    assert scores.leak == pytest.approx(0, abs=1e-6)
    assert 0.05 < scores.own_time_epe < 2


class TruthTeller(VideoPointMapNetwork):
    """Answers with the truth of the pairs it was made for, chunk by chunk."""

    def __init__(self, pairs) -> None:
        super().__init__(tiny())
        self.truth = pairs.truth.nan_to_num()
        self.start = 0

    def encode(self, images):
        found = self.truth[self.start : self.start + len(images)]
        self.start += len(images)
        return found

    def decode(self, encoded, *, time, frames):
        points = encoded[:, time, list(frames)]
        return PointMaps(points=points, confidence=1 / points.norm(dim=-1).clamp_min(0.1))


def test_truth_in_gives_perfect_scores(pairs):
    points, confidence = predict_pairs(TruthTeller(pairs), pairs, chunk=2)
    assert points.shape == pairs.truth.shape
    assert confidence.shape == points.shape[:-1]
    assert torch.equal(points, pairs.truth.nan_to_num())
    scores = validate(TruthTeller(pairs), [pairs])
    assert scores.own_time_epe < 1e-5
    assert scores.motion_ratio < 1e-4
    assert scores.leak < 1e-5


@pytest.mark.skipif(not BENCH.is_dir(), reason="the bench clips are not beside the repository")
def test_bench_pairs_are_in_the_camera_of_their_first_frame():
    groups = bench_pairs(BENCH, starts=(1,), margin=8)
    paths = find_clips(BENCH)
    assert sum(len(group.images) for group in groups) == len(paths)
    clip = read_clip(paths[0])
    # Own-time points of the first frame fall on the grid's pixels without any pose.
    camera = groups[0].truth[0, 0, 0].double()
    image = camera @ torch.from_numpy(clip.intrinsics).double().T
    xy = (image[..., :2] / image[..., 2:]).flatten(0, 1)
    error = (xy - torch.from_numpy(clip.grid_xy)).norm(dim=-1)
    assert torch.nanmedian(error) < 0.02
    assert all(((g.images >= 0) & (g.images <= 1)).all() for g in groups)
