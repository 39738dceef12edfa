"""Training of DPM by its recipe in small: the loss, what supervises it, and a run's files."""

import dataclasses
from typing import Any

import pytest
import torch
from conftest import FixedStream, toy_truth

from dynapoint.errors import ConfigError, ModelError
from dynapoint.models.dust3r.config import dpm_miniature as miniature_network
from dynapoint.models.dust3r.config import dust3r
from dynapoint.models.dust3r.network import DpmNetwork
from dynapoint.models.dust3r.weights import load_dpm
from dynapoint.models.protocol import PairMaps
from dynapoint.training.data_stream import SampleStream
from dynapoint.training.distributed import Processes
from dynapoint.training.dpm_objective import DpmLoss, dpm_loss
from dynapoint.training.losses import LossWeights
from dynapoint.training.mixture import DPM_SETS
from dynapoint.training.optimisers import learning_rate_at
from dynapoint.training.recipes import recipe
from dynapoint.training.recipes.dpm import dpm, dpm_miniature
from dynapoint.training.run import train_config
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.training.trainees import trainee_of
from dynapoint.training.trainer import Trainer
from dynapoint.training.validation import ValidationPairs, predict_pairs
from test_dust3r_weights import dust3r_miniature, public_state, write_published
from test_models_dust3r import random_network

SMALL = Phase(frames=2, batch=2, pixels=1024, largest_span=5)


def config_of(**changes) -> TrainConfig:
    """The miniature recipe on smaller samples, without validation."""
    small: dict[str, Any] = {
        "phases": (SMALL,),
        "validation_clips": 0,
        "steps": 1,
        "clip_frames": 6,
    }
    return dataclasses.replace(dpm_miniature(), **(small | changes))


def sample_of(batch: int = 2):
    return toy_truth(batch, 2, 32, 48)


def answers_to(sample, seed: int = 0) -> PairMaps:
    """Maps near the truth, as leaves of a graph."""
    generator = torch.Generator().manual_seed(seed)
    shape = sample.points.shape
    points = sample.points + 0.3 * torch.randn(shape, generator=generator)
    confidence = 1 + torch.rand(shape[:-1], generator=generator)
    return PairMaps(points=points.requires_grad_(), confidence=confidence.requires_grad_())


def supervised_as(sample, *names: str):
    """A sample whose examples are of these sets."""
    sets = {each.name: each for each in DPM_SETS}
    return dataclasses.replace(
        sample, supervised=torch.stack([sets[name].supervised(2) for name in names])
    )


def by_the_book(maps: PairMaps, sample, alpha: float) -> float:
    """Equations 6 and 7 pixel by pixel: one cloud of all supervised points of an example."""
    terms = []
    for b in range(len(sample.images)):
        cloud = [
            (
                maps.points[b, t, i].detach()[sample.valid[b, i]],
                sample.points[b, t, i][sample.valid[b, i]],
                maps.confidence[b, t, i].detach()[sample.valid[b, i]],
            )
            for t in range(2)
            for i in range(2)
            if sample.supervised[b, t, i]
        ]
        predicted, truth, confidence = (
            torch.cat(part).double() for part in zip(*cloud, strict=True)
        )
        ours = predicted / predicted.norm(dim=1).mean()
        theirs = truth / truth.norm(dim=1).mean()
        terms.append(confidence * (ours - theirs).norm(dim=1) - alpha * confidence.log())
    return float(torch.cat(terms).mean())


@pytest.mark.parametrize("sets", [("Kubric-G", "Waymo"), ("PointOdyssey", "Kubric-F")])
def test_the_loss_is_the_papers(sets):
    sample = supervised_as(sample_of(), *sets)
    maps = answers_to(sample)
    parts = dpm_loss(maps, sample, DpmLoss(alpha=0.3))
    assert parts.total.item() == pytest.approx(by_the_book(maps, sample, 0.3), rel=1e-5)


def test_the_scale_of_the_prediction_does_not_count_but_that_of_one_map_does():
    sample = sample_of()
    maps = answers_to(sample)
    before = dpm_loss(maps, sample, DpmLoss()).total.detach()
    with torch.no_grad():
        maps.points.mul_(3.0)
    assert torch.allclose(dpm_loss(maps, sample, DpmLoss()).total, before, rtol=1e-5)
    # The four maps share one normaliser: one of them alone may not be of another scale.
    with torch.no_grad():
        maps.points[:, 1, 0].mul_(0.5)
    assert dpm_loss(maps, sample, DpmLoss()).total.item() > before + 0.05


@pytest.mark.parametrize("name", ["PointOdyssey", "Spring"])
def test_maps_without_truth_teach_nothing(name):
    sample = supervised_as(sample_of(), name, "Kubric-G")
    maps = answers_to(sample)
    dpm_loss(maps, sample, DpmLoss()).total.backward()
    for gradient in (maps.points.grad, maps.confidence.grad):
        seen = gradient.flatten(3).abs().amax(dim=-1) > 0
        assert seen[0].tolist() == [[True, False], [False, True]]
        assert seen[1].all()
    # What is not supervised may be anything.
    with torch.no_grad():
        maps.points[0, 0, 1] = float("inf")
    changed = dataclasses.replace(sample, points=sample.points.clone())
    changed.points[0, 1, 0] = 1e6
    same = dpm_loss(maps, changed, DpmLoss()).total
    assert torch.allclose(same, dpm_loss(answers_to(sample), sample, DpmLoss()).total)


