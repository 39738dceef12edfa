"""The protocols of depth, cameras, tracks and masks, with the truth and the papers' rows."""

from importlib.util import find_spec

import numpy as np
import pytest

from dynapoint.datasets.registry import READERS, dataset_card
from dynapoint.evaluation.protocols import dept3r, dpm_depth, more, vdpm_cameras
from engine_sequence import EngineSequence, true_answer
from miniatures.engine_clip import engine_clip

PROTOCOLS = [
    protocol for module in (vdpm_cameras, dpm_depth, dept3r, more) for protocol in module.PROTOCOLS
]
SETS = [
    pytest.param(protocol, each, id=f"{protocol.key}/{each.title}")
    for protocol in PROTOCOLS
    for each in protocol.sets
]


@pytest.mark.parametrize(("protocol", "chosen"), SETS)
def test_the_truth_is_perfect(protocol, chosen):
    frames = 10 if protocol is dept3r.MEMORY else 6
    sequence = EngineSequence(engine_clip(seed=38, frames=frames), dataset=chosen.dataset)
    columns = {column.metric: column for column in protocol.columns}
    tasks = chosen.sampling(sequence)
    assert tasks and list(tasks) == list(chosen.sampling(sequence))
    assert len({task.key for task in tasks}) == len(tasks)
    for task in tasks:
        measured = protocol.score(task, sequence, true_answer(task, sequence))
        assert {each.metric for each in measured} >= set(columns)
        found = {each.metric: each.value for each in measured if each.metric in columns}
        for metric, value in found.items():
            if np.isnan(value):
                continue
            best = 0 if columns[metric].better == "lower" else 100
            assert value == pytest.approx(best, abs=2e-4), metric
        if protocol is not dept3r.MEMORY:
            assert not np.isnan([found[key] for key in measured_columns(protocol, task)]).any()


def measured_columns(protocol, task):
    """Columns that a task has to fill: of one table with two kinds of tasks, those of its kind."""
    if protocol is dept3r.HEADLINE:
        return ["track_apd", "track_epe"] if task.track_xy else ["recon_apd", "recon_epe"]
    return [column.metric for column in protocol.columns]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.key)
def test_rows_of_papers_stand_in_columns_that_are_there(protocol):
    keys = {column.metric: column for column in protocol.columns}
    assert len(keys) == len(protocol.columns)
    assert any(column.default for column in protocol.columns)
    titles = {each.title for each in protocol.sets}
    assert len(titles) == len(protocol.sets)
    for value in protocol.paper:
        assert keys[value.metric].default
        # Rows of pictures that nobody else can cut stand beside.
        assert value.set_title in titles or value.set_title == "KITTI crop"
    placed = [(each.method, each.set_title, each.metric) for each in protocol.paper]
    assert len(set(placed)) == len(placed)


def test_keys_are_unique():
    assert len({protocol.key for protocol in PROTOCOLS}) == len(PROTOCOLS)


@pytest.mark.parametrize(
    ("dataset", "split"),
    sorted({(each.dataset, each.split) for protocol in PROTOCOLS for each in protocol.sets}),
)
def test_splits_are_those_of_readers(dataset, split):
    if find_spec(f"dynapoint.datasets.{READERS.get(dataset)}") is None:
        pytest.skip(f"{dataset} has no reader yet")
    assert split in dataset_card(dataset).splits


def test_frames_of_protocols():
    counts = {"Sintel": 50, "Bonn": 400}
    for each in vdpm_cameras.VIDEO_DEPTH.sets:
        frames = each.sampling.stretch.frames(counts[each.title])
        expected = range(30, 140) if each.title == "Bonn" else range(50)
        assert frames == tuple(expected)
    tum = vdpm_cameras.CAMERA_POSE.sets[1]
    assert tum.sampling.stretch.frames(800) == tuple(range(0, 270, 3))
    assert len(tum.sequences) == 8 and len(vdpm_cameras.SINTEL_WITH_POSES) == 14
    assert len(vdpm_cameras.BONN_SEQUENCES) == 5
