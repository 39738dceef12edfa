"""Clips in windows: a fake network whose windows fit together exactly, from source to scene."""

import json
from pathlib import Path

import numpy as np
import pytest

import dynapoint
from counting_fake import CountingFake, named_kinds
from dynapoint.data.frame_stream import open_stream
from dynapoint.data.selection import FrameSelection
from dynapoint.errors import ConfigError, InputError, OutputError
from dynapoint.inference.long.deciding import LongSource, sure_in_one_pass, windows_of_clip
from dynapoint.inference.long.long_scene import LongClip, _goes_anywhere
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.inference.long.shared_lens import Pilot, joined_focal, pilot_frames
from dynapoint.inference.long.window_files import FinishedWindow
from dynapoint.inference.long.work_folder import kept_work_folder, unfinished_folder
from dynapoint.models.protocol import info_of
from dynapoint.refinement.findings import Findings
from dynapoint.windows.joining import Joining
from dynapoint.windows.spans import Window, WindowSizes
from fake_model import CAMERA_STEP, SquareFake, picture_array

COUNT = 29
SIZES = WindowSizes(window=8, overlap=3)
# Of a clip so short there is one.
PILOTS = 1


@pytest.fixture(scope="module", autouse=True)
def kinds_have_names():
    with named_kinds():
        yield


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return picture_array(COUNT, 36, 64)


def reconstructed(source, model, work, *, sizes=SIZES, **given):
    predictor = WindowPredictor(model=model, info=info_of(model), **given)
    clip = LongClip(
        LongSource(lambda: open_stream(source, FrameSelection.every())), predictor, sizes, work
    )
    parts = list(clip.parts())
    return clip.finished(), parts


@pytest.fixture(scope="module")
def rec(pictures):
    return dynapoint.reconstruct(
        pictures, CountingFake(), frames="all", window=8, overlap=3, refine=False
    )


def test_cameras_of_all_windows_are_one_path(rec):
    assert rec.frame_count == COUNT
    assert rec.joining.windows >= 5 and rec.segments == ()
    wanted = np.tile(np.eye(4), (COUNT, 1, 1))
    wanted[:, 0, 3] = CAMERA_STEP * np.arange(COUNT)
    np.testing.assert_array_equal(rec.world_from_camera[0], np.eye(4))
    np.testing.assert_allclose(rec.world_from_camera, wanted, atol=1e-4)


def test_own_time_maps_lie_where_cameras_see_them(rec):
    for frame in (0, 11, COUNT - 1):
        points = rec.own_time_points[frame] @ rec.world_from_camera[frame][:3, :3]
        points -= rec.world_from_camera[frame][:3, :3].T @ rec.world_from_camera[frame][:3, 3]
        x, y, z = np.moveaxis(points, -1, 0)
        lens = rec.map_intrinsics[frame]
        rows, columns = np.mgrid[: rec.map_hw[0], : rec.map_hw[1]] + 0.5
        np.testing.assert_allclose(lens[0, 0] * x / z + lens[0, 2], columns, atol=1e-3)
        np.testing.assert_allclose(lens[1, 1] * y / z + lens[1, 2], rows, atol=1e-3)


def test_still_points_stay_still_however_far_the_time(rec):
    """The wall has no displacement in any window, and none through all of them."""
    points = rec.query(frame=0, xy=[[4.5, 4.5]]).points
    np.testing.assert_array_equal(points, np.broadcast_to(points[:1], points.shape))


def test_a_clip_that_fits_one_window_goes_as_before(pictures):
    few = dynapoint.reconstruct(pictures[:8], SquareFake(), window=8, refine=False)
    plain = dynapoint.reconstruct(pictures[:8], SquareFake(), refine=False)
    assert few.joining is None
    np.testing.assert_array_equal(few.own_time_points, plain.own_time_points)
    np.testing.assert_array_equal(few.world_from_camera, plain.world_from_camera)


