"""Runs that have so many seconds: stages and rate by time, and weights however they end."""

import dataclasses
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import toy_truth

from dynapoint.errors import ConfigError
from dynapoint.models.layers.precision import cpu_multiplies_bf16
from dynapoint.models.nano.config import tiny
from dynapoint.models.nano.small_networks import build_network
from dynapoint.models.nano.weights import load_network, save_network
from dynapoint.training import leased_run
from dynapoint.training.clip_pool import ClipPool
from dynapoint.training.distributed import Processes
from dynapoint.training.lease_log import LeaseLog, SpeedMeter
from dynapoint.training.lease_plan import LeasePlan, Stage, TimeBudget
from dynapoint.training.leased_run import Intervals, LeasedRun, StopRequest, _cut
from dynapoint.training.leased_weights import fitting_weights
from dynapoint.training.recipes import recipe
from dynapoint.training.recipes.small import nano, smoke
from dynapoint.training.scene_workers import WorkerError
from dynapoint.training.shards import join_shards
from dynapoint.training.train_config import Phase
from dynapoint.training.trainer import Trainer
from folders import ROOT

SCRIPT = ROOT / "scripts" / "gpu" / "lease.py"
ONE_STAGE = (Stage(until=1.0, frames=2, pixels=1024),)


class Clock:
    """A clock that goes on by itself, so much at each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.time, self.step = 1000.0, step

    def __call__(self) -> float:
        self.time += self.step
        return self.time


def test_stages_take_all_else_from_the_recipe():
    plan = LeasePlan()
    config = plan.configure(nano())
    assert config.network == nano().network and config.loss == nano().loss
    pairs, three, four = config.phases
    own = {phase.frames: phase for phase in nano().phases}
    assert [p.frames for p in config.phases] == [2, 3, 4]
    assert [p.pixels for p in config.phases] == [64 * 88, 64 * 88, 96 * 128]
    assert [p.batch for p in config.phases] == [128, 128, 64]
    assert pairs.difficulties == ((0.0, 0.5), (0.5, 0.5))
    for phase in (three, four):
        assert phase.difficulties == own[phase.frames].difficulties
        assert phase.pairs == own[phase.frames].pairs
        assert phase.still_camera == own[phase.frames].still_camera
    assert config.learning_rate == 2e-3 and config.ema_decay == 0.999


def test_a_recipe_without_a_phase_of_as_many_frames_gives_its_nearest():
    recipe = dataclasses.replace(
        smoke(),
        phases=(Phase(frames=3, pairs=5), Phase(frames=8, largest_span=9, still_camera=0.7)),
    )
    stages = tuple(Stage(until=u, frames=f, pixels=999) for u, f in ((0.5, 2), (1.0, 10)))
    first, last = LeasePlan(stages=stages).configure(recipe).phases
    assert (first.frames, first.pairs) == (2, 5)
    assert (last.frames, last.still_camera, last.largest_span) == (10, 0.7, 9)


@pytest.mark.parametrize("ends", [(), (0.5,), (0.5, 0.5, 1.0), (0.7, 0.3, 1.0), (0.0, 1.0)])
def test_stages_that_do_not_follow_each_other_are_refused(ends):
    with pytest.raises(ConfigError, match="stages must end"):
        LeasePlan(stages=tuple(Stage(until=u, frames=2, pixels=9) for u in ends))


def test_stage_and_rate_go_by_time():
    plan = LeasePlan(learning_rate=1.0, warmup_steps=10, fall=0.25)
    assert [plan.stage_at(s) for s in (0.0, 0.0999, 0.1, 0.5999, 0.6, 0.99, 1.0)] == [
        0, 0, 1, 1, 2, 2, 2,
    ]  # fmt: skip
    assert plan.rate_at(0.0, 0) == pytest.approx(0.1)
    assert plan.rate_at(0.5, 9) == plan.rate_at(0.75, 10_000) == 1.0
    assert plan.rate_at(0.875, 10_000) == pytest.approx(0.5)
    assert plan.rate_at(1.0, 10_000) == plan.rate_at(1.1, 10_000) == 0.0


def test_time_counts_from_the_start_less_a_reserve():
    clock = Clock()
    budget = TimeBudget(started=990.0, seconds=110.0, reserve=10.0, now=clock)
    assert budget.spent() == 10.0 and budget.share() == 0.1 and budget.left() == 100.0
    clock.time = 1080.0
    assert budget.share() == pytest.approx(0.9)
    clock.time = 1095.0
    assert budget.share() == 1.0 and budget.left() == pytest.approx(5.0)
    with pytest.raises(ConfigError, match="a reserve of 20 s leaves nothing of 20 s"):
        TimeBudget(started=0.0, seconds=20.0, reserve=20.0)


def test_log_lines_and_their_means(tmp_path, capsys):
    log = LeaseLog(
        tmp_path / "log.jsonl", TimeBudget(started=0.0, seconds=9.0, reserve=1.0, now=Clock())
    )
    log.write(event="x", value=math.nan, other=1 / 3)
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line == {"t": 1000.0, "event": "x", "value": None, "other": 0.33333}
    assert json.loads(capsys.readouterr().out) == line
    meter, lines = SpeedMeter(), {}
    for step in range(1, 301):
        meter.add(samples=4, seconds={"step": 0.5, "draw": 0.1}, losses={"total": float(step)})
        means = meter.line(step)
        if means is not None:
            lines[step] = means
    assert list(lines) == [1, 5, 20, 100, 200, 300]
    assert lines[5]["total"] == (2 + 3 + 4 + 5) / 4 and lines[200]["total"] == 150.5
    assert all(each["per_second"] == pytest.approx(8.0) for each in lines.values())
    assert lines[20]["draw_ms"] == pytest.approx(100.0)


class ToyPool(ClipPool):
    """A pool whose samples are made by hand, or go wrong as `at` says."""

    def __init__(self, batch: int = 4, at=None, stage=lambda: 0) -> None:
        self.batch, self.at, self.stage = batch, at or {}, stage
        self.held, self.rendered, self.drawn, self.closed = 8, 0, 0, False

    def __len__(self) -> int:
        return min(self.rendered, 1)

    def wants(self) -> bool:
        return True

    def refill(self, *, timeout: float = 0.0) -> bool:
        self.rendered += 1
        self._go_wrong(f"refill {self.rendered}")
        return True

    def sample(self, step):
        self.drawn += 1
        self._go_wrong(f"draw {self.drawn}")
        return self.at.get(step, toy_truth(self.batch)), self.stage()

    def shrink(self) -> None:
        self.held //= 2

    def close(self) -> None:
        self.closed = True

    def _go_wrong(self, when: str) -> None:
        what = self.at.get(when)
        if what is not None:
            raise what


def leased(folder, *, pool=None, seconds=3.0, clock=None, plan=None, **options) -> LeasedRun:
    """A run of a tiny network on samples made by hand; without a `clock` time stands still."""
    torch.manual_seed(0)
    plan = plan or LeasePlan(stages=ONE_STAGE, batch=4, warmup_steps=3, learning_rate=1e-3)
    config = dataclasses.replace(plan.configure(smoke()), optimiser="muon")
    now = clock or Clock()
    start = now()
    budget = TimeBudget(started=start, seconds=seconds + 1.0, reserve=1.0, now=now)
    return LeasedRun(
        Trainer(config, folder, processes=Processes()),
        ToyPool() if pool is None else pool,
        plan=plan,
        budget=budget,
        log=LeaseLog(folder / "log.jsonl", budget),
        validation_clips=0,
        **options,
    )


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def events(folder: Path) -> list[str]:
    return [line["event"] for line in lines_of(folder) if "event" in line]


def joined(folder: Path, output: Path) -> dict[str, Path]:
    """The weights that came back from a run, put together as after a lease."""
    back = output / "back"
    back.mkdir(parents=True)
    newest = folder / "saves" / "newest"
    for part in newest.iterdir():
        (back / part.name).write_bytes(part.read_bytes())
    (back / "log.jsonl").write_bytes((folder / "log.jsonl").read_bytes())
    return {each.path.stem: each.path for each in join_shards([back], output)}


def test_a_run_uses_its_time_up_and_hands_over_its_weights(tmp_path):
    # Every look at this clock is two hundredths of a second.
    pool, clock = ToyPool(), Clock(0.02)
    run = leased(tmp_path, pool=pool, clock=clock, seconds=1.0)
    first = {k: v.clone() for k, v in run.trainer.network.state_dict().items()}
    assert run.run() == 0
    assert pool.closed and run.budget.share() == 1.0
    assert events(tmp_path)[:3] == ["saved", "saved", "first clips"]
    assert events(tmp_path)[-4:] == ["saved", "saved", "written", "end"]
    trainer = run.trainer
    assert trainer.samples == 4 * trainer.step >= 16
    written = next(line for line in lines_of(tmp_path) if line.get("event") == "written")
    assert (written["step"], written["samples"]) == (trainer.step, trainer.samples)
    steps = [line for line in lines_of(tmp_path) if "per_second" in line]
    assert [line["step"] for line in steps][:1] == [1]
    assert {"rate", "render_ms", "draw_ms", "step_ms", "gib", "total", "norm"} <= set(steps[0])
    paths = joined(tmp_path, tmp_path / "out")
    for name, wanted in (("raw", trainer.network.state_dict()), ("ema", trainer.average.weights)):
        found = load_network(paths[name]).state_dict()
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, rtol=2**-8, atol=1e-6)
        assert any(not torch.equal(found[key], first[key]) for key in found)


def test_rates_fall_to_zero_with_the_time(tmp_path):
    rates = []
    run = leased(tmp_path, clock=Clock(0.02), seconds=1.2)
    plain = run._update

    def spy(numbers):
        rates.append(plain(numbers))
        return rates[-1]

    run._update = spy
    run.run()
    assert rates[0] == pytest.approx(1e-3 / 3) and max(rates) == 1e-3
    assert rates[-1] < 0.4e-3
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert run.trainer.optimisers[0].param_groups[0]["lr"] == rates[-1]


def test_weights_are_saved_at_intervals(tmp_path):
    # After every step, and at the beginning and the end; two files each.
    often = Intervals(save=0.0, validate=1e9)
    run = leased(tmp_path, clock=Clock(0.1), seconds=4.0, intervals=often)
    assert run.run() == 0
    saves = [line["step"] for line in lines_of(tmp_path) if line.get("event") == "saved"]
    steps = run.trainer.step
    assert saves == sorted(2 * [0, *range(1, steps + 1), steps]) and steps > 2
    # Only the newest two saves are kept.
    assert len(list((tmp_path / "saves").glob("save-*"))) == 2


def test_a_signal_ends_the_run_with_all_written(tmp_path):
    run = leased(tmp_path, seconds=600.0)
    plain = run._step

    def step(*arguments):
        if run.trainer.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*arguments)

    run._step = step
    before = signal.getsignal(signal.SIGTERM)
    assert run.run() == 128 + signal.SIGTERM
    assert run.trainer.step == 3
    assert events(tmp_path)[-2:] == ["written", "end"]
    assert signal.getsignal(signal.SIGTERM) == before
    assert set(joined(tmp_path, tmp_path / "out")) == {"ema", "raw"}


def test_a_second_signal_does_not_wait():
    stop = StopRequest()
    stop.receive(signal.SIGTERM)
    with pytest.raises(SystemExit) as exit_:
        stop.receive(signal.SIGTERM)
    assert exit_.value.code == 143


def test_an_error_ends_the_run_with_all_written(tmp_path):
    run = leased(tmp_path, pool=ToyPool(at={"draw 4": KeyError("out of order")}), seconds=600.0)
    assert run.run() == 1
    failed = next(line for line in lines_of(tmp_path) if line.get("event") == "failed")
    assert "out of order" in failed["error"]
    # The third step's update is lost with the draw that came before it.
    assert run.trainer.step == 2
    assert events(tmp_path)[-4:] == ["saved", "saved", "written", "end"]
    assert run.pool.closed


def test_what_cannot_be_saved_leaves_the_earlier_files(tmp_path, monkeypatch):
    run = leased(tmp_path, seconds=600.0)
    plain = run._step

    def step(*arguments):
        monkeypatch.setattr(run.trainer.trainee, "save", lambda *_: 1 / 0)
        raise RuntimeError("device-side assert")

    run._step = step
    assert plain is not None
    assert run.run() == 1
    assert events(tmp_path)[-3:] == ["not saved", "not written", "end"]
    assert set(joined(tmp_path, tmp_path / "out")) == {"ema", "raw"}


def short_of_memory(run: LeasedRun, largest: int) -> list[int]:
    """Let the objective fail for more samples than `largest`; returns the sizes asked for."""
    sizes, plain = [], run.trainer.objective

    def objective(sample, *rest):
        sizes.append(len(sample.images))
        if len(sample.images) > largest:
            raise torch.OutOfMemoryError("pretended")
        return plain(sample, *rest)

    setattr(run.trainer, "objective", objective)  # noqa: B010 - a stand-in for a module.
    return sizes


def test_a_batch_too_large_goes_in_halves(tmp_path):
    for largest in (4, 2, 1):
        run = leased(tmp_path / str(largest), clock=Clock(1.0), seconds=14.0)
        sizes = short_of_memory(run, largest)
        assert run.run() == 0
        steps = run.trainer.step
        assert run.trainer.samples == 4 * steps > 0
        wanted = {4: [4] * steps, 2: [4] + [2] * 2 * steps, 1: [4, 2] + [1] * 4 * steps}
        assert sizes == wanted[largest]
        if largest < 4:
            assert "out of memory" in events(tmp_path / str(largest))


def test_gradients_of_pieces_add_up(tmp_path):
    # A batch of one sample four times over: means over pieces are then means over the batch.
    one = toy_truth(1)
    four = type(one)(
        **{f.name: getattr(one, f.name).repeat_interleave(4, 0) for f in dataclasses.fields(one)}
    )
    gradients = []
    for pieces in (1, 2, 4):
        run = leased(tmp_path)
        run._pieces = [pieces]
        values = run._gradients(four, 0)
        assert torch.isfinite(values).all()
        found = {n: p.grad for n, p in run.trainer.network.named_parameters()}
        gradients.append((values, found))
    largest = max(float(value.abs().max()) for value in gradients[0][1].values())
    # Processors with instructions for bfloat16 sum in it, in another order for each cut.
    tolerance = 5e-2 if cpu_multiplies_bf16() else 1e-3
    for values, found in gradients[1:]:
        torch.testing.assert_close(values, gradients[0][0], rtol=1e-4, atol=1e-6)
        for name, value in found.items():
            wanted = gradients[0][1][name]
            off = (value - wanted).abs().max()
            assert off <= tolerance * wanted.abs().max() + 1e-6 * largest, name


def test_pieces_are_the_whole():
    sample = toy_truth(5)
    pieces = _cut(sample, 3)
    assert [len(piece.images) for piece in pieces] == [2, 2, 1]
    for field in dataclasses.fields(sample):
        together = torch.cat([getattr(piece, field.name) for piece in pieces])
        assert torch.equal(together, getattr(sample, field.name)), field.name


def test_memory_short_for_single_samples_ends_the_run(tmp_path):
    run = leased(tmp_path, seconds=600.0)
    assert short_of_memory(run, 0) == []
    assert run.run() == 1
    failed = next(line for line in lines_of(tmp_path) if line.get("event") == "failed")
    assert "NotEnoughMemoryError" in failed["error"]
    assert events(tmp_path)[-2:] == ["written", "end"]


@pytest.mark.parametrize("when", ["refill 3", "draw 3"])
def test_memory_short_for_clips_shrinks_the_pool(tmp_path, when):
    pool = ToyPool(at={when: torch.OutOfMemoryError("pretended")})
    run = leased(tmp_path, pool=pool, clock=Clock(0.1), seconds=5.0)
    assert run.run() == 0
    assert pool.held == 4 and run.trainer.step > 3
    assert events(tmp_path).count("out of memory") == 1


def test_failed_scenes_are_said_and_many_of_them_raised(tmp_path):
    pool = ToyPool(at={"refill 2": WorkerError("a scene among the seeds")})
    run = leased(tmp_path / "one", pool=pool, clock=Clock(0.1), seconds=5.0)
    assert run.run() == 0 and run.trainer.step > 3
    (line,) = [each for each in lines_of(tmp_path / "one") if each.get("event") == "worker failed"]
    assert "a scene among the seeds" in line["error"]
    pool = ToyPool(at={f"refill {k}": WorkerError("again") for k in range(2, 40)})
    run = leased(tmp_path / "many", pool=pool, seconds=600.0)
    assert run.run() == 1
    assert events(tmp_path / "many").count("worker failed") == 20


def test_steps_that_are_not_finite_are_left_out(tmp_path):
    good = toy_truth(4)
    bad = dataclasses.replace(good, images=good.images * math.nan)
    run = leased(tmp_path)
    trainer = run.trainer
    for _ in range(3):
        run._step(good, 0)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    average = {k: v.clone() for k, v in trainer.average.weights.items()}
    run._step(bad, 0)
    for key, value in trainer.network.state_dict().items():
        assert torch.equal(value, before[key])
        assert torch.equal(trainer.average.weights[key], average[key])
    assert trainer.step == 4 and "not finite" in events(tmp_path)
    run._step(good, 0)
    assert run._bad == 0
    assert any(not torch.equal(v, before[k]) for k, v in trainer.network.state_dict().items())


def test_the_twentieth_in_a_row_goes_back_to_the_average_at_half_the_rate(tmp_path, monkeypatch):
    assert leased_run.MOST_BAD_STEPS == 20
    monkeypatch.setattr(leased_run, "MOST_BAD_STEPS", 3)
    good = toy_truth(4)
    bad = dataclasses.replace(good, images=good.images * math.nan)
    run = leased(tmp_path)
    trainer = run.trainer
    for _ in range(4):
        run._step(good, 0)
    for _ in range(2):
        run._step(bad, 0)
    weights, average = trainer.network.state_dict(), trainer.average.weights
    assert any(not torch.equal(weights[key], average[key]) for key in weights)
    run._step(good, 0)
    rate = trainer.optimisers[0].param_groups[0]["lr"]
    assert run._bad == 0 and rate > 0
    for _ in range(3):
        run._step(bad, 0)
    weights = trainer.network.state_dict()
    assert all(torch.equal(weights[key], average[key]) for key in weights)
    assert "back to the average" in events(tmp_path)
    run._step(good, 0)
    assert trainer.optimisers[0].param_groups[0]["lr"] == pytest.approx(rate / 2)


def test_frozen_parts_and_buffers(tmp_path, monkeypatch):
    plan = LeasePlan(stages=ONE_STAGE, batch=4, warmup_steps=1)
    config = dataclasses.replace(plan.configure(smoke()), frozen=("stem.",), optimiser="muon")
    trainer = Trainer(config, tmp_path, processes=Processes())
    trainer.network.register_buffer("count", torch.zeros((), dtype=torch.int64))
    trainer.network.register_buffer("mean", torch.zeros(3))
    trainer.average = trainer._fresh_average()
    monkeypatch.setattr(trainer, "averaged_network", lambda: _with_buffers(trainer))
    budget = TimeBudget(started=1000.0, seconds=6.0, reserve=1.0, now=Clock(0.1))
    pool = ToyPool()
    run = LeasedRun(
        trainer,
        pool,
        plan=plan,
        budget=budget,
        log=LeaseLog(tmp_path / "log.jsonl", budget),
        validation_clips=0,
    )
    first = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    plain = pool.sample

    def sample(step):
        trainer.network.count += 1
        trainer.network.mean += 1.0
        return plain(step)

    pool.sample = sample
    assert run.run() == 0
    state = trainer.network.state_dict()
    assert all(torch.equal(state[k], first[k]) for k in first if k.startswith("stem."))
    assert not torch.equal(state["aggregator.camera_token"], first["aggregator.camera_token"])
    from safetensors.torch import load_file

    raw, ema = (load_file(tmp_path / f"{name}.safetensors") for name in ("raw", "ema"))
    assert raw["count"] == ema["count"] > 5
    assert (raw["mean"] > ema["mean"]).all() and (ema["mean"] > 0).all()


def _with_buffers(trainer: Trainer):
    network = build_network(tiny())
    network.register_buffer("count", torch.zeros((), dtype=torch.int64))
    network.register_buffer("mean", torch.zeros(3))
    return network.eval()


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("gpu_lease_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(folder: Path, *more: object) -> list[str]:
    fixed = "--recipe smoke --device cpu --batch 2 --pixels 0.2 --workers 0 --held 2 --reserve 1"
    return [*fixed.split(), "--folder", str(folder), *map(str, more)]


def test_options_reach_the_plan(script, tmp_path):
    arguments = script.parse_arguments(
        words(tmp_path, "--seconds", 9, "--rate", 0.5, "--warmup", 7, "--draws", 3)
    )
    plan = script.plan_of(arguments)
    assert (plan.batch, plan.learning_rate, plan.warmup_steps) == (2, 0.5, 7)
    assert (plan.held, plan.draws) == (2, 3)
    assert [stage.pixels for stage in plan.stages] == [1126, 1126, 2457]
    default = script.plan_of(script.parse_arguments(["--folder", "x", "--seconds", "9"]))
    assert default == LeasePlan()


def test_script_on_the_engine_in_one_process(script, tmp_path, monkeypatch):
    start = tmp_path / "start.safetensors"
    save_network(build_network(tiny()), start, record={})
    monkeypatch.setenv("LEASE_STARTED", str(time.time()))
    folder = tmp_path / "run"
    options = ["--seconds", 45, "--reserve", 30, "--start-from", start, "--validation-clips", 1]
    assert script.main(words(folder, *options)) == 0
    lines = lines_of(folder)
    assert [line["event"] for line in lines if "event" in line][:4] == [
        "built", "saved", "saved", "first clips",
    ]  # fmt: skip
    assert lines[0]["start"] == str(start)
    scored = [line for line in lines if line.get("event") == "validation"]
    assert [line["set"] for line in scored] == ["easy", "hard"]
    assert lines[-1]["event"] == "end" and lines[-1]["t"] < 45
    assert set(joined(folder, tmp_path / "out")) == {"ema", "raw"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seconds", 9, "--start-from", "none"], "error: no weights file at none"),
        (["--seconds", 1], "error: a reserve of 1 s leaves nothing of 1 s"),
        (["--seconds", 9, "--recipe", "nanno"], "error: unknown recipe 'nanno'"),
    ],
)
def test_mistakes_end_in_one_line(script, tmp_path, capsys, more, message):
    assert script.main(words(tmp_path, *more)) == 1
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["nano", "smoke"])
def test_plans_fit_all_recipes_of_small_networks(name):
    for phase in LeasePlan().configure(recipe(name)).phases:
        assert phase.batch >= 1


@pytest.mark.slow
def test_sigterm_from_outside_with_workers(tmp_path):
    folder = tmp_path / "run"
    options = [*words(folder, "--seconds", 600), "--workers", "2", "--save-every", "2"]
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *options], stdout=subprocess.PIPE, text=True
    )
    try:
        for line in process.stdout:
            if json.loads(line).get("step") == 5:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
    finally:
        process.kill()
        process.stdout.close()
    assert events(folder)[-2:] == ["written", "end"]
    assert set(joined(folder, tmp_path / "out")) == {"ema", "raw"}


def test_shipped_weights_are_those_of_the_same_network(tmp_path):
    assert fitting_weights(recipe("nano")).name == "nano-2.safetensors"
    assert fitting_weights(smoke(), tmp_path) is None
    (tmp_path / "a.safetensors").write_bytes(b"damaged")
    save_network(build_network(tiny()), tmp_path / "b.safetensors", record={})
    assert fitting_weights(smoke(), tmp_path).name == "b.safetensors"
    assert fitting_weights(recipe("nano"), tmp_path) is None