def test_logged_parts_tell_own_from_other_times():
    sample = sample_of()
    maps = answers_to(sample)
    before = dpm_loss(maps, sample, DpmLoss())
    with torch.no_grad():
        maps.points[:, 0, 1] += 1.0
    after = dpm_loss(maps, sample, DpmLoss())
    assert torch.equal(after.own_time, before.own_time)
    assert float(after.other_time) > float(before.other_time) + 0.05


def test_sets_are_those_of_the_paper():
    table = {each.name: (each.still, each.supervises) for each in DPM_SETS}
    assert table == {
        "Kubric-G": (False, "all"),
        "Kubric-F": (False, "all"),
        "Waymo": (False, "all"),
        "PointOdyssey": (False, "own_time"),
        "Spring": (False, "own_time"),
        "ScanNet++": (True, "all"),
        "BlendedMVS": (True, "all"),
        "MegaDepth": (True, "all"),
    }


def test_the_recipe_is_of_the_stated_size():
    config = recipe("dpm")
    assert config == dpm() and config.fine_tunes
    assert config.patch_size == 16 and config.network.heads_per_image == 2
    warm = round(config.steps * 3 / 50)
    assert learning_rate_at(warm, config, processes=8) == pytest.approx(5e-5, rel=1e-3)
    assert learning_rate_at(config.steps, config, processes=8) == pytest.approx(1e-6)
    assert config.steps * 4 * 8 == pytest.approx(50 * 32_500, rel=1e-3)


def test_samples_of_the_stream_are_masked_by_their_sets():
    config = config_of(phases=(dataclasses.replace(SMALL, batch=6),))
    sample = SampleStream(config).sample(0)
    assert sample.supervised.shape == (6, 2, 2)
    assert torch.diagonal(sample.supervised, dim1=1, dim2=2).all()
    kinds = {tuple(each.flatten().tolist()) for each in sample.supervised}
    assert kinds == {(True,) * 4, (True, False, False, True)}
    assert sample.images.shape[-2] % 16 == 0 and sample.images.shape[-1] % 16 == 0


def test_a_pair_of_the_engine_can_be_learned_by_heart(tmp_path):
    config = config_of(steps=12, sets=())
    trainer = Trainer(config, tmp_path, processes=Processes())
    trainer.streams = {0: FixedStream(SampleStream(config).sample(0), SMALL)}
    reports = [trainer.train_step() for _ in range(config.steps)]
    first, last = reports[0].losses, reports[-1].losses
    for name in ("total", "own_time", "other_time"):
        assert last[name] < 0.75 * first[name], name
    assert not any(report.skipped for report in reports)


def test_a_run_starts_from_dust3r_and_leaves_a_dpm(tmp_path):
    single = random_network(dust3r_miniature()).float()
    # Weights of random size make points of any distance; these are tamer.
    with torch.no_grad():
        for head in (single.downstream_head1, single.downstream_head2):
            head.head[-1].weight.mul_(0.1)
    start = write_published(tmp_path / "dust3r.pth", public_state(single))
    config = config_of(fine_tunes=True, frozen=dpm().frozen, checkpoint_blocks=True)
    with pytest.raises(ConfigError, match="--start-from"):
        train_config(config, tmp_path / "run")
    weights = train_config(config, tmp_path / "run", start_from=start, device="cpu")
    trained = load_dpm(miniature_network(), weights)
    for name, value in single.state_dict().items():
        frozen = name.startswith(("patch_embed.", "enc_blocks."))
        assert torch.equal(trained.state_dict()[name], value) == frozen, name
    # Heads that started equal have been told apart.
    own, further = trained.downstream_head1.state_dict(), trained.downstream_head1_t2.state_dict()
    assert any(not torch.equal(own[name], further[name]) for name in own)
    # The run's own file starts another one; the trained network's second heads stay as they are.
    again = trainee_of(config, "cpu", Processes()).read_start(weights)
    assert torch.equal(
        again["downstream_head1_t2.head.0.bias"], trained.downstream_head1_t2.head[0].bias
    )
    with pytest.raises(ModelError, match="no weights file"):
        train_config(config, tmp_path / "other", start_from=tmp_path / "none.pth")


def test_validation_sees_all_four_maps():
    network = random_network().float()
    images = torch.rand(3, 2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    pairs = ValidationPairs(images=images, truth=torch.zeros(3, 2, 2, 32, 48, 3))
    points, confidence = predict_pairs(network, pairs, chunk=2)
    with torch.inference_mode():
        encoded = network.encode_frames(images[2])
        alone = network.decode_frame_pairs(encoded, firsts=[0], seconds=[1])
    assert torch.allclose(points[2:], alone.points, atol=1e-4)
    assert torch.allclose(confidence[2:], alone.confidence, atol=1e-4)


def test_networks_and_losses_that_do_not_belong():
    for changes, message in (
        ({"network": dust3r()}, "no heads for other times"),
        ({"loss": LossWeights()}, "is no loss for dpm-miniature"),
    ):
        with pytest.raises(ConfigError, match=message):
            trainee_of(config_of(**changes), "cpu", Processes())
    assert isinstance(trainee_of(config_of(), "cpu", Processes()).build(), DpmNetwork)
