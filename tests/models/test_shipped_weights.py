import importlib.util
import json
from typing import Any

import pytest
import torch

from dynapoint.errors import ModelError
from dynapoint.models import cards
from dynapoint.models.cards import ASSETS, CARDS
from dynapoint.models.catalog import load_model
from dynapoint.whole_file import sha256_of
from folders import ROOT

SHIPPED = [name for name, card in CARDS.items() if card.hub is None and card.weights_file]
LARGEST_BYTES = 24_000_000
ALL_BYTES = 48_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_record_describes_the_file(name: str) -> None:
    path = ASSETS / str(CARDS[name].weights_file)
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["sha256"] == sha256_of(path)
    assert record["bytes"] == path.stat().st_size <= LARGEST_BYTES
    assert record["licence"] == CARDS[name].licence == "Apache-2.0"
    assert record["parameters"] == CARDS[name].parameters
    assert int(record["samples"]) > 0
    assert record["hardware"]


def test_all_weights_together_are_small() -> None:
    assert sum(path.stat().st_size for path in ASSETS.glob("*.safetensors")) <= ALL_BYTES


@pytest.mark.parametrize("name", ["nano", "nano-2"])
def test_shipped_network_loads_and_answers(name: str) -> None:
    network: Any = load_model(name)
    assert network.info.weights_sha256 == sha256_of(ASSETS / str(CARDS["nano-2"].weights_file))
    assert 6_000_000 <= sum(p.numel() for p in network.parameters()) <= 7_000_000
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 3, 48, 64, generator=generator)
    with torch.inference_mode():
        encoded = network.encode(images)
        maps = network.decode(encoded, time=2, frames=[0, 1])
    assert torch.isfinite(maps.points).all()
    # Trained weights move something: a network whose Q is exactly P was never trained.
    assert (maps.points - encoded.own_time.points[:, [0, 1]]).abs().max() > 1e-4


def test_confidence_of_the_shipped_network_is_calibrated() -> None:
    told = load_model("nano").info.calibration
    assert told is not None
    for curves in (told.network, told.refined):
        for curve in (curves.own_time, curves.other_times):
            # The least sure points are at least twice as far off as the surest.
            assert curve.gives[0] > 2 * curve.gives[-1] > 0
        assert 0 <= curves.visible.gives[0] < 0.6 and 0.9 < curves.visible.gives[-1] <= 1


@pytest.mark.slow
def test_shipped_network_scores_what_its_record_says() -> None:
    spec = importlib.util.spec_from_file_location("calibrate", ROOT / "scripts" / "calibrate.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    record = json.loads((ASSETS / "nano-2.json").read_text())
    found = script.scores_of_16(load_model("nano"))
    # Sums of float32 differ a little between processors.
    assert found == pytest.approx(record["clips16"], rel=0.02)


def test_shipped_pair_network_moves_pairs_and_aligns_clips() -> None:
    model: Any = load_model("dpm-nano")
    assert model.info.weights_sha256 == sha256_of(ASSETS / str(CARDS["dpm-nano-1"].weights_file))
    images = torch.rand(1, 3, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    for frames in (2, 3):
        encoded = model.encode(images[:, :frames])
        maps = model.decode(encoded, time=1, frames=[0])
        assert torch.isfinite(maps.points).all()
        assert (maps.points - encoded.own_time.points[:, [0]]).abs().max() > 1e-4


def test_shipped_query_network_answers_one_time_after_another() -> None:
    model: Any = load_model("dept3r-nano")
    assert model.info.weights_sha256 == sha256_of(ASSETS / str(CARDS["dept3r-nano-1"].weights_file))
    images = torch.rand(1, 3, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        encoded = model.encode(images)
        maps = model.decode(encoded, time=2, frames=[0, 1])
    assert torch.isfinite(maps.points).all()
    assert (maps.points - encoded.own_time.points[:, [0, 1]]).abs().max() > 1e-4


def test_retired_names_point_to_their_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cards.RETIRED, "nano-0", "nano-2")
    for name in ("nano-0", "nano-1"):
        with pytest.raises(ModelError, match=f"{name}.*nano-2"):
            load_model(name)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ModelError, match="nano"):
        load_model("no-such-model")
