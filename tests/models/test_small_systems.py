"""The small networks of DPM's and DePT3R's kind: what sets them apart from V-DPM's."""

import dataclasses
from typing import Any

import pytest
import torch
from conftest import images, toy_truth

from dynapoint.errors import ModelError, ShapeError
from dynapoint.models.layers.config import QueryConfig
from dynapoint.models.nano.config import NetworkConfig, tiny
from dynapoint.models.protocol import EncodeRequest
from dynapoint.training.distributed import Processes
from dynapoint.training.losses import LossWeights
from dynapoint.training.objective import sample_loss
from dynapoint.training.recipes import RECIPES
from dynapoint.training.recipes.comparison import COMPARISON
from dynapoint.training.recipes.small import smoke
from dynapoint.training.train_config import Phase
from dynapoint.training.trainees import trainee_of

PAIRS = dataclasses.replace(tiny(), decoder=None)


def told(**query: Any) -> NetworkConfig:
    return dataclasses.replace(tiny(), decoder=None, query=QueryConfig(**query))


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    return bool(((a - b).abs().max() <= tolerance * b.abs().max()).item())


def test_pairs_of_a_clip_are_those_of_two_frames_alone(shaken):
    network = shaken(PAIRS).double()
    video = images(4).double()
    firsts, seconds = [0, 2, 3, 1, 1], [1, 0, 3, 3, 2]
    maps = network.decode_frame_pairs(
        network.encode_frames(video[0]), firsts=firsts, seconds=seconds
    )
    for k, pair in enumerate(zip(firsts, seconds, strict=True)):
        encoded = network.encode(video[:, list(pair)])
        for time in (0, 1):
            alone = network.decode(encoded, time=time, frames=[0, 1])
            assert close(maps.points[k, time], alone.points[0], 1e-9)
            assert close(maps.confidence[k, time], alone.confidence[0], 1e-9)


def test_swapped_pairs_answer_in_the_other_camera(shaken):
    # Own-time maps are factored: rays of the own frame, in the camera of whichever is first.
    network = shaken(PAIRS).double()
    encoded = network.encode_frames(images(2)[0].double())
    maps = network.decode_frame_pairs(encoded, firsts=[0, 1], seconds=[1, 0])
    for pair in (0, 1):
        own = maps.points[pair, 0, 0]
        assert (own[..., 2] > 0).all()
        # The first frame's rays pass through the camera's centre: x / z is one per column.
        ray = own[..., 0] / own[..., 2]
        assert (ray - ray[:1]).abs().max() < 1e-9
    assert not close(maps.points[1, 1, 1], maps.points[0, 0, 0], 1e-3)


def test_frames_are_encoded_without_each_other(shaken):
    network = shaken(PAIRS)
    video = images(3)[0]
    alone = network.encode_frames(video[1:2]).frames.tokens
    together = network.encode_frames(video).frames.tokens[1:2]
    assert close(alone, together, 1e-5)


def test_more_than_two_frames_are_for_pairs(shaken):
    with pytest.raises(ShapeError, match="two frames at a time and got 3"):
        shaken(PAIRS).encode(images(3))


