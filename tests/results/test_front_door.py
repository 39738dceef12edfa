"""What a user does with a reconstruction in Python: save, export, show, look."""

import inspect
import re
import subprocess
import sys
from urllib.request import urlopen

import numpy as np
import pytest
import torch

import dynapoint
from dynapoint.errors import ConfigError, OutputError
from dynapoint.exports.catalog import FORMATS
from dynapoint.results.reconstruction import Reconstruction
from fake_model import FakeModel, picture_array


@pytest.fixture(scope="module")
def rec():
    return dynapoint.reconstruct(picture_array(3, 40, 64), FakeModel(32))


def test_saved_from_python_a_scene_is_as_whole_as_from_the_command(rec, tmp_path):
    path = rec.save(tmp_path / "new" / "scene.4d")
    names = {file.name for file in path.iterdir()}
    assert {"manifest.json", "contact_sheet.png", "self_check.json", "track_points.npy"} <= names
    opened = dynapoint.open(path)
    assert np.array_equal(opened.own_time_points, rec.own_time_points)
    with pytest.raises(OutputError, match="holds a scene already"):
        rec.save(path)
    assert rec.save(path, overwrite=True) == path


@pytest.mark.parametrize("suffix", ["ply", "glb", "html", "png", "txt", "npz"])
def test_the_suffix_says_the_format(rec, tmp_path, suffix):
    path = rec.export(tmp_path / f"scene.{suffix}", time=0)
    assert path.suffix == f".{suffix}" and path.stat().st_size > 0


def test_every_file_format_has_a_suffix_of_its_own():
    suffixes = [suffix for known in FORMATS.values() for suffix in known.suffixes]
    assert len(suffixes) == len(set(suffixes))


def test_a_path_without_a_format_is_refused(rec, tmp_path):
    with pytest.raises(ConfigError, match="does not say the format; give one of ply"):
        rec.export(tmp_path / "scene")
    assert (rec.export(tmp_path / "scene", to="tum")).name == "scene.txt"


def test_it_is_shown_until_it_is_closed(rec, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with dynapoint.view(rec) as shown:
        assert opened == [shown.address] and shown.address in repr(shown)
        with urlopen(shown.address) as page:
            assert b"<html" in page.read()
        assert shown.address in shown._repr_html_()
    with pytest.raises(OSError):
        urlopen(shown.address)
    rec.show(open_browser=False).close()
    assert len(opened) == 1


def test_it_says_itself_in_three_lines_and_shows_its_sheet_in_notebooks(rec):
    lines = repr(rec).splitlines()
    assert len(lines) == 3 and "3 frames of 64x40" in lines[0] and max(map(len, lines)) < 120
    page = rec._repr_html_()
    assert re.search(r'<pre>Reconstruction .*</pre><img src="data:image/png;base64,', page, re.S)
    assert rec.contact_sheet().size[0] > 500


def test_the_package_shows_its_public_names_alone():
    code = "import dynapoint; print(dir(dynapoint))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == repr(sorted(dynapoint.__all__))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
@pytest.mark.parametrize("second", [True, False])
def test_torch_tensors_are_a_source_with_channels_second_or_last(rec, dtype, second):
    pictures = picture_array(3, 40, 64)
    tensor = torch.from_numpy(pictures)
    tensor = tensor if dtype == "uint8" else (tensor / 255).to(getattr(torch, dtype))
    tensor = tensor.permute(0, 3, 1, 2) if second else tensor
    found = dynapoint.reconstruct(tensor, FakeModel(32)).images
    worst = np.abs(found.astype(int) - pictures).max()
    assert worst <= (1 if dtype == "bfloat16" else 0)


def test_a_device_is_for_a_network_by_name():
    with pytest.raises(ConfigError, match="move that there"):
        dynapoint.reconstruct(picture_array(2, 40, 64), FakeModel(32), device="cpu")


def test_a_scene_exports_as_the_package_does():
    method, function = (
        inspect.signature(each).parameters for each in (Reconstruction.export, dynapoint.export)
    )
    ours, theirs = ({k: v.default for k, v in each.items()} for each in (method, function))
    assert list(ours.values())[1:] == list(theirs.values())[1:]
    assert list(ours)[1:] == list(theirs)[1:]
    told = str(Reconstruction.export.__doc__).replace(",", " ").split()
    assert set(FORMATS) <= {word.strip(".") for word in told}
