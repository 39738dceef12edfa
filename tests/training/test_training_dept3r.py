"""Training of DePT3R: its loss by hand, its two phases, its data sets, where it starts from."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FixedStream, toy_truth
from safetensors import safe_open

from dynapoint import cli
from dynapoint.errors import ConfigError
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.layers.pose_encoding import encode_cameras
from dynapoint.models.protocol import EncodeRequest
from dynapoint.models.vggt.dept3r import Dept3rNetwork
from dynapoint.models.vggt.dept3r_config import dept3r_miniature as miniature_network
from dynapoint.models.vggt.dept3r_weights import load_dept3r
from dynapoint.training.data_stream import SampleStream
from dynapoint.training.dept3r_objective import (
    Dept3rLoss,
    Dept3rLossParts,
    dense_term,
    dept3r_loss,
    own_depth,
)
from dynapoint.training.distributed import Processes
from dynapoint.training.losses import PublishedLoss
from dynapoint.training.mixture import DEPT3R_SETS, DataSet
from dynapoint.training.recipes.dept3r import dept3r, dept3r_miniature
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.training.trainees import trainee_of
from dynapoint.training.trainer import Trainer
from dynapoint.types import TruthSample
from test_models_dept3r import write_vggt

FIRST = Phase(frames=2, batch=1, pixels=1200, largest_span=4, motion=False)
SECOND = dataclasses.replace(FIRST, motion=True)


def config_of(**changes) -> TrainConfig:
    """The miniature recipe on smaller samples, without validation."""
    small: dict[str, Any] = {
        "phases": (FIRST,),
        "validation_clips": 0,
        "steps": 6,
        "precision": "float32",
    }
    return dataclasses.replace(dept3r_miniature(), **(small | changes))


def wide(truth: TruthSample) -> TruthSample:
    """The same in float64."""
    values = {f.name: getattr(truth, f.name) for f in dataclasses.fields(truth)}
    changed = {k: v.double() for k, v in values.items() if v.is_floating_point()}
    return dataclasses.replace(truth, **changed)


def turned(truth: TruthSample) -> TruthSample:
    """The same with cameras behind the first turned about their axis of height."""
    frames = truth.images.shape[1]
    angle = 0.1 * torch.arange(frames).to(truth.points)
    turn = torch.eye(4).to(truth.points).repeat(frames, 1, 1)
    turn[:, 0, 0], turn[:, 0, 2] = angle.cos(), angle.sin()
    turn[:, 2, 0], turn[:, 2, 2] = -angle.sin(), angle.cos()
    return dataclasses.replace(truth, world_from_camera=truth.world_from_camera @ turn)


def uneven_truth(frames: int = 3) -> TruthSample:
    """Two examples in float64, with turned cameras, holes, and one map without truth."""
    truth = turned(wide(toy_truth(2, frames, 28, 42)))
    valid, supervised = truth.valid.clone(), truth.supervised.clone()
    valid[1, :, 9:] = False
    valid[0, 1, :, ::3] = False
    supervised[0, 2, 1] = False
    return dataclasses.replace(truth, valid=valid, supervised=supervised)


def dense_by_hand(error, confidence, mask, *, alpha: float, gradient: float) -> float:
    """VGGT's dense loss, pixel by pixel."""
    examples = []
    for e, c, m in zip(error, confidence, mask, strict=True):
        plain: list[float] = []
        along: dict[int, list[float]] = {0: [], 1: []}
        frames, height, width = m.shape
        for k, y, x in np.ndindex(frames, height, width):
            if not m[k, y, x]:
                continue
            plain.append(c[k, y, x] * np.linalg.norm(e[k, y, x]) - alpha * np.log(c[k, y, x]))
            for way, (v, u) in enumerate([(y + 1, x), (y, x + 1)]):
                if v < height and u < width and m[k, v, u]:
                    along[way].append(c[k, y, x] * np.linalg.norm(e[k, v, u] - e[k, y, x]))
        examples.append([np.mean(plain), np.mean(along[0]), np.mean(along[1])])
    value, down, right = np.mean(examples, axis=0)
    return value + gradient * (down + right)


@pytest.mark.parametrize("channels", [1, 3])
def test_dense_term_by_hand(channels):
    error = torch.randn(2, 2, 5, 4, channels, dtype=torch.float64)
    confidence = 1 + torch.rand(2, 2, 5, 4, dtype=torch.float64)
    mask = torch.rand(2, 2, 5, 4) < 0.7
    mask[1, 1] = False
    arrays = error.numpy(), confidence.numpy(), mask.numpy()
    for alpha, gradient in ((0.2, 1.0), (0.7, 0.3)):
        found = dense_term(error, confidence, mask, alpha=alpha, gradient=gradient)
        wanted = dense_by_hand(*arrays, alpha=alpha, gradient=gradient)
        assert found.item() == pytest.approx(wanted, rel=1e-9)