def test_saved_and_opened_it_answers_what_it_holds(rec, tmp_path):
    opened = dynapoint.open(rec.save(tmp_path / "long.4d"))
    np.testing.assert_array_equal(opened.own_time_points, rec.own_time_points)
    np.testing.assert_array_equal(opened.world_from_camera, rec.world_from_camera)
    assert opened.joining == Joining.from_plain(rec.joining.to_plain())
    assert opened.segments == rec.segments
    manifest = json.loads((tmp_path / "long.4d" / "manifest.json").read_text())
    assert manifest["version"] == 5 and manifest["windows"] == rec.joining.windows
    before, after = (
        each.query(frame=0, xy=[[30.0, 18.0]], time=COUNT - 1) for each in (rec, opened)
    )
    np.testing.assert_array_equal(after.points, before.points)


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(pictures, tmp_path):
    facts = {"what": "test"}
    with kept_work_folder(tmp_path / "whole.4d", facts) as work:
        whole, _ = reconstructed(pictures, CountingFake(), work)
        whole_points, whole_poses = np.array(whole.own_time_points), whole.world_from_camera.copy()
    assert not unfinished_folder(tmp_path / "whole.4d").exists()
    output = tmp_path / "broken.4d"
    with pytest.raises(InputError), kept_work_folder(output, facts) as work:
        reconstructed(pictures, CountingFake(stops_after=PILOTS + 3), work)
    assert unfinished_folder(output).is_dir()
    model = CountingFake()
    with kept_work_folder(output, facts) as work:
        assert work.resumed == 3
        again, _ = reconstructed(pictures, model, work)
        np.testing.assert_array_equal(again.own_time_points, whole_points)
        np.testing.assert_array_equal(again.world_from_camera, whole_poses)
    assert model.encoded == whole.joining.windows - 3


def test_what_was_made_with_other_options_is_not_taken_up(pictures, tmp_path):
    with pytest.raises(InputError), kept_work_folder(tmp_path / "a.4d", {"window": 8}) as work:
        reconstructed(pictures, CountingFake(stops_after=PILOTS + 3), work)
    with pytest.raises(InputError), kept_work_folder(tmp_path / "a.4d", {"window": 9}) as work:
        assert work.resumed == 0
        raise InputError("seen enough")


def test_a_damaged_window_is_predicted_again(pictures, tmp_path):
    with pytest.raises(InputError), kept_work_folder(tmp_path / "a.4d", {}) as work:
        reconstructed(pictures, CountingFake(stops_after=PILOTS + 3), work)
    damaged = unfinished_folder(tmp_path / "a.4d") / "windows" / "00001" / "points.npy"
    damaged.write_bytes(damaged.read_bytes()[:100])
    model = CountingFake()
    with kept_work_folder(tmp_path / "a.4d", {}) as work:
        whole, _ = reconstructed(pictures, model, work)
        np.testing.assert_allclose(
            whole.world_from_camera[:, 0, 3], CAMERA_STEP * np.arange(COUNT), atol=1e-4
        )
    assert model.encoded == whole.joining.windows - 2


def test_two_runs_do_not_write_one_scene(tmp_path):
    with kept_work_folder(tmp_path / "a.4d", {}):
        with (
            pytest.raises(OutputError, match="being written by another process"),
            kept_work_folder(tmp_path / "a.4d", {}),
        ):
            pass


def test_parts_come_before_the_clip_has_ended(pictures):
    """The part of window k is there before the frames of window k + 2 have been read."""
    read: list[int] = []

    def growing():
        for number, picture in enumerate(pictures):
            read.append(number)
            yield picture

    clip = dynapoint.stream(growing(), CountingFake(), window=8, overlap=3, refine=False)
    with pytest.raises(ConfigError, match="has not ended"):
        _ = clip.result
    seen: list[int] = []
    parts = []
    for part in clip:
        parts.append(part)
        seen += part.frames
        if part.window is not None:
            assert read[-1] < part.window.window.stop + 2 * 5
            assert len(part.world_from_camera) == len(part.frames)
    assert seen == list(range(COUNT))
    last = parts[-1]
    assert last.window is None and last.corrected.frames == tuple(range(COUNT))
    np.testing.assert_array_equal(last.corrected.world_from_camera, clip.result.world_from_camera)
    for part in parts[:-1]:
        np.testing.assert_allclose(
            part.world_from_camera[:, 0, 3], CAMERA_STEP * np.array(part.frames), atol=1e-4
        )


def test_black_frames_are_no_scene():
    with pytest.raises(InputError, match=r"^all 20 frames of \w+ are black; give"):
        dynapoint.reconstruct(
            np.zeros((20, 32, 48, 3), np.uint8), SquareFake(), frames="all", window=8
        )


def test_two_scenes_are_two_worlds(pictures):
    other = 255 - picture_array(15, 36, 64, seed=5)[:, ::-1]
    both = np.concatenate([pictures[:14], np.zeros((6, 36, 64, 3), np.uint8), other])
    rec = dynapoint.reconstruct(both, CountingFake(), frames="all", window=8, refine=False)
    kinds = [segment.kind for segment in rec.segments]
    assert kinds[:2] == ["scene", "black"] and set(kinds[2:]) == {"scene"}
    for segment in rec.segments:
        np.testing.assert_array_equal(rec.world_from_camera[segment.start], np.eye(4))
    assert (rec.own_time_confidence[14:20] == 0).all()
    found = rec.query(frame=0, xy=[[30.0, 18.0]], time=25)
    assert found.confidence[0] == 0 and found.visible[0] == 0