def test_pair_network_learns_with_every_parameter(shaken):
    network, sample = shaken(PAIRS).train(), toy_truth(frames=2)
    encoded = network.encode(sample.images)
    drawn = torch.Generator()
    parts = sample_loss(
        network, encoded, sample, LossWeights(), sources=[0, 1], targets=[1, 0], generator=drawn
    )
    parts.total.backward()
    assert [n for n, p in network.named_parameters() if not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("into", ["frame", "camera_token"])
def test_every_query_is_a_pass_of_its_own(shaken, into):
    network = shaken(told(into=into)).double()
    video = images(3).double()
    passes = []
    network.aggregator.register_forward_hook(lambda *_: passes.append(None))
    encoded = network.encode(video)
    other = network.decode(encoded, time=2, frames=[0, 1], chunk=1)
    assert len(passes) == 2
    network.decode(encoded, time=0, frames=[1, 2])
    network.decode(encoded, time=2, frames=[2])
    assert len(passes) == 2
    # Geometry stays that of the first pass; motion comes from the tokens of a pass for time 2.
    direct = network.encode(video, EncodeRequest(queries=torch.tensor([2])))
    assert not close(direct.own_time.points, encoded.own_time.points, 1e-6)
    assert not close(other.points, encoded.own_time.points[:, [0, 1]], 1e-3)
    mixed = dataclasses.replace(encoded, tokens=direct.tokens, query=2)
    assert close(network.decode(mixed, time=2, frames=[0, 1]).points, other.points, 1e-9)
    unasked = dataclasses.replace(encoded, query=2)
    assert not close(network.decode(unasked, time=2, frames=[0, 1]).points, other.points, 1e-3)


def test_examples_of_a_batch_may_ask_for_different_times(shaken):
    network = shaken(told()).double()
    video = torch.cat([images(3), images(3).flip(1)]).double()
    both = network.encode(video, EncodeRequest(queries=torch.tensor([1, 2])))
    assert both.query is None
    for example, query in enumerate((1, 2)):
        asked = EncodeRequest(queries=torch.tensor([query]))
        alone = network.encode(video[[example]], asked)
        assert close(both.own_time.points[[example]], alone.own_time.points, 1e-9)
        found, wanted = (network.decode(each, time=2, frames=[0, 1]) for each in (both, alone))
        assert close(found.points[[example]], wanted.points, 1e-9)
    swapped = network.encode(video, EncodeRequest(queries=torch.tensor([2, 1])))
    assert not close(swapped.own_time.points, both.own_time.points, 1e-6)


def test_known_intrinsics_are_heard(shaken):
    network = shaken(told()).double()
    video, sample = images(2, height=16, width=24).double(), toy_truth(frames=2)
    known = sample.intrinsics[:1].double()
    encoded = network.encode(video, EncodeRequest(intrinsics=known))
    without = network.encode(video)
    assert not close(without.own_time.points, encoded.own_time.points, 1e-6)
    with torch.no_grad():
        network.query_embedding.intrinsics.weight.zero_()
        network.query_embedding.intrinsics.bias.zero_()
    unheard = network.encode(video, EncodeRequest(intrinsics=known))
    assert close(unheard.own_time.points, without.own_time.points, 1e-12)


def test_network_without_an_embedding_takes_no_intrinsics(shaken):
    network = shaken(told(intrinsics=False))
    with pytest.raises(ModelError, match="takes no intrinsics"):
        network.encode(images(2), EncodeRequest(intrinsics=torch.eye(3).expand(1, 2, 3, 3)))


def test_compared_runs_differ_in_what_they_say_and_nothing_else():
    base = COMPARISON["comparison-vdpm"]()
    for name, make in COMPARISON.items():
        config = make()
        assert config.name == name
        assert config.network.name.startswith(name)
        assert name in RECIPES
        assert config.steps * 16 == 40_000
        assert {phase.batch for phase in config.phases} == {16}
        frames = 4 if name == "comparison-four-frames" else 2
        assert {phase.frames for phase in config.phases} == {frames}
        same = dataclasses.replace(
            base,
            name=name,
            network=config.network,
            centre_crop=config.centre_crop,
            phases=config.phases,
        )
        assert same == config


@pytest.mark.parametrize("motion", [False, True])
def test_samples_of_a_told_network_have_every_time(motion):
    config = dataclasses.replace(
        smoke(), network=told(), phases=(Phase(batch=2, pixels=1536, motion=motion),)
    )
    trainee = trainee_of(config, "cpu", Processes(rank=0, count=1))
    network, sample = trainee.build(), toy_truth(frames=2)
    asked, intrinsics = set(), set()
    encode = network.encode

    def recorded(video, request):
        asked.update(request.queries.tolist())
        intrinsics.add(request.intrinsics is not None)
        return encode(video, request)

    network.encode = recorded
    generator = torch.Generator().manual_seed(0)
    parts = [trainee.loss(network, sample, config.phases[0], generator) for _ in range(12)]
    assert asked == ({0, 1} if motion else {-1})
    assert intrinsics == {False, True}
    assert all((part.motion > 0) == motion for part in parts)
