"""Uploads: what browsers send becomes scenes, and what cannot is refused and leaves nothing."""

import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

import dynapoint
from dynapoint.errors import InputError, OutputError
from dynapoint.viewer import site
from dynapoint.viewer.serving import Request
from dynapoint.viewer.upload import Upload, make_scene, unpack_images
from fake_model import picture_array


def add(upload: Upload, name: str, content: bytes) -> str:
    return upload.add(name, io.BytesIO(content), len(content))


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def test_uploads_are_kept_in_their_folder_whatever_their_names(tmp_path):
    upload = Upload(tmp_path / "u")
    with pytest.raises(InputError, match="nothing has been uploaded"):
        upload.source()
    assert add(upload, "../../e.png", png(1)) == "1 image"
    assert add(upload, "/root/ö ?.PNG", png(2)) == "2 images"
    inside = (tmp_path / "u/files").resolve()
    assert all(file.resolve().is_relative_to(inside) for file in upload.source())
    assert [path.name for path in tmp_path.iterdir()] == ["u"]
    # A video takes the images' place, and images a video's.
    assert add(upload, "walk.mp4", b"video") == "walk.mp4"
    assert upload.source().read_bytes() == b"video" and upload.source().stem == "walk"
    assert add(upload, "a.png", png(3)) == "1 image"
    with pytest.raises(InputError, match="broke off after 5 of 9 bytes"):
        upload.add("b.png", io.BytesIO(b"short"), 9)
    assert upload.source().name == "a.png"


def test_zipped_images_are_unpacked_in_natural_order_and_nowhere_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for index in (10, 2, 1):
            archive.writestr(f"../../sub/{index}.png", png(index))
        archive.writestr("notes.txt", "no image")
    files = unpack_images(tmp_path / "a.zip", tmp_path / "out")
    assert [Image.open(file).getpixel((0, 0))[0] for file in files] == [1, 2, 10]
    assert all(file.parent == tmp_path / "out" for file in files)
    (tmp_path / "bad.zip").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match="ZIP"):
        unpack_images(tmp_path / "bad.zip", tmp_path / "out2")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("notes.txt", "no image")
    with pytest.raises(InputError, match="no images"):
        unpack_images(tmp_path / "none.zip", tmp_path / "out3")


def test_an_upload_becomes_a_scene(tmp_path):
    files = []
    for index, picture in enumerate(picture_array(2, 48, 64)):
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(picture).save(files[-1])
    said = []

    def say(share, words=""):
        said.append(share)

    make_scene(files, tmp_path / "s.4d", frames=2, device="cpu", say=say)
    assert dynapoint.open(tmp_path / "s.4d").frame_count == 2
    assert said == sorted(said) and said[-1] < 1


def test_what_the_disk_cannot_hold_is_refused_before_it_is_full(tmp_path, monkeypatch):
    upload = Upload(tmp_path / "u")
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(4_000_000))
    with pytest.raises(OutputError, match="has 5 MB and there is room for 4 MB"):
        upload.add("a.mp4", io.BytesIO(), 5_000_000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(6_000_000))
    assert len(packed.getvalue()) < 10_000
    with pytest.raises(OutputError, match="has 6 MB"):
        add(upload, "bomb.zip", packed.getvalue())
    assert not any(file.stat().st_size > 10_000 for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_uploads_are_deleted_however_the_viewer_ends(tmp_path, ending):
    command = [sys.executable, "-m", "dynapoint", "view", "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as viewer:
        assert viewer.stdout.readline().startswith(b"upload a video")
        assert [path.name[:14] for path in tmp_path.iterdir()] == ["dynapoint-view"]
        viewer.send_signal(ending)
        assert viewer.wait(timeout=60) == 130
    assert not list(tmp_path.iterdir())


def test_what_broke_off_leaves_no_file(tmp_path):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise TimeoutError("timed out")

    upload = Upload(tmp_path / "u")
    with pytest.raises(TimeoutError):
        upload.add("a.png", Broken(), 5)
    assert not any(path.is_file() for path in tmp_path.rglob("*")) and upload.files == []


def test_a_zip_file_with_damaged_content_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", np.random.default_rng(0).bytes(1000) * 9)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    start = 30 + struct.unpack("<H", content[26:28])[0]
    content[start : start + 40] = b"\xff" * 40
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="ZIP file cannot be read"):
        unpack_images(tmp_path / "a.zip", tmp_path / "out")


def test_one_upload_after_another_becomes_a_scene_of_its_own_name():
    where = site.Site(device="cpu")

    def post(path, body=b"", **query):
        request = Request(
            method="POST",
            path=tuple(path.split("/")),
            query=query,
            body=io.BytesIO(body),
            length=len(body),
        )
        for _ in range(600):
            answer = where.answer(request)
            if answer.status != 202:
                return json.loads(answer.content)
            time.sleep(0.05)
        raise AssertionError("never done")

    def page(address):
        path = tuple(part for part in address.split("/") if part)
        request = Request(method="GET", path=path, query={}, body=io.BytesIO(), length=0)
        return where.answer(request)

    key = post("uploads")["upload"]
    with pytest.raises(InputError, match=r"^video walk\.mp4 is empty"):
        post(f"uploads/{key}/files", name="walk.mp4")
        post(f"uploads/{key}/reconstruct")
    scenes = []
    for name in ("horse.zip", "cow.zip"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for index, picture in enumerate(picture_array(2, 48, 64)):
                file = io.BytesIO()
                Image.fromarray(picture).save(file, "PNG")
                archive.writestr(f"{index}.png", file.getvalue())
        # A file that is no image in between: images after one are another scene.
        post(f"uploads/{key}/files", b"x", name="a.mp4")
        post(f"uploads/{key}/files", packed.getvalue(), name=name)
        scenes.append(post(f"uploads/{key}/reconstruct", frames="2")["scene"])
        assert post(f"uploads/{key}/reconstruct", frames="2")["scene"] == scenes[-1]
    assert scenes == ["/scene/1/", "/scene/2/"]
    for address, name in zip(scenes, ("horse", "cow"), strict=True):
        assert f"<title>{name} |" in page(address).content.decode()
        assert page(f"{address}picture/1").kind == "image/jpeg"
    made = page("").content.decode()
    for address, name in zip(scenes, ("horse", "cow"), strict=True):
        assert f'<a href="{address}">{name}</a>' in made
    where.close()
