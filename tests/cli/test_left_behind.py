"""What killed processes leave beside a file or folder goes away with the next run, nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dynapoint import whole_file as whole_file_module
from dynapoint.errors import OutputError
from dynapoint.results.on_disk.output_folder import check_output, whole_folder
from dynapoint.whole_file import abandoned, new_folder, partial_prefix, restore, whole_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="elsewhere nothing is cleaned up")


@pytest.fixture
def dead(monkeypatch) -> int:
    """The number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    return child.pid


def left_by(process: int, monkeypatch, folder: Path, name: str, kind: str) -> Path:
    """A hidden folder as `process` would have named it."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: process)
        return folder / f"{partial_prefix(name)}.abc.{kind}"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_the_dead_leave_things_and_only_those_of_the_name(tmp_path, monkeypatch, dead):
    mine = left_by(dead, monkeypatch, tmp_path, "scene", "part")
    other_name = left_by(dead, monkeypatch, tmp_path, "scene.2", "part")
    alive = left_by(os.getppid(), monkeypatch, tmp_path, "scene", "part")
    own = left_by(os.getpid(), monkeypatch, tmp_path, "scene", "part")
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "elsewhere")
        far = left_by(dead, monkeypatch, tmp_path, "scene", "part")
    stays = [other_name, alive, own, far]
    for path in (mine, *stays):
        path.mkdir()
        (path / "file").touch()
    assert abandoned(tmp_path, "scene", "part") == [mine]
    assert partial_prefix("n" * 200 + "a") != partial_prefix("n" * 200 + "b")
    check_output(tmp_path / "scene", overwrite=False)
    assert sorted(tmp_path.iterdir()) == sorted(stays)


def test_files_too(tmp_path, monkeypatch, dead):
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead)
        (tmp_path / f"{partial_prefix('cloud.ply')}.part").touch()
        (tmp_path / f"{partial_prefix('cloud.ply')}.part.usdc").touch()
    with whole_file(tmp_path / "cloud.ply") as partial:
        assert names(tmp_path) == []
        partial.touch()
    assert names(tmp_path) == ["cloud.ply"]


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path):
    def write(word, *, fail=False):
        with new_folder(tmp_path / "clip") as folder:
            assert not list(folder.iterdir()) and folder != tmp_path / "clip"
            (folder / "word").write_text(word)
            if fail:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write("none", fail=True)
    assert names(tmp_path) == []
    write("first")
    with pytest.raises(KeyboardInterrupt):
        write("second", fail=True)
    assert (tmp_path / "clip" / "word").read_text() == "first"
    write("third")
    assert (tmp_path / "clip" / "word").read_text() == "third" and names(tmp_path) == ["clip"]
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "clip").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_was_taken_away_and_not_replaced_is_put_back(tmp_path, monkeypatch, dead):
    old = left_by(dead, monkeypatch, tmp_path, "scene", "old")
    new = left_by(dead, monkeypatch, tmp_path, "scene", "part")
    for folder, word in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "word").write_text(word)
    restore(tmp_path / "scene")
    assert names(tmp_path) == ["scene"]
    assert (tmp_path / "scene" / "word").read_text() == "old"


def test_what_was_not_taken_yet_or_is_replaced_already_goes_away(tmp_path, monkeypatch, dead):
    old = left_by(dead, monkeypatch, tmp_path, "scene", "old")
    old.mkdir()
    restore(tmp_path / "scene")
    assert names(tmp_path) == []
    for folder, word in ((old, "old"), (tmp_path / "scene", "new")):
        folder.mkdir()
        (folder / "word").write_text(word)
    restore(tmp_path / "scene")
    assert names(tmp_path) == ["scene"]
    assert (tmp_path / "scene" / "word").read_text() == "new"


def test_nothing_is_lost_where_it_cannot_be_put_back(tmp_path, monkeypatch, dead):
    old = left_by(dead, monkeypatch, tmp_path, "scene", "old")
    old.mkdir()
    (old / "word").touch()

    def refused(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "rename", refused)
    restore(tmp_path / "scene")
    assert (old / "word").exists()


def test_a_name_as_long_as_can_be_is_written(tmp_path):
    for name in ("n" * 255, "名" * 85, "n" * 240 + ".ply"):
        with whole_file(tmp_path / name) as partial:
            partial.touch()
        (tmp_path / name).unlink()
        with whole_folder(tmp_path / name, overwrite=False) as folder:
            (folder / "file").touch()
        assert names(tmp_path / name) == ["file"]


def test_looking_whether_a_folder_can_be_written_never_makes_it(tmp_path, monkeypatch):
    seen = []

    def mkdtemp(**options):
        folder = real(**options)
        seen.append(names(tmp_path))
        return folder

    real = whole_file_module.tempfile.mkdtemp
    monkeypatch.setattr(whole_file_module.tempfile, "mkdtemp", mkdtemp)
    made = Path.mkdir

    def mkdir(self, *args, **options):
        made(self, *args, **options)
        seen.append(names(tmp_path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    check_output(tmp_path / "scene", overwrite=False)
    assert seen and all(name.startswith(".scene.") for now in seen for name in now)
    with pytest.raises(OutputError):
        check_output(tmp_path / ("n" * 256), overwrite=False)
    assert names(tmp_path) == []
