"""Bad input of all kinds, from the command line: one line, exit code 1, nothing left or lost.

Files that are no videos, options that do not fit and damaged scenes have tables of their own in
test_cli.py, test_inputs_command.py, test_frames.py and test_open.py; here are what those cannot
show: sizes at both ends, disks, rights, and damage met by every command.
"""

import json
import os
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dynapoint
from dynapoint import cli
from dynapoint.data import memory
from dynapoint.errors import InputError
from dynapoint.exports.catalog import FORMATS
from dynapoint.models import catalog
from dynapoint.models.catalog import load_model
from fake_model import FakeModel, picture_array
from test_open import weights_of
from video_files import write_video


@pytest.fixture
def small(monkeypatch) -> None:
    """A stand-in for the network."""
    monkeypatch.setattr(catalog, "load_model", lambda *_, **__: FakeModel(32))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Those of a tiny network."""
    return weights_of("nano", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, weights) -> Path:
    """A scene that can be asked more."""
    folder = tmp_path_factory.mktemp("whole")
    model = load_model("nano", weights=weights)
    dynapoint.reconstruct(picture_array(3, 40, 64), model).save(folder / "scene.4d")
    return folder / "scene.4d"


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def refused(capsys, words: str, *arguments: object) -> None:
    """Assert one line on standard error that has these words, nothing else said, exit code 1."""
    capsys.readouterr()
    assert run(*arguments) == 1
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("dynapoint: "), printed.err
    assert words in lines[0] and printed.out == "", lines


def listing(folder: Path) -> dict[str, int]:
    """All below a folder, and when files were last changed."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns if path.is_file() else 0
        for path in folder.rglob("*")
    }


