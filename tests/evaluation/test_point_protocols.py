"""Protocols of points: what they ask and draw, the papers' rows, and the truth in each."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from dynapoint.datasets.registry import READERS
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.evaluation.protocols import dpm_points, own, vdpm_points
from dynapoint.evaluation.protocols.sampling import (
    PAIR_MAPS,
    PairsFrom,
    RandomPairs,
    Snippets,
    WholeClips,
)
from engine_sequence import EngineSequence, true_answer
from miniatures.engine_clip import engine_clip

PROTOCOLS = {
    protocol.key: protocol
    for module in (vdpm_points, dpm_points, own)
    for protocol in module.PROTOCOLS
}
LONG_ENOUGH = 19
"""Ten frames, two apart."""


class Bare(TruthSequence):
    """A sequence that is only counted."""

    def __init__(self, frame_count, name="clip", dataset="engine"):
        self.frame_count, self.name, self.dataset = frame_count, name, dataset
        self.image_hw, self.holds = (8, 8), Holds()

    def image(self, frame):
        raise NotImplementedError


# --- sampling


def test_random_pairs_are_pinned():
    """Other pairs would make results of different versions different."""
    pairs = RandomPairs(margins=(2, 8), count=4)
    assert [task.frames for task in pairs(Bare(24))] == PINNED
    first = next(iter(pairs(Bare(24))))
    assert first.maps == PAIR_MAPS and not first.swapped
    assert first.name == f"pair-{PINNED[0][0]:05d}-{PINNED[0][1]:05d}"


PINNED = [(6, 14), (9, 17), (10, 12), (18, 20)]


def test_random_pairs_are_different_ones_with_their_margins_in_any_sequence():
    every = {}
    for name in ("a", "b", "c/d"):
        for seed in (0, 1):
            for dataset in ("x", "y"):
                sampling = RandomPairs(margins=(1, 5), count=8, seed=seed)
                frames = [task.frames for task in sampling(Bare(30, name, dataset))]
                assert frames == sorted(set(frames)) and len(frames) == 8
                assert all(b - a in (1, 5) and 0 <= a and b < 30 for a, b in frames)
                assert frames == [task.frames for task in sampling(Bare(30, name, dataset))]
                every[name, seed, dataset] = tuple(frames)
    assert len(set(every.values())) == len(every)


def test_random_pairs_are_drawn_evenly():
    counts = np.zeros(12)
    for index in range(400):
        for task in RandomPairs(margins=(3,), count=3)(Bare(15, f"clip {index}")):
            counts[task.frames[0]] += 1
    assert counts.sum() == 1200
    # 100 of each are expected; the spread of a binomial count is 9.
    assert abs(counts - 100).max() < 36


def test_a_short_sequence_gives_the_pairs_it_has():
    assert [t.frames for t in RandomPairs(margins=(8,), count=6)(Bare(10))] == [(0, 8), (1, 9)]
    assert list(RandomPairs(margins=(8,), count=6)(Bare(8))) == []
    assert [t.frames for t in PairsFrom(starts=(0, 4), margin=2)(Bare(7))] == [(0, 2), (4, 6)]
    assert [t.frames for t in PairsFrom(starts=(0, 4), margin=2)(Bare(6))] == [(0, 2)]
    assert list(Snippets(frames=10, step=2, count=2)(Bare(18))) == []
    (whole,) = WholeClips(frames=10)(Bare(4))
    assert whole.frames == (0, 1, 2, 3) and whole.maps == ((0, 0), (1, 1), (2, 2), (3, 3))


def test_snippets_track_their_first_frame():
    tasks = list(Snippets(frames=10, step=2, count=3, stride=8)(Bare(40)))
    assert len(tasks) == 3
    for task in tasks:
        start = task.frames[0]
        assert task.frames == tuple(range(start, start + 20, 2)) and task.frames[-1] < 40
        assert task.maps == tuple((0, k) for k in range(10)) and task.stride == 8


# --- protocols


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_protocols_hold_together(protocol):
    metrics = [column.metric for column in protocol.columns]
    titles = [each.title for each in protocol.sets]
    assert len(set(metrics)) == len(metrics) and len(set(titles)) == len(titles)
    assert any(column.default for column in protocol.columns)
    assert protocol.source and protocol.alignment
    for each in protocol.sets:
        assert each.dataset in READERS
    said = [(value.method, value.set_title, value.metric) for value in protocol.paper]
    assert len(set(said)) == len(said)
    counted = {column.metric for column in protocol.columns if column.default}
    for value in protocol.paper:
        assert value.set_title in titles and value.metric in counted
        assert 0 < value.value < 60


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_the_truth_scores_perfectly_and_every_column_is_filled(protocol):
    sequence = EngineSequence(engine_clip(frames=LONG_ENOUGH))
    columns = {column.metric: column for column in protocol.columns}
    seen = {}
    for each in protocol.sets:
        tasks = list(each.sampling(sequence))
        assert tasks
        assert len({task.key for task in tasks}) == len(tasks)
        for task in tasks[:2]:
            assert re.fullmatch(r"[\w.-]+", task.name)
            answer = true_answer(task, sequence)
            for measured in protocol.score(task, sequence, answer):
                seen.setdefault(measured.metric, []).append(measured.value)
    assert set(seen) == set(columns)
    for metric, values in seen.items():
        known = [value for value in values if not math.isnan(value)]
        assert known or metric.endswith("_moving"), metric
        for value in known:
            if columns[metric].better == "higher":
                assert value >= (0.9 if metric.startswith("match") else 1), metric
            else:
                # What moves by less than 1 % counts as still, and leaks that much truly.
                limit = 0.1 if "deg" in metric else 1e-2 if metric == "leak" else 1e-4
                assert value == pytest.approx(0, abs=limit), metric


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_worse_answer_has_a_worse_score(protocol):
    sequence = EngineSequence(engine_clip(frames=LONG_ENOUGH))
    task = next(iter(protocol.sets[-1].sampling(sequence)))
    answer = true_answer(task, sequence)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=answer.points.shape) * 0.3
    worse = replace(answer, points=(answer.points + noise).astype(np.float32))
    columns = {column.metric: column for column in protocol.columns}
    first, second = (
        {each.metric: each.value for each in protocol.score(task, sequence, said)}
        for said in (answer, worse)
    )
    for metric, value in first.items():
        if columns[metric].default and not math.isnan(value):
            sign = 1 if columns[metric].better == "lower" else -1
            assert sign * (second[metric] - value) > 1e-3, metric


def test_two_view_tasks_of_the_ablation_are_those_of_the_table():
    """So that a prediction serves both."""
    table = {each.title: each for each in PROTOCOLS["vdpm-two-view"].sets}
    (ablation,) = PROTOCOLS["vdpm-ablation"].sets
    assert table[ablation.title] == ablation


# --- the papers' rows


def rows_of(key):
    return {
        (value.method, value.set_title, value.metric): value.value for value in PROTOCOLS[key].paper
    }


def test_flow_is_reduced_by_what_the_paper_says():
    """DPM says that it has 76 % less error than MonST3R: a check of the copied numbers."""
    sums = {
        wanted: sum(v for (method, _, _), v in rows_of("dpm-flow").items() if method == wanted)
        for wanted in ("DPM", "MonST3R + RAFT")
    }
    assert 1 - sums["DPM"] / sums["MonST3R + RAFT"] == pytest.approx(0.76, abs=0.005)


def test_rows_have_as_many_numbers_as_the_tables():
    assert {key: len(protocol.paper) for key, protocol in PROTOCOLS.items()} == {
        "vdpm-two-view": 8 * (2 + 3 * 4),
        "vdpm-tracking": 16,
        "vdpm-ablation": 8,
        "dpm-points": 2 * (6 + 4 + 4),
        "dpm-flow": 3 * (4 + 2 + 4),
        "motion": 0,
        "surface": 0,
    }
    two_view, tracking = rows_of("vdpm-two-view"), rows_of("vdpm-tracking")
    assert two_view["V-DPM", "Kubric-G, margin 8", "epe_p0t1"] == 0.049
    assert two_view["St4RTrack", "Waymo, margin 2", "epe_p1t1"] == 0.225
    assert tracking["DPM", "Kubric-G", "epe"] == 0.109
    assert rows_of("dpm-points")["DPM", "Kubric-F", "rpe_rotation_deg"] == 33.7
    assert rows_of("dpm-flow")["RAFT-3D", "Kubric-G", "epe_scene_backward"] == 4.084
