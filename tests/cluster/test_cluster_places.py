"""Files elsewhere, in fsspec's memory: scenes there whole or not at all."""

import itertools
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from dynapoint.cluster import places
from dynapoint.data.identity import identity_of
from dynapoint.errors import ConfigError, InputError, OutputError

_NUMBERS = itertools.count()


@pytest.fixture
def memory():
    """An empty place in memory, which all tests of a process share."""
    return f"memory://place{next(_NUMBERS)}"


@pytest.fixture
def scene(tmp_path):
    """A folder with what makes a scene for `upload`."""
    folder = tmp_path / "scene"
    (folder / "frames").mkdir(parents=True)
    (folder / "frames" / "000000.jpg").write_bytes(b"picture")
    (folder / "depth.npy").write_bytes(b"numbers")
    files = '["manifest.json", "depth.npy", "frames/000000.jpg"]'
    (folder / "manifest.json").write_text(f'{{"files": {files}}}')
    return folder


def content(address: str) -> dict[str, bytes]:
    system, path = places.file_system(address)
    found = system.find(path) if system.exists(path) else []
    return {each.removeprefix(f"{path}/"): system.cat_file(each) for each in found}


def put(address: str, data: bytes) -> None:
    with fsspec.open(address, "wb") as file:
        file.write(data)


def test_what_is_an_address():
    assert places.is_address("s3://bucket/a.mp4") and places.is_address("https://host/a.mp4")
    for path in ("a.mp4", "/x/a.mp4", "C:/a.mp4", "file:///x/a.mp4", "c://a"):
        assert not places.is_address(path)
    assert places.local("file:///x/a%20b.mp4") == "/x/a b.mp4" and places.local("a") == "a"
    assert places.name_in("https://h/a%20b.mp4?x=/y.csv") == "a b.mp4"
    assert places.name_in("s3://b/day?/a.mp4") == "a.mp4" and places.name_in("/x/b") == "b"
    assert places.joined("s3://b/", "c/d") == "s3://b/c/d"
    assert places.joined("/b/", "c/d") == "/b/c/d"


def test_fetching_brings_files_and_images_of_folders(memory, tmp_path):
    put(f"{memory}/a.mp4", b"video")
    assert places.fetch(f"{memory}/a.mp4", tmp_path / "one").read_bytes() == b"video"
    for name in ("1.png", "2.png", "notes"):
        put(f"{memory}/shots/{name}", name.encode())
    folder = places.fetch(f"{memory}/shots", tmp_path / "two")
    assert folder.name == "shots" and sorted(p.name for p in folder.iterdir()) == ["1.png", "2.png"]
    with pytest.raises(InputError, match="it is not there"):
        places.fetch(f"{memory}/none.mp4", tmp_path / "three")


def test_patterns_and_folders_are_listed(memory):
    for name in ("a.mp4", "b.mp4", "c.txt"):
        put(f"{memory}/{name}", b"")
    both = [f"{memory}/a.mp4", f"{memory}/b.mp4"]
    assert [each.replace(":///", "://") for each in places.listed(f"{memory}/*.mp4")] == both
    assert len(places.listed(memory)) == 3
    assert places.listed(f"{memory}/a.mp4") == [f"{memory}/a.mp4"]
    with pytest.raises(InputError, match="no file matches"):
        places.listed(f"{memory}/*.mov")
    # A server has no folders, and is not asked.
    assert places.listed("https://host.invalid/a.mp4?b=*") == ["https://host.invalid/a.mp4?b=*"]


@pytest.mark.parametrize("size", [0, 5, 100_000, 300_000])
def test_identity_elsewhere_is_that_of_the_file_here(memory, tmp_path, size):
    data = bytes(number % 251 for number in range(size))
    (tmp_path / "a.mp4").write_bytes(data)
    put(f"{memory}/a.mp4", data)
    assert places.identity_at((f"{memory}/a.mp4",)) == identity_of([tmp_path / "a.mp4"])
    assert places.identity_at((f"{memory}/none",)) is None


def test_a_scene_is_uploaded_whole_with_its_manifest_last(memory, scene, monkeypatch):
    order = []
    system, _ = places.file_system(memory)
    put_file = type(system).put_file

    def recorded(self, source, target, **options):
        order.append(target.rpartition("/")[2])
        return put_file(self, source, target, **options)

    monkeypatch.setattr(type(system), "put_file", recorded)
    places.upload(scene, f"{memory}/a.4d")
    assert order == ["depth.npy", "000000.jpg", "manifest.json"]
    assert set(content(f"{memory}/a.4d")) == {"manifest.json", "depth.npy", "frames/000000.jpg"}


@pytest.mark.parametrize("fails_at", ["depth.npy", "000000.jpg", "manifest.json"])
def test_an_upload_that_fails_leaves_nothing(memory, scene, monkeypatch, fails_at):
    system, _ = places.file_system(memory)
    put_file = type(system).put_file

    def failing(self, source, target, **options):
        if target.endswith(fails_at):
            raise OSError("no room")
        return put_file(self, source, target, **options)

    put(f"{memory}/a.4d/theirs", b"not ours")
    monkeypatch.setattr(type(system), "put_file", failing)
    with pytest.raises(OutputError, match=r"cannot be written \(no room\)"):
        places.upload(scene, f"{memory}/a.4d")
    assert content(f"{memory}/a.4d") == {"theirs": b"not ours"}


def test_a_scene_takes_the_place_of_another_and_of_nothing_else(memory, scene):
    places.upload(scene, f"{memory}/a.4d")
    put(f"{memory}/a.4d/theirs", b"not ours")
    (scene / "depth.npy").unlink()
    (scene / "manifest.json").write_text('{"files": ["manifest.json", "frames/000000.jpg"]}')
    places.upload(scene, f"{memory}/a.4d")
    assert set(content(f"{memory}/a.4d")) == {"manifest.json", "frames/000000.jpg", "theirs"}


def test_what_cannot_be_reached_or_written_is_said():
    with pytest.raises(ConfigError, match="cannot be reached"):
        places.file_system("nowhere://a")
    with pytest.raises(ConfigError, match="http is for reading"):
        places.check_writable("http://host/out")
    places.check_writable("memory://out")


def test_half_a_scene_is_none(memory, tmp_path, scene):
    places.upload(scene, f"{memory}/a.4d")
    # This manifest lists files and says nothing else of a scene.
    (tmp_path / "small").mkdir()
    assert places.scene_at(f"{memory}/a.4d", tmp_path / "small") is None
    assert places.scene_at(f"{memory}/none.4d", Path(tmp_path)) is None


@pytest.fixture
def server(tmp_path):
    """The address of a folder that a server of this machine shows."""
    pytest.importorskip("aiohttp")
    folder = tmp_path / "shown"
    folder.mkdir()
    (folder / "a b.mp4").write_bytes(b"video" * 40_000)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()


def test_files_come_from_servers(server, tmp_path):
    file = places.fetch(f"{server}/a%20b.mp4?key=1", tmp_path / "here")
    assert file.name == "a b.mp4" and file.read_bytes() == b"video" * 40_000
    with pytest.raises(InputError, match="it is not there"):
        places.fetch(f"{server}/none.mp4", tmp_path / "here")
    # This server gives whole files only; others give the ends.
    assert places.identity_at((f"{server}/a%20b.mp4",)) in (None, identity_of([file]))