@contextmanager
def full_disk(folder: Path) -> Iterator[str]:
    """No byte can be written below `folder`; gives what the system says of it."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if mounted and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            with (folder / "filler").open("wb", buffering=0) as filler:
                try:
                    while filler.write(bytes(4096)):
                        pass
                except OSError:
                    yield "No space left on device"
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
        yield "File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_reconstruct_onto_a_full_disk(tmp_path, small, capsys):
    video = write_video(tmp_path / "a.mp4", frames=3)
    place = tmp_path / "full"
    place.mkdir()
    with full_disk(place) as reason:
        refused(capsys, reason, "reconstruct", video, "-o", place / "deep" / "scene")
        assert set(listing(place)) <= {"filler"}


@pytest.mark.parametrize("to", FORMATS)
def test_export_onto_a_full_disk(tmp_path, whole, capsys, to):
    place = tmp_path / "full"
    place.mkdir()
    # Libraries of formats do not all pass on what the system says.
    with full_disk(place):
        refused(capsys, "cannot be written", "export", whole, "--to", to, "-o", place / "out")
        assert set(listing(place)) <= {"filler"}


@pytest.mark.parametrize("answer", ["tracks", "objects", "fuse"])
def test_an_answer_onto_a_full_disk(tmp_path, whole, capsys, answer):
    place = tmp_path / "full"
    place.mkdir()
    with full_disk(place) as reason:
        refused(capsys, reason, answer, whole, "-o", place / "out")
        assert set(listing(place)) <= {"filler"}


@pytest.fixture
def nobody() -> Iterator[None]:
    """Rights of a user who may not write everywhere, which root may."""
    if os.name != "posix":
        pytest.skip("needs POSIX")
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


def open_to_all(folder: Path) -> None:
    """Every folder on the way can be entered by anyone."""
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)


def locked(folder: Path) -> Path:
    """A folder in which nobody may write, reached by anyone."""
    place = folder / "locked"
    place.mkdir()
    open_to_all(place)
    place.chmod(0o555)
    return place


@pytest.mark.parametrize("command", ["reconstruct", "export", "folder export", "tracks"])
def test_a_folder_that_may_not_be_written(tmp_path, small, whole, capsys, command, request):  # noqa: PLR0917
    video = write_video(tmp_path / "a.mp4", frames=3)
    place = locked(tmp_path)
    for path in (whole, *whole.rglob("*")):
        open_to_all(path)
        path.chmod(0o755)
    request.getfixturevalue("nobody")
    words = {
        "reconstruct": ["reconstruct", video],
        "export": ["export", whole, "--to", "tum"],
        "folder export": ["export", whole, "--to", "depth"],
        "tracks": ["tracks", whole],
    }[command]
    refused(capsys, "Permission denied", *words, "-o", place / "new" / "out")
    assert listing(place) == {}


def test_a_file_that_may_not_be_read(tmp_path, small, capsys, request):
    open_to_all(tmp_path)
    video = write_video(tmp_path / "a.mp4", frames=3)
    video.chmod(0o000)
    (tmp_path / "free").mkdir()
    (tmp_path / "free").chmod(0o777)
    request.getfixturevalue("nobody")
    refused(capsys, "a.mp4", "reconstruct", video, "-o", tmp_path / "free" / "out")


# What opens a scene; each must meet damage with the same line.
OPENERS = {
    "info": ["info"],
    "export": ["export", "--to", "ply", "-o", "out"],
    "tracks": ["tracks", "-o", "out"],
    "fuse": ["fuse", "-o", "out"],
}


def cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def replaced(scene: Path, make: Callable[[Path], None]) -> None:
    shutil.rmtree(scene)
    make(scene)


def of_version(scene: Path, version: object) -> None:
    content = json.loads((scene / "manifest.json").read_text())
    content["version"] = version
    (scene / "manifest.json").write_text(json.dumps(content))


ARCHIVES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an older version": (lambda scene: of_version(scene, 1), "has version 1 but"),
    "a later version": (lambda scene: of_version(scene, 99), "has version 99 but"),
    "a version of words": (lambda scene: of_version(scene, "new"), "has version 'new' but"),
    "a manifest cut short": (lambda scene: cut(scene / "manifest.json"), "cannot be read as JSON"),
    "an array cut short": (lambda scene: cut(scene / "own_time_points.npy"), "points.npy is damag"),
    "an array gone": (lambda scene: (scene / "intrinsics.npy").unlink(), "intrinsics.npy is miss"),
    "nothing in it": (lambda scene: replaced(scene, Path.mkdir), "holds no manifest"),
    "nothing there": (shutil.rmtree, "does not exist"),
    "a file": (lambda scene: replaced(scene, Path.touch), "is a file; give a folder"),
}


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_corrupt_archive(tmp_path, whole, capsys, monkeypatch, kind, opener):  # noqa: PLR0917
    monkeypatch.chdir(tmp_path)
    scene = tmp_path / "scene.4d"
    shutil.copytree(whole, scene)
    damage, words = ARCHIVES[kind]
    damage(scene)
    before = listing(tmp_path)
    name, *options = OPENERS[opener]
    refused(capsys, words, name, scene, *options)
    assert listing(tmp_path) == before


def test_an_archive_whose_network_is_cut_short(tmp_path, whole, capsys):
    scene = tmp_path / "scene.4d"
    shutil.copytree(whole, scene)
    cut(scene / "encoded.safetensors")
    words = "encoded.safetensors is damaged"
    refused(capsys, words, "tracks", scene, "--frame", 1, "-o", tmp_path / "out")
    assert run("tracks", scene, "-o", tmp_path / "out") == 0, "what is stored needs no network"


def test_indices_beyond_the_scene(tmp_path, whole, capsys):
    for command in (
        ["tracks", "--frame", 3],
        ["tracks", "--frame", -1],
        ["flow", "--to-time", 7],
        ["segment", "--frame", 9],
        ["match", "--to-frame", 3],
        ["fuse", "--time", 3],
        ["fuse", "--time", -1],
    ):
        name, *options = command
        refused(capsys, "0 to 2", name, whole, *options, "-o", tmp_path / "out")
    refused(capsys, "0 to 2", "export", whole, "--to", "glb", "--time", 3, "-o", tmp_path / "out")
    assert listing(tmp_path) == {}


def test_zero_frames(tmp_path, small, capsys):
    (tmp_path / "hollow").mkdir()
    refused(capsys, "holds no image", "reconstruct", tmp_path / "hollow", "-o", tmp_path / "out")
    video = write_video(tmp_path / "a.mp4", frames=0)
    refused(capsys, "a.mp4", "reconstruct", video, "-o", tmp_path / "out")
    with pytest.raises(InputError, match="give"):
        dynapoint.reconstruct(np.empty((0, 8, 8, 3), np.uint8), FakeModel(32))
    assert not (tmp_path / "out").exists()


def test_a_truncated_image_among_whole_ones(tmp_path, small, capsys):
    for index, picture in enumerate(picture_array(3, 24, 32)):
        Image.fromarray(picture).save(tmp_path / f"{index}.jpg")
    cut(tmp_path / "1.jpg")
    refused(capsys, "1.jpg cannot be read", "reconstruct", tmp_path, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_arrays_that_are_no_pictures(value):
    pictures = picture_array(2, 24, 32) / 255
    pictures[1, 3, 4, 0] = value
    with pytest.raises(InputError, match="give") as error:
        dynapoint.reconstruct(pictures, FakeModel(32))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("size_wh", [(1, 1), (2, 1), (1, 300), (33, 17)])
def test_the_smallest_pictures_are_a_scene(tmp_path, weights, size_wh, count):
    for index in range(count):
        Image.new("RGB", size_wh, (90 * index, 3, 5)).save(tmp_path / f"{index}.png")
    words = ["reconstruct", tmp_path, "-o", tmp_path / "out", "--weights", weights]
    assert run(*words) == 0
    rec = dynapoint.open(tmp_path / "out")
    assert rec.frame_count == count and rec.images.shape[1:3] == size_wh[::-1]
    assert np.isfinite(rec.tracks().points).all()
    for to in ("ply", "glb", "depth", "colmap", "tum"):
        assert run("export", tmp_path / "out", "--to", to, "-o", tmp_path / to) == 0, to


def test_nano_takes_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (9, 3, 5)).save(tmp_path / "0.png")
    assert run("reconstruct", tmp_path, "-o", tmp_path / "out") == 0
    assert np.isfinite(dynapoint.open(tmp_path / "out").own_time_points).all()


def test_frames_of_8k_are_read_or_refused_in_words(tmp_path, small, capsys, monkeypatch):
    picture = Image.new("RGB", (7680, 4320), (200, 30, 9))
    picture.save(tmp_path / "large.jpg", quality=30)
    assert run("reconstruct", tmp_path / "large.jpg", "-o", tmp_path / "out") == 0
    rec = dynapoint.open(tmp_path / "out")
    assert rec.images.shape == (1, 4320, 7680, 3)
    monkeypatch.setattr(memory, "available_bytes", lambda: 50_000_000)
    words = "7680x4320"
    refused(capsys, words, "reconstruct", tmp_path / "large.jpg", "-o", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_picture_that_claims_to_be_vast_is_refused(tmp_path, small, capsys):
    """A few bytes that would unpack to gigabytes."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(bytes(99)), b"IEND")
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )
    (tmp_path / "bomb.png").write_bytes(content)
    refused(capsys, "bomb.png", "reconstruct", tmp_path / "bomb.png", "-o", tmp_path / "out")


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.jpg"])
def test_photographs_of_telephones_are_refused_in_words(tmp_path, small, capsys, name):
    """By what they are; telephones' files are often named .jpg."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_bytes(b"\0\0\0\x1cftypheic" + bytes(2000))
    words = "convert it to JPEG or PNG"
    for given in (tmp_path / "a", tmp_path / "a" / name):
        refused(capsys, words, "reconstruct", given, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [".", "", "..", "folder", "folder/", "/"])
@pytest.mark.parametrize("command", ["export --to glb", "export --to sheet", "fuse", "tracks"])
def test_a_folder_where_a_file_is_to_be(tmp_path, whole, capsys, monkeypatch, command, place):  # noqa: PLR0917
    (tmp_path / "here" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    name, *options = command.split()
    refused(capsys, "is a folder but a file", name, whole, *options, "-o", place)
    assert set(listing(tmp_path)) == {"here", "here/folder"}


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o000])
def test_files_have_the_rights_that_the_umask_leaves(tmp_path, whole, umask):
    mask = os.umask(umask)
    try:
        rec = dynapoint.open(whole)
        rec.save(tmp_path / "scene.4d")
        load = load_model("nano", weights=whole / "weights.safetensors")
        dynapoint.reconstruct(picture_array(2, 40, 64), load).save(tmp_path / "fresh.4d")
        assert run("export", whole, "--to", "tum", "-o", tmp_path / "way.txt") == 0
    finally:
        os.umask(mask)
    for path in tmp_path.rglob("*"):
        usual = (0o777 if path.is_dir() else 0o666) & ~umask
        assert path.stat().st_mode & 0o777 == usual, path


def test_seeds_larger_than_any_generator_takes(tmp_path, capsys):
    words = ["synth", "-o", tmp_path / "out", "--clips", 1]
    refused(capsys, "choose a number from 0", *words, "--seed", 2**63)
    assert not (tmp_path / "out").exists()


def test_a_place_outside_the_image_is_said_to_be_unknown(tmp_path, whole, capsys):
    words = ["tracks", whole, "--xy", 20, 10, 9999, 3, "-o", tmp_path / "out"]
    assert run(*words) == 0
    assert "2 tracks" in (said := capsys.readouterr().out) and "1 of places where nothing" in said
    refused(capsys, "stands where its folder", *words[:-1], tmp_path / "out.npz" / "deeper")


def test_help_lists_each_command_in_one_sentence_and_tells_all_when_asked(capsys):
    for words, expected in ((["--help"], False), (["match", "--help"], True)):
        with pytest.raises(SystemExit) as stop:
            run(*words)
        printed = capsys.readouterr().out
        assert stop.value.code == 0 and ("NPZ: xy_px" in printed) == expected
        assert "(default: None)" not in printed and "(default: False)" not in printed
        assert all(name in printed for name in ([] if expected else cli.COMMANDS))
    assert run("synth", "-o", "x", "--clips", 0, "--seed", 1) == 2
    assert "see `dynapoint synth --help`" in capsys.readouterr().err
