"""What the viewer's pages are sent, and what the viewer does with uploads, without a browser."""

import io
import json
import socket
import struct
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

import dynapoint
from dynapoint.cli import main, view
from dynapoint.errors import ConfigError, InputError, SceneError
from dynapoint.exports.catalog import FORMATS
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.viewer import jobs, site
from dynapoint.viewer.jobs import Jobs, Working
from dynapoint.viewer.serving import Request
from dynapoint.viewer.shown import ShownScene
from exported_scenes import gray_images, scene
from fake_model import VELOCITY, FakeModel, SquareFake, picture_array, seen_from

FRAMES = 4
STEP_BYTES = 2e6
WHOLE = (0.0, 0.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def rec() -> Reconstruction:
    return scene(frames=FRAMES)


@pytest.fixture
def shown(rec) -> ShownScene:
    return ShownScene(rec)


def quiet(share: float, words: str = "") -> None:
    """Nobody looks."""


def parts(content: bytes) -> tuple[dict, bytes]:
    """Facts, and what follows them, as the page reads it."""
    (length,) = struct.unpack("<I", content[:4])
    return json.loads(content[4 : 4 + length]), content[-(-(4 + length) // 8) * 8 :]


def places(facts: dict, content: bytes, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, certainty and motion of so many points."""
    steps = np.frombuffer(content, dtype="<u2", count=4 * count).reshape(count, 4)
    points = np.array(facts["low"]) + np.array(facts["size"]) * steps[:, :3] / 65535
    return points, steps[:, 3] >> 8, steps[:, 3] & 255


def own_cloud(shown: ShownScene, frame: int, *, motion: bool = False, most: int = 10**6):
    facts, content = parts(shown.cloud(frame, most=most, motion=motion))
    count = facts["rows"] * facts["columns"]
    assert len(content) == 8 * count
    return facts, *places(facts, content, count)


def test_a_frames_cloud_is_its_own_points_within_half_a_step(shown, rec):
    facts, points, certainty, _ = own_cloud(shown, 2)
    assert (facts["rows"], facts["columns"]) == rec.map_hw
    error = np.abs(points - rec.own_time_points[2].reshape(-1, 3))
    assert (error <= np.array(facts["size"]) / 65535 * 0.51 + 1e-6).all()
    # The box is nearer and so surer than the wall, but for its edge.
    box = rec.own_time_confidence[2].reshape(-1) > np.median(rec.own_time_confidence[2])
    assert np.median(certainty[box]) > certainty[~box].max()
    assert facts["shown"] == (certainty > 0).sum() == certainty.size


def test_unusable_points_are_not_shown():
    broken = dynapoint.reconstruct(picture_array(3, 48, 64), FakeModel(broken=True))
    facts, points, certainty, _ = own_cloud(ShownScene(broken), 1)
    np.testing.assert_array_equal(certainty > 0, broken.own_time_confidence[1].reshape(-1) > 0)
    assert np.isfinite(points).all() and 0 < facts["shown"] < certainty.size


def test_a_step_of_a_large_scene_is_less_than_two_megabytes():
    images = np.random.default_rng(0).integers(0, 255, (3, 294, 518, 3), dtype=np.uint8)
    model = SquareFake(518)
    model.patch_size = 14
    large = ShownScene(dynapoint.reconstruct(images, model))
    assert large.rec.map_hw == (294, 518)
    # Noise is the worst of pictures.
    for most in (60_000, 200_000):
        cloud = large.cloud(1, most=most, motion=False)
        assert len(cloud) + len(large.picture(1)) < STEP_BYTES
    assert parts(cloud)[0]["rows"] == 294


def test_a_picture_is_the_frame():
    found = np.asarray(Image.open(io.BytesIO(ShownScene(scene(images=gray_images)).picture(1))))
    assert found.shape == (32, 64, 3) and (found == 128).all()


def test_freezing_time_moves_what_moves_and_keeps_the_rest(shown, rec):
    assert shown.path(0) is None
    facts, content = parts(shown.fuse(quiet))
    still, movers = facts["still"], facts["movers"]
    assert len(content) == 8 * still + 4 * (still + movers)
    _, certainty, motion = places(facts, content, still)
    assert (certainty > 0).all() and (motion < 128).all()
    first, last = (places(facts, parts(shown.path(time))[1], movers) for time in (0, FRAMES - 1))
    both = (first[1] > 0) & (last[1] > 0) & (first[2] > 128)
    assert both.sum() > 20
    moved = (last[0] - first[0])[both]
    np.testing.assert_allclose(
        moved, np.broadcast_to(VELOCITY * (FRAMES - 1), moved.shape), atol=0.002
    )


def test_motion_is_in_the_cloud_once_it_is_known(shown, rec):
    assert not (own_cloud(shown, 1, motion=True)[3] & 254).any()
    shown.find_motion(quiet)
    moving = own_cloud(shown, 1, motion=True)[3] > 128
    box = rec.own_time_points[1, ..., 2].reshape(-1) < 3
    assert moving[box].mean() > 0.9 and moving[~box].mean() < 0.1
    assert not (own_cloud(shown, 1)[3] & 254).any()


def test_what_was_worked_out_is_read_from_the_scene_again(rec, tmp_path):
    rec.save(tmp_path / "s.4d")
    stored = dynapoint.open(tmp_path / "s.4d")
    fields = {name: getattr(rec, name) for name in rec.__dataclass_fields__}
    first = ShownScene(Reconstruction(**{**fields, "folder": stored.folder}))
    fused = first.fuse(quiet)
    first.find_motion(quiet)
    # The stored scene has no network: only the cache can answer.
    second = ShownScene(stored)
    assert second.fuse(quiet) == fused
    second.find_motion(quiet)
    assert second.cloud(1, most=999, motion=True) == first.cloud(1, most=999, motion=True)
    # A damaged cache, or one of another scene, is no answer; the scene stays whole.
    (stored.folder / "cache/view_fused.npz").write_bytes(b"damaged")
    manifest = stored.folder / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    for ask in (ShownScene(stored).fuse, ShownScene(stored).find_motion):
        with pytest.raises(SceneError, match="holds no network"):
            ask(quiet)


@pytest.mark.parametrize("frame", [0, 2])
def test_tracks_start_in_the_part_and_move_as_the_box_does(shown, rec, frame):
    part = (0.25, 0.25, 0.75, 0.75)
    facts, content = parts(shown.tracks(frame, part))
    count = facts["count"]
    points = np.frombuffer(content, "<f4", 3 * FRAMES * count).reshape(FRAMES, count, 3)
    motion = np.frombuffer(content, np.uint8, count, 12 * FRAMES * count + 3 * count)
    assert len(content) == FRAMES * count * 13 + 4 * count
    camera = seen_from(rec.world_from_camera[frame], points[frame])
    pixels = camera @ rec.map_intrinsics[frame].T
    share = pixels[:, :2] / pixels[:, 2:] / rec.map_hw[::-1]
    # Points come back in float32.
    assert (share >= 0.25 - 1e-5).all() and (share <= 0.75 + 1e-5).all()
    moving = motion > 127
    assert 10 < moving.sum() < count
    expected = VELOCITY.numpy()[None, None] * (np.arange(FRAMES) - frame)[:, None, None]
    np.testing.assert_allclose(
        (points - points[frame])[:, moving], expected.repeat(moving.sum(), 1), atol=1e-4
    )
    whole = parts(shown.tracks(frame, WHOLE))[0]["count"]
    assert count < whole <= 1200


def test_every_format_can_be_downloaded_as_one_file(rec, shown, tmp_path):
    assert [each["name"] for each in shown.formats()] == list(FORMATS)
    assert all(each["words"] for each in shown.formats())
    page = shown.write("html", tmp_path)
    assert page.read_text().startswith("<!DOCTYPE html>")
    folder = shown.write("ply", tmp_path)
    assert len(zipfile.ZipFile(folder).namelist()) >= FRAMES
    rec.save(tmp_path / "walk.4d")
    kept = ShownScene(dynapoint.open(tmp_path / "walk.4d"))
    assert kept.formats()[0]["name"] == "4d"
    (tmp_path / "walk.4d/cache").mkdir()
    (tmp_path / "walk.4d/cache/large").touch()
    with zipfile.ZipFile(kept.write("4d", tmp_path)) as archive:
        archive.extractall(tmp_path / "out")
        assert not any("cache" in name for name in archive.namelist())
    (again,) = (tmp_path / "out").iterdir()
    np.testing.assert_array_equal(dynapoint.open(again).own_time_points, rec.own_time_points)


@pytest.mark.parametrize("frames", [1, 2])
def test_short_scenes_can_be_shown(frames):
    short = ShownScene(scene(frames=frames))
    short.find_motion(quiet)
    assert own_cloud(short, frames - 1, motion=True)[0]["shown"]
    assert parts(short.fuse(quiet))[0]["still"] and short.path(0) is not None
    assert parts(short.tracks(0, WHOLE))[0]["count"]


def test_a_scene_without_any_point_is_empty(rec):
    fields = {name: getattr(rec, name) for name in rec.__dataclass_fields__}
    fields["own_time_confidence"] = np.zeros_like(rec.own_time_confidence)
    empty = ShownScene(Reconstruction(**fields))
    assert own_cloud(empty, 0)[0]["shown"] == 0
    facts = parts(empty.fuse(quiet))[0]
    assert facts["still"] == facts["movers"] == 0
    assert parts(empty.tracks(0, WHOLE))[0]["count"] == 0


def get(where: site.Site, path: str, method: str = "GET", **query: str):
    parts_of_path = tuple(part for part in path.split("/") if part)
    return where.answer(
        Request(method=method, path=parts_of_path, query=query, body=io.BytesIO(), length=0)
    )


def test_addresses_of_a_scene(rec):
    where = site.Site(rec)
    assert get(where, "/").location == "/scene/1/"
    page = get(where, "/scene/1/").content.decode()
    assert "class Source" in page and "%%" not in page and '"uploads":false' in page
    assert get(where, "/scene/1/picture/3").kind == "image/jpeg"
    assert get(where, "/scene/1/cloud/3", most="10").status == 200
    assert get(where, "/scene/2/").location == "/scene/1/"
    for nowhere in ("/scene/1/nothing", "/scene/1/file/ply/x", "/uploads", "/etc"):
        assert get(where, nowhere).status == 404, nowhere
    assert get(where, "/uploads", "POST").status == 404
    assert get(where, "/scene/1/path/0").status == 404
    assert get(where, "/scene/1/export/ply").status == 404
    assert get(where, "/scene/1/export/doc", "POST").status == 404
    for bad in ("4", "-1", "x", "", "²", "1e3"):
        with pytest.raises(InputError, match="number from 0 to 3"):
            get(where, f"/scene/1/picture/{bad or ' '}")
    for box in ("0,0,1", "a,b,c,d", "1,0,0,1", "0,0,2,1", "nan,0,1,1", "0,0,0,0"):
        with pytest.raises(InputError, match="left,top,right,bottom"):
            get(where, "/scene/1/tracks/0", box=box)
    where.close()


def until_done(ask):
    for _ in range(600):
        answer = ask()
        if answer.status != 202:
            return answer
    raise AssertionError("never done")


def test_an_export_is_written_once_and_had_under_its_name_alone(rec):
    where = site.Site(rec)
    told = until_done(lambda: get(where, "/scene/1/export/tum", "POST"))
    said = json.loads(told.content)
    answer = get(where, f"/scene/1/{said['href']}")
    assert answer.save_as == said["name"] and answer.content.read_text().count("\n") >= FRAMES
    assert get(where, f"/scene/1/file/tum/../{said['name']}").status == 404
    assert get(where, "/scene/1/file/../tum").status == 404
    where.close()
    assert not answer.content.exists()


def test_work_runs_once_says_how_far_it_is_and_is_tried_again_after_failing(monkeypatch):
    monkeypatch.setattr(jobs, "_PATIENCE_S", 0.01)
    all_jobs, go, calls = Jobs(), threading.Event(), []

    def work(report):
        calls.append(1)
        report(0.5, "half")
        go.wait(5)
        if len(calls) == 1:
            raise InputError("no")
        return "done"

    def ask():
        return all_jobs.ask("key", "words", work)

    found = ask()
    while found != Working(share=0.5, words="half"):
        found = ask()
    # Another piece of work waits for its turn.
    waiting = all_jobs.ask("other", "later", lambda report: 1)
    assert waiting == Working(share=0.0, words="Waiting for other work")
    assert len(calls) == 1
    go.set()
    with pytest.raises(InputError, match="no"):
        while isinstance(ask(), Working):
            pass
    while isinstance(found := ask(), Working):
        pass
    assert found == "done" == ask() and len(calls) == 2


def test_results_nobody_asks_for_are_let_go_and_work_nobody_waits_for_is_not_begun(monkeypatch):
    monkeypatch.setattr(jobs, "_RESULTS_KEPT", 3)
    all_jobs, made, go = Jobs(), [], threading.Event()

    def ask(key):
        return all_jobs.ask(key, "words", lambda report: made.append(key) or key)

    for key in ["first", 1, 2, 3, "first", 4, 5, "first"]:
        assert ask(key) == key
    assert made == ["first", 1, 2, 3, 4, 5] and ask(1) == 1 and made[-1] == 1
    monkeypatch.setattr(jobs, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(jobs, "_WAITING_S", 0.3)
    all_jobs.ask("long", "words", lambda report: go.wait(20))
    assert isinstance(ask("left"), Working)
    time.sleep(0.4)
    assert isinstance(ask("waited for"), Working)
    go.set()
    until = time.monotonic() + 10
    while isinstance(ask("waited for"), Working):
        assert time.monotonic() < until
    assert "left" not in made


def test_view_says_what_is_wrong(rec, tmp_path, capsys):
    assert main(["view", str(tmp_path / "none.4d")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert main(["view", "a", "b"]) == 2
    assert main(["view", "--port", "70000"]) == 1
    assert "65535" in capsys.readouterr().err


def test_a_second_viewer_finds_a_port_unless_one_is_asked_for(rec, monkeypatch):
    where = site.Site(rec)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(view, "_USUAL_PORT", port)
        server = view.View()._server(where)
        assert not server.address.endswith(f":{port}")
        server.close()
        with pytest.raises(ConfigError, match=f"port {port} .* --port"):
            view.View(port=port)._server(where)
    server = view.View()._server(where)
    assert server.address.endswith(f":{port}")
    server.close()
    where.close()
