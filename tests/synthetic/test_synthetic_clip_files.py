"""Clips on disk: the bench's format, whole or not at all, the same bytes for the same seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynapoint.errors import ConfigError, OutputError
from dynapoint.synthetic import clip_files
from dynapoint.synthetic.clip_files import synthesize

_SMALL: dict[str, Any] = {"image_hw": (32, 40), "frames": 3, "difficulty": 1.0}


def test_clips_are_in_the_format_of_the_bench(tmp_path: Path) -> None:
    folders = synthesize(tmp_path / "out", clips=2, seed=7, **_SMALL)
    assert [folder.name for folder in folders] == ["clip_000", "clip_001"]
    for folder in folders:
        truth = np.load(folder / "gt.npz")
        assert truth["points"].shape == (3, 3, 32, 40, 3)
        assert truth["points"].dtype == np.float16
        assert truth["visible"].shape == (3, 3, 32, 40)
        assert truth["visible"].dtype == bool
        assert truth["instance"].shape == (3, 32, 40)
        assert truth["instance"].dtype == np.uint8
        assert truth["K"].shape == (3, 3)
        assert np.array_equal(truth["world_from_camera"][0], np.eye(4))
        assert int(truth["stride"]) == 1
        sky = truth["instance"] == 255
        assert np.array_equal(np.isnan(truth["points"][1]).all(-1), sky)
        for index in range(3):
            assert Image.open(folder / f"rgb_{index:02d}.png").size == (40, 32)
        assert (folder / "video.mp4").stat().st_size > 200


def test_the_package_reads_its_own_clips(tmp_path: Path) -> None:
    from dynapoint.evaluation.clips import find_clips

    synthesize(tmp_path / "out", clips=1, seed=1, **_SMALL)
    assert [path.name for path in find_clips(tmp_path / "out")] == ["clip_000"]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first = synthesize(tmp_path / "a", clips=1, seed=3, **_SMALL)[0]
    again = synthesize(tmp_path / "b", clips=1, seed=3, **_SMALL)[0]
    for name in ("rgb_00.png", "rgb_02.png", "video.mp4"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
    one, other = np.load(first / "gt.npz"), np.load(again / "gt.npz")
    for key in one.files:
        assert one[key].tobytes() == other[key].tobytes()


def test_float32_points_where_asked(tmp_path: Path) -> None:
    folder = synthesize(tmp_path, clips=1, seed=2, float32_points=True, **_SMALL)[0]
    assert np.load(folder / "gt.npz")["points"].dtype == np.float32


@pytest.mark.parametrize(
    "wrong",
    [{"frames": 17}, {"clips": 0}, {"seed": -1}, {"image_hw": (8, 64)}, {"difficulty": 2.0}],
)
def test_impossible_requests_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict
) -> None:
    request = {"clips": 1, "seed": 0, **_SMALL, **wrong}
    with pytest.raises(ConfigError):
        synthesize(tmp_path / "out", **request)
    assert not (tmp_path / "out").exists()


def test_existing_clips_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "clip_000").mkdir()
    with pytest.raises(OutputError, match="already exists"):
        synthesize(tmp_path, clips=1, seed=0, **_SMALL)


def test_an_output_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError):
        synthesize(tmp_path / "out", clips=1, seed=0, **_SMALL)


def test_nothing_is_left_behind_when_writing_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(clip_files, "write_video", fail)
    with pytest.raises(OutputError, match="No space left"):
        synthesize(tmp_path, clips=1, seed=0, **_SMALL)
    assert list(tmp_path.iterdir()) == []
