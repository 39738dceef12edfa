"""The published networks against the official code's numbers (tests/helpers/goldens.py).

tests/data/goldens holds some of the golden cases, thinned, in the layout of the whole collection,
which the slow suite goes through: the folder DYNAPOINT_GOLDENS, or ../shared/goldens.
"""

import json
import shutil

import numpy as np
import pytest

import goldens
from golden_cases import DEFAULT_FOLDER, STORED_FOLDER, label

FILES = [
    # This one has seventy million parameters.
    pytest.param(path, id=label(path), marks=[pytest.mark.slow] * path.stem.startswith("s3"))
    for path in sorted(STORED_FOLDER.rglob("*.npz"))
]
# Our float64 numbers agree to rounding, far within the limits that the goldens' README sets.
FLOAT64_LIMIT = 1e-10
# Depth Anything 3's code rounds the embedding of places to float32 at another step than VGGT's,
# which is the one that both have here.
FLOAT64_LIMIT_DA3 = 1e-7


def reports_of(folder, only=(), *, skip_full=False):
    return list(goldens.check_folder(folder, only=list(only), skip_full=skip_full))


@pytest.mark.parametrize("path", FILES)
def test_stored_cases(path):
    (report,) = reports_of(STORED_FOLDER, [label(path)])
    assert report.passed, goldens.text_of(report)
    assert len(report.comparisons) >= 1
    for c in report.comparisons:
        if c.precision == "float64" and c.array != "intrinsics":
            limit = FLOAT64_LIMIT_DA3 if path.parent.name == "da3" else FLOAT64_LIMIT
            assert c.deviation < limit, c


def test_all_that_is_stored_is_compared():
    compared = {
        report.case: {c.array for c in report.comparisons}
        for report in reports_of(
            STORED_FOLDER, ["s2_dino64_C", "block_conditional", "v1_A", "d1_linear_C"]
        )
    }
    assert len(compared) == 4
    for name, arrays in compared.items():
        with np.load(STORED_FOLDER / f"{name}.npz") as stored:
            inputs = {key for key in stored.files if key.startswith("in_") or key == "token_index"}
            assert arrays == set(stored.files) - inputs


@pytest.fixture
def small_case(tmp_path):
    """A copy of the smallest case, and a function that changes an array in it."""
    folder = tmp_path / "vdpm_small"
    folder.mkdir()
    for name in ("s2_dino64.json", "s2_dino64_C.json", "s2_dino64_C.npz"):
        shutil.copy(STORED_FOLDER / "vdpm_small" / name, folder)

    def change(**arrays):
        with np.load(folder / "s2_dino64_C.npz") as stored:
            np.savez(folder / "s2_dino64_C.npz", **{**stored, **arrays})

    with np.load(folder / "s2_dino64_C.npz") as stored:
        return folder, dict(stored), change


def exit_code(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["goldens.py", *map(str, arguments)])
    return goldens.main()


def test_script(small_case, monkeypatch, capsys):
    folder, stored, change = small_case
    assert exit_code(monkeypatch, folder.parent) == 0
    said = capsys.readouterr().out
    assert "vdpm_small/s2_dino64_C: PASS" in said and "1 of 1 passed" in said
    off = stored["P"].copy()
    # Half a digit more than what is asked for below, since rounding differs among processors.
    off[0, 0, 1, 2, 0] += 2.5e-4 * off.std()
    change(P=off)
    assert exit_code(monkeypatch, folder) == 1
    said = capsys.readouterr().out
    assert "P                             2." in said and "FAIL: vdpm_small/s2_dino64_C" in said
    assert "Q_conf" in said


@pytest.mark.parametrize(
    "q",
    [np.full((1, 1, 1, 35, 21, 3), np.nan, np.float32), np.zeros((1, 1, 1, 5, 5, 3), np.float32)],
    ids=["not finite", "of another shape"],
)
def test_arrays_that_cannot_agree(small_case, q):
    folder, _, change = small_case
    change(Q=q)
    (report,) = reports_of(folder)
    assert [c.array for c in report.comparisons if not c.passed] == ["Q"]


def test_unknown_arrays_are_no_success(small_case):
    folder, _, change = small_case
    change(R=np.zeros(3))
    (report,) = reports_of(folder)
    assert not report.passed and "['R']" in report.error


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("s2_dino64_C.json/images/seed", 24, "images hash"),
        ("s2_dino64_C.json/weights_sha256", "0" * 64, "weights hash"),
        ("s2_dino64_C.json/config", "nowhere.json", "no nowhere.json"),
        ("s2_dino64.json/config/dino/interpolate_offset", 0.1, "no such patch"),
        ("s2_dino64.json/config/decoder/intermediate_layer_idx", [0, 1, 2, 3], "different layers"),
        ("s2_dino64.json/entries", [["aggregator.other", [3]]], "missing"),
    ],
)
def test_broken_cases_are_reported(small_case, path, value, message):
    folder, _, _ = small_case
    file, *keys, last = path.split("/")
    described = json.loads((folder / file).read_text())
    inner = described
    for key in keys:
        inner = inner[key]
    inner[last] = value
    (folder / file).write_text(json.dumps(described))
    (report,) = reports_of(folder)
    assert not report.passed and message in report.error


def test_an_empty_folder_is_no_success(tmp_path, monkeypatch):
    assert exit_code(monkeypatch, tmp_path) == 1


def test_unknown_kinds_of_networks_are_no_success(tmp_path):
    (tmp_path / "x_A.json").write_text(json.dumps({"images": {"view": [1, 3, 64, 80]}}))
    np.savez(tmp_path / "x_A_f64.npz", points=np.zeros(3))
    (report,) = reports_of(tmp_path)
    assert not report.passed and "no network that is known here" in report.error


whole = pytest.mark.skipif(
    not DEFAULT_FOLDER.is_dir(), reason="no goldens; set DYNAPOINT_GOLDENS to their folder"
)


@whole
@pytest.mark.slow
def test_whole_collection():
    reports = reports_of(DEFAULT_FOLDER, skip_full=True)
    broken = [goldens.text_of(report) for report in reports if not report.passed]
    assert not broken, "\n".join(broken)
    assert sum(1 for report in reports if report.comparisons) >= 20


@whole
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_full_size_cases(precision):
    # In float64 this takes 14 GB and minutes.
    ends = "_f64" if precision == "float64" else "[!4]"
    reports = reports_of(DEFAULT_FOLDER, [f"vdpm_full/*{ends}", f"dust3r/full_*{ends}"])
    if not reports:
        pytest.skip("no full-size case there")
    broken = [goldens.text_of(report) for report in reports if not report.passed]
    assert not broken, "\n".join(broken)
