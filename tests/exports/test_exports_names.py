"""Scenes whose source has a name that is no text, or text of any kind: every format is written."""

from dataclasses import replace

import pytest

from dynapoint.exports.catalog import FORMATS, export
from dynapoint.exports.options import ExportOptions
from dynapoint.viewer.shown import ShownScene
from exported_scenes import scene

# Bytes that are no UTF-8, quotes and tags, another script with an emoji, a line's end.
NAMES = {
    "bytes": "caf\udce9\udcff",
    "quotes": "a\"b'</script><b>%%name%%",
    "scripts": "犬🐕 é",
    "line": "one\ntwo\t",
}


@pytest.fixture(scope="module")
def plain():
    return scene(frames=2)


@pytest.mark.parametrize("name", list(NAMES))
@pytest.mark.parametrize("to", [name for name in FORMATS if not name.startswith("depth-")])
def test_every_format_is_written_whatever_the_source_is_called(plain, tmp_path, to, name):
    rec = replace(plain, frames=replace(plain.frames, name=NAMES[name]))
    written = export(rec, to, tmp_path / "out", ExportOptions(max_points=200))
    files = [written] if written.is_file() else [f for f in written.rglob("*") if f.is_file()]
    assert files and all(file.stat().st_size for file in files)
    if to in ("html", "nerfstudio", "tum", "nuke"):
        for file in files:
            if file.suffix in (".html", ".json", ".txt", ".chan"):
                file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(NAMES))
def test_the_viewer_offers_any_scene_as_a_file(plain, tmp_path, name):
    rec = replace(plain, frames=replace(plain.frames, name=NAMES[name]))
    shown = ShownScene(rec)
    assert shown.write("tum", tmp_path).is_file()
    str(shown.page_facts["name"]).encode("utf-8")