def test_masked_pixels_have_no_say():
    error = torch.randn(1, 1, 5, 4, 3, dtype=torch.float64)
    confidence = 1 + torch.rand(1, 1, 5, 4, dtype=torch.float64)
    mask = torch.ones(1, 1, 5, 4, dtype=torch.bool)
    mask[0, 0, 2, 1] = False
    other = error.clone()
    other[0, 0, 2, 1] = torch.inf
    terms = [dense_term(e, confidence, mask, alpha=0.2, gradient=1.0) for e in (error, other)]
    assert terms[0] == terms[1]


def test_depth_is_along_each_frames_own_axis():
    truth = uneven_truth()
    own = truth.points[:, [0, 1, 2], [0, 1, 2]]
    camera = np.linalg.inv(truth.world_from_camera.numpy())
    homogeneous = np.concatenate([own.numpy(), np.ones((*own.shape[:-1], 1))], axis=-1)
    wanted = np.einsum("bfij,bfyxj->bfyxi", camera, homogeneous)[..., 2]
    assert np.abs(own_depth(own, truth).numpy() - wanted).max() < 1e-12
    assert np.abs(wanted[:, 2] - own.numpy()[:, 2, ..., 2]).max() > 0.01


@pytest.mark.parametrize("motion", [False, True])
@torch.no_grad()
def test_loss_by_hand(motion):
    truth = uneven_truth()
    network = Dept3rNetwork(miniature_network()).double()
    with torch.no_grad():
        for value in network.query_embedding.parameters():
            value.normal_()
    loss = Dept3rLoss(alpha=0.3, gradient=0.7, camera=2.0, motion=3.0)
    known = torch.tensor([True, False])
    queries = torch.tensor([2, 0]) if motion else None
    parts = dept3r_loss(network, truth, loss, known=known, queries=queries)

    asked = torch.full((2,), -1) if queries is None else queries
    encoded = network.encode(
        truth.images, EncodeRequest(intrinsics=truth.intrinsics, known=known, queries=asked)
    )
    diagonal = [0, 1, 2]
    own = truth.points[:, diagonal, diagonal].numpy()
    valid = truth.valid.numpy()
    unit = np.array([np.linalg.norm(own[b][valid[b]], axis=-1).mean() for b in range(2)])[
        :, None, None, None
    ]
    options = {"alpha": 0.3, "gradient": 0.7}
    points = encoded.own_time.points.numpy() - own / unit[..., None]
    own_time = dense_by_hand(points, encoded.own_time.confidence.numpy(), valid, **options)
    depth_error = encoded.depth.depth.numpy() - own_depth(torch.tensor(own), truth).numpy() / unit
    depth = dense_by_hand(
        depth_error[..., None], encoded.depth.confidence.numpy(), valid, **options
    )
    cameras = encode_cameras(invert_rigid(truth.world_from_camera), truth.intrinsics, (28, 42))
    cameras = cameras.numpy()
    cameras[..., :3] /= unit[:, 0]
    camera = 0.0
    for k, encoding in enumerate(encoded.encodings.numpy()):
        error = np.abs(encoding - cameras)
        stage = error[..., :3].mean() + error[..., 3:7].mean() + 0.5 * error[..., 7:].mean()
        camera += 0.6 ** (3 - k) * stage / 4
    moved = 0.0
    if queries is not None:
        maps, means = network.motion_maps(encoded).numpy(), []
        for b, query in enumerate(queries.tolist()):
            errors = []
            for frame in range(3):
                # Example 0 has no truth of frame 1 at time 2.
                if (b, query, frame) != (0, 2, 1):
                    shift = (truth.points[b, query, frame].numpy() - own[b, frame]) / unit[b]
                    error = np.linalg.norm(maps[b, frame] - shift, axis=-1)
                    errors.append(error[valid[b, frame]])
            means.append(np.concatenate(errors).mean())
        moved = np.mean(means)
    found = [float(getattr(parts, name)) for name in ("own_time", "depth", "camera", "motion")]
    # Norms have a millionth added to them at zero.
    assert found == pytest.approx([own_time, depth, camera, moved], rel=1e-7)
    assert parts.total.item() == pytest.approx(own_time + depth + 2 * camera + 3 * moved, rel=1e-7)


def gradients(phase: Phase) -> dict[str, torch.Tensor | None]:
    config = config_of(loss=Dept3rLoss(intrinsics_known=1.0))
    trainee = trainee_of(config, "cpu", Processes())
    network = trainee.build()
    network.patch_embed.requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    trainee.loss(network, toy_truth(2, 3, 28, 42), phase, generator).total.backward()
    return {n: p.grad for n, p in network.named_parameters() if not n.startswith("patch_embed")}


