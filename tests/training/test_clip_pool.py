"""The pool of clips: workers build what the process itself would, and their errors are raised."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig
from dynapoint.training import clip_pool, scene_workers
from dynapoint.training.clip_pool import FIRST_SEED, ClipPool
from dynapoint.training.data_stream import SampleStream, SceneRequest, plan_group
from dynapoint.training.mixture import V_DPM_SETS
from dynapoint.training.recipes.small import smoke
from dynapoint.training.scene_workers import (
    GroupRequest,
    ScenesOnTheSpot,
    SceneWorkers,
    WorkerError,
)
from dynapoint.training.train_config import Phase

CPU = torch.device("cpu")
EASY, HARD = ((0.0, 1.0),), ((1.0, 1.0),)
SMALL = Phase(pixels=1024, batch=2, difficulties=EASY)


def config(*phases: Phase, **changes):
    return dataclasses.replace(smoke(), phases=phases or (SMALL,), clip_frames=5, **changes)


def request(number: int = 0, *, phase: Phase = SMALL, rendered: bool = False) -> GroupRequest:
    plan = plan_group(config(phase), phase, rng=np.random.default_rng(number), first_seed=7)
    return GroupRequest(number=number, phase=0, plan=plan, rendered=rendered)


def broken(number: int) -> GroupRequest:
    """A request whose scene no generator can draw: a config from elsewhere, not checked."""
    scene = SceneConfig(frames=3)
    object.__setattr__(scene, "frames", 0)
    plan = request().plan
    bad = SceneRequest(seed=12, config=scene, aspect=1.0)
    return GroupRequest(number=number, phase=0, plan=dataclasses.replace(plan, scenes=(bad, bad)))


def fetched(source, seconds: float = 60.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        built = source.fetch(0.5)
        if built is not None:
            return built
    raise AssertionError("nothing came")


def assert_same_clips(a, b, *, steps: int = 0) -> None:
    for field in dataclasses.fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if field.name == "images":
            assert (one.int() - other.int()).abs().max() <= steps
        else:
            assert torch.equal(one, other), field.name


@pytest.fixture(scope="module")
def workers():
    source = SceneWorkers(2)
    yield source
    source.close()


def test_groups_on_the_spot_are_those_of_render_clips():
    hard = request(3, phase=dataclasses.replace(SMALL, difficulties=HARD))
    source = ScenesOnTheSpot()
    assert source.room() == 1 and source.fetch(0.0) is None
    source.ask(hard)
    assert source.room() == 0
    built = source.fetch(0.0)
    scenes = [each.build() for each in hard.plan.scenes]
    plain = render_clips(scenes, image_hw=hard.plan.image_hw, seed=3)
    assert_same_clips(built.clips(CPU), plain)
    source.ask(dataclasses.replace(hard, rendered=True))
    assert_same_clips(source.fetch(0.0).clips(CPU), plain)


def test_workers_build_what_the_process_itself_would(workers):
    assert workers.room() == 4
    wanted = [request(number, rendered=number % 2 == 1) for number in range(4)]
    for each in wanted:
        workers.ask(each)
    assert workers.room() == 0
    found = {}
    for _ in wanted:
        built = fetched(workers)
        found[built.request.number] = built
    for each in wanted:
        spot = ScenesOnTheSpot()
        spot.ask(each)
        # Shading sums in another order where a worker has one thread.
        assert_same_clips(found[each.number].clips(CPU), spot.fetch(0.0).clips(CPU), steps=1)
    assert workers.room() == 4 and list(workers._folder.iterdir()) == []


def test_errors_of_workers_are_raised_and_others_go_on(workers):
    workers.ask(broken(10))
    workers.ask(request(11))
    outcomes = []
    for _ in range(2):
        try:
            outcomes.append(fetched(workers).request.number)
        except WorkerError as error:
            assert "a scene among the seeds 12 to 12 cannot be built" in str(error)
            assert "Traceback" in str(error)
            outcomes.append("error")
    assert sorted(map(str, outcomes)) == ["11", "error"]


def test_errors_on_the_spot_are_raised():
    source = ScenesOnTheSpot()
    source.ask(broken(0))
    with pytest.raises(WorkerError, match="seeds 12 to 12"):
        source.fetch(0.0)


def test_dead_workers_are_reported_and_missed():
    source = SceneWorkers(1)
    try:
        source.ask(request(0))
        fetched(source)
        os.kill(source._workers[0].process.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match="exit code -9; 0 are left"):
            fetched(source)
        with pytest.raises(WorkerError, match="all processes"):
            source.fetch(0.0)
    finally:
        source.close()
    assert not source._folder.exists()


def test_workers_see_no_gpu_and_the_trainer_still_does(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with scene_workers._environment(scene_workers._CHILD_ENVIRONMENT):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


ORPHANS = """
    import os, signal, sys
    from dynapoint.training.scene_workers import SceneWorkers
    if __name__ == "__main__":
        source = SceneWorkers(1)
        print(source._workers[0].process.pid, source._folder, flush=True)
        source._workers[0].pipe.poll(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_die_with_a_trainer_that_is_killed(tmp_path):
    script = tmp_path / "orphans.py"
    script.write_text(textwrap.dedent(ORPHANS))
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, folder = done.stdout.split()
    until = time.monotonic() + 60
    # A process without a parent is taken in by another one, which may let it lie as a zombie.
    while _runs(int(pid)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _runs(int(pid))
    assert not Path(folder).exists()


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pool(*phases: Phase, held: int = 2, draws: int = 2, phase_now=lambda: 0, **changes) -> ClipPool:
    return ClipPool(
        config(*phases, **changes),
        device="cpu",
        workers=0,
        held=held,
        draws=draws,
        phase_now=phase_now,
    )


def test_pool_holds_so_many_groups_and_draws_each_so_often():
    clips = pool(held=3, draws=4)
    assert len(clips) == 0 and clips.wants()
    drawn = Counter()
    for step in range(24):
        if clips.wants():
            assert clips.refill()
        before = {id(g): g.draws_left for g in clips._groups}
        sample, index = clips.sample(step)
        assert index == 0 and sample.images.shape[:2] == (2, 2)
        (used,) = [g for g in clips._groups if g.draws_left != before[id(g)]]
        drawn[used.request.number] += 1
        assert len(clips) <= 3
    assert clips.rendered == 2 * clips._asked and sum(drawn.values()) == 24
    # Every group is drawn from so often, unless it is still held.
    still = {g.request.number: g.draws_left for g in clips._groups}
    assert all(count + still.get(number, 0) == 4 for number, count in drawn.items())


def test_pool_that_gets_no_clips_draws_on_from_what_it_holds():
    clips = pool(held=2, draws=1)
    clips.refill()
    first = clips.sample(0)[0]
    again = clips.sample(0)[0]
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, clips.sample(1)[0].images)


def test_pool_goes_over_to_the_next_phase():
    now = [0]
    later = dataclasses.replace(SMALL, frames=3, batch=1)
    clips = pool(SMALL, later, held=8, draws=8, phase_now=lambda: now[0])
    clips.refill()
    clips.refill()
    now[0] = 1
    clips.refill()
    # One group of the new phase would be seen too often by itself.
    assert {clips.sample(step)[1] for step in range(40)} == {0, 1}
    clips.refill()
    clips.refill()
    for step in range(10):
        sample, index = clips.sample(step)
        assert index == 1 and sample.images.shape[:2] == (1, 3)


def test_pool_masks_what_its_sets_do_not_know():
    clips = pool(dataclasses.replace(SMALL, batch=6), sets=V_DPM_SETS)
    clips.refill()
    sample, _ = clips.sample(0)
    (group,) = clips._groups
    names = [each.supervises for each in group.request.plan.sets]
    assert sorted(set(names)) == ["all", "own_time"]
    for known, name in zip(sample.supervised, names, strict=True):
        assert torch.equal(
            known, torch.eye(2).bool() if name == "own_time" else torch.ones(2, 2) > 0
        )


def test_pool_shrinks_and_lives_on():
    clips = pool(held=4, draws=2)
    for _ in range(4):
        clips.refill()
    clips.shrink()
    assert len(clips) == 2 == clips.held
    clips.shrink()
    clips.shrink()
    assert len(clips) == 1 == clips.held
    clips.refill()
    assert len(clips) == 1
    clips.sample(0)


def test_runs_see_scenes_of_their_own(monkeypatch):
    seeds = {}
    for run in (0, 1):
        clips = ClipPool(
            config(), device="cpu", workers=0, held=2, draws=1, phase_now=lambda: 0, run=run
        )
        asked = []
        monkeypatch.setattr(clips._source, "ask", lambda r, to=asked: to.append(r))
        for _ in range(3):
            clips._ask()
        seeds[run] = {scene.seed for each in asked for scene in each.plan.scenes}
    assert len(seeds[0]) == len(seeds[1]) == 6 and not seeds[0] & seeds[1]
    assert min(seeds[0]) == FIRST_SEED and min(seeds[1]) == FIRST_SEED + clip_pool.SEEDS_A_RUN


def test_the_stream_of_cpus_is_planned_by_the_same_function():
    # The stream's groups follow from seed and index alone; so they did before there was a pool.
    own = config()
    stream = SampleStream(own)
    sample = stream.sample(0)
    rng = np.random.Generator(np.random.PCG64([own.seed, 0, 0, 0]))
    plan = plan_group(own, own.phases[0], rng=rng, first_seed=0)
    assert [each.seed for each in plan.scenes] == [0, 1]
    assert sample.images.shape[-2:] == plan.image_hw
    clips = render_clips([s.build() for s in plan.scenes], image_hw=plan.image_hw, seed=0)
    assert torch.equal(clips.images, stream._groups[0].clips.images)
