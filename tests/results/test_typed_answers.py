"""A checker of types sees what can be asked of a reconstruction, and that answers hold arrays."""

import dataclasses
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable
from pathlib import Path

import mypy.api
import numpy as np
import pytest

import dynapoint
from dynapoint import reductions
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.scene_maps import SceneMaps
from fake_model import FakeModel, picture_array

# Methods that answer in arrays of a reduction's result; any others do not.
IN_REDUCTIONS = {
    name: value
    for module in pkgutil.iter_modules(reductions.__path__)
    for name, value in vars(importlib.import_module(f"dynapoint.reductions.{module.name}")).items()
    if dataclasses.is_dataclass(value)
}
# Of a library that figures alone need.
FIGURE = type("Figure", (), {})
METHODS = [
    name
    for name in dir(Reconstruction)
    if not name.startswith("_") and callable(getattr(Reconstruction, name))
]
PROPERTIES = [
    name
    for name, value in inspect.getmembers_static(Reconstruction)
    if not name.startswith("_") and not callable(value) and hasattr(value, "__get__")
]


def hints(function: Callable) -> dict[str, object]:
    """Types of a function's parameters and of its answer."""
    return typing.get_type_hints(function, localns={**IN_REDUCTIONS, "Figure": FIGURE})


def is_seen(hint: object) -> bool:
    """Whether a type is known, and each that it is made of; NumPy's own are not looked into."""
    if (getattr(typing.get_origin(hint), "__module__", None) or "").startswith("numpy."):
        return True
    return hint is not typing.Any and all(is_seen(each) for each in typing.get_args(hint))


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_and_answer_has_a_type(name):
    function = getattr(Reconstruction, name)
    found = hints(function)
    first, *others = inspect.signature(function).parameters
    assert found.get(first, SceneMaps) is SceneMaps, "whose method it is"
    assert {*others, "return"} <= set(found) and all(is_seen(hint) for hint in found.values())


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_property_has_a_type(name):
    value = inspect.getattr_static(Reconstruction, name)
    function = getattr(value, "func", None) or value.fget
    assert is_seen(hints(function)["return"])


def test_fields_have_types():
    found = typing.get_type_hints(Reconstruction)
    assert {field.name for field in dataclasses.fields(Reconstruction)} <= set(found)
    assert all(is_seen(hint) for hint in found.values())


@pytest.mark.parametrize("name", sorted(IN_REDUCTIONS))
def test_results_say_what_they_hold(name):
    result = IN_REDUCTIONS[name]
    assert all(is_seen(hint) for hint in typing.get_type_hints(result).values())


def test_an_unseen_type_is_found():
    def asked(scene: typing.Any, *, frames: dict[str, list[typing.Any]]) -> int:
        return 0

    assert [is_seen(hint) for hint in hints(asked).values()] == [False, False, True]


def test_answers_hold_what_they_say():
    """Every method that promises NumPy arrays gives no tensor."""
    rec = dynapoint.reconstruct(picture_array(3, 32, 48), FakeModel(32))
    asked = {
        "frame": 0,
        "to_time": 1,
        "to_frame": 1,
        "time": 1,
        "mask": np.ones(rec.map_hw, dtype=bool),
    }
    promised = []
    for name in METHODS:
        function = getattr(Reconstruction, name)
        if typing.get_args(hints(function)["return"]) != (np.ndarray,):
            continue
        promised.append(name)
        needed = {
            each.name: asked[each.name]
            for each in inspect.signature(function).parameters.values()
            if each.default is each.empty and each.kind is each.KEYWORD_ONLY
        }
        answer = getattr(rec, name)(**needed)
        kinds = {type(getattr(answer, field.name)) for field in dataclasses.fields(answer)}
        # What only calibrated networks know is None.
        assert np.ndarray in kinds and kinds <= {np.ndarray, float, type(None)}, name
    assert len(promised) == 16


CODE = """import torch, dynapoint
from dynapoint.reductions.flow import object_flow

rec = dynapoint.reconstruct("walk.mp4")
reveal_type(rec.track().points)
reveal_type(rec.fuse(time=0).points)
reveal_type(rec.query(frame=0, xy=[[1, 2]]).points)
reveal_type(rec.self_check().frame_disagreement)
reveal_type(object_flow(torch.zeros(2, 3, 3), torch.zeros(2, 3, 3)).flow)
rec.track(frme=1)
rec.trak()
rec.motion(frame="first")
rec.motion().probabilty
"""


@pytest.mark.slow
def test_mypy_sees_arrays_and_typos(tmp_path, monkeypatch):
    """What a user's checker says of a script."""
    source = Path(dynapoint.__file__).parent.parent
    monkeypatch.setenv("MYPYPATH", str(source))
    script = tmp_path / "script.py"
    script.write_text(CODE)
    options = ["--config-file", str(source.parent / "pyproject.toml")]
    said, trouble, _ = mypy.api.run([*options, str(script)])
    assert not trouble
    lines = {
        int(line.split(":")[1]): line
        for line in said.splitlines()
        if line.startswith(str(script)) and "defined in" not in line
    }
    wanted = {
        **dict.fromkeys((5, 6, 7, 8), 'Revealed type is "numpy.ndarray['),
        9: 'Revealed type is "torch._tensor.Tensor"',
        10: 'Unexpected keyword argument "frme"',
        11: 'has no attribute "trak"',
        12: 'expected "SupportsIndex"',
        13: 'has no attribute "probabilty"',
    }
    assert lines.keys() == wanted.keys()
    for number, words in wanted.items():
        assert words in lines[number]
