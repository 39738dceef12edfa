"""All protocols on miniatures of all sets, by one command: the truth through readers and files."""

import json
import math
import re
from importlib import import_module
from importlib.util import find_spec

import pytest

from dynapoint import cli
from dynapoint.datasets.registry import READERS
from dynapoint.evaluation.held_out import clip_names
from dynapoint.evaluation.methods import known
from dynapoint.evaluation.methods.network import NetworkMethod
from dynapoint.evaluation.protocols.registry import all_protocols
from fake_model import FakeModel
from miniatures.engine_clip import engine_clip

# Pairs 8 apart fit, and ten frames; snippets of ten frames 2 apart in sets of V-DPM's tracks.
FRAMES, LONG_FRAMES = 12, 20
LONG = ("kubric", "movi_folders", "point_odyssey", "waymo")
# The first one of Sintel's has no place in the table of poses; of clips each subset has one.
SEQUENCES = {"sintel": 2, "own_clips": len(clip_names())}
# Miniatures that are not called as their readers are, and what protocols ask of those of kinds.
OTHER_NAMES = {"own_clips": "clips"}
OPTIONS = {"davis": {"year": "2016"}}
# What a perfect answer leaves by the precision of files; the largest is that of 16-bit depth.
ROUNDING = 5e-4
# The nearest pixel of a grid is not always within 4 pixels of the place.
ON_A_GRID = {"match_recall": 0.95, "match_recall_moving": 0.9}
# Objects of a miniature show too few pixels of the grid for a pose.
TOO_SMALL = {"rpe_rotation_deg", "rpe_translation"}
COSTS = ("peak_mib", "seconds")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of all sets that have a miniature, by key."""
    folders, written = {}, {}
    for key, reader in READERS.items():
        name = f"miniatures.{OTHER_NAMES.get(reader, reader)}"
        if find_spec(name) is None:
            continue
        if reader not in written:
            written[reader] = tmp_path_factory.mktemp(reader)
            import_module(name).write_miniature(
                written[reader],
                engine_clip(seed=38, frames=LONG_FRAMES if reader in LONG else FRAMES),
                sequences=SEQUENCES.get(reader, 1),
                **OPTIONS.get(reader, {}),
            )
        folders[key] = written[reader]
    clips = sorted(folders["clips"].iterdir())
    for folder, names in zip(clips, clip_names().values(), strict=True):
        folder.rename(folder.with_name(names[0]))
    return folders


@pytest.fixture(scope="module")
def tables(data, tmp_path_factory):
    """The folder of one run of all protocols."""
    out = tmp_path_factory.mktemp("out")
    words = [f"{key}={path}" for key, path in data.items()]
    methods = ["truth", "flat", "nano"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            known,
            "NetworkMethod",
            lambda model, name, weights: NetworkMethod(FakeModel(), name=name),
        )
        code = cli.main(
            ["evaluate", "--protocol", "all", "--data", *words, "--model", *methods, "-o", str(out)]
        )
    assert code == 0
    return out


@pytest.fixture(scope="module")
def results(tables):
    return {key: json.loads((tables / f"{key}.json").read_text()) for key in all_protocols()}


def test_every_protocol_ran_on_every_set(data, results):
    for key, protocol in all_protocols().items():
        scored = {each["title"] for each in results[key]["sets"] if each["tasks"]}
        assert scored == {each.title for each in protocol.sets if each.dataset in data}, key


@pytest.mark.parametrize("key", list(all_protocols()))
def test_the_truth_is_perfect_through_readers_and_files(results, key):
    columns = {each["metric"]: each for each in results[key]["columns"]}
    measured = set()
    for each in results[key]["pooled"]:
        if each["method"] != "truth" or each["value"] is None:
            continue
        metric = each["metric"]
        measured.add(metric)
        if metric in COSTS:
            assert each["value"] > 0
        elif columns[metric]["better"] == "lower":
            assert each["value"] == pytest.approx(0, abs=ROUNDING), (each["set"], metric)
        else:
            worst = ON_A_GRID.get(metric, 1 - ROUNDING)
            best = 100 if each["value"] > 1 + ROUNDING else 1
            assert worst * best <= each["value"] <= best * (1 + 1e-9), (each["set"], metric)
    missing = {metric for metric, each in columns.items() if each["default"]} - measured
    assert missing == (TOO_SMALL if key == "dpm-points" else set())


@pytest.mark.parametrize("key", list(all_protocols()))
def test_no_other_answer_is_perfect(results, key):
    """The plane, and a network that knows nothing of the pictures."""
    worse = {"flat scene": 0, "nano": 0}
    best = {
        (each["set"], each["metric"]): each["value"]
        for each in results[key]["pooled"]
        if each["method"] == "truth"
    }
    for each in results[key]["pooled"]:
        found, known_best = each["value"], best[each["set"], each["metric"]]
        if each["method"] in worse and None not in (found, known_best):
            assert math.isfinite(found)
            worse[each["method"]] += abs(found - known_best) > 0.01
    if key != "dept3r-memory":
        assert all(worse.values()), worse


def test_tables_of_all_protocols_are_written(results, tables):
    for key, protocol in all_protocols().items():
        markdown, latex = (tables / f"{key}{suffix}" for suffix in (".md", ".tex"))
        text = markdown.read_text()
        for row in (
            "truth",
            "flat scene",
            "nano",
            *(f"{p.method} (paper)" for p in protocol.paper),
        ):
            # Where a paper has no form, sets stand before the row's name.
            assert re.search(rf"^\| ([^|]*: )?{re.escape(row)} ", text, re.MULTILINE), (key, row)
        assert latex.read_text().count("\\end{tabular}") >= 1
