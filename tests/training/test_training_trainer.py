"""The training loop: exact resume, bad batches, checkpoints, rates, averages."""

import dataclasses
import json
import math
import pickle
from typing import Any

import pytest
import torch
from conftest import FixedStream, toy_truth

from dynapoint.errors import ConfigError, ModelError, OutputError
from dynapoint.models.nano.network import VideoPointMapNetwork
from dynapoint.models.nano.weights import load_network, save_network
from dynapoint.training import checkpoints
from dynapoint.training.checkpoints import FILE_NAME, load_state
from dynapoint.training.distributed import Processes
from dynapoint.training.hardware import autocast_dtype
from dynapoint.training.optimisers import (
    Muon,
    RunningAverage,
    build_optimisers,
    clip_gradients,
    learning_rate_at,
    orthogonalise,
)
from dynapoint.training.recipes import recipe
from dynapoint.training.recipes.small import smoke
from dynapoint.training.run import train, train_config
from dynapoint.training.train_config import CosineDecay, Phase, TrainConfig
from dynapoint.training.trainer import MOST_BAD_STEPS, Trainer

pytestmark = pytest.mark.filterwarnings("ignore:`axes` should not be:DeprecationWarning")


def toy_config(**changes) -> TrainConfig:
    phases = (Phase(until_samples=10**6, pixels=1024, batch=2),)
    small: dict[str, Any] = {"phases": phases, "warmup_steps": 3}
    return dataclasses.replace(smoke(), **(small | changes))


def toy_trainer(folder, *, at=None, batch=2, **changes) -> Trainer:
    trainer = Trainer(toy_config(**changes), folder, processes=Processes())
    stream: Any = FixedStream(toy_truth(batch), toy_config().phases[0], at)
    trainer.streams = {0: stream}
    return trainer


def copied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in weights.items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Muon takes the blocks' matrices and leaves the rest to AdamW, so its runs test both.
WITH_MUON = pytest.mark.parametrize(
    "optimiser", ["muon", pytest.param("adamw", marks=pytest.mark.slow)]
)


@WITH_MUON
def test_one_batch_can_be_learned_by_heart(tmp_path, optimiser):
    trainer = toy_trainer(tmp_path, batch=1, learning_rate=5e-3, optimiser=optimiser)
    reports = [trainer.train_step() for _ in range(30)]
    first, last = reports[0].losses, reports[-1].losses
    # In 30 steps every part falls to a fifth; cells cut by an edge keep matches above zero.
    for part in ("own_time", "log_distance", "motion", "camera", "match"):
        assert last[part] < first[part] / 5, part
    assert last["confidence"] < first["confidence"]
    assert not any(report.skipped for report in reports)


@WITH_MUON
def test_resumed_run_equals_one_that_never_stopped(tmp_path, optimiser):
    # The real stream, so that clips, draws and learning rates have to be found again as well.
    # Three steps stop in the middle of a group of clips.
    config = toy_config(optimiser=optimiser, decay_steps=4, steps=5)
    straight = Trainer(config, tmp_path / "straight", processes=Processes())
    reports = [straight.train_step() for _ in range(5)]

    begun = Trainer(config, tmp_path / "killed", processes=Processes())
    for _ in range(3):
        begun.train_step()
    begun.save()
    begun.train_step()  # Done after the checkpoint and lost with the process.
    del begun

    resumed = Trainer(config, tmp_path / "killed", processes=Processes())
    resumed.resume()
    assert (resumed.step, resumed.samples) == (3, 6)
    again = [resumed.train_step() for _ in range(2)]
    assert [r.losses for r in again] == [r.losses for r in reports[3:]]
    assert [r.learning_rate for r in again] == [r.learning_rate for r in reports[3:]]
    assert same(resumed.network.state_dict(), straight.network.state_dict())
    assert same(resumed.average.weights, straight.average.weights)
    for ours, theirs in zip(resumed.optimisers, straight.optimisers, strict=True):
        ours_state, theirs_state = ours.state_dict()["state"], theirs.state_dict()["state"]
        for key, values in theirs_state.items():
            for name, value in values.items():
                assert torch.equal(torch.as_tensor(ours_state[key][name]), torch.as_tensor(value))


