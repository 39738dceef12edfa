"""Long clips that are broken off, damaged or begun in another way: nothing is lost or mixed up."""

import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest

from counting_fake import CountingFake, named_kinds
from dynapoint.cli.common import Terminated, ends_cleanly
from dynapoint.data.frame_stream import open_stream
from dynapoint.data.selection import FrameSelection
from dynapoint.errors import InputError, OutputError
from dynapoint.inference.long import long_scene, workers
from dynapoint.inference.long.deciding import LongSource
from dynapoint.inference.long.long_scene import LongClip
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.inference.long.window_files import write_window
from dynapoint.inference.long.work_folder import kept_work_folder, unfinished_folder
from dynapoint.models.protocol import info_of
from dynapoint.results.on_disk.large_arrays import GrowingArray
from dynapoint.windows.contradictions import Overruled
from dynapoint.windows.spans import WindowSizes
from fake_model import picture_array

SIZES = WindowSizes(window=8, overlap=3)


@pytest.fixture(scope="module", autouse=True)
def kinds_have_names():
    with named_kinds():
        yield


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return picture_array(19, 36, 64)


def reconstructed(pictures, model, work):
    clip = LongClip(
        LongSource(lambda: open_stream(pictures, FrameSelection.every())),
        WindowPredictor(model=model, info=info_of(model)),
        SIZES,
        work,
    )
    for _ in clip.parts():
        pass
    return clip.finished()


@pytest.fixture
def one_is_overruled(monkeypatch):
    """The second window's cameras are always found to be off, from wherever they are."""
    again = []

    def overruled(plain, wide, log_unit):
        del wide, log_unit
        poses = plain[1].world_from_camera.copy()
        poses[1:, 1, 3] += 0.125
        return [Overruled(window=1, by=0, by_deg=3.0, world_from_camera=poses)]

    def predicted(predictor, job):
        rec = predictor.predict(job.frames, focal_px=job.focal_px)
        if job.poses is not None:
            again.append(job.window)
            rec = replace(rec, world_from_camera=job.poses)
        write_window(rec, job.window, job.folder)

    monkeypatch.setattr(long_scene, "overruled_windows", overruled)
    monkeypatch.setattr(workers, "predict_and_write", predicted)
    return again


def test_broken_off_behind_windows_that_were_predicted_again(
    pictures, tmp_path, monkeypatch, one_is_overruled
):
    with kept_work_folder(tmp_path / "whole.4d", {}) as work:
        rec = reconstructed(pictures, CountingFake(), work)
        wanted = rec.world_from_camera.copy(), np.array(rec.own_time_points)
    assert len(one_is_overruled) == 1
    heights = wanted[0][:, 1, 3]
    assert np.abs(heights).max() > 0.01, "the second window's cameras are told by nothing"

    with monkeypatch.context() as broken, pytest.raises(InputError):
        broken.setattr(
            long_scene, "_closures", lambda *_: (_ for _ in ()).throw(InputError("stopped"))
        )
        with kept_work_folder(tmp_path / "broken.4d", {}) as work:
            reconstructed(pictures, CountingFake(), work)
    assert len(one_is_overruled) == 2
    model = CountingFake()
    with kept_work_folder(tmp_path / "broken.4d", {}) as work:
        rec = reconstructed(pictures, model, work)
        np.testing.assert_array_equal(rec.world_from_camera, wanted[0])
        np.testing.assert_array_equal(rec.own_time_points, wanted[1])
    assert model.encoded == 0 and len(one_is_overruled) == 2


@pytest.mark.parametrize("name", ["points.npy", "intrinsics.npy", "encoded.npz", "window.json"])
def test_a_window_that_lacks_a_file_is_not_taken_up(pictures, tmp_path, name):
    output = tmp_path / "a.4d"
    with pytest.raises(InputError), kept_work_folder(output, {}) as work:
        reconstructed(pictures, CountingFake(stops_after=3), work)
    folder = unfinished_folder(output) / "windows" / "00000"
    lost = next(path for path in folder.iterdir() if path.stem == name.split(".")[0])
    lost.unlink()
    with pytest.raises(InputError), kept_work_folder(output, {}) as work:
        assert work.resumed == 0 and work.finished(0) is None and not folder.exists()
        assert work.finished(1) is not None
        raise InputError("seen enough")


def test_the_lens_is_found_once(pictures, tmp_path):
    output = tmp_path / "a.4d"
    with pytest.raises(InputError), kept_work_folder(output, {}) as work:
        reconstructed(pictures, CountingFake(stops_after=2), work)
    with pytest.raises(InputError), kept_work_folder(output, {}) as work:
        assert work.focal_px() == pytest.approx(64.0, rel=0.2)
        work.keep_focal(0.1 + 0.2)
        assert work.focal_px() == 0.1 + 0.2
        (work.path / "lens.json").write_text("{")
        assert work.focal_px() is None
        raise InputError("seen enough")


def test_where_no_window_is_finished_nothing_stays(pictures, tmp_path):
    with pytest.raises(InputError), kept_work_folder(tmp_path / "a.4d", {}) as work:
        reconstructed(pictures, CountingFake(stops_after=1), work)
    assert list(tmp_path.iterdir()) == []


def test_what_is_deleted_is_counted(pictures, tmp_path):
    with pytest.raises(InputError), kept_work_folder(tmp_path / "a.4d", {"a": 1}) as work:
        reconstructed(pictures, CountingFake(stops_after=3), work)
    with kept_work_folder(tmp_path / "a.4d", {"a": 2}) as work:
        assert work.deleted == 2 and work.resumed == 0


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError("215040 requested and 41952 written"),
        OSError("Error while serializing: I/O error: full (os error 28)"),
    ],
)
def test_a_full_disk_leaves_what_is_finished(tmp_path, error):
    with pytest.raises(OutputError, match=r"No space left on device.*make room and run the same"):
        with kept_work_folder(tmp_path / "a.4d", {}) as work:
            (work.path / "windows" / "00000").mkdir()
            raise error
    assert unfinished_folder(tmp_path / "a.4d").is_dir()


def test_an_array_that_is_written_anew_leaves_a_scene_that_shares_it(tmp_path):
    for value in (1, 2):
        with GrowingArray(tmp_path / "a.npy", (3, 2)) as array:
            array.append(np.full((3, 2), value))
        if value == 1:
            os.link(tmp_path / "a.npy", tmp_path / "scene.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "scene.npy"), np.ones((3, 2)))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.full((3, 2), 2))


def test_a_process_that_is_asked_to_end_cleans_up():
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []
    with pytest.raises(Terminated), ends_cleanly():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)
        finally:
            cleaned.append(True)
    assert cleaned and signal.getsignal(signal.SIGTERM) is before
