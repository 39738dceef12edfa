"""DPM's pair network: what its maps must be equal to, and what is computed how often.

tests/models/test_published_goldens.py compares DUSt3R's numbers with those of the official code.
"""

from typing import Literal

import pytest
import torch

from dynapoint.errors import ConfigError, ShapeError
from dynapoint.models.dust3r import network as dust3r
from dynapoint.models.dust3r.config import (
    Dust3rConfig,
    PairHeadConfig,
    PairTrunkConfig,
    dpm,
    dpm_miniature,
)
from dynapoint.models.dust3r.network import HEADS, DpmNetwork
from dynapoint.models.layers.compute import ComputeOptions, NotEnoughMemoryError
from dynapoint.models.protocol import PairModel


def linear_config(heads_per_image: Literal[1, 2] = 2) -> Dust3rConfig:
    return Dust3rConfig(
        name="linear",
        encoder=PairTrunkConfig(width=24, depth=1, heads=2),
        decoder=PairTrunkConfig(width=16, depth=2, heads=2),
        head=PairHeadConfig(kind="linear"),
        heads_per_image=heads_per_image,
    )


def random_network(config: Dust3rConfig | None = None, *, seed: int = 0) -> DpmNetwork:
    """In float64 with every parameter random, so that all four heads differ."""
    network = DpmNetwork(config or dpm_miniature()).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.ndim > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.1 * noise + float("norm" in name and name.endswith("weight")))
    return network


@pytest.fixture(scope="module", params=["dpt", "linear"])
def network(request) -> DpmNetwork:
    return random_network(dpm_miniature() if request.param == "dpt" else linear_config())


def frames_of(count: int, height: int = 32, width: int = 48, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)


def pairs(network: DpmNetwork, images: torch.Tensor, firsts, seconds):
    with torch.inference_mode():
        return network.decode_frame_pairs(
            network.encode_frames(images), firsts=firsts, seconds=seconds
        )


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, limit: float = 1e-12) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= limit * float(theirs.std())


def test_it_is_a_pair_model(network):
    assert isinstance(network, PairModel)
    assert (network.patch_size, dpm().image_side) == (16, 512)


def test_maps_are_as_the_protocol_says(network):
    maps = pairs(network, frames_of(3), [0, 2, 1], [1, 0, 1])
    assert maps.points.shape == (3, 2, 2, 32, 48, 3)
    assert maps.confidence.shape == (3, 2, 2, 32, 48)
    assert float(maps.confidence.min()) > 1
    # Four heads, four maps.
    for one in range(4):
        for other in range(one):
            first, second = maps.points.flatten(1, 2)[:, [one, other]].unbind(1)
            assert float((first - second).abs().max()) > 0.01


@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize("image", [0, 1])
def test_every_head_gives_its_own_map(time, image):
    network = random_network()
    images = frames_of(2)
    before = pairs(network, images, [0], [1])
    with torch.no_grad():
        for parameter in network.get_submodule(HEADS[time][image]).parameters():
            parameter.mul_(1.5)
    after = pairs(network, images, [0], [1])
    changed = (before.points != after.points).flatten(3).any(dim=-1)[0]
    wanted = torch.zeros(2, 2, dtype=torch.bool)
    wanted[time, image] = True
    assert torch.equal(changed, wanted)


def test_head_names_say_image_and_time():
    # DUSt3R's own: image 1 at its time, image 2 at its time (MonST3R trains them as that).
    assert (HEADS[0][0], HEADS[1][1]) == ("downstream_head1", "downstream_head2")
    assert (HEADS[1][0], HEADS[0][1]) == ("downstream_head1_t2", "downstream_head2_t1")


@pytest.mark.parametrize("config", [dpm_miniature(), linear_config()], ids=["dpt", "linear"])
def test_fresh_heads_of_an_image_are_copies(config):
    network = DpmNetwork(config).eval()
    maps = pairs(network, frames_of(2).float(), [0, 1], [1, 0])
    # Nothing has moved yet: the maps of an image are equal at both times.
    assert torch.equal(maps.points[:, 0], maps.points[:, 1])
    assert torch.equal(maps.confidence[:, 0], maps.confidence[:, 1])
    # The two images' heads are not copies of each other, nor the same parameters.
    assert not torch.equal(maps.points[:, 0, 0], maps.points[:, 0, 1])
    own, further = (network.get_submodule(HEADS[time][0]) for time in (0, 1))
    assert not {id(p) for p in own.parameters()} & {id(p) for p in further.parameters()}


