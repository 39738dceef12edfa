"""The package's shape: imports go one way, and files and functions stay short."""

import ast
import builtins
import importlib.util
from pathlib import Path

import pytest

import dynapoint
from folders import ROOT

PACKAGE = Path(dynapoint.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# A module may import from its own part and from parts of lower rank (docs/flow.md).
RANKS = {
    "errors": 0,
    "types": 1,
    "whole_file": 1,
    "threads": 1,
    "progress": 1,
    "geometry": 2,
    "alignment": 3,
    "reductions": 4,
    "models": 4,
    "synthetic": 4,
    "data": 5,
    "datasets": 6,
    "refinement": 5,
    "windows": 6,
    "results": 7,
    "inference": 8,
    "exports": 8,
    "cluster": 9,
    "viewer": 9,
    "evaluation": 9,
    "training": 10,
    "cli": 11,
    "__main__": 12,
}
# The same within `models`: what all families rest on, the families, and what loads them by name.
MODEL_RANKS = {
    "calibration": 0,
    "source": 1,
    "cards": 1,
    "tensor_files": 1,
    "protocol": 2,
    "weight_files": 2,
    "layers": 2,
    "network": 3,
    "nano": 4,
    "vggt": 4,
    "da3": 4,
    "dust3r": 5,
    "pairwise": 5,
    "kept": 6,
    "catalog": 7,
}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60

SCRIPT = ROOT / "scripts" / "draw_imports.py"
spec = importlib.util.spec_from_file_location("draw_imports_script", SCRIPT)
assert spec and spec.loader
draw_imports = importlib.util.module_from_spec(spec)
spec.loader.exec_module(draw_imports)
imports_of = draw_imports.imports_of


def part_of(module: str) -> str | None:
    """`models` for `dynapoint.models.catalog`; None for the package itself and other packages."""
    pieces = module.split(".")
    return pieces[1] if pieces[0] == "dynapoint" and len(pieces) > 1 else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    pieces = path.relative_to(PACKAGE).with_suffix("").parts
    if pieces == ("__init__",):
        return
    own = pieces[0]
    package = ".".join(["dynapoint", *pieces[:-1]])
    for name in imports_of(ast.parse(path.read_text()), package):
        other = part_of(name)
        if other in RANKS and other != own:
            assert RANKS[other] < RANKS[own], f"{own} may not import {name}"


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "models").rglob("*.py")), ids=lambda path: str(path.name)
)
def test_imports_of_models_go_one_way(path):
    pieces = path.relative_to(PACKAGE / "models").with_suffix("").parts
    if pieces == ("__init__",):
        return
    package = ".".join(["dynapoint", "models", *pieces[:-1]])
    for name in imports_of(ast.parse(path.read_text()), package):
        words = name.split(".")
        if words[:2] == ["dynapoint", "models"] and len(words) > 2 and words[2] != pieces[0]:
            assert MODEL_RANKS[words[2]] < MODEL_RANKS[pieces[0]], f"{pieces[0]} may not use {name}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        name: targets for name, targets in draw_imports.arrows().items() if name != "dynapoint"
    }
    assert len(graph) > 250
    assert draw_imports.circles(graph) == []


def test_circles_are_found(tmp_path, monkeypatch):
    """A circle by way of a function's own import and one within `TYPE_CHECKING`, beside none."""
    files = {
        "__init__": "",
        "ground": "import numpy\n",
        "maps": "from made_up.ground import a\ndef f():\n    from made_up import answers\n",
        "answers": "if TYPE_CHECKING:\n    from made_up.pictures import b\n",
        "pictures": "from .maps import c\nfrom .ground import a\n",
        "above": "from made_up import maps, answers\n",
    }
    package = tmp_path / "made_up"
    package.mkdir()
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(draw_imports, "PACKAGE", package)
    found = draw_imports.circles(draw_imports.arrows())
    assert found == [["made_up.answers", "made_up.maps", "made_up.pictures"]]
    (package / "pictures.py").write_text("from .ground import a\n")
    assert draw_imports.circles(draw_imports.arrows()) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def undefined_names(text: str) -> set[str]:
    """Names that a module uses and gives no meaning to anywhere.

    Linters cannot look for them here: dimensions of arrays look like undefined names.
    """
    used: set[str] = set()
    given = set(dir(builtins)) | {"__file__", "__name__"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else given).add(node.id)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            given.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            given |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.arg):
            given.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            given.add(node.name)
    return used - given


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_name_is_undefined(path):
    assert not undefined_names(path.read_text())


def test_undefined_names_are_seen():
    text = "from a import b\ndef f(x: Array['frame rows']):\n    raise Missing(b, x)\n"
    assert undefined_names(text) == {"Array", "Missing"}


def test_every_part_has_a_rank():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert parts - {"__init__"} <= set(RANKS)


def test_the_checks_see_what_they_should():
    text = (
        "import dynapoint.cli\n"
        "def f():\n    from dynapoint.models import catalog\n"
        "from ..data.frames import Frames\nfrom .store import save\nfrom .. import cli\n"
    )
    names = imports_of(ast.parse(text), "dynapoint.results")
    assert sorted(part_of(name) for name in names) == ["cli", "cli", "data", "models", "results"]
    assert part_of("torch.nn") is None and part_of("dynapoint") is None
