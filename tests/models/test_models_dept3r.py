"""DePT3R: a query frame, motion towards its time, known intrinsics, and files."""

import subprocess
import sys
from dataclasses import replace
from typing import Literal

import pytest
import torch

from dynapoint.errors import ConfigError, ModelError, ShapeError
from dynapoint.models import catalog
from dynapoint.models.cards import CARDS
from dynapoint.models.layers.compute import ComputeOptions
from dynapoint.models.layers.config import QueryConfig
from dynapoint.models.layers.dpt_head import inverse_log
from dynapoint.models.protocol import EncodeRequest
from dynapoint.models.vggt import dept3r_weights
from dynapoint.models.vggt.config import vdpm_miniature
from dynapoint.models.vggt.dept3r import Dept3rNetwork
from dynapoint.models.vggt.dept3r_config import Dept3rConfig, dept3r, dept3r_miniature
from dynapoint.models.vggt.dept3r_weights import FRESH_PARTS, load_dept3r, read_dept3r_start
from dynapoint.models.vggt.key_maps import published_from_ours
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.weights import save_published
from folders import ROOT

HW = (28, 42)
FRAMES = 3


def small(
    into: Literal["frame", "camera_token"] = "frame", intrinsics: bool = True
) -> Dept3rConfig:
    query = QueryConfig(into=into, intrinsics=intrinsics)
    return replace(dept3r_miniature(), query=query)


def at_start(config: Dept3rConfig | None = None, seed: int = 0) -> Dept3rNetwork:
    """A new network in float64, whose embedding of intrinsics is zero."""
    torch.manual_seed(seed)
    return Dept3rNetwork(config or small()).double().eval()