def test_swapped_frames_are_another_call(network):
    images = frames_of(2)
    both = pairs(network, images, [0, 1], [1, 0])
    swapped = pairs(network, images.flip(0), [0], [1])
    assert_close(both.points[1:], swapped.points)
    assert_close(both.confidence[1:], swapped.confidence)
    # Another camera, and other branches of the network: nothing is alike.
    assert float((both.points[0] - both.points[1].flip(0, 1)).abs().max()) > 0.01


def test_a_frame_paired_with_itself_is_an_image_shown_twice(network):
    images = frames_of(3)
    itself = pairs(network, images, [1], [1])
    twice = pairs(network, images[[1, 1]], [0], [1])
    alone = pairs(network, images[1:2], [0], [0])
    assert_close(itself.points, twice.points)
    assert_close(itself.points, alone.points)
    assert torch.isfinite(itself.points).all()


def test_equal_images_and_times_are_monocular():
    # DUSt3R's maps of two equal images that share one head differ by the branches alone. With
    # equal branches too, every map is the same: what the image shows, once.
    network = random_network()
    with torch.no_grad():
        network.dec_blocks2.load_state_dict(network.dec_blocks.state_dict())
        own = network.downstream_head1.state_dict()
        for row in HEADS:
            for name in row:
                network.get_submodule(name).load_state_dict(own)
    maps = pairs(network, frames_of(1), [0], [0])
    for time in range(2):
        for image in range(2):
            assert_close(maps.points[:, time, image], maps.points[:, 0, 0])


def test_frames_are_encoded_once(network):
    calls = []
    handle = network.patch_embed.register_forward_hook(
        lambda module, inputs, output: calls.append(len(inputs[0]))
    )
    everyone = [(i, j) for i in range(4) for j in range(4) if i != j]
    pairs(network, frames_of(4), [i for i, _ in everyone], [j for _, j in everyone])
    handle.remove()
    assert calls == [4]


def test_parts_are_the_whole(network):
    images = frames_of(5)
    firsts, seconds = [0, 1, 2, 3, 4, 0, 3], [1, 0, 4, 3, 2, 4, 1]
    whole = pairs(network, images, firsts, seconds)
    seen: list[int] = []
    handles = [
        module.register_forward_hook(lambda m, inputs, output: seen.append(len(output)))
        for module in (network.enc_norm, network.dec_norm, network.downstream_head1)
    ]
    network.use(ComputeOptions(decoder_tokens_at_once=24, head_frames_at_once=1))
    parts = pairs(network, images, firsts, seconds)
    network.use(ComputeOptions())
    for handle in handles:
        handle.remove()
    # 6 tokens a frame: four frames at once, two pairs at once, one image at once.
    assert max(seen[:2]) == 4 and seen[:2] == [4, 1]
    assert max(seen[2:]) == 2
    assert_close(parts.points, whole.points, 1e-10)
    assert_close(parts.confidence, whole.confidence, 1e-10)


def test_a_pair_does_not_depend_on_the_others(network):
    images = frames_of(4)
    many = pairs(network, images, [0, 3, 1], [1, 2, 1])
    alone = pairs(network, images[[3, 2]], [0], [1])
    assert_close(many.points[1:2], alone.points, 1e-10)


