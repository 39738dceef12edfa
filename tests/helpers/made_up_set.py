"""A data set of engine clips and protocols on it, registered for a test."""

import sys
from types import SimpleNamespace

import pytest

from dynapoint.datasets import registry as datasets
from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import need_folder
from dynapoint.evaluation.protocols import registry as protocols
from dynapoint.evaluation.protocols.protocol import (
    Column,
    Measured,
    PaperValue,
    Protocol,
    ProtocolSet,
)
from dynapoint.evaluation.protocols.task import Task
from engine_sequence import EngineSequence, true_answer
from miniatures.engine_clip import engine_clip

NAMES = ("walk/left", "..", "été 50%")
"""Names of sequences that are none of files."""

LAYOUT = "a folder with one .clip file for each sequence"
FRAMES = 6


def open_folder(root, split):
    need_folder(root, LAYOUT)
    seeds = sorted(int(path.stem) for path in root.glob("*.clip"))
    return [
        EngineSequence(engine_clip(seed), dataset="made-up", name=NAMES[place % len(NAMES)])
        for place, seed in enumerate(seeds)
    ]


CARD = DatasetCard(
    key="made-up",
    title="Made up",
    source="this test",
    licence="free",
    splits=("all",),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)


def pairs_and_whole(sequence):
    """Two pairs with both calls, and a task with everything else."""
    fixed = {"dataset": sequence.dataset, "sequence": sequence.name, "stride": 4}
    for start in (0, 2):
        yield Task(
            name=f"pair-{start}",
            frames=(start, start + 2),
            maps=((0, 0), (0, 1), (1, 0), (1, 1)),
            swapped=True,
            **fixed,
        )
    yield Task(
        name="whole",
        frames=tuple(range(FRAMES)),
        depth=True,
        cameras=True,
        moving=True,
        track_xy=((10.5, 12.5), (20.5, 6.5)),
        **fixed,
    )


def score(task, sequence, answer):
    """Mean distances of what is asked, by arrays that this test's own truth gives."""
    import numpy as np

    truth = true_answer(task, sequence)
    measured = []
    for metric in ("points", "swapped_points", "depth", "world_from_camera", "tracks", "moving"):
        said, known = getattr(answer, metric), getattr(truth, metric)
        if known is None:
            continue
        value = float("nan")
        if said is not None:
            apart = np.abs(np.asarray(said, np.float64) - np.asarray(known, np.float64))
            value = float(np.nanmean(apart))
        measured.append(Measured(metric=metric, value=value, weight=float(known.size)))
    return tuple(measured)


COLUMNS = (
    Column(metric="points", title="points", unit="units", better="lower"),
    Column(metric="swapped_points", title="swapped", unit="units", better="lower", default=False),
    Column(metric="depth", title="depth", unit="units", better="lower", pooled="weighted"),
    Column(
        metric="world_from_camera", title="camera", unit="units", better="lower", pooled="sequences"
    ),
    Column(metric="tracks", title="tracks", unit="units", better="lower"),
    Column(metric="moving", title="moving", unit="share", better="lower", decimals=2),
)

PROTOCOL = Protocol(
    key="made-up-table",
    source="nobody, table 1",
    title="how far things are",
    sets=(
        ProtocolSet(dataset="made-up", split="all", title="Made-up", sampling=pairs_and_whole),
        ProtocolSet(dataset="sintel", split="final", title="Sintel", sampling=pairs_and_whole),
    ),
    score=score,
    columns=COLUMNS,
    alignment="none",
    choices=("nothing is open",),
    paper=(
        PaperValue(method="Theirs", set_title="Made-up", metric="points", value=0.25),
        PaperValue(method="Theirs", set_title="Sintel", metric="depth", value=0.5),
    ),
)


def register(monkeypatch, *more: Protocol) -> None:
    """Make the set and the protocols the only ones that there are, Sintel's name beside."""
    modules = {
        "dynapoint.datasets.made_up": SimpleNamespace(CARD=CARD),
        "dynapoint.datasets.made_up_sintel": SimpleNamespace(
            CARD=DatasetCard(
                key="sintel",
                title="Sintel",
                source="elsewhere",
                licence="theirs",
                splits=("final",),
                layout="training/final/SEQUENCE",
                proven="nothing",
                open_folder=open_folder,
            )
        ),
        "dynapoint.evaluation.protocols.made_up": SimpleNamespace(PROTOCOLS=(PROTOCOL, *more)),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(datasets, "READERS", {"made-up": "made_up", "sintel": "made_up_sintel"})
    monkeypatch.setattr(protocols, "MODULES", ("made_up",))


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """The folder of the set, with two sequences."""
    register(monkeypatch)
    root = tmp_path / "data"
    root.mkdir()
    for seed in (8, 9):
        (root / f"{seed}.clip").touch()
    return root