def test_same_seed_same_run_and_other_seed_other_run(tmp_path):
    losses = []
    for seed in (0, 0, 1):
        trainer = Trainer(toy_config(seed=seed), tmp_path, processes=Processes())
        losses.append([trainer.train_step().losses["total"] for _ in range(2)])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("part", ["images", "points", "world_from_camera"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_bad_batch_leaves_weights_alone(tmp_path, part, value):
    good = toy_truth()
    bad = dataclasses.replace(good, **{part: torch.full_like(getattr(good, part), value)})
    trainer = toy_trainer(tmp_path, at={1: bad})
    assert not trainer.train_step().skipped
    weights, average = copied(trainer.network.state_dict()), copied(trainer.average.weights)
    report = trainer.train_step()
    assert report.skipped and trainer.bad_steps == 1
    assert same(trainer.network.state_dict(), weights)
    assert same(trainer.average.weights, average)
    # Good batches go on as if nothing had been.
    report = trainer.train_step()
    assert not report.skipped and trainer.bad_steps == 0 and trainer.step == 3
    assert math.isfinite(report.losses["total"])
    assert not same(trainer.network.state_dict(), weights)


def test_too_many_bad_batches_in_a_row_end_the_run(tmp_path, monkeypatch):
    assert MOST_BAD_STEPS == 20
    monkeypatch.setattr("dynapoint.training.trainer.MOST_BAD_STEPS", 3)
    good = toy_truth()
    bad = dataclasses.replace(good, images=good.images * math.nan)
    # Two bad ones, a good one, which starts the count again, and three bad ones.
    trainer = toy_trainer(tmp_path, at={k: bad for k in range(10) if k != 2})
    for _ in range(5):
        trainer.train_step()
    with pytest.raises(ModelError, match="3 steps in a row"):
        trainer.train_step()


def test_run_saves_validates_and_stops(tmp_path):
    trainer = toy_trainer(tmp_path, steps=3)
    seen, validated = [], []
    trainer.run(on_step=seen.append, on_validate=lambda t: validated.append(t.step))
    assert [report.step for report in seen] == [1, 2, 3]
    assert validated == [3]
    assert load_state(tmp_path).step == 3
    stopped = toy_trainer(tmp_path, steps=3)
    stopped.run(
        on_step=seen.append, on_validate=lambda t: None, should_stop=lambda: stopped.step == 2
    )
    assert load_state(tmp_path).step == 2


def test_intervals(tmp_path, monkeypatch):
    trainer = toy_trainer(tmp_path, steps=2, checkpoint_seconds=1e-9, validate_seconds=1e-9)
    saved, validated = [], []
    monkeypatch.setattr(trainer, "save", lambda: saved.append(trainer.step))
    trainer.run(on_step=lambda _: None, on_validate=lambda t: validated.append(t.step))
    assert saved == validated == [1, 2, 2]


def test_start_from_weights_begins_a_new_run(tmp_path, shaken):
    weights = shaken(seed=5).state_dict()
    trainer = toy_trainer(tmp_path)
    trainer.start_from(weights)
    assert same(trainer.network.state_dict(), weights)
    assert same(trainer.average.weights, weights)
    assert trainer.train_step().learning_rate == pytest.approx(2e-3 / 3)


def test_checkpoint_of_another_network_is_refused(tmp_path):
    toy_trainer(tmp_path).save()
    network = smoke().network
    wider = dataclasses.replace(
        network, aggregator=dataclasses.replace(network.aggregator, width=48)
    )
    with pytest.raises(ModelError, match="of another network or optimiser"):
        toy_trainer(tmp_path, network=wider).resume()
    with pytest.raises(ModelError, match="of another network or optimiser"):
        toy_trainer(tmp_path, optimiser="muon").resume()


def test_resume_without_a_checkpoint(tmp_path):
    with pytest.raises(ModelError, match="train without --resume first"):
        toy_trainer(tmp_path).resume()


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("damage", ["empty", "random", "cut", "code", "list", "keys"])
def test_damaged_checkpoint(tmp_path, damage, capsys):
    trainer = toy_trainer(tmp_path)
    trainer.save()
    path = tmp_path / FILE_NAME
    good = path.read_bytes()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "random":
        path.write_bytes(bytes(range(256)) * 40)
    elif damage == "cut":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "code":
        torch.save({"step": Evil()}, path)
    elif damage == "list":
        torch.save([1, 2], path)
    else:
        torch.save({"step": 1}, path)
    with pytest.raises(ModelError, match="cannot be read as a training checkpoint"):
        trainer.resume()
    assert "code ran" not in capsys.readouterr().out


def test_pickle_of_the_evil_class_would_have_run(capsys):
    # The damage above has to be real.
    pickle.loads(pickle.dumps(Evil()))
    assert "code ran" in capsys.readouterr().out


def test_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    trainer = toy_trainer(tmp_path)
    trainer.train_step()
    trainer.save()

    def broken(parts, path):
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", broken)
    trainer.train_step()
    with pytest.raises(OutputError, match="No space left"):
        trainer.save()
    assert [p.name for p in tmp_path.iterdir()] == [FILE_NAME]
    assert load_state(tmp_path).step == 1


def test_checkpoint_leaves_nothing_beside_it(tmp_path):
    trainer = toy_trainer(tmp_path / "new" / "folder")
    trainer.save()
    trainer.save()
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == [FILE_NAME]


def test_checkpoint_is_readable_by_weights_only(tmp_path):
    trainer = toy_trainer(tmp_path)
    trainer.train_step()
    trainer.save()
    parts = torch.load(tmp_path / FILE_NAME, weights_only=True)
    assert parts["step"] == 1 and parts["samples"] == 2
    assert json.loads(parts["config"])["name"] == "smoke"


def test_learning_rate():
    config = toy_config(learning_rate=1.0, warmup_steps=4, decay_steps=10, steps=100)
    rates = {step: learning_rate_at(step, config) for step in range(101)}
    # A quarter more each step, then constant, then a tenth less each of the last ten.
    assert [rates[k] for k in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[89] == rates[90] == 1.0
    assert rates[91] == pytest.approx(0.9) and rates[99] == pytest.approx(0.1)
    assert rates[100] == 0.0
    endless = dataclasses.replace(config, decay_steps=0)
    assert learning_rate_at(10**6, endless) == 1.0


def test_cosine_rate():
    phases = (Phase(frames=5, batch=4, largest_span=8), Phase(frames=9, batch=2, largest_span=8))
    cosine = CosineDecay(per_samples=256, warmup_share=0.1, least=1e-3)
    config = toy_config(
        learning_rate=2.0, phases=phases, steps=100, cosine=cosine, warmup_steps=7, decay_steps=9
    )
    # The largest batch is 4 and there are 16 processes: 2 · 64 / 256 = .5 at the peak.
    rates = [learning_rate_at(step, config, processes=16) for step in range(101)]
    assert rates[:10] == pytest.approx([0.05 * (k + 1) for k in range(10)])
    assert rates[10] == pytest.approx(0.5)
    # Half of the way down in the middle, at the least in the end.
    assert rates[55] == pytest.approx(1e-3 + 0.499 / 2)
    assert rates[25] == pytest.approx(1e-3 + 0.499 * (1 + math.cos(math.pi / 6)) / 2)
    assert rates[100] == learning_rate_at(200, config, processes=16) == pytest.approx(1e-3)
    # One process has a sixteenth of it.
    assert learning_rate_at(9, config) == pytest.approx(0.5 / 16)
    # A share that is no whole number of steps leaves no gap, and a run of one step has a rate.
    short = dataclasses.replace(config, steps=15)
    rates = [learning_rate_at(step, short, processes=16) for step in range(15)]
    assert rates[0] == pytest.approx(0.5 / 1.5) and 0.49 < max(rates) <= 0.5
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert learning_rate_at(0, dataclasses.replace(config, steps=1)) > 0


def test_running_average():
    network = torch.nn.BatchNorm1d(1)
    average = RunningAverage(network, decay=0.5)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.num_batches_tracked.fill_(7)
    # Step 0: decay min(.5, 1/10) = .1, so .1 · 1 + .9 · 3 = 2.8.
    average.update(network, 0)
    assert average.weights["weight"].item() == pytest.approx(2.8)
    # Whole numbers are copied.
    assert average.weights["num_batches_tracked"].item() == 7
    # Late: .5 · 2.8 + .5 · 3 = 2.9.
    average.update(network, 1000)
    assert average.weights["weight"].item() == pytest.approx(2.9)


def test_gradients_are_clipped_to_their_joint_norm():
    a, b = torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)
    a.grad, b.grad = torch.tensor([3.0, 0]), torch.tensor([4.0])
    assert clip_gradients([a, b], 1.0).item() == pytest.approx(5)
    assert torch.allclose(torch.cat([a.grad, b.grad]), torch.tensor([0.6, 0, 0.8]), atol=1e-5)


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_every_parameter_has_one_optimiser_and_vectors_do_not_decay(optimiser):
    network = VideoPointMapNetwork(smoke().network)
    optimisers = build_optimisers(network, toy_config(optimiser=optimiser))
    assert len(optimisers) == (2 if optimiser == "muon" else 1)
    groups = [group for o in optimisers for group in o.param_groups]
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in network.parameters())
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            decays = parameter.ndim >= 2 and not names[id(parameter)].endswith("token")
            assert (group["weight_decay"] > 0) == decays, names[id(parameter)]


@pytest.mark.parametrize("shape", [(32, 96), (96, 32), (40, 40)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrix = torch.randn(shape) * 1e-3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalise(matrix)
    singular = torch.linalg.svdvals(result)
    # Five steps of Muon's quintic end between about .7 and 1.2 except for tiny singular values.
    assert singular.max() < 1.25 and singular.median() > 0.65
    # The directions stay: seen in the matrix's own singular vectors the result is diagonal.
    diagonal = u.T @ result @ v.T
    assert (diagonal - torch.diag(diagonal.diagonal())).abs().max() < 1e-3


@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (32, 32)])
def test_a_step_of_muon_is_as_large_as_one_of_adamw(shape):
    weight = torch.nn.Parameter(torch.zeros(shape))
    muon = Muon([weight], lr=0.01, weight_decay=0.1, momentum=0.95)
    weight.grad = 1e3 * torch.randn(shape)
    muon.step()
    assert 0.8 * 0.2 * 0.01 < weight.detach().square().mean().sqrt() < 1.2 * 0.2 * 0.01


def test_precision_settings():
    assert autocast_dtype("float32", "cpu") is None
    assert autocast_dtype("bfloat16", "cpu") == torch.bfloat16
    assert autocast_dtype("auto", "cpu") in (None, torch.bfloat16)


def test_curriculum_counts_samples():
    config = toy_config(
        phases=(
            Phase(until_samples=10, batch=4),
            Phase(until_samples=20, batch=2, frames=3),
            Phase(until_samples=30, batch=1, frames=4),
        )
    )
    # Steps 0-2 see 12 samples, steps 3-6 eight more, then one each, beyond the end as well.
    batches = [config.phase_at(step).batch for step in range(20)]
    assert batches == [4] * 3 + [2] * 4 + [1] * 13
    assert [config.samples_before(step) for step in (0, 3, 7, 9)] == [0, 12, 20, 22]
    assert config.samples_before(2, processes=2) == 16
    assert config.phase_at(2, processes=2).batch == 2


def test_shares_have_to_add_up():
    with pytest.raises(ConfigError, match="add up to 1"):
        Phase(until_samples=1, difficulties=((0.0, 0.5), (1.0, 0.4)))


def test_unknown_recipe():
    with pytest.raises(ConfigError, match=r"unknown recipe 'nanno'.*nano, .*smoke"):
        recipe("nanno")


def test_training_writes_weights_logs_and_goes_on(tmp_path):
    output = tmp_path / "run"
    config = toy_config(steps=10)
    weights = train_config(config, output, device="cpu")
    assert weights == output / "weights.safetensors"
    network = load_network(weights)
    assert network.config == config.network
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"], line["samples"]) for line in lines] == [("train", 10, 20)]
    assert {"total", "motion", "learning_rate", "samples_per_second"} <= lines[0].keys()
    longer = dataclasses.replace(config, steps=11)
    train_config(longer, output, device="cpu", resume=True)
    assert load_state(output).step == 11
    # A new run from these weights, stopped by the clock after its first look at it.
    other = tmp_path / "other"
    train_config(config, other, device="cpu", start_from=weights, max_seconds=1e-9)
    state = load_state(other)
    assert state.step == 0 and state.samples == 0


def test_start_from_weights_of_another_network(tmp_path, shaken):
    network = smoke().network
    wider = dataclasses.replace(
        network, aggregator=dataclasses.replace(network.aggregator, width=48)
    )
    save_network(shaken(wider), tmp_path / "wide.safetensors", record={})
    with pytest.raises(ModelError, match="another network"):
        train_config(
            toy_config(steps=1),
            tmp_path / "run",
            device="cpu",
            start_from=tmp_path / "wide.safetensors",
        )


def test_a_new_run_does_not_overwrite_an_old_one(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"days of work")
    with pytest.raises(OutputError, match="add --resume to go on"):
        train("smoke", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_resuming_what_is_not_there_leaves_no_folder(tmp_path):
    with pytest.raises(ModelError, match="no checkpoint"):
        train("smoke", tmp_path / "misspelt", resume=True)
    assert not list(tmp_path.iterdir())


def test_output_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError, match="cannot make the folder"):
        train_config(toy_config(steps=1), tmp_path / "file" / "run", device="cpu")
