"""Fine-tuning of the published networks, by V-DPM's recipe in small."""

import dataclasses
import json
from typing import Any

import pytest
import torch
from conftest import FixedStream, toy_truth
from safetensors import safe_open

from dynapoint import cli
from dynapoint.errors import ConfigError, ModelError
from dynapoint.models.layers.blocks import Block, ConditionalBlock
from dynapoint.models.layers.compute import ComputeOptions
from dynapoint.models.layers.config import LevelDecoderConfig
from dynapoint.models.vggt.config import vdpm_miniature as miniature_network
from dynapoint.models.vggt.key_maps import published_from_ours
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.start import FRESH_PARTS, read_start
from dynapoint.models.vggt.weights import load_published, save_published
from dynapoint.training.checkpoints import FILE_NAME, load_state
from dynapoint.training.data_stream import SampleStream
from dynapoint.training.distributed import Processes
from dynapoint.training.losses import LossWeights, PublishedLoss
from dynapoint.training.optimisers import build_optimisers
from dynapoint.training.published_objective import choose_targets, published_loss
from dynapoint.training.recipes.small import nano
from dynapoint.training.recipes.vdpm import vdpm, vdpm_miniature
from dynapoint.training.run import train, train_config
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.training.trainees import trainee_of
from dynapoint.training.trainer import Trainer

SMALL = (
    Phase(frames=3, batch=1, pixels=1200, largest_span=4),
    Phase(frames=2, batch=2, pixels=1200, largest_span=4),
)


def config_of(**changes) -> TrainConfig:
    """The miniature recipe on smaller samples, without validation."""
    small: dict[str, Any] = {
        "phases": SMALL,
        "validation_clips": 0,
        "steps": 6,
        "precision": "float32",
    }
    return dataclasses.replace(vdpm_miniature(), **(small | changes))


def sample_of(batch: int = 1, frames: int = 3):
    """A toy truth of 2 × 3 patches."""
    return toy_truth(batch, frames, 28, 42)


def copied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in weights.items()}


def random_state(network: PublishedNetwork, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator) / max(1, value[0].numel()) ** 0.5
        for name, value in network.state_dict().items()
    }


def test_a_clip_of_the_engine_can_be_learned_by_heart(tmp_path):
    config = config_of(steps=36, sets=())
    trainer = Trainer(config, tmp_path, processes=Processes())
    trainer.streams = {0: FixedStream(SampleStream(config).sample(3), config.phases[0])}
    frozen = copied(trainer.network.patch_embed.state_dict())
    reports = [trainer.train_step() for _ in range(config.steps)]
    first, last = reports[0].losses, reports[-1].losses
    assert last["own_time"] < first["own_time"] / 3
    assert last["decoded"] < first["decoded"] / 3
    assert last["camera"] < first["camera"] * 0.8
    assert not any(report.skipped for report in reports)
    # What is frozen has not moved, and everything else has.
    for name, value in trainer.network.patch_embed.state_dict().items():
        assert torch.equal(value, frozen[name]), name
    fresh = Trainer(config, tmp_path, processes=Processes()).network.state_dict()
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, fresh[name]) == name.startswith("patch_embed."), name


@pytest.mark.slow
def test_decoder_learns_where_things_are_at_other_times(tmp_path):
    # The left half of the toy truth moves by a quarter of the mean distance.
    config = config_of(steps=240, sets=())
    trainer = Trainer(config, tmp_path, processes=Processes())
    truth = sample_of(frames=2)
    frames = torch.arange(2)
    own = truth.points[:, frames, frames]
    points = own[:, None] + 5 * (truth.points - own[:, None])
    trainer.streams = {0: FixedStream(dataclasses.replace(truth, points=points), config.phases[1])}
    for _ in range(config.steps):
        trainer.train_step()
    with torch.no_grad():
        encoded = trainer.network.encode(truth.images)
        decoded = trainer.network.decode_times(encoded, times=[0, 1], frames=[0, 1])
    unit = own[truth.valid].norm(dim=-1).mean()
    other = ~torch.eye(2, dtype=torch.bool)[None, :, :, None, None]
    moved = truth.moving[:, None] & other

    def error(answer: torch.Tensor) -> float:
        return float((answer - points / unit).norm(dim=-1)[moved].mean())

    nothing_moved = error(own[:, None] / unit)
    assert nothing_moved > 0.2
    assert error(decoded.points) < 0.8 * nothing_moved
    assert error(decoded.points) < 0.8 * error(encoded.own_time.points[:, None])


