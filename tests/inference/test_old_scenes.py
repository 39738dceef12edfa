"""Scenes written by earlier versions open for ever: tests/data/scenes holds one for each format."""

import json
from dataclasses import is_dataclass

import numpy as np
import pytest
from safetensors import safe_open

import dynapoint
from dynapoint.models.kept.kept_kinds import _BEFORE, _PLACES, kind_of_name, name_of_kind
from folders import DATA

SCENES = DATA / "scenes"


def kinds_in(path):
    """Names of all dataclasses in a file of what a network keeps."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    found = set()

    def look(node):
        if isinstance(node, dict):
            if "dataclass" in node:
                found.add(node["dataclass"])
            for part in node.values():
                look(part)
        elif isinstance(node, list):
            for part in node:
                look(part)

    look(json.loads(metadata["skeleton"]))
    return metadata["format"], found


def test_a_scene_that_names_modules_opens_and_answers_as_it_did():
    path = SCENES / "encoded_1.4d"
    format_name, kinds = kinds_in(path / "encoded.safetensors")
    assert (
        format_name == "dynapoint-encoded-1" and "dynapoint.models.correction:Correction" in kinds
    )
    rec = dynapoint.open(path)
    assert rec.frames.count == 2 and rec.refinement is not None and rec.refinement.poses
    ((points, _),) = rec.decoder.decode([1], 0)
    wanted = np.load(SCENES / "encoded_1.npz")["map"]
    np.testing.assert_allclose(points[::8, ::8], wanted, rtol=1e-3, atol=1e-4)


def test_scenes_written_now_name_no_module(tmp_path):
    rec = dynapoint.open(SCENES / "encoded_1.4d")
    from dynapoint.models.kept.encoded_files import read_encoded, write_encoded

    kept = read_encoded(SCENES / "encoded_1.4d" / "encoded.safetensors")
    write_encoded(kept, tmp_path / "again.safetensors")
    format_name, kinds = kinds_in(tmp_path / "again.safetensors")
    assert format_name == "dynapoint-encoded-2" and len(kinds) > 5
    assert not any(":" in kind or "." in kind for kind in kinds)
    again = read_encoded(tmp_path / "again.safetensors")
    assert np.array_equal(again.correction.depth_ratio, kept.correction.depth_ratio)
    assert rec.frames.count == 2


@pytest.mark.parametrize("name", _PLACES)
def test_every_name_is_of_a_dataclass_and_back(name):
    kind = kind_of_name(name)
    assert is_dataclass(kind) and name_of_kind(kind) == name


def test_every_earlier_name_leads_to_a_present_one():
    assert set(_BEFORE.values()) <= set(_PLACES)
    for before, name in _BEFORE.items():
        assert kind_of_name(before) is kind_of_name(name)
