"""Names of files: their order, addresses, colons, and bytes that are no text."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dynapoint
from dynapoint.cli import main
from dynapoint.data.between import load_between
from dynapoint.data.frames import load_frames
from dynapoint.data.names import natural_order, readable
from dynapoint.data.small_pictures import SmallPictures
from dynapoint.errors import InputError
from fake_model import FakeModel
from video_files import write_video


def shuffled(names):
    order = np.random.default_rng(len(names)).permutation(len(names))
    return [Path("folder") / names[each] for each in order]


@pytest.mark.parametrize(
    "names",
    [
        ["frame_1.png", "frame_2.png", "frame_10.png", "frame_100.png"],
        ["12.0.png", "12.05.png", "12.1.png", "12.125.png", "12.2.png", "12.25.png"],
        ["take1.8.png", "take1.9.png", "take1.10.png", "take1.11.png"],
        ["2024.05.01.png", "2024.05.02.png", "2024.5.10.png", "2024.10.1.png"],
        ["1341846313.553992.png", "1341846313.592026.png", "1341846314.000001.png"],
        ["a.0009.png", "a.0010.png", "a.0011.png"],
        ["9.75.png", "10.0.png", "10.05.png", "100.5.png"],
    ],
)
def test_numbers_in_names_are_numbers(names):
    found = natural_order(shuffled(names))
    assert [path.name for path in found.paths] == names and found.remark is None


def test_seconds_of_any_length_are_in_order():
    rng = np.random.default_rng(5)
    for _ in range(30):
        seconds = np.unique(np.round(rng.uniform(0.01, 200, 12), int(rng.integers(1, 5))))
        names = [f"{second}.png" for second in seconds.tolist()]
        found = [path.name for path in natural_order(shuffled(names)).paths]
        assert found == names


def test_what_could_be_read_in_two_ways_is_said():
    found = natural_order(shuffled(["1.9.png", "1.11.png", "1.8.png"]))
    assert [path.name for path in found.paths] == ["1.11.png", "1.8.png", "1.9.png"]
    assert found.remark.startswith("names read as decimal numbers: 1.11.png before 1.8.png")


def test_the_order_s_remark_reaches_the_note(tmp_path):
    for name in ("1.9.png", "1.11.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    frames = load_frames(tmp_path)
    assert frames.file_names == ("1.11.png", "1.9.png") and "decimal numbers" in frames.note


AWKWARD = [
    "2024-05-01T12:30:00.mp4",
    "file:a.mp4",
    "concat:a|b.mp4",
    "http:a.mp4",
    "pipe:0.mp4",
    "-clip.mp4",
    "clip%03d.mp4",
    "a?b*c[d].mp4",
    "two words 'and' \"quotes\".mp4",
    os.fsdecode(b"clip-\xff\xfe.mp4"),
]


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_is_never_an_address(tmp_path, monkeypatch, name):
    os.rename(write_video(tmp_path / "plain.mp4", frames=3), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    frames = load_frames(name)
    assert frames.count == 3 and frames.name == readable(Path(name).stem)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/a.mp4",
        "rtsp://10.0.0.1/live?x=1",
        "s3://bucket/[a].jpg",
        "file:///a.mp4",
    ],
)
def test_an_address_is_not_read_as_frames(address):
    with pytest.raises(InputError, match="nothing is fetched") as raised:
        load_frames(address)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("address", ["rtsp://10.0.0.1/live?x=1", "dyna://bucket/[a].jpg"])
def test_an_address_that_nothing_reads_is_refused_by_the_command(tmp_path, capsys, address):
    assert main(["reconstruct", address, "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert address in error and "give a path, or an address such as" in error
    assert error.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("raw", [b"clip-\xff", b"two\nlines", b"tab\t", "é語".encode()])
def test_a_scene_opens_again_whatever_bytes_a_name_has(tmp_path, capsys, raw):
    folder = tmp_path / os.fsdecode(raw)
    folder.mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{os.fsdecode(raw)}{number}.png")
    rec = dynapoint.reconstruct(folder, FakeModel(32))
    rec.save(tmp_path / "scene.4d")
    opened = dynapoint.open(tmp_path / "scene.4d")
    assert opened.frames.name == rec.frames.name and opened.frames.file_names == (
        rec.frames.file_names
    )
    json.dumps(rec.frames.name).encode("ascii")
    assert rec.frames.name.encode("utf-8") and "\n" not in rec.frames.name
    between = load_between(folder, rec.frames, SmallPictures(longer_side=8))
    assert between.count == 2 and between.in_order
    video = tmp_path / os.fsdecode(raw + b".mp4")
    os.rename(write_video(tmp_path / "plain.mp4", frames=2), video)
    assert main(["reconstruct", str(video), "-o", str(tmp_path / "a.4d"), "--no-refine"]) == 0
    assert dynapoint.open(tmp_path / "a.4d").frames.count == 2
    said = capsys.readouterr()
    assert f"{readable(video.name)}: " in said.out + said.err


def test_masks_are_found_by_names_of_any_bytes(tmp_path):
    names = [os.fsdecode(b"\xfe" + bytes([65 + number]) + b"\xff") for number in range(2)]
    for folder in ("in", "masks"):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            gray = np.zeros((8, 12), np.uint8)
            gray[:, : 3 * number + 2] = 255
            Image.fromarray(gray).save(tmp_path / folder / f"{name}.png")
    frames = load_frames(tmp_path / "in", ignore_masks=tmp_path / "masks")
    assert frames.ignore.sum(axis=(1, 2)).tolist() == [16, 40]


def test_a_scene_is_not_written_where_it_could_not_be_read_again(tmp_path, capsys):
    video = write_video(tmp_path / "a.mp4", frames=2)
    output = tmp_path / os.fsdecode(b"scene-\xff.4d")
    assert main(["reconstruct", str(video), "-o", str(output), "--no-refine"]) == 1
    assert "no UTF-8" in capsys.readouterr().err and not output.exists()