def test_what_each_phase_trains():
    first, second = gradients(FIRST), gradients(SECOND)
    for name, value in second.items():
        # Of a fresh camera head much has a gradient of zero.
        assert value is not None and (value.any() or name.startswith("camera_head")), name
    for name, value in first.items():
        if name.startswith("motion_head"):
            assert value is None, name
        elif not name.startswith("camera_head"):
            # The query embedding has a gradient of zero, so that optimisers leave it alone.
            assert value.any() == (name != "query_embedding.into_frame"), name


def test_phases_follow_one_another(tmp_path):
    """A run goes through both; motion is learned in the second alone."""
    phases = (
        dataclasses.replace(FIRST, until_samples=2),
        dataclasses.replace(SECOND, until_samples=4),
    )
    config = config_of(phases=phases, steps=4, draws_per_clip=1, groups_held=1)
    trainer = Trainer(config, tmp_path, processes=Processes())
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    added = ("motion_head", "query_embedding.into")
    for step in range(4):
        report = trainer.train_step()
        assert (report.losses["motion"] > 0) == (step >= 2)
        state = trainer.network.state_dict()
        if step == 1:
            for name, value in state.items():
                still = name.startswith((*added, "patch_embed"))
                assert torch.equal(value, before[name]) == still, name
    assert all(not torch.equal(state[k], v) for k, v in before.items() if k.startswith(added))


@pytest.mark.parametrize("phase", [FIRST, SECOND], ids=["first", "second"])
def test_a_clip_of_the_engine_can_be_learned_by_heart(tmp_path, phase):
    loss = Dept3rLoss(intrinsics_known=1.0)
    config = config_of(
        steps=14, sets=(), loss=loss, cosine=None, warmup_steps=3, learning_rate=7e-4
    )
    trainer = Trainer(config, tmp_path, processes=Processes())
    # A long lens, far from what the camera head begins with.
    trainer.streams = {0: FixedStream(SampleStream(config).sample(21), phase)}
    reports = [trainer.train_step() for _ in range(config.steps)]
    first, last = reports[0].losses, reports[-1].losses
    assert last["own_time"] < first["own_time"] * 0.6
    assert last["depth"] < first["depth"] * 0.8
    assert last["camera"] < first["camera"] * 0.7
    if phase.motion:
        assert last["motion"] < first["motion"] / 2
    assert not any(report.skipped for report in reports)


@pytest.mark.slow
def test_motion_towards_the_asked_time_is_learned(tmp_path):
    # The left half of the toy truth moves by a quarter of the mean distance, or not at all where
    # a frame's own time is asked for: only the query tells which.
    config = config_of(steps=130, sets=(), cosine=None, warmup_steps=10, learning_rate=7e-4)
    trainer = Trainer(config, tmp_path, processes=Processes())
    truth = toy_truth(1, 2, 28, 42)
    own = truth.points[:, [0, 1], [0, 1]]
    points = own[:, None] + 5 * (truth.points - own[:, None])
    trainer.streams = {0: FixedStream(dataclasses.replace(truth, points=points), SECOND)}
    for _ in range(config.steps):
        trainer.train_step()
    unit = own[truth.valid].norm(dim=-1).mean()
    with torch.no_grad():
        for query in range(2):
            encoded = trainer.network.encode(
                truth.images, EncodeRequest(queries=torch.tensor([query]))
            )
            wanted = (points[:, query] - own) / unit
            assert wanted[truth.moving].norm(dim=-1).max() > 0.2
            error = (trainer.network.motion_maps(encoded) - wanted).norm(dim=-1)
            assert error[:, 0][truth.moving[:, 0]].mean() < 0.1
            assert error[:, 1][truth.moving[:, 1]].mean() < 0.1


def test_two_processes_draw_what_one_does(monkeypatch):
    seen = []

    def spy(network, sample, loss, *, known, queries):
        seen.append((known, queries))
        return dept3r_loss(network, sample, loss, known=known, queries=queries)

    monkeypatch.setattr("dynapoint.training.dept3r_trainee.dept3r_loss", spy)
    network = Dept3rNetwork(miniature_network())
    for processes, batch in ((Processes(), 4), *((Processes(rank=k, count=2), 2) for k in (0, 1))):
        trainee = trainee_of(config_of(), "cpu", processes)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            trainee.loss(network, toy_truth(batch, 3, 28, 42), SECOND, generator)
    for whole, *parts in zip(*seen, strict=True):
        assert torch.equal(torch.cat(parts), whole)


