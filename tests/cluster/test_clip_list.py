"""Lists, folders and patterns become clips with names; rows that make no sense are named."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dynapoint.cluster.clip_list import Clip, clips_of, is_folder_of_clips, plan_tasks, read_list
from dynapoint.data.selection import FrameSelection
from dynapoint.errors import ConfigError, InputError

ROWS = [
    {"source": "a.mp4", "start": 1.5, "end": 2.0, "intrinsics": "90,90,32,24", "tags": "x, y"},
    {"source": "/far/b.mp4", "intrinsics": "lens.json", "output": "day/one"},
    {"source": "s3://bucket/c.mp4"},
]


def wanted(folder: Path) -> list[Clip]:
    return [
        Clip(
            source=str(folder / "a.mp4"),
            start_s=1.5,
            end_s=2.0,
            intrinsics="90,90,32,24",
            tags="x, y",
        ),
        Clip(source="/far/b.mp4", intrinsics=str(folder / "lens.json"), output="day/one"),
        Clip(source="s3://bucket/c.mp4"),
    ]


def names(clips: list[Clip]) -> list[str]:
    tasks = plan_tasks(clips, "/out", FrameSelection())
    return [str(Path(task.output).relative_to("/out")) for task in tasks]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_csv_and_parquet_say_the_same(tmp_path):
    quoted = 'a.mp4,1.5,2,"90,90,32,24",,"x, y"\n/far/b.mp4,,,lens.json,day/one,\n'
    table = tmp_path / "list.csv"
    table.write_text(
        f"source,start,end,intrinsics,output,tags\n{quoted}s3://bucket/c.mp4,,,,,\n",
        encoding="utf-8-sig",
    )
    assert read_list(str(table)) == wanted(tmp_path)
    columns = ("source", "start", "end", "intrinsics", "output", "tags")
    rows = [{name: row.get(name) for name in columns} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "list.parquet")
    assert read_list(str(tmp_path / "list.parquet")) == wanted(tmp_path)


def test_a_text_file_has_a_source_in_each_line(tmp_path):
    (tmp_path / "list.txt").write_text("# two clips\na.mp4\n\n  file:///far/b%20c.mp4\n")
    clips = read_list(str(tmp_path / "list.txt"))
    assert [clip.source for clip in clips] == [str(tmp_path / "a.mp4"), "/far/b c.mp4"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("file\na.mp4\n", "column 'file'"),
        ("start,end\n1,2\n", "no column 'source'"),
        ("source,start\na.mp4,soon\n", "row 1: start is 'soon'"),
        ("source,start\na.mp4,1\nb.mp4,-1\n", "row 2: start is '-1'"),
        ("source,start\n,1\n", "row 1 has no source"),
        ("source,tags\na.mp4,b,c\n", "row 1 has too many columns"),
    ],
)
def test_rows_that_make_no_sense_are_named(tmp_path, text, said):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        clips_of(tmp_path / "list.csv")


def test_lists_that_cannot_be_read_say_so(tmp_path):
    (tmp_path / "list.parquet").write_bytes(b"PAR1 no more")
    for name in ("list.parquet", "missing.csv"):
        with pytest.raises(InputError, match=name):
            clips_of(tmp_path / name)


def test_a_folder_of_videos_and_of_folders_of_images(tmp_path):
    touch(tmp_path / "c10.mp4", tmp_path / "c9.MOV", tmp_path / ".hidden.mp4", tmp_path / "notes")
    touch(tmp_path / "shots" / "1.png", tmp_path / "empty.4d" / "x", tmp_path / "old.4d" / "1.png")
    clips = clips_of(tmp_path)
    assert {Path(clip.named).name for clip in clips} == {"c9.MOV", "c10.mp4", "shots"}
    assert sorted(names(clips)) == ["c10.4d", "c9.4d", "shots.4d"]
    assert is_folder_of_clips(str(tmp_path)) and not is_folder_of_clips(str(tmp_path / "shots"))
    assert clips_of(tmp_path / "shots") == [Clip(source=str(tmp_path / "shots"))]
    with pytest.raises(InputError, match="holds no video"):
        clips_of(tmp_path / "empty.4d")


def test_images_are_one_clip_and_not_mixed(tmp_path):
    for name in ("1.png", "2.png"):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)
    touch(tmp_path / "walk.mp4")
    several = (str(tmp_path / "1.png"), str(tmp_path / "2.png"))
    assert clips_of(str(tmp_path / "*.png")) == [Clip(source=several)]
    assert clips_of(several) == [Clip(source=several)]
    assert names(clips_of(several)) == [f"{tmp_path.name}.4d"]
    with pytest.raises(InputError, match="reconstruct them in separate calls"):
        clips_of([*several, tmp_path / "walk.mp4"])
    with pytest.raises(InputError, match="give them separately"):
        clips_of(str(tmp_path / "*.*"))


def test_names_tell_clips_apart():
    clips = [Clip(source=f"/{day}/walk.mp4") for day in ("mon", "tue")] + [Clip(source="/x/a.mp4")]
    assert names(clips) == ["mon-walk.4d", "tue-walk.4d", "a.4d"]
    parts = [Clip(source="/x/a.mp4", start_s=start, end_s=start + 1) for start in (0.0, 1.5)]
    assert names([*parts, Clip(source="/x/a.mp4")]) == ["a_0-1.4d", "a_1.5-2.5.4d", "a.4d"]
    assert names([Clip(source="https://host/d/a%20b.mp4?key=1")]) == ["a b.4d"]


@pytest.mark.parametrize("name", ["../up", "/root", "a//b", "", ".", "a\\b"])
def test_output_names_stay_in_the_folder(name):
    with pytest.raises(ConfigError, match="output name"):
        plan_tasks([Clip(source="a.mp4", output=name)], "/out", FrameSelection())


def test_two_clips_do_not_become_one_scene():
    clips = [Clip(source="a.mp4", output="one"), Clip(source="b.mp4", output="one.4d")]
    with pytest.raises(ConfigError, match=r"two clips are to become one\.4d"):
        plan_tasks(clips, "/out", FrameSelection())


def test_a_clip_that_ends_before_it_starts_is_refused():
    with pytest.raises(ConfigError, match=r"a\.mp4"):
        plan_tasks([Clip(source="a.mp4", start_s=2.0, end_s=1.0)], "/out", FrameSelection())
    task = plan_tasks([Clip(source="a.mp4", start_s=2.0)], "/out", FrameSelection())[0]
    given = FrameSelection(max_frames=3, start_s=1.0, end_s=9.0)
    assert task.selection(given) == FrameSelection(max_frames=3, start_s=2.0, end_s=9.0)


def test_what_is_no_source_is_refused(tmp_path):
    for wrong, said in ((["-"], "reconstruct it alone"), ([3], "a source is a int")):
        with pytest.raises(InputError, match=said):
            clips_of(wrong)
    with pytest.raises(InputError, match="does not exist"):
        clips_of(tmp_path / "walk.mp4")
