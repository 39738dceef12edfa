"""The example for other methods: what it writes is scored, and scores what a wall does."""

import json
import runpy

import numpy as np
import pytest

from dynapoint import cli
from folders import ROOT
from miniatures import clips
from miniatures.engine_clip import engine_clip

EXAMPLE = ROOT / "examples" / "06_evaluate_other_method.py"


def test_what_the_example_writes_is_scored(tmp_path, capsys):
    data, wall, out = tmp_path / "clips", tmp_path / "wall", tmp_path / "out"
    clips.write_miniature(data, engine_clip(frames=12), sequences=2)
    runpy.run_path(str(EXAMPLE))["main"](data, wall)
    words = ["--protocol", "motion", "--data", f"clips={data}", "--predictions", f"wall={wall}"]
    assert cli.main(["evaluate", *words, "-o", str(out)]) == 0
    assert "margin 8: wall" in capsys.readouterr().out
    told = json.loads((out / "motion.json").read_text())
    values = {
        (each["method"], each["set"], each["metric"]): each["value"] for each in told["pooled"]
    }
    for margin in ("margin 2", "margin 8"):
        assert values["wall", margin, "motion_ratio"] == pytest.approx(1)
        for metric in ("own_time_epe", "leak", "epe"):
            same = values["flat scene", margin, metric]
            # Its focal length is the width, which is the longer side.
            assert values["wall", margin, metric] == pytest.approx(same, abs=1e-6)
    assert np.count_nonzero([bool(line) for line in EXAMPLE.read_text().splitlines()]) <= 20
