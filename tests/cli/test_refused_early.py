"""What cannot be done is refused before torch is loaded, or a network, or a folder is made."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import dynapoint
from dynapoint import cli
from dynapoint.errors import InputError, ModelError
from dynapoint.evaluation.real_folders import check_real_folder
from dynapoint.models.cards import CANNOT, CARDS, check_asked
from dynapoint.models.catalog import load_model
from dynapoint.models.da3.network import Da3Metric, Da3Network
from dynapoint.models.dust3r.network import DpmNetwork
from dynapoint.models.network import ComputesByOptions
from dynapoint.models.pairwise import PairwiseVideo
from dynapoint.models.protocol import info_of
from dynapoint.models.vggt.dept3r import Dept3rNetwork
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.training.recipes import RECIPES, recipe
from fake_model import picture_array
from video_files import write_video

# Runs a command, says its exit code, and whether torch was imported for it.
WITHOUT_TORCH = """
import sys
from dynapoint import cli
print(cli.main(sys.argv[1:]), "torch" in sys.modules)
"""

ASKED = {
    "reference": {"reference": 1},
    "poses": {"poses": True},
    "decoder_weights": {"decoder_weights": "int8"},
    "precision": {"precision": "bfloat16"},
}


def refused_without_torch(*words) -> str:
    """The one line of a command that is refused with exit code 1."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == ["1 False"], done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--reference", 1], "model nano leaves no choice of the reference frame"),
        (["--poses", "a.npy"], "model nano takes no known poses"),
        (["--model", "da3-metric"], "model da3-metric tells depth in metres of single pictures"),
        (["--precision", "bfloat16"], "model nano computes in float32, uncompiled"),
        (["--compile"], "model nano computes in float32, uncompiled"),
        (
            ["--model", "dpm-nano", "--decoder-weights", "int8"],
            "model dpm-nano has no time decoder",
        ),
    ],
)
def test_what_a_network_does_not_heed(tmp_path, options, said):
    video = write_video(tmp_path / "a.mp4", frames=2)
    line = refused_without_torch("reconstruct", video, "-o", tmp_path / "out", *options)
    assert said in line and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", CARDS)
def test_cards_say_what_is_true_of_their_networks(name, monkeypatch):
    """Large networks are asked by their class, as their weights are not here."""
    kinds = {"vdpm": PublishedNetwork, "vggt": PublishedNetwork, "dept3r": Dept3rNetwork}
    kinds |= {"da3-small": Da3Network, "da3-base": Da3Network, "da3-metric": Da3Metric}
    true = set()
    if name in ("nano-2", "dpm-nano-1", "dept3r-nano-1"):
        network = load_model(name)
        inner = network.pair_model if isinstance(network, PairwiseVideo) else network
        true |= set() if info_of(network).takes_reference else {"reference"}
        true |= set() if info_of(network).takes_poses else {"poses"}
        true |= set() if inner.time_decoder is not None else {"decoder_weights"}
        true |= set() if isinstance(inner, ComputesByOptions) else {"precision"}
    else:
        kind = kinds.get(name, DpmNetwork)
        true |= set() if kind is PublishedNetwork else {"reference", "decoder_weights"}
        true |= {"decoder_weights"} if name == "vggt" else set()
        true |= set() if kind is Da3Network else {"poses"}
        assert hasattr(kind, "use")
    assert CARDS[name].cannot == true
    assert CARDS[name].still_world is (kinds.get(name) in (Da3Network, Da3Metric) or name == "vggt")
    for option, asked in ASKED.items():
        if option not in true:
            check_asked(name, **asked)
            continue
        with pytest.raises(ModelError, match=f"model {name} {CANNOT[option]}"):
            check_asked(name, **asked)


def test_given_weights_of_small_networks_tell_themselves_what_they_have(tmp_path):
    check_asked("dpm-nano", tmp_path / "w.safetensors", decoder_weights="int8")
    with pytest.raises(ModelError, match="has no time decoder"):
        check_asked("vggt", tmp_path / "w.pt", decoder_weights="int8")
    with pytest.raises(ModelError, match="leaves no choice"):
        dynapoint.reconstruct(picture_array(2, 24, 24), "nano", reference=1)


def test_recipes_that_are_not_there(tmp_path):
    line = refused_without_torch("train", "nanno", "-o", tmp_path / "run")
    assert "unknown recipe 'nanno'; did you mean nano?" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_where_its_name_leads(name):
    assert recipe(name).steps > 0


def test_folders_to_validate_on(tmp_path):
    (tmp_path / "empty").mkdir()
    words = ["train", "smoke", "-o", tmp_path / "run"]
    assert "no clip in it" in refused_without_torch(*words, "--bench", tmp_path / "empty")
    line = refused_without_torch(*words, "--real", tmp_path / "empty")
    assert "cannot be read as real pictures with truth" in line
    assert not (tmp_path / "run").exists()


def test_folders_of_real_pictures(tmp_path):
    listed = tmp_path / "cameras.json"
    for text in ("[", "{}", '{"frames": 3}', '{"frames": [{}]}', "[]"):
        listed.write_text(text)
        with pytest.raises(InputError, match="cannot be read as real pictures"):
            check_real_folder(tmp_path)
    frame = {"file": "a.png", "K_fx_fy_cx_cy": [1, 1, 0, 0], "T_wc": np.eye(4).tolist()}
    listed.write_text(json.dumps({"frames": [frame]}))
    with pytest.raises(InputError, match="none of the pictures"):
        check_real_folder(tmp_path)
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a.png")
    check_real_folder(tmp_path)
    del frame["K_fx_fy_cx_cy"]
    listed.write_text(json.dumps({"frames": [frame]}))
    with pytest.raises(InputError, match="cannot be read as real pictures"):
        check_real_folder(tmp_path)


def test_folders_to_train_on(tmp_path):
    words = ["train", "smoke", "-o", tmp_path / "run", "--data"]
    (tmp_path / "empty").mkdir()
    line = refused_without_torch(*words, f"clips={tmp_path / 'empty'}")
    assert "no clip in it" in line and not (tmp_path / "run").exists()


def test_of_many_scenes_that_are_refused_every_one_is_said(tmp_path, capsys):
    videos = [write_video(tmp_path / f"{name}.mp4", frames=2) for name in "abc"]
    for name in "abc":
        (tmp_path / "out" / f"{name}.4d").mkdir(parents=True)
        (tmp_path / "out" / f"{name}.4d" / "thesis.txt").write_text("precious")
    words = ["reconstruct", *map(str, videos), "-o", str(tmp_path / "out")]
    assert cli.main(words) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    for name, line in zip("abc", lines, strict=True):
        assert f"{name}.4d" in line and "exists and is not a scene" in line
    assert cli.main([*words, "--json"]) == 1
    printed = capsys.readouterr()
    failed = json.loads(printed.out)["failed"]
    assert [each["input"] for each in failed] == ["a.mp4", "b.mp4", "c.mp4"]
    assert len(printed.err.splitlines()) == 3
    (tmp_path / "file").write_text("precious")
    assert cli.main([*words[:4], "-o", str(tmp_path / "file")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all("cannot be written (Not a directory)" in line for line in lines)
    assert (tmp_path / "file").read_text() == "precious"
    # Of one alone one line is enough.
    assert cli.main([*words[:2], "-o", str(tmp_path / "out" / "a.4d")]) == 1
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1 and printed.out == ""
