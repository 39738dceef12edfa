"""Every field of a scene's manifest, damaged in many ways: an error, or the right answers."""

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dynapoint
from dynapoint import cli
from dynapoint.errors import SceneError
from dynapoint.models.catalog import load_model
from fake_model import picture_array
from test_open import weights_of

GONE = object()
WRONG: list[Any] = [
    *(GONE, None, True, False, 0, 1, -1, 3, 2.5, 10**12, float("nan"), float("inf")),
    *("", "x", "3", "\ud800", "a\0b", "../" * 9, "y" * 9999, "f" * 64, "weights.pt"),
    *([], {}, [[]], [None], [-1, -1], [10**9, 10**9], ["x", "y"], {"x": []}, {"shape": [2]}),
]
XY = [[20.5, 11.25], [33.0, 30.0]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A scene with all entries that one may have."""
    folder = tmp_path_factory.mktemp("whole")
    model = load_model("nano", weights=weights_of("nano", folder))
    dynapoint.reconstruct(picture_array(2, 40, 64), model).save(folder / "scene.4d")
    return folder / "scene.4d"


@pytest.fixture
def scene(whole, tmp_path) -> Path:
    """A copy to damage."""
    shutil.copytree(whole, tmp_path / "scene.4d")
    return tmp_path / "scene.4d"


def places(node: Any, way: tuple = ()) -> Iterator[tuple]:
    """The way to everything in a tree of JSON; of lists, to their first and last items."""
    if way:
        yield way
    if isinstance(node, dict):
        for name in node:
            yield from places(node[name], (*way, name))
    elif isinstance(node, list):
        for index in sorted({0, len(node) - 1} if node else ()):
            yield from places(node[index], (*way, index))


def damaged(content: dict, way: tuple, wrong: Any) -> dict:
    """The same with something else at a place."""
    changed = copy.deepcopy(content)
    node: Any = changed
    for step in way[:-1]:
        node = node[step]
    if wrong is GONE:
        del node[way[-1]]
    else:
        node[way[-1]] = wrong
    return changed


def answers(scene: Path) -> list[np.ndarray]:
    """What the scene holds, and what its network says."""
    rec = dynapoint.open(scene)
    held = [rec.images, rec.timestamps_s, rec.intrinsics, rec.maps(frame=0, time=1)[0]]
    asked = rec.query(frame=1, xy=XY, time=0)
    return [*held, asked.points, asked.visible, asked.confidence]


@pytest.mark.parametrize("picked", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_every_field(scene, picked):
    path = scene / "manifest.json"
    content = json.loads(path.read_text())
    wanted = answers(scene)
    tried = refused = 0
    for way in places(content):
        for wrong in random.Random(str(way)).sample(WRONG, picked):
            path.write_text(json.dumps(damaged(content, way, wrong)))
            tried += 1
            try:
                found = answers(scene)
            except SceneError as error:
                refused += 1
                # It can be printed whatever stands in the file, and on one line.
                assert str(error).encode() and "\n" not in str(error), (way, wrong)
                assert len(str(error)) < 5000, (way, wrong)
                continue
            for mine, theirs in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(mine, theirs, err_msg=f"{way}: {wrong!r}")
    assert tried >= 100 * picked and tried > refused > 0.7 * tried, (tried, refused)


@pytest.mark.parametrize(
    "text",
    ["[" * 99999, '{"format": "dynapoint-scene", "version": true}', "1" * 9999, "\x00", '"x"'],
)
def test_a_manifest_that_is_none(scene, capsys, text):
    (scene / "manifest.json").write_text(text)
    assert cli.main(["info", str(scene)]) == 1
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1 and "manifest.json" in printed.err
    assert printed.out == ""


def test_info_says_what_it_finds(scene):
    """Of a scene that opens, `info` has something to say too, whatever its words are."""
    path = scene / "manifest.json"
    content = json.loads(path.read_text())
    for way in [("name",), ("model",), ("note",), ("package_version",), ("settings",)]:
        for wrong in WRONG[::3]:
            path.write_text(json.dumps(damaged(content, way, wrong)))
            assert cli.main(["info", str(scene), "--json"]) in (0, 1), (way, wrong)
            assert cli.main(["info", str(scene)]) in (0, 1), (way, wrong)
