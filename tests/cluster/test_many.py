"""Many clips on this machine: one that fails fails alone, what is there is passed over."""

import json
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

import dynapoint
from dynapoint import cli
from dynapoint.cluster import index as index_module
from dynapoint.cluster import one_clip
from dynapoint.errors import ConfigError, InputError, OutputError
from dynapoint.models import catalog
from fake_model import FakeModel
from folders import ROOT
from video_files import write_video


@pytest.fixture(autouse=True)
def loads(monkeypatch) -> list[str]:
    """Replace the networks by a stand-in; returns the names that were loaded."""
    loaded: list[str] = []

    def load_model(name: str = "nano", **_: object) -> FakeModel:
        loaded.append(name)
        return FakeModel(32)

    monkeypatch.setattr(catalog, "load_model", load_model)
    return loaded


@pytest.fixture
def videos(tmp_path) -> Path:
    """A folder with three videos, of which one is none."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate(("a.mp4", "c.mp4")):
        write_video(folder / name, frames=4 + number)
    (folder / "b.mp4").write_bytes(b"no video")
    return folder


def made(sources, output, **options):
    return list(dynapoint.reconstruct_many(sources, output=output, frames=3, **options))


def rows(output) -> list[dict]:
    return pq.read_table(Path(output) / "index.parquet").to_pylist()


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_damaged_clip_fails_alone(videos, tmp_path, loads):
    results = made(videos, tmp_path / "out")
    assert [Path(each.path).name for each in results] == ["a.4d", "b.4d", "c.4d"]
    assert [each.failure is None for each in results] == [True, False, True]
    assert "b.mp4 cannot be opened as a video" in results[1].failure
    assert loads == ["nano"]
    assert results[0].open().frame_count == results[0].frames == 3
    assert {"read", "network", "write"} <= set(results[0].stages)
    assert results[0].seconds >= sum(results[0].stages.values()) * 0.99
    with pytest.raises(InputError, match=r"b\.mp4 has no scene"):
        results[1].open()
    assert not (tmp_path / "out" / "b.4d").exists()


def test_scenes_are_those_of_the_command_for_single_clips(videos, tmp_path):
    made(videos, tmp_path / "out")
    for name in "ac":
        alone = tmp_path / f"{name}.4d"
        words = ["reconstruct", str(videos / f"{name}.mp4"), "-o", str(alone), "--frames", "3"]
        assert cli.main(words) == 0
        assert files(alone) == files(tmp_path / "out" / f"{name}.4d")


def test_the_index_says_what_became_of_each(videos, tmp_path):
    results = made(
        [dynapoint.Clip(source=str(videos / "a.mp4"), tags="dock"), videos / "b.mp4"],
        tmp_path / "out",
    )
    first, second = rows(tmp_path / "out")
    assert first["path"] == str(tmp_path / "out" / "a.4d") and first["tags"] == "dock"
    assert first["frames"] == 3 and first["failure"] is None
    assert first["seconds"] == results[0].seconds and dict(first["stages"]) == results[0].stages
    assert first["grade"] == results[0].grade and first["trust"].startswith("trust ")
    assert second["frames"] is None and second["failure"] == results[1].failure


def test_run_again_it_goes_on_where_it_stopped(videos, tmp_path, loads):
    begun = dynapoint.reconstruct_many(videos, output=tmp_path / "out", frames=3)
    assert next(begun).label == "a.mp4"
    begun.close()
    assert [row["label"] for row in rows(tmp_path / "out")] == ["a.mp4"]
    before = rows(tmp_path / "out")[0]
    write_video(videos / "b.mp4", frames=5)
    results = made(videos, tmp_path / "out")
    assert [(each.label, each.skipped) for each in results] == [
        ("a.mp4", True),
        ("b.mp4", False),
        ("c.mp4", False),
    ]
    # What is known of how a scene was made stays.
    assert rows(tmp_path / "out")[0] == before
    loads.clear()
    assert all(each.skipped for each in made(videos, tmp_path / "out")) and loads == []
    assert not any(each.skipped for each in made(videos, tmp_path / "out", overwrite=True))


def test_an_index_that_was_deleted_comes_back_from_the_scenes(videos, tmp_path):
    made(videos, tmp_path / "out")
    before = rows(tmp_path / "out")
    (tmp_path / "out" / "index.parquet").unlink()
    made(videos, tmp_path / "out")
    for now, then in zip(
        sorted(rows(tmp_path / "out"), key=lambda row: row["path"]), before, strict=True
    ):
        assert all(now[name] == then[name] for name in ("path", "frames", "grade", "trust"))


def test_rows_of_other_lists_stay(videos, tmp_path):
    made(videos / "a.mp4", tmp_path / "out")
    made(videos / "c.mp4", tmp_path / "out")
    assert [row["label"] for row in rows(tmp_path / "out")] == ["a.mp4", "c.mp4"]


def test_the_scene_of_another_clip_or_part_is_not_taken(videos, tmp_path):
    made(videos / "a.mp4", tmp_path / "out")
    write_video(videos / "a.mp4", frames=9)
    assert "another clip" in made(videos / "a.mp4", tmp_path / "out")[0].failure
    part = dynapoint.Clip(source=str(videos / "c.mp4"), end_s=0.1, output="part")
    assert made(part, tmp_path / "out")[0].failure is None
    other = dynapoint.Clip(source=str(videos / "c.mp4"), end_s=0.2, output="part")
    assert "another part" in made(other, tmp_path / "out")[0].failure
    assert made(part, tmp_path / "out")[0].skipped


def test_what_nobody_foresaw_fails_alone_too(videos, tmp_path, monkeypatch):
    def broken(plan, *given, **options):
        if plan.label == "a.mp4":
            raise RuntimeError("odd\nthing")
        return make_scene(plan, *given, **options)

    make_scene = one_clip.make_scene
    monkeypatch.setattr(one_clip, "make_scene", broken)
    results = made([videos / "a.mp4", videos / "c.mp4"], tmp_path / "out")
    assert results[0].failure == "RuntimeError: odd thing (a fault of dynapoint)"
    assert results[1].failure is None


def test_a_list_gives_each_clip_its_own_part_lens_and_name(videos, tmp_path):
    (tmp_path / "list.csv").write_text(
        "source,start,end,intrinsics,output\n"
        'videos/c.mp4,0.03,0.12,"80,80,48,32",day/one\n'
        "videos/c.mp4,,,none.json,two\n"
        "videos/gone.mp4,,,,\n"
    )
    one, two, gone = made(tmp_path / "list.csv", tmp_path / "out")
    assert one.path == str(tmp_path / "out" / "day" / "one.4d") and one.label == "day/one"
    scene = one.open()
    assert scene.frames.source_frame_index.tolist() == [1, 2, 3]
    assert scene.intrinsics[0, 0, 0] == 80
    assert "none.json" in two.failure and "does not exist" in gone.failure


def test_scenes_go_elsewhere_and_come_from_there(videos, tmp_path, loads):
    for name in ("a.mp4", "b.mp4"):
        with fsspec.open(f"memory://many/in/{name}", "wb") as file:
            file.write((videos / name).read_bytes())
    good, bad = made("memory://many/in", "memory://many/out")
    assert good.failure is None and "cannot be opened" in bad.failure
    assert {"fetch", "upload"} <= set(good.stages)
    system = fsspec.filesystem("memory")
    here = tmp_path / "here.4d"
    system.get("/many/out/a.4d", str(here), recursive=True)
    assert not system.exists("/many/out/b.4d") and system.exists("/many/out/index.parquet")
    alone = made(videos / "a.mp4", tmp_path / "out")[0]
    assert files(here) == files(Path(alone.path))
    loads.clear()
    again = made("memory://many/in", "memory://many/out")
    assert again[0].skipped and again[0].grade == good.grade and loads == []
    system.rm_file("/many/out/a.4d/frames/000001.jpg")
    assert not made("memory://many/in", "memory://many/out")[0].skipped
    with fsspec.open("memory://many/in/a.mp4", "wb") as file:
        file.write((videos / "c.mp4").read_bytes())
    assert "another clip" in made("memory://many/in", "memory://many/out")[0].failure


def test_file_addresses_are_paths(videos, tmp_path):
    result = made(f"file://{videos}/a.mp4", f"file://{tmp_path}/out")[0]
    assert result.path == str(tmp_path / "out" / "a.4d") and result.frames == 3


def test_what_is_wrong_from_the_start_is_raised_at_once(videos, tmp_path, monkeypatch):
    made(videos / "a.mp4", tmp_path / "out")
    with pytest.raises(OutputError, match="is a scene itself"):
        dynapoint.reconstruct_many(videos, output=tmp_path / "out" / "a.4d")
    (tmp_path / "out" / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(OutputError, match="no index of scenes"):
        dynapoint.reconstruct_many(videos, output=tmp_path / "out")
    with pytest.raises(ConfigError, match="belong to a cluster"):
        dynapoint.reconstruct_many(videos, output=tmp_path / "out", workers=2)
    with pytest.raises(ConfigError, match="workers is 0"):
        dynapoint.reconstruct_many(videos, output=tmp_path / "out", workers=0, cluster="auto")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match=r"dynapoint\[cluster\]"):
        index_module.check_installed()


def test_the_command_tells_failures_at_the_end(videos, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["reconstruct", str(videos), "-o", str(out), "--frames", "3"]
    assert cli.main(words) == 1
    printed = capsys.readouterr()
    assert "2 of 3 scenes are saved" in printed.out and "1 failed:" in printed.out
    assert printed.out.splitlines()[-1].startswith("  b.mp4: ")
    assert "dynapoint: b.mp4: " in printed.err
    assert cli.main([*words, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [each["skipped"] for each in said["scenes"]] == [True, True]
    assert said["failed"][0]["input"] == "b.mp4" and said["index"] == str(out / "index.parquet")
    assert cli.main([*words, "--json-lines"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # What is there is known before anything is begun.
    assert ["error" in line for line in lines] == [False, False, True]
    (videos / "b.mp4").unlink()
    assert cli.main(words) == 0
    assert "2 of 2 scenes are saved (2 were there already)" in capsys.readouterr().out


def test_options_that_make_no_sense_for_many_are_refused(videos, tmp_path, capsys):
    words = ["reconstruct", str(videos), "-o", str(tmp_path / "out")]
    assert cli.main([*words, "--workers", "2"]) == 2
    assert "belong to --cluster" in capsys.readouterr().err
    assert cli.main([*words, "--times", "t.txt"]) == 2
    assert "--times belongs to one scene" in capsys.readouterr().err


def test_the_documented_queries_of_the_index(videos, tmp_path, monkeypatch, capfd):
    pytest.importorskip("duckdb")
    sources = [dynapoint.Clip(source=str(videos / "a.mp4"), tags="dock"), videos / "b.mp4"]
    made(sources, tmp_path / "scenes")
    text = (ROOT / "docs" / "scale.md").read_text("utf-8")
    block = next(each for each in text.split("```") if "import duckdb" in each)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.partition("\n")[2], "scale.md", "exec"), {})
    said = capfd.readouterr().out
    assert "dock" in said and "b.mp4" in said and "a.mp4" not in said