def test_short_memory_is_answered_by_smaller_parts(network, monkeypatch):
    images, firsts, seconds = frames_of(5), [0, 1, 2, 3, 4], [1, 2, 3, 4, 0]
    whole = pairs(network, images, firsts, seconds)
    encode, levels, sizes = network._encode, network.pair_levels, []

    def few_frames(images, grid_hw):
        if len(images) > 2:
            raise MemoryError
        return encode(images, grid_hw)

    def few_pairs(first, second, **sides):
        if len(first) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        sizes.append(len(first))
        return levels(first, second, **sides)

    monkeypatch.setattr(network, "_encode", few_frames)
    monkeypatch.setattr(network, "pair_levels", few_pairs)
    assert_close(pairs(network, images, firsts, seconds).points, whole.points, 1e-10)
    assert sizes == [1] * 5
    monkeypatch.setattr(network, "pair_levels", lambda *a, **k: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(NotEnoughMemoryError):
        pairs(network, images, firsts, seconds)


def test_dust3r_answers_with_one_map_for_both_times():
    network = random_network(linear_config(heads_per_image=1))
    maps = pairs(network, frames_of(2), [0], [1])
    assert torch.equal(maps.points[:, 0], maps.points[:, 1])
    assert not torch.equal(maps.points[:, 0, 0], maps.points[:, 0, 1])
    # DPM with copied heads is DUSt3R.
    both = DpmNetwork(linear_config()).double().eval()
    state = network.state_dict()
    for name in both.state_dict():
        own = name.replace("head1_t2", "head1").replace("head2_t1", "head2")
        state[name] = network.state_dict()[own]
    both.load_state_dict(state)
    assert torch.equal(pairs(both, frames_of(2), [0], [1]).points, maps.points)


def test_several_pairs_of_images_at_once(network):
    images = frames_of(6).unflatten(0, (3, 2))
    with torch.inference_mode():
        maps = network(images)
    for k in range(3):
        assert_close(maps.points[k : k + 1], pairs(network, images[k], [0], [1]).points, 1e-10)


def test_portraits(network):
    portrait = frames_of(2, 48, 16)
    maps = pairs(network, portrait, [0], [1])
    assert maps.points.shape == (1, 2, 2, 48, 16, 3)
    assert torch.isfinite(maps.points).all()


def test_half_precision_stays_near(monkeypatch):
    network = random_network().float()
    images = frames_of(2).float()
    exact = pairs(network, images, [0], [1])
    kept = []
    network.downstream_head1.register_forward_pre_hook(lambda m, inputs: kept.extend(inputs[0]))
    network.use(ComputeOptions(precision="bfloat16"))
    rough = pairs(network, images, [0], [1])
    # Heads see and give float32, whatever the blocks compute in.
    assert {tokens.dtype for tokens in kept} == {torch.float32}
    assert rough.points.dtype == rough.confidence.dtype == torch.float32
    error = float((rough.points - exact.points).square().mean().sqrt() / exact.points.std())
    assert 1e-5 < error < 0.1


def test_activations():
    # |xyz| = log 2, straight down the axis: expm1 gives 1. Raw confidence 0 gives 2.
    raw = torch.zeros(1, 4, 1, 2, dtype=torch.float64)
    raw[0, 2, 0, 0] = torch.log(torch.tensor(2.0, dtype=torch.float64))
    points, confidence = dust3r.points_and_confidence(raw.requires_grad_())
    assert points[0, 0, 0].tolist() == pytest.approx([0, 0, 1])
    assert points[0, 0, 1].tolist() == [0, 0, 0]
    assert confidence.tolist() == [[[2, 2]]]
    points.sum().backward()
    assert torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("sides", [(32, 40), (8, 48), (0, 48)])
def test_sides_must_be_whole_patches(network, sides):
    with pytest.raises(ShapeError, match="multiples of 16"):
        network.encode_frames(torch.zeros(1, 3, *sides, dtype=torch.float64))


@pytest.mark.parametrize(("firsts", "seconds"), [([], []), ([0], [2]), ([-1], [0]), ([0, 1], [1])])
def test_pairs_must_be_of_known_frames(network, firsts, seconds):
    with pytest.raises(ShapeError, match="from 0 to 1"):
        pairs(network, frames_of(2), firsts, seconds)


def test_odd_configurations():
    with pytest.raises(ConfigError, match="multiple of 4 channels"):
        Dust3rConfig(
            name="odd",
            encoder=PairTrunkConfig(width=30, depth=1, heads=5),
            decoder=PairTrunkConfig(width=16, depth=4, heads=2),
            head=PairHeadConfig(),
            heads_per_image=1,
        )
    with pytest.raises(ConfigError, match="use 4 blocks or more"):
        Dust3rConfig(
            name="shallow",
            encoder=PairTrunkConfig(width=16, depth=1, heads=2),
            decoder=PairTrunkConfig(width=16, depth=2, heads=2),
            head=PairHeadConfig(),
            heads_per_image=1,
        )


@pytest.mark.slow
def test_full_size_with_random_weights_on_two_frames():
    network = DpmNetwork(dpm()).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 606_853_136
    images = torch.rand(2, 3, 160, 224, generator=torch.Generator().manual_seed(0))
    maps = pairs(network, images, [0, 1], [1, 0])
    assert maps.points.shape == (2, 2, 2, 160, 224, 3)
    assert torch.isfinite(maps.points).all() and torch.isfinite(maps.confidence).all()
    assert torch.equal(maps.points[:, 0], maps.points[:, 1])
