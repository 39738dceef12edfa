"""Who gets which clip, and what becomes of clips whose worker dies, with a stand-in for Ray."""

from collections import Counter

import pytest

from dynapoint.cluster import on_ray
from dynapoint.cluster.clip_list import Clip, plan_tasks
from dynapoint.cluster.on_ray import ATTEMPTS, ClusterOptions, make_on_ray
from dynapoint.cluster.result import ClipResult
from dynapoint.data.selection import FrameSelection
from dynapoint.errors import ConfigError, ModelError
from dynapoint.inference.making import SceneOptions
from fake_ray import FakeRay


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(on_ray, "_PAUSE_S", 0.001)


def tasks(count: int):
    clips = [Clip(source=f"/v/{number}.mp4") for number in range(count)]
    return plan_tasks(clips, "/out", FrameSelection())


def work(task, attempt):
    return ClipResult.of(task, frames=3, attempts=attempt)


def results(monkeypatch, ray: FakeRay, count: int = 6, **options) -> dict[str, ClipResult]:
    monkeypatch.setattr(on_ray, "_ray", lambda: ray)
    made = list(make_on_ray(tasks(count), SceneOptions(), ClusterOptions(**options)))
    # Each clip has one result.
    assert sorted(each.label for each in made) == sorted(each.label for each in tasks(count))
    assert all(actor.dead for actor in ray.actors), "all workers are ended"
    return {each.label: each for each in made}


def test_all_clips_are_made_once_with_no_more_in_hand_than_there_are_hands(monkeypatch):
    ray = FakeRay(work, cpus=3)
    results(monkeypatch, ray, 10)
    assert len(ray.actors) == 3 and ray.most_in_hand == 1
    assert Counter(task.label for task, _ in ray.asked).most_common(1)[0][1] == 1
    assert ray.options["num_cpus"] == 1 and ray.options["num_gpus"] == 0


def test_on_gpus_one_clip_is_read_beside_another(monkeypatch):
    ray = FakeRay(work, cpus=16, gpus=2)
    results(monkeypatch, ray, 12, gpus_per_worker=0.5)
    assert len(ray.actors) == 4 and ray.most_in_hand == 2
    assert ray.options["num_gpus"] == 0.5


def test_workers_are_as_many_as_asked_for_and_as_there_are_clips(monkeypatch):
    for count, asked, wanted in ((9, 5, 5), (2, 5, 2), (9, None, 2)):
        ray = FakeRay(work, cpus=4)
        results(monkeypatch, ray, count, workers=asked, threads=2)
        assert len(ray.actors) == wanted and ray.options["num_cpus"] == 2


def test_a_clip_whose_worker_dies_is_begun_again(monkeypatch):
    def dies_once(task, attempt):
        if task.label == "2.mp4" and attempt == 1:
            raise SystemExit
        return work(task, attempt)

    ray = FakeRay(dies_once, cpus=2)
    made = results(monkeypatch, ray)
    assert made["2.mp4"].failure is None and made["2.mp4"].attempts == 2
    assert len(ray.actors) == 3


@pytest.mark.parametrize("gpus", [0, 2])
def test_a_clip_that_ends_every_worker_is_listed_and_takes_no_other_along(monkeypatch, gpus):
    def deadly(task, attempt):
        if task.label == "2.mp4":
            raise SystemExit
        return work(task, attempt)

    ray = FakeRay(deadly, cpus=2, gpus=gpus)
    made = results(monkeypatch, ray, 12)
    failed = [label for label, each in made.items() if each.failure is not None]
    assert failed == ["2.mp4"]
    assert made["2.mp4"].attempts == ATTEMPTS and "died 3 times" in made["2.mp4"].failure
    assert sum(task.label == "2.mp4" for task, _ in ray.asked) == ATTEMPTS
    assert max(each.attempts for each in made.values() if each.failure is None) <= 2


def test_what_a_worker_raises_is_the_clips_failure(monkeypatch):
    def raises(task, attempt):
        if task.label == "1.mp4":
            raise KeyError("odd")
        return work(task, attempt)

    made = results(monkeypatch, FakeRay(raises))
    assert made["1.mp4"].failure == "KeyError: 'odd' (a fault of dynapoint)"
    assert sum(each.failure is None for each in made.values()) == 5


def test_a_network_that_no_worker_can_load_ends_the_run(monkeypatch):
    def cannot():
        raise ModelError("no weights here")

    with pytest.raises(ModelError, match="no weights here"):
        results(monkeypatch, FakeRay(work, ready=cannot))

    def dies():
        raise SystemExit

    with pytest.raises(ModelError, match="while they load the network"):
        results(monkeypatch, FakeRay(work, ready=dies))


def test_one_place_without_weights_does_not_end_the_run(monkeypatch, capsys):
    calls = []

    def first_cannot():
        calls.append(1)
        if len(calls) == 1:
            raise ModelError("no weights here")
        return "fake:1"

    results(monkeypatch, FakeRay(work, ready=first_cannot))
    assert "a worker could not start: no weights here" in capsys.readouterr().err


def test_places_where_workers_die_at_once_do_not_end_a_run_that_goes_on(monkeypatch):
    calls = []

    def all_but_the_first_die():
        calls.append(1)
        if len(calls) > 1:
            raise SystemExit
        return "fake:1"

    results(monkeypatch, FakeRay(work, ready=all_but_the_first_die), 30)


def test_a_node_that_is_gone_is_counted_no_more(monkeypatch):
    ray = FakeRay(work, cpus=2)
    alive = ray.nodes()
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": {"CPU": 9}}])
    results(monkeypatch, ray)
    assert len(ray.actors) == 2


def test_breaking_off_ends_all_workers(monkeypatch):
    ray = FakeRay(work, cpus=2)
    monkeypatch.setattr(on_ray, "_ray", lambda: ray)
    begun = make_on_ray(tasks(6), SceneOptions(), ClusterOptions())
    next(begun)
    assert not all(actor.dead for actor in ray.actors)
    begun.close()
    assert all(actor.dead for actor in ray.actors)


def test_a_cluster_without_ray_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigError, match=r"dynapoint\[cluster\]"):
        list(make_on_ray(tasks(1), SceneOptions(), ClusterOptions()))