def test_queries_and_intrinsics_are_drawn(monkeypatch):
    seen = []

    def spy(network, sample, loss, *, known, queries):
        seen.append((known, queries))
        zero = torch.zeros(())
        return Dept3rLossParts(total=zero, own_time=zero, depth=zero, camera=zero, motion=zero)

    monkeypatch.setattr("dynapoint.training.dept3r_trainee.dept3r_loss", spy)
    config = config_of(loss=Dept3rLoss(intrinsics_known=0.3))
    trainee, truth = trainee_of(config, "cpu", Processes()), toy_truth(1000, 3, 4, 4)
    network = Dept3rNetwork(miniature_network())
    for phase in (FIRST, SECOND):
        trainee.loss(network, truth, phase, torch.Generator().manual_seed(1))
    (known, none), (_, queries) = seen
    assert none is None
    assert 0.25 < known.float().mean() < 0.35
    counts = torch.bincount(queries, minlength=3) / 1000
    assert len(counts) == 3 and counts.min() > 0.28


def test_sets_of_the_paper():
    without = {each.name for each in DEPT3R_SETS if not each.for_motion}
    assert without == {"Virtual KITTI 2", "TartanAir"}
    assert all((each.supervises == "own_time") != each.for_motion for each in DEPT3R_SETS)
    assert {each.name for each in DEPT3R_SETS} - without == {
        "PointOdyssey",
        "DynamicReplica",
        "Kubric-F",
    }


def test_sets_without_motion_are_for_the_first_phase_alone():
    first = Phase(frames=2, batch=16, pixels=256, largest_span=3, motion=False)
    config = config_of(
        phases=(first, dataclasses.replace(first, motion=True)),
        phases_in_turn=True,
        draws_per_clip=1,
        groups_held=1,
        clip_frames=4,
    )
    stream = SampleStream(config)
    whole = [stream.sample(step).supervised.flatten(1).all(dim=1).float().mean() for step in (0, 1)]
    # Two of five sets know own times only.
    assert 0.25 < whole[0] < 0.95 and whole[1] == 1
    only = (DataSet(name="TartanAir", samples=1, for_motion=False),)
    with pytest.raises(ConfigError, match=r"sets that have none of it \(TartanAir\)"):
        SampleStream(dataclasses.replace(config, sets=only)).sample(1)


def test_vggt_starts_it(tmp_path):
    published = write_vggt(tmp_path / "vggt.pt")
    trainer = Trainer(config_of(), tmp_path, processes=Processes())
    query = trainer.network.query_embedding.into_frame.clone()
    trainer.start_from(trainer.trainee.read_start(tmp_path / "vggt.pt"))
    state = trainer.network.state_dict()
    assert torch.equal(state["motion_head.norm.bias"], published["point_head.norm.bias"])
    assert torch.equal(state["query_embedding.into_frame"], query)
    assert not state["query_embedding.intrinsics.weight"].any()
    assert not trainer.train_step().skipped


def test_network_and_loss_have_to_belong():
    with pytest.raises(ConfigError, match="PublishedLoss is no loss for dept3r-miniature"):
        trainee_of(config_of(loss=PublishedLoss()), "cpu", Processes())


def test_command_trains_from_vggt_and_writes_what_reconstruct_reads(tmp_path, monkeypatch):
    published = write_vggt(tmp_path / "vggt.pt")
    monkeypatch.setattr(
        "dynapoint.training.recipes.RECIPES", {"mini": lambda: config_of(validation_clips=1)}
    )
    words = ["train", "mini", "-o", tmp_path / "run", "--steps", 1]
    words += ["--start-from", tmp_path / "vggt.pt"]
    assert cli.main([str(word) for word in words]) == 0
    network = load_dept3r(miniature_network(), tmp_path / "run" / "weights.safetensors")
    name = "patch_embed.blocks.0.attn.qkv.weight"
    assert torch.equal(network.state_dict()[name], published[f"aggregator.{name}"])
    with safe_open(tmp_path / "run" / "weights.safetensors", framework="pt") as file:
        assert file.metadata()["recipe"] == "dept3r-miniature"
    kinds = [json.loads(line)["kind"] for line in open(tmp_path / "run" / "log.jsonl")]
    assert kinds == ["easy", "hard"]


def test_full_size_recipe(tmp_path):
    config = dept3r()
    assert {phase.frames for phase in config.phases} == set(range(2, 11))
    half = len(config.phases) // 2
    assert [phase.motion for phase in config.phases] == [False] * half + [True] * half
    for phase in config.phases:
        assert phase.frames <= config.clip_frames and phase.largest_span < config.clip_frames
        assert 8 <= phase.frames * phase.batch <= 12 or phase.frames in (7,)
    assert config.steps == 2 * half * 250
    # The last step belongs to the last stretch, the middle ones to either side.
    for step, motion in ((0, False), (config.steps // 2 - 1, False), (config.steps // 2, True)):
        assert config.phase_at(step).motion == motion
    assert config.phase_at(config.steps - 1) is config.phases[-1]
    assert 0 < config.centre_crop < 1
    trainee_of(config, "cpu", Processes())