@pytest.mark.parametrize("conditioning", ["adaln", "additive", "head"])
def test_every_parameter_that_is_trained_has_a_gradient(conditioning):
    # Under DDP a parameter without one would stop the run.
    decoder = LevelDecoderConfig(
        depth=0 if conditioning == "head" else 1, heads=2, conditioning=conditioning
    )
    config = config_of(network=dataclasses.replace(miniature_network(), decoder=decoder))
    trainee = trainee_of(config, "cpu", Processes())
    network = trainee.build()
    network.patch_embed.requires_grad_(False)
    parts = trainee.loss(network, sample_of(), config.phases[0], torch.Generator().manual_seed(0))
    parts.total.backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == name.startswith("patch_embed."), name
    held = {
        id(parameter)
        for optimiser in build_optimisers(network, config)
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    assert held == {id(p) for n, p in network.named_parameters() if not n.startswith("patch")}


def gradients_and_calls(checkpoint: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of all parameters, and how often blocks were computed."""
    torch.manual_seed(1)
    network = PublishedNetwork(miniature_network()).double()
    network.use(ComputeOptions(checkpoint_blocks=checkpoint))
    calls = []
    for part in network.modules():
        if isinstance(part, Block | ConditionalBlock):
            part.register_forward_pre_hook(lambda *_: calls.append(1))
    truth = sample_of()
    wide = {
        f.name: getattr(truth, f.name).double()
        for f in dataclasses.fields(truth)
        if getattr(truth, f.name).is_floating_point()
    }
    targets = torch.tensor([[2, 0, 1]])
    parts = published_loss(network, dataclasses.replace(truth, **wide), PublishedLoss(), targets)
    parts.total.backward()
    return {n: p.grad for n, p in network.named_parameters() if p.grad is not None}, len(calls)


def test_checkpointed_gradients_are_the_same():
    plain, calls = gradients_and_calls(False)
    saved, calls_again = gradients_and_calls(True)
    # Camera trunk blocks, one for each of four iterations, are not checkpointed.
    assert calls_again - 4 == 2 * (calls - 4)
    assert plain.keys() == saved.keys()
    largest = max(value.abs().max() for value in plain.values())
    for name, value in plain.items():
        assert (saved[name] - value).abs().max() <= 1e-6 * largest, name


@pytest.mark.parametrize("checkpoint", [True, False])
def test_recipe_says_whether_blocks_are_checkpointed(checkpoint):
    trainee = trainee_of(config_of(checkpoint_blocks=checkpoint), "cpu", Processes())
    network = trainee.build()
    assert network.options.checkpoint_blocks == checkpoint
    assert network.aggregator.checkpoint_blocks == checkpoint
    assert vdpm().checkpoint_blocks and vdpm_miniature().checkpoint_blocks


def test_half_precision_is_for_aggregator_and_decoder():
    losses, gradients = [], []
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        trainee = trainee_of(config_of(precision=precision), "cpu", Processes())
        network = trainee.build()
        assert network.options.precision == precision
        assert network.options.head_precision == "float32"
        generator = torch.Generator().manual_seed(0)
        parts = trainee.loss(network, sample_of(frames=2), SMALL[1], generator)
        assert parts.total.dtype == torch.float32
        parts.total.backward()
        losses.append(parts.total.item())
        gradients.append(
            torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        )
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_resumed_run_equals_one_that_never_stopped(tmp_path):
    straight = Trainer(config_of(), tmp_path / "straight", processes=Processes())
    reports = [straight.train_step() for _ in range(4)]
    begun = Trainer(config_of(), tmp_path / "killed", processes=Processes())
    for _ in range(2):
        begun.train_step()
    begun.save()
    begun.train_step()  # Lost with the process.
    resumed = Trainer(config_of(), tmp_path / "killed", processes=Processes())
    resumed.resume()
    again = [resumed.train_step() for _ in range(2)]
    assert [r.losses for r in again] == [r.losses for r in reports[2:]]
    assert [r.learning_rate for r in again] == [r.learning_rate for r in reports[2:]]
    assert [r.samples for r in again] == [r.samples for r in reports[2:]]
    ours = resumed.network.state_dict()
    assert all(torch.equal(ours[k], v) for k, v in straight.network.state_dict().items())
    assert load_state(tmp_path / "killed").ema == {}


def test_a_run_takes_up_an_average_that_the_last_one_did_not_keep(tmp_path):
    begun = Trainer(config_of(), tmp_path, processes=Processes())
    begun.save()
    resumed = Trainer(config_of(ema_decay=0.9), tmp_path, processes=Processes())
    resumed.resume()
    for name, value in begun.network.state_dict().items():
        assert torch.equal(resumed.average.weights[name], value)
    assert begun.averaged_network() is begun.network
    assert resumed.averaged_network() is not resumed.network


def test_targets_are_one_for_all_frames_or_one_each():
    generator = torch.Generator().manual_seed(0)
    one = choose_targets(400, 4, PublishedLoss(), generator)
    each = choose_targets(400, 4, PublishedLoss(target_times="per_frame"), generator)
    assert one.shape == each.shape == (400, 4)
    assert (one == one[:, :1]).all()
    for targets in (one[:, 0], each.flatten()):
        counts = torch.bincount(targets, minlength=4) / len(targets)
        assert len(counts) == 4 and counts.min() > 0.18
    assert (each == each[:, :1]).all(dim=1).float().mean() < 0.1


def test_two_processes_draw_targets_of_one(monkeypatch):
    # Together they see the targets that one process with both their samples would see.
    seen = []

    def spy(network, sample, loss, targets):
        seen.append(targets)
        return published_loss(network, sample, loss, targets)

    monkeypatch.setattr("dynapoint.training.trainees.published_loss", spy)
    network = PublishedNetwork(miniature_network())
    for processes, batch in ((Processes(), 4), *((Processes(rank=k, count=2), 2) for k in (0, 1))):
        generator = torch.Generator().manual_seed(7)
        trainee = trainee_of(config_of(), "cpu", processes)
        with torch.no_grad():
            trainee.loss(network, sample_of(batch), SMALL[0], generator)
    assert torch.equal(torch.cat(seen[1:]), seen[0])
    assert not torch.equal(seen[1], seen[2])


def miniature_vggt() -> PublishedNetwork:
    """VGGT's layout in small: no time token, no decoder, a depth head."""
    config = miniature_network()
    config = dataclasses.replace(
        config,
        name="vggt-miniature",
        decoder=None,
        depth_head=True,
        aggregator=dataclasses.replace(config.aggregator, time_token=False),
    )
    network = PublishedNetwork(config)
    network.load_state_dict(random_state(network, 3))
    return network


def write_vggt(path) -> dict[str, torch.Tensor]:
    """Write the miniature VGGT with a track head as published; returns all tensors."""
    tensors = {published_from_ours(k): v for k, v in miniature_vggt().state_dict().items()}
    tensors["track_head.tracker.corr.weight"] = torch.randn(3, 4)
    torch.save(tensors, path)
    return tensors


def test_vggt_starts_vdpm(tmp_path):
    published = write_vggt(tmp_path / "vggt.pt")
    config = config_of()
    trainer = Trainer(config, tmp_path, processes=Processes())
    fresh = copied(trainer.network.state_dict())
    trainer.start_from(trainer.trainee.read_start(tmp_path / "vggt.pt"))
    used = set()
    for name, value in trainer.network.state_dict().items():
        theirs = published_from_ours(name)
        if theirs.startswith(("decoder.", "aggregator.time_conditioning_token")):
            assert torch.equal(value, fresh[name]), name
            assert theirs not in published
        else:
            assert torch.equal(value, published[theirs]), name
            used.add(theirs)
    # All of VGGT is used but for its depth and track heads.
    left = {name.split(".")[0] for name in published.keys() - used}
    assert left == {"depth_head", "track_head"}
    assert trainer.step == 0
    assert not trainer.train_step().skipped


def test_vdpm_is_started_from_whole(tmp_path):
    network = PublishedNetwork(miniature_network())
    network.load_state_dict(random_state(network, 4))
    save_published(network, tmp_path / "vdpm.safetensors")
    tensors = read_start(miniature_network(), tmp_path / "vdpm.safetensors")
    assert tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(tensors[k], v) for k, v in network.state_dict().items())


def test_conditioned_head_starts_as_a_copy_of_the_point_head(tmp_path):
    published = write_vggt(tmp_path / "vggt.pt")
    decoder = LevelDecoderConfig(depth=0, conditioning="head")
    tensors = read_start(
        dataclasses.replace(miniature_network(), decoder=decoder), tmp_path / "vggt.pt"
    )
    copies = {k: v for k, v in tensors.items() if k.startswith("time_head.")}
    assert len(copies) == sum(name.startswith("point_head.") for name in published)
    for name, value in copies.items():
        assert torch.equal(value, published[name.replace("time_head", "point_head")])
    assert not any(name.startswith(("decoder.", "time_head.modulation")) for name in tensors)


def test_weights_that_are_neither(tmp_path):
    published = write_vggt(tmp_path / "vggt.pt")
    del published["camera_head.embed_pose.bias"]
    torch.save(published, tmp_path / "less.pt")
    with pytest.raises(ModelError, match=r"1 missing \(camera_head.embed_pose.bias\)"):
        train_config(config_of(), tmp_path / "run", start_from=tmp_path / "less.pt", device="cpu")
    with pytest.raises(ModelError, match="no weights file"):
        train_config(config_of(), tmp_path / "run", start_from=tmp_path / "none.pt", device="cpu")
    # A V-DPM with half of its decoder is no VGGT.
    network = PublishedNetwork(miniature_network())
    half = {published_from_ours(k): v for k, v in network.state_dict().items()}
    half = {k: v for k, v in half.items() if not k.startswith("decoder.frame_blocks")}
    torch.save(half, tmp_path / "half.pt")
    with pytest.raises(ModelError, match=r"missing \(decoder\.frame_blocks"):
        read_start(miniature_network(), tmp_path / "half.pt")
    assert not (tmp_path / "run").exists()


def test_only_fresh_parts_may_be_missing(tmp_path):
    trainer = Trainer(config_of(), tmp_path, processes=Processes())
    weights = copied(trainer.network.state_dict())
    shared = {k: v for k, v in weights.items() if not k.startswith(FRESH_PARTS)}
    trainer.start_from(shared)
    del shared["aggregator.camera_token"]
    with pytest.raises(ModelError, match="camera_token"):
        trainer.start_from(shared)
    with pytest.raises(ModelError, match=r"point_head\.more"):
        trainer.start_from(weights | {"point_head.more": torch.zeros(1)})


def test_recipe_needs_weights_to_start_from(tmp_path):
    with pytest.raises(ConfigError, match=r"vdpm fine-tunes; give .* --start-from"):
        train("vdpm", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_network_and_loss_have_to_belong(tmp_path):
    with pytest.raises(ConfigError, match="PublishedLoss is no loss for nano-2"):
        trainee_of(dataclasses.replace(nano(), loss=PublishedLoss()), "cpu", Processes())
    with pytest.raises(ConfigError, match="LossWeights is no loss for vdpm-miniature"):
        trainee_of(config_of(loss=LossWeights()), "cpu", Processes())
    still = dataclasses.replace(miniature_network(), decoder=None)
    with pytest.raises(ConfigError, match="no decoder to train"):
        trainee_of(config_of(network=still), "cpu", Processes())


def test_command_trains_from_vggt_and_writes_what_reconstruct_reads(tmp_path, monkeypatch):
    published = write_vggt(tmp_path / "vggt.pt")
    monkeypatch.setattr(
        "dynapoint.training.recipes.RECIPES", {"mini": lambda: config_of(validation_clips=1)}
    )
    words = ["train", "mini", "-o", tmp_path / "run", "--steps", 1]
    words += ["--start-from", tmp_path / "vggt.pt"]
    assert cli.main([str(word) for word in words]) == 0
    network = load_published(miniature_network(), tmp_path / "run" / "weights.safetensors")
    state = load_state(tmp_path / "run")
    assert state.step == 1
    for name, value in network.state_dict().items():
        assert torch.equal(value, state.network[name]), name
    name = "patch_embed.blocks.0.attn.qkv.weight"
    assert torch.equal(network.state_dict()[name], published[f"aggregator.{name}"])
    with safe_open(tmp_path / "run" / "weights.safetensors", framework="pt") as file:
        record = file.metadata()
    assert (record["recipe"], record["steps"], record["samples"]) == ("vdpm-miniature", "1", "1")
    kinds = [json.loads(line)["kind"] for line in open(tmp_path / "run" / "log.jsonl")]
    assert kinds == ["easy", "hard"]
    assert cli.main(["train", "mini", "-o", str(tmp_path / "run")]) == 1
    assert sorted(path.name for path in (tmp_path / "run").iterdir())[-1] == "weights.safetensors"
    assert (tmp_path / "run" / FILE_NAME).exists()


def test_full_size_recipe():
    config = vdpm()
    with torch.device("meta"):
        network = PublishedNetwork(config.network)
    trained = sum(
        value.numel()
        for name, value in network.named_parameters()
        if not name.startswith(config.frozen)
    )
    # The public network trains 1357.14 of its 1661.51 million parameters.
    assert round(trained / 1e6, 2) == 1357.14
    # 60 epochs of 32,500 samples; four steps of 16 processes see (4 + 2 + 1 + 1) · 16 samples.
    assert config.steps == pytest.approx(60 * 32_500 / (8 * 16) * 4, abs=1)
    assert [(phase.frames, phase.batch) for phase in config.phases[::3]] == [(5, 4), (19, 1)]
    for phase in config.phases:
        assert phase.frames <= config.clip_frames and phase.largest_span < config.clip_frames
    trainee_of(config, "cpu", Processes())