def test_sizes_that_make_no_windows(pictures):
    for window, overlap, words in (
        (8, 8, "overlap is 8"),
        (1, None, "window is 1"),
        (8, 0, "is 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            dynapoint.reconstruct(
                pictures, SquareFake(), frames="all", window=window, overlap=overlap
            )


@pytest.mark.parametrize("count", [1, 2])
def test_one_frame_and_two(pictures, count):
    rec = dynapoint.reconstruct(pictures[:count], SquareFake(), frames="all", window=8)
    assert rec.frame_count == count and rec.joining is None


def test_a_window_longer_than_the_video_is_one_pass(pictures):
    rec = dynapoint.reconstruct(pictures, SquareFake(), frames="all", window=100, refine=False)
    assert rec.joining is None and rec.frame_count == COUNT


def test_when_clips_go_in_windows():
    assert sure_in_one_pass(FrameSelection(), "nano")
    assert sure_in_one_pass(FrameSelection(stride=2, max_frames=20), "nano")
    assert not sure_in_one_pass(FrameSelection.every(), "nano")
    assert windows_of_clip(24, "nano") is None
    assert windows_of_clip(25, "nano") == WindowSizes(window=24, overlap=8)
    assert windows_of_clip(None, "nano") == WindowSizes(window=24, overlap=8)
    assert windows_of_clip(50, "vdpm") is None
    assert windows_of_clip(51, "vdpm") == WindowSizes(window=20, overlap=10)
    assert windows_of_clip(25, "nano", window=12) == WindowSizes(window=12, overlap=4)
    # A network of one's own takes any number, unless it says how many or is asked for windows.
    assert windows_of_clip(1000, info_of(SquareFake())) is None


def test_pilots_lie_in_all_of_the_clip_and_count_by_what_they_tell():
    pilots = pilot_frames(2000, 24)
    assert len(pilots) == 3 and all(len(each) == 24 for each in pilots)
    assert pilots[0][0] > 300 and pilots[-1][-1] < 1700
    assert pilot_frames(30, 24) == [pilot_frames(30, 24)[0]]
    sure, unsure = Pilot(focal_px=500.0, sigma=0.02), Pilot(focal_px=800.0, sigma=0.2)
    weights = np.array([1 / 0.02**2, 1 / 0.2**2])
    wanted = np.exp((weights * np.log([500, 800])).sum() / weights.sum())
    assert joined_focal([sure, unsure]) == pytest.approx(wanted)


def test_lengths_of_a_long_clip_become_metres(pictures, tmp_path):
    rec = dynapoint.reconstruct(
        pictures, CountingFake(), frames="all", window=8, refine=False,
        scale_from=("distance", "0,10,10,50,10,7.5"),
    )  # fmt: skip
    ends = rec.query(frame=0, xy=[[10.0, 10.0], [50.0, 10.0]], time=0).points
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(7.5, rel=1e-4)
    assert rec.settings["units"] == "metres"
    far = rec.query(frame=0, xy=[[4.5, 4.5]]).points
    np.testing.assert_array_equal(far, np.broadcast_to(far[:1], far.shape))


def test_temporary_files_go_with_the_result(pictures):
    rec = dynapoint.reconstruct(pictures, CountingFake(), frames="all", window=8, refine=False)
    folder = Path(rec.own_time_points.filename).parent
    assert folder.is_dir()
    del rec
    import gc

    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("starts", "wanted"),
    [
        (("turning", "turning", "flow"), False),
        (("turning", "flow", "turning"), True),
        (("still", "turning", "turning"), False),
        ((None, "turning", "turning"), True),
    ],
)
def test_wide_windows_are_for_cameras_that_go_somewhere(starts, wanted):
    """Only the first two of three windows lie in the span of the wide one."""
    plain = [
        FinishedWindow(
            window=Window(frames=tuple(range(16 * k, 16 * k + 24))),
            world_from_camera=np.tile(np.eye(4), (24, 1, 1)),
            map_intrinsics=np.tile(np.eye(3), (24, 1, 1)),
            findings=None if start is None else Findings(start=start),
            folder=Path("nowhere"),
            encoded_sha256=None,
        )
        for k, start in enumerate(starts)
    ]
    assert _goes_anywhere(Window(frames=tuple(range(0, 32, 4)), wide=True), plain) == wanted
