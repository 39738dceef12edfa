"""`dynapoint reconstruct`: what goes in, many inputs at once, one line for each bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynapoint import cli
from dynapoint.data.identity import identity_of
from dynapoint.errors import SceneError
from dynapoint.inference.opening import open_scene
from dynapoint.inference.scenes import finished
from dynapoint.models import catalog
from dynapoint.models.cards import find_card
from dynapoint.models.weight_files import find_weights
from dynapoint.results.on_disk.manifest import read_manifest
from fake_model import FakeModel, picture_array
from video_files import write_video


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    loaded: list[str] = []

    def load_model(name: str = "nano", **_: object) -> FakeModel:
        loaded.append(name)
        return FakeModel(32)

    monkeypatch.setattr(catalog, "load_model", load_model)
    return loaded


def run(*arguments: object) -> int:
    return cli.main(["reconstruct", *(str(argument) for argument in arguments)])


def save_images(folder: Path, count: int = 4) -> Path:
    folder.mkdir(parents=True)
    for index, picture in enumerate(picture_array(count, 24, 32)):
        Image.fromarray(picture).save(folder / f"{index}.png")
    return folder


def test_all_options_reach_the_scene(tmp_path, loads, capsys):
    video = write_video(tmp_path / "walk.mp4", frames=30)
    for index in range(30):
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask = np.zeros((64, 96), np.uint8)
        mask[:32] = 1
        Image.fromarray(mask).save(tmp_path / "masks" / f"{index}.png")
    options = ["--fps", 10, "--start", 0.2, "--end", 0.6, "--frames", 4]
    options += ["--ignore-masks", tmp_path / "masks", "--intrinsics", "90,90,48,32"]
    options += ["--scale-from", "distance", "0,10,40,80,60,2.5"]
    assert run(video, "-o", tmp_path / "out", *options) == 0
    rec = open_scene(tmp_path / "out")
    assert rec.source_frame_index.tolist() == [6, 9, 12, 15]
    np.testing.assert_allclose(rec.timestamps_s, [0.2, 0.3, 0.4, 0.5], atol=1e-6)
    assert (rec.own_time_confidence[:, : rec.map_hw[0] // 2] == 0).all()
    assert (rec.own_time_confidence[:, rec.map_hw[0] // 2 + 1 :] > 0).all()
    np.testing.assert_allclose(rec.intrinsics[1], [[90, 0, 48], [0, 90, 32], [0, 0, 1]], atol=1e-9)
    assert read_manifest(tmp_path / "out").settings["units"] == "metres"
    ends = rec.query(frame=0, xy=[[10, 40], [80, 60]], time=0).points
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(2.5, rel=1e-4)
    assert "4 of 30 frames used, 10 a second, from 0.2 s" in capsys.readouterr().out


def test_times_reach_the_scene(tmp_path, loads):
    folder = save_images(tmp_path / "photos")
    (tmp_path / "times").write_text("1\nnan\n0.5\n1\n")
    assert run(folder, "-o", tmp_path / "out", "--times", tmp_path / "times") == 0
    frames = open_scene(tmp_path / "out").frames
    assert frames.target_of_frame.tolist() == [0, 1, 2, 0] and np.isnan(frames.timestamps_s[1])


def test_finished_scenes_of_many_are_left_alone(tmp_path, loads, capsys):
    videos = [write_video(tmp_path / f"{name}.mp4", frames=3) for name in "abc"]
    out = tmp_path / "out"
    assert run(*videos[:2], "-o", out) == 0
    before = (out / "a.4d" / "manifest.json").stat().st_mtime_ns
    # One that is broken is made again only when it may be replaced.
    assert finished(out / "b.4d")
    (out / "b.4d" / "own_time_points.npy").write_bytes(b"torn")
    assert not finished(out / "b.4d") and not finished(tmp_path / "none")
    capsys.readouterr()
    assert run(*videos, "-o", out) == 1
    printed = capsys.readouterr()
    assert "a.mp4" in printed.out and "exists already, skipped; --overwrite" in printed.out
    assert len(printed.err.splitlines()) == 1 and "b.4d" in printed.err
    assert "2 of 3 scenes are saved; these failed:\n  b.mp4: " in printed.out
    assert (out / "a.4d" / "manifest.json").stat().st_mtime_ns == before
    assert finished(out / "c.4d") and loads == ["nano", "nano"]
    assert run(*videos, "-o", out, "--overwrite") == 0
    assert finished(out / "b.4d")
    loads.clear()
    assert run(*videos, "-o", out) == 0 and loads == []


def test_the_scene_of_another_clip_is_not_taken_for_this_ones(tmp_path, loads, capsys):
    for day, frames in (("monday", 3), ("tuesday", 4)):
        (tmp_path / day).mkdir()
        for name in "ab":
            write_video(tmp_path / day / f"{name}.mp4", frames=frames)
    out = tmp_path / "out"
    days = {day: [tmp_path / day / f"{name}.mp4" for name in "ab"] for day in ("monday", "tuesday")}
    assert run(*days["monday"], "-o", out) == 0
    capsys.readouterr()
    new = write_video(tmp_path / "tuesday" / "c.mp4", frames=2)
    assert run(*days["tuesday"], new, "-o", out) == 1
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 2 and finished(out / "c.4d")
    assert all("holds the scene of another clip" in line for line in printed.err.splitlines())
    assert open_scene(out / "a.4d").frame_count == 3
    # A copy of the same clip, of another time, is the same clip.
    (tmp_path / "copy").mkdir()
    for video in days["monday"]:
        (tmp_path / "copy" / video.name).write_bytes(video.read_bytes())
    loads.clear()
    assert run(*(tmp_path / "copy" / v.name for v in days["monday"]), "-o", out) == 0
    assert loads == []
    assert run(*days["tuesday"], "-o", out, "--overwrite") == 0
    assert open_scene(out / "a.4d").frame_count == 4
    # A scene that does not say whose it is, as those of earlier versions, is left alone.
    manifest = out / "a.4d" / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["source"]["identity"]
    manifest.write_text(json.dumps(content))
    assert run(days["monday"][0], days["tuesday"][1], "-o", out) == 0


def test_a_lean_scene_shows_and_says_why_it_answers_no_more(tmp_path, capsys):
    video = write_video(tmp_path / "a.mp4", frames=3)
    assert run(video, "-o", tmp_path / "whole") == 0
    assert run(video, "-o", tmp_path / "lean", "--lean") == 0
    whole, small = open_scene(tmp_path / "whole"), open_scene(tmp_path / "lean")
    left_out = ("encoded.safetensors", "weights.safetensors", "pictures.npy", "images.npy")
    for name in left_out:
        assert (tmp_path / "whole" / name).is_file() and not (tmp_path / "lean" / name).exists()
    for name in ("world_from_camera", "intrinsics"):
        assert np.array_equal(getattr(whole, name), getattr(small, name))
    for one, other in ((whole, small), (small, whole)):
        points = one.maps(frame=0, time=2)[0]
        assert points.dtype == np.float32 and not points.flags.writeable
        np.testing.assert_allclose(points, other.maps(frame=0, time=2)[0], rtol=1e-3, atol=1e-3)
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / name / "frames").iterdir())
        for name in ("whole", "lean")
    ]
    assert sizes[1] < sizes[0]
    assert np.abs(whole.images.astype(float) - small.images).mean() < 8
    with pytest.raises(SceneError, match=r"as it was left out \(--lean\), so that only"):
        small.maps(frame=1, time=0)
    capsys.readouterr()
    assert cli.main(["info", str(tmp_path / "lean")]) == 0
    assert "further questions: no: it was left out (--lean)" in capsys.readouterr().out


def test_scenes_beside_each_other_share_one_file_of_weights(tmp_path):
    videos = [write_video(tmp_path / f"{name}.mp4", frames=2) for name in "abc"]
    assert run(*videos, "-o", tmp_path / "out") == 0
    files = [tmp_path / "out" / f"{name}.4d" / "weights.safetensors" for name in "abc"]
    assert len({file.stat().st_ino for file in files}) == 1
    shipped = find_weights(find_card("nano"))
    assert files[0].read_bytes() == shipped.read_bytes() and not files[0].samefile(shipped)
    # A damaged neighbour lends nothing.
    for file in files:
        file.unlink()
    files[0].write_bytes(b"x" * shipped.stat().st_size)
    shutil.rmtree(tmp_path / "out" / "c.4d")
    assert run(videos[2], "-o", tmp_path / "out" / "c.4d") == 0
    assert files[2].read_bytes() == shipped.read_bytes()
    assert open_scene(tmp_path / "out" / "c.4d").maps(frame=1, time=0)[0].shape[-1] == 3


def test_identities(tmp_path):
    one, two = save_images(tmp_path / "one"), save_images(tmp_path / "two")
    assert identity_of([one]) == identity_of([two])
    files = sorted(one.iterdir())
    assert identity_of(files) == identity_of([one]) != identity_of(files[::-1])
    assert len({identity_of(files[:count]) for count in range(1, 5)}) == 4
    video = tmp_path / "long.mp4"
    content = bytearray(np.random.default_rng(0).bytes(300_000))
    video.write_bytes(content)
    before = identity_of([video])
    assert before is not None and len(before) == 64
    for place in (0, 65_535, 299_999):
        changed = bytearray(content)
        changed[place] ^= 1
        video.write_bytes(changed)
        assert identity_of([video]) != before
    video.write_bytes(content[:-1])
    assert identity_of([video]) != before
    assert identity_of([tmp_path / "none"]) is None


def bad_inputs(folder: Path) -> dict[str, tuple[list[object], str]]:
    """Arguments for each kind of bad input and words of what is said of it."""
    video = write_video(folder / "fine.mp4", frames=6)
    photos = save_images(folder / "photos")
    (folder / "lines").write_text("1\n2\n")
    (folder / "prose").write_text("soon\n")
    (folder / "hollow").mkdir()
    (folder / "cut.mp4").write_bytes(video.read_bytes()[:700])
    (folder / "blank.mp4").write_bytes(bytes(5000))
    (folder / "sound.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    (folder / "one").mkdir()
    Image.new("L", (32, 24), 1).save(folder / "one" / "0.png")
    np.save(folder / "five.npy", np.ones((5, 4)))
    np.save(folder / "flat.npy", np.ones(7))
    np.save(folder / "two.npy", np.ones((2, 64, 96)))
    (folder / "way").write_text("50 0 0 0 0 0 0 1\n60 1 0 0 0 0 0 1\n")
    return {
        "a span behind the end": ([video, "--start", 9], "no frame lies from 9 s"),
        "a rate of photographs": ([photos, "--fps", 2], "need a video"),
        "a span of photographs": ([photos, "--start", 1], "need a video"),
        "times of a video": ([video, "--times", folder / "lines"], "times of its own"),
        "too few times": ([photos, "--times", folder / "lines"], "2 times were given for 4"),
        "words for times": ([photos, "--times", folder / "prose"], "line 1 is 'soon'"),
        "no times": ([photos, "--times", folder / "none"], "does not exist"),
        "no masks": ([photos, "--ignore-masks", folder / "hollow"], "holds no image"),
        "a mask too few": ([photos, "--ignore-masks", folder / "one"], "has no mask"),
        "no folder of masks": ([video, "--ignore-masks", folder / "none"], "does not exist"),
        "intrinsics of words": ([video, "--intrinsics", "a,b,c,d"], "no numbers"),
        "no intrinsics": ([video, "--intrinsics", folder / "none.json"], "does not exist"),
        "intrinsics of five": ([video, "--intrinsics", folder / "five.npy"], "of 5 frames"),
        "intrinsics elsewhere": ([video, "--intrinsics", "9,9,999,9"], "outside frame 0"),
        "no depth": ([video, "--scale-from", "depth", folder / "none"], "does not exist"),
        "flat depth": ([video, "--scale-from", "depth", folder / "flat.npy"], "shape (7,)"),
        "no way": ([video, "--scale-from", "trajectory", folder / "prose"], "cannot be read"),
        "no distance": ([video, "--scale-from", "distance", "1,2"], "six numbers"),
        "a frame too far": ([video, "--scale-from", "distance", "9,1,1,2,2,1"], "are 0 to 5"),
        "a place outside": ([video, "--scale-from", "distance", "0,1,1,999,2,1"], "lies outside"),
        "depth of others": ([video, "--scale-from", "depth", folder / "two.npy"], "of 2 frames"),
        "a way of two": ([video, "--scale-from", "trajectory", folder / "way"], "of 0 of 6 frames"),
        "a frame as reference": (
            [video, "--reference", 6, "--model", "vggt", "--weights", folder / "prose"],
            "are 0 to 5",
        ),
        "no weights": ([video, "--weights", folder / "none"], "no weights file at"),
        "a cut index": ([folder / "cut.mp4"], "cut.mp4"),
        "zeros": ([folder / "blank.mp4"], "blank.mp4"),
        "sound": ([folder / "sound.wav"], "sound.wav"),
        "a torn photograph": ([folder / "torn.jpg"], "cannot be read"),
    }


CASES = (
    "a span behind the end,a rate of photographs,a span of photographs,times of a video,"
    "too few times,words for times,no times,no masks,a mask too few,no folder of masks,"
    "intrinsics of words,no intrinsics,intrinsics of five,intrinsics elsewhere,no depth,flat depth,"
    "no way,no distance,a frame too far,a place outside,depth of others,a way of two,"
    "a frame as reference,no weights,a cut index,zeros,sound,a torn photograph"
).split(",")


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, loads, capsys, case):
    cases = bad_inputs(tmp_path)
    assert set(cases) == set(CASES)
    arguments, words = cases[case]
    assert run(*arguments, "-o", tmp_path / "out") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("dynapoint: ") and words in lines[0], lines
    assert loads == [], "it is found before the network is loaded"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--fps", "5", "--stride", "2"],
        ["--start", "3", "--end", "2"],
        ["--fps", "0"],
        ["--stride", "0"],
        ["--start", "-1"],
        ["--fps", "often"],
        ["--scale-from", "depth"],
        ["--scale-from", "guess", "3"],
    ],
    ids=" ".join,
)
def test_options_that_contradict_each_other_are_wrong_usage(tmp_path, options, capsys):
    video = write_video(tmp_path / "a.mp4", frames=3)
    try:
        code = run(video, "-o", tmp_path / "out", *options)
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--times", "--ignore-masks", "--scale-from distance"])
def test_what_belongs_to_one_scene_is_refused_for_many(tmp_path, capsys, option):
    videos = [write_video(tmp_path / f"{name}.mp4", frames=3) for name in "ab"]
    assert run(*videos, "-o", tmp_path / "out", *option.split(), "x") == 2
    assert "belongs to one scene, but 2 were given" in capsys.readouterr().err