def shaken(config: Dept3rConfig | None = None, seed: int = 0) -> Dept3rNetwork:
    """The same with embeddings and motion head away from where they start, and louder blocks."""
    network = at_start(config, seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith("query_embedding"):
                value.normal_()
            elif name.startswith("motion_head"):
                value.add_(torch.randn_like(value) * 0.01)
            elif name.startswith("aggregator") and name.endswith("gamma"):
                value.fill_(0.3)
    return network


@pytest.fixture
def images():
    return torch.rand(2, FRAMES, 3, *HW, dtype=torch.float64)


def pinhole(*, fx: float = 40.0, fy: float = 50.0, cy: float = 12.0) -> torch.Tensor:
    matrix = torch.tensor([[fx, 0, 21], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    return matrix.expand(2, FRAMES, 3, 3).clone()


KNOWN = EncodeRequest(intrinsics=pinhole())


def passes_of(network: Dept3rNetwork) -> list[torch.Tensor]:
    """What is added to the tokens in each pass of the backbone from now on."""
    added = []
    network.aggregator.register_forward_pre_hook(
        lambda _, args, kwargs: added.append(kwargs["added"]), with_kwargs=True
    )
    return added


@pytest.mark.parametrize("into", ["frame", "camera_token"])
@torch.no_grad()
def test_tokens_are_told_the_query_and_the_intrinsics(into, images):
    network = shaken(small(into))
    added = passes_of(network)
    intrinsics = pinhole()
    intrinsics[1] = torch.nan
    network.encode(
        images,
        EncodeRequest(
            intrinsics=intrinsics,
            known=torch.tensor([True, False]),
            queries=torch.tensor([2, -1]),
        ),
    )
    (found,) = added
    vector = network.query_embedding.get_parameter(f"into_{into}")
    layer = network.query_embedding.intrinsics
    # fx / width, fy / height, cy / height by hand.
    values = torch.tensor([40 / 42, 50 / 28, 12 / 28], dtype=torch.float64)
    wanted = torch.zeros(2, FRAMES, 5 + 2 * 3, 64, dtype=torch.float64)
    wanted[0, :, 0] += layer.weight @ values + layer.bias
    if into == "frame":
        wanted[0, 2] += vector
    else:
        wanted[0, 2, 0] += vector
    assert (found - wanted).abs().max() < 1e-14
    assert not found[1].any()


@pytest.mark.parametrize("into", ["frame", "camera_token"])
@torch.no_grad()
def test_query_changes_the_answers(into, images):
    network = shaken(small(into))
    encoded = network.encode(images)
    own = encoded.own_time.points.clone()
    maps = [network.decode(encoded, time=time, frames=[1, 2]).points for time in (0, 1)]
    assert (maps[0] - maps[1]).abs().mean() > 1e-6
    assert torch.equal(encoded.own_time.points, own)
    # Answers are P, of the pass for frame 0, and the motion of the pass for the time.
    for time, found in zip((0, 1), maps, strict=True):
        other = network.encode(images, EncodeRequest(queries=torch.tensor([time, time])))
        moved = own + network.motion_maps(other)
        moved[:, time] = own[:, time]
        assert (found - moved[:, [1, 2]]).abs().max() < 1e-12
    assert (other.own_time.points - own).abs().max() > 1e-6


@torch.no_grad()
def test_motion_is_the_head_on_the_levels_of_the_pass(images):
    network = shaken()
    encoded = network.encode(images, EncodeRequest(queries=torch.tensor([1, 2])))
    levels = encoded.passes[0].levels
    raw = network.motion_head([level[1, 2:3, 5:] for level in levels], (2, 3), HW)
    wanted = inverse_log(raw)[0].permute(1, 2, 0)
    assert (network.motion_maps(encoded)[1, 2] - wanted).abs().max() < 1e-12


@torch.no_grad()
def test_without_a_learned_query_all_times_are_one(images):
    network = at_start()
    network.query_embedding.into_frame.zero_()
    encoded = network.encode(images)
    first, second = (network.decode(encoded, time=time, frames=[2]).points for time in (0, 1))
    assert torch.equal(first, second)
    # The motion head starts as the point head.
    assert (first - 2 * encoded.own_time.points[:, 2:]).abs().max() < 1e-12


@torch.no_grad()
def test_the_target_frame_stays_where_it_is(images):
    network = shaken()
    encoded = network.encode(images)
    added = passes_of(network)
    alone = network.decode(encoded, time=1, frames=[1])
    assert not added, "nothing has to be computed for it"
    maps = network.decode(encoded, time=1, frames=[2, 1, 0])
    for answer, place in ((alone, 0), (maps, 1)):
        assert torch.equal(answer.points[:, place], encoded.own_time.points[:, 1])
        assert torch.equal(answer.confidence[:, place], encoded.own_time.confidence[:, 1])


@torch.no_grad()
def test_frames_of_one_time_share_a_pass(images):
    network = shaken()
    encoded = network.encode(images, KNOWN)
    added = passes_of(network)
    together = network.decode(encoded, time=2, frames=range(FRAMES))
    for frame in range(FRAMES):
        alone = network.decode(encoded, time=2, frames=[frame])
        assert (alone.points[:, 0] - together.points[:, frame]).abs().max() < 1e-12
        assert torch.equal(alone.confidence[:, 0], encoded.own_time.confidence[:, frame])
    assert len(added) == 1
    network.decode(encoded, time=0, frames=[1])
    assert len(added) == 1, "encode has made that pass"
    network.decode(encoded, time=1, frames=[2])
    network.decode(encoded, time=2, frames=[1])
    assert len(added) == 3 and len(encoded.passes) == 2
    # Intrinsics that were given to encode are there in every pass.
    assert added[-1][:, 0, 0].abs().max() > 0


@pytest.mark.parametrize("into", ["frame", "camera_token"])
@torch.no_grad()
def test_order_of_the_frames_behind_the_first_does_not_matter(into, images):
    network = shaken(small(into))
    order = [0, 2, 1]
    encoded, permuted = network.encode(images), network.encode(images[:, order])
    own = encoded.own_time.points[:, order]
    assert (permuted.own_time.points - own).abs().max() < 1e-10
    pose = encoded.cameras.world_from_camera[:, order]
    assert (permuted.cameras.world_from_camera - pose).abs().max() < 1e-10
    for place, time in enumerate(order):
        maps = network.decode(encoded, time=time, frames=order)
        found = network.decode(permuted, time=place, frames=range(FRAMES))
        assert (found.points - maps.points).abs().max() < 1e-10


@torch.no_grad()
def test_intrinsics_are_nothing_at_the_start_and_something_later(images):
    network = at_start()
    without, given = (
        network.encode(images),
        network.encode(images, KNOWN),
    )
    assert torch.equal(without.own_time.points, given.own_time.points)
    network = shaken()
    without, given = (
        network.encode(images),
        network.encode(images, KNOWN),
    )
    assert (without.own_time.points - given.own_time.points).abs().mean() > 1e-6
    wide = network.encode(images, EncodeRequest(intrinsics=pinhole(fx=60.0)))
    assert (wide.own_time.points - given.own_time.points).abs().mean() > 1e-6
    # Each example may have its own or none.
    first = network.encode(images, replace(KNOWN, known=torch.tensor([True, False])))
    assert (first.own_time.points[0] - given.own_time.points[0]).abs().max() < 1e-12
    assert (first.own_time.points[1] - without.own_time.points[1]).abs().max() < 1e-12


def test_a_network_may_take_no_intrinsics(images):
    network = shaken(small(intrinsics=False))
    assert not any("intrinsics" in name for name in network.state_dict())
    with pytest.raises(ModelError, match="takes no intrinsics"):
        network.encode(images, KNOWN)


@torch.no_grad()
def test_no_query_is_the_bare_backbone(images):
    network, start = shaken(), shaken()
    for value in start.query_embedding.parameters():
        value.zero_()
    unmarked = network.encode(images, EncodeRequest(queries=torch.full((2,), -1)))
    assert torch.equal(unmarked.own_time.points, start.encode(images).own_time.points)
    assert (unmarked.depth.depth > 0).all() and unmarked.depth.depth.shape == (2, FRAMES, *HW)


@torch.no_grad()
def test_one_frame(images):
    network = shaken()
    encoded = network.encode(images[:, :1])
    maps = network.decode(encoded, time=0, frames=[0])
    assert torch.equal(maps.points, encoded.own_time.points)
    identity = torch.eye(4, dtype=torch.float64).expand(2, 1, 4, 4)
    assert torch.equal(encoded.cameras.world_from_camera, identity)


@torch.no_grad()
def test_parts_are_the_whole(images):
    network = shaken()
    answers = []
    for at_once in (1, 64):
        network.use(ComputeOptions(head_frames_at_once=at_once))
        encoded = network.encode(images)
        maps = network.decode(encoded, time=1, frames=range(FRAMES))
        answers.append(torch.cat([maps.points, encoded.own_time.points]))
    for other in answers[1:]:
        assert (other - answers[0]).abs().max() < 1e-10


@torch.no_grad()
def test_short_memory_is_answered_by_fewer_frames_at_once(images):
    network = shaken()
    network.use(ComputeOptions(head_frames_at_once=64))
    encoded = network.encode(images)
    wanted = network.decode(encoded, time=1, frames=range(FRAMES))
    head, sizes = network.motion_head.forward, []

    def cramped(levels, *rest):
        sizes.append(len(levels[0]))
        if len(levels[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return head(levels, *rest)

    network.motion_head.forward = cramped
    found = network.decode(encoded, time=1, frames=range(FRAMES))
    # Two examples of two frames, then of one at a time.
    assert sizes == [4, 2, 2]
    assert (found.points - wanted.points).abs().max() < 1e-10


@pytest.mark.parametrize(("time", "frames"), [(3, [0]), (-1, [0]), (0, [3]), (0, [-1]), (0, [])])
def test_times_and_frames_must_be_there(images, time, frames):
    network = at_start()
    with torch.no_grad():
        encoded = network.encode(images)
    with pytest.raises(ShapeError, match="from 0 to 2"):
        network.decode(encoded, time=time, frames=frames)


def test_queries_and_sides_must_fit(images):
    network = at_start()
    for query in (FRAMES, -2):
        with pytest.raises(ShapeError, match="from 0 to 2"):
            network.encode(images, EncodeRequest(queries=torch.tensor([0, query])))
    with pytest.raises(ShapeError, match="multiples of 14"):
        network.encode(images[..., :-1])


def test_it_is_made_of_vggt():
    with pytest.raises(ConfigError, match="without a decoder"):
        Dept3rConfig(vggt=vdpm_miniature())


def test_full_size():
    with torch.device("meta"):
        network = Dept3rNetwork(dept3r())
    found = sum(value.numel() for value in network.parameters())
    assert found == CARDS["dept3r"].parameters
    head = sum(value.numel() for value in network.point_head.parameters())
    # VGGT, the point head without a channel of 32 weights and a bias, and 1024 · (1 + 3 + 1).
    assert found == CARDS["vggt"].parameters + head - 33 + 5 * 1024
    assert network.image_side == 518


def write_vggt(path) -> dict[str, torch.Tensor]:
    """A miniature VGGT with a track head under the published names; returns all tensors."""
    network = PublishedNetwork(dept3r_miniature().vggt)
    tensors = {
        published_from_ours(name): torch.randn_like(value) / max(1, value[0].numel()) ** 0.5
        for name, value in network.state_dict().items()
    }
    tensors["track_head.tracker.corr.weight"] = torch.randn(3, 4)
    torch.save(tensors, path)
    return tensors


def test_vggt_starts_it_and_its_point_head_the_motion_head(tmp_path):
    published = write_vggt(tmp_path / "vggt.pt")
    tensors = read_dept3r_start(dept3r_miniature(), tmp_path / "vggt.pt")
    names = set(Dept3rNetwork(dept3r_miniature()).state_dict())
    assert {name for name in names if name.startswith(FRESH_PARTS)} == names - set(tensors)
    for name, value in tensors.items():
        theirs = published_from_ours(name).replace("motion_head", "point_head")
        wanted = published[theirs]
        if name.startswith("motion_head.scratch.output_conv2.2."):
            wanted = wanted[:3]
        assert torch.equal(value, wanted), name
    # Nothing of VGGT is left out but its track head.
    used = {published_from_ours(name) for name in tensors}
    assert {name.split(".")[0] for name in published.keys() - used} == {"track_head"}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_come_back(tmp_path, suffix):
    network = shaken().float()
    path = tmp_path / f"dept3r{suffix}"
    save_published(network, path)
    for tensors in (
        load_dept3r(dept3r_miniature(), path).state_dict(),
        read_dept3r_start(dept3r_miniature(), path),
    ):
        assert tensors.keys() == network.state_dict().keys()
        assert all(torch.equal(tensors[k], v) for k, v in network.state_dict().items())
    with pytest.raises(ModelError, match=r"missing .*into_camera_token"):
        load_dept3r(small("camera_token"), path)


def test_half_a_network_is_no_vggt(tmp_path):
    state = {published_from_ours(k): v for k, v in at_start().float().state_dict().items()}
    del state["motion_head.norm.bias"]
    torch.save(state, tmp_path / "half.pt")
    for read in (load_dept3r, read_dept3r_start):
        with pytest.raises(ModelError, match=r"1 missing \(motion_head.norm.bias\)"):
            read(dept3r_miniature(), tmp_path / "half.pt")


def test_loading_by_name(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no code or weights of DePT3R are public; give --weights"):
        catalog.load_model("dept3r")
    monkeypatch.setattr(dept3r_weights, "dept3r", dept3r_miniature)
    save_published(shaken().float(), tmp_path / "mine.safetensors")
    network = catalog.load_model("dept3r", weights=tmp_path / "mine.safetensors", device="cpu")
    assert isinstance(network, Dept3rNetwork) and not network.training
    assert network.info.weights_sha256 is not None
    half = catalog.load_model(
        "dept3r", weights=tmp_path / "mine.safetensors", device="cpu", precision="bfloat16"
    )
    images = torch.rand(1, 2, 3, *HW)
    with torch.no_grad():
        found, exact = (n.decode(n.encode(images), time=1, frames=[0]) for n in (half, network))
    change = (found.points - exact.points).std() / exact.points.std()
    assert 1e-5 < change < 0.05


@pytest.mark.slow
def test_traced_memory_is_what_a_run_takes():
    benchmark = ROOT / "benchmarks" / "dept3r_memory.py"
    done = subprocess.run(
        [sys.executable, benchmark, "--check"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
