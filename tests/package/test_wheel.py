"""The wheel: built from a copy of the sources, installed anew, and used outside the checkout.

The new environment holds what the package says that it depends on, and nothing that only the
developers have.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

import dynapoint
from folders import ROOT

pytestmark = pytest.mark.wheel


def run(*command: object, folder: Path) -> str:
    """Standard output of a command that must succeed, without this checkout in sight."""
    surroundings = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "DYNAPOINT_HOME")
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The built wheel; sources are copied, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    run(*pip, "-w", folder / "dist", source, folder=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def commands(wheel, tmp_path_factory) -> Path:
    """Where the commands of the new environment are."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    run(*install, "-c", ROOT / "constraints.txt", wheel, folder=folder)
    return folder / "bin"


def test_all_that_the_package_needs_is_inside(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "dynapoint"
    wanted = {
        f"dynapoint/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= names
    for name in ("assets/nano-2.safetensors", "assets/demo.mp4", "py.typed"):
        assert f"dynapoint/{name}" in names
    foreign = [name for name in names - wanted if ".dist-info/" not in name]
    assert foreign == []
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_installed_it_reconstructs_the_demo_outside_the_checkout(commands, tmp_path):
    where = run(
        commands / "python", "-c", "import dynapoint; print(dynapoint.__file__)", folder=tmp_path
    ).strip()
    assert Path(where).is_relative_to(commands.parent) and ROOT not in Path(where).parents
    command = commands / "dynapoint"
    version = run(command, "--version", folder=tmp_path)
    assert version == f"dynapoint {dynapoint.__version__}\n"
    assert "nano-2" in run(command, "models", folder=tmp_path)
    demo = Path(where).parent / "assets" / "demo.mp4"
    made = run(command, "reconstruct", demo, "-o", "demo.4d", "--json", folder=tmp_path)
    scene = json.loads(made)["scenes"][0]
    assert scene["frames"] == 12 and 0 < scene["self_check"]["grade"] < 1
    facts = json.loads(run(command, "info", "demo.4d", "--json", folder=tmp_path))
    assert facts["further_questions"]["possible"]
    for to, name in (("html", "demo.html"), ("sheet", "demo.png"), ("glb", "demo.glb")):
        run(command, "export", "demo.4d", "--to", to, "-o", name, folder=tmp_path)
        assert (tmp_path / name).stat().st_size > 10_000
    watching = [str(command), "view", "demo.4d", "--port", "0"]
    with subprocess.Popen(watching, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as viewer:
        try:
            address = re.search(r"http://[^ ]+", viewer.stdout.readline())[0]
            page = urllib.request.urlopen(f"{address}/", timeout=60).read().decode()
            cloud = urllib.request.urlopen(f"{address}/scene/1/cloud/3", timeout=60).read()
        finally:
            viewer.terminate()
    assert "class Source" in page and len(cloud) > 10_000
