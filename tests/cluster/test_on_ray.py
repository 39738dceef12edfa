"""Ray itself: the same bytes as without it, workers and nodes killed, a run broken off."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import dynapoint
from folders import ROOT
from video_files import write_video

# Other processes, such as the command's, are let in by a token made for these tests alone. Ray
# reads it once, when it is imported.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

OPTIONS: Any = dict(frames=3, refine=False)
CLIPS = 10


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Ten videos of different lengths, one of them damaged."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(CLIPS):
        write_video(folder / f"{number}.mp4", frames=4 + number)
    (folder / "3.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def alone(videos, tmp_path_factory) -> Path:
    """The scenes as they are made without a cluster."""
    output = tmp_path_factory.mktemp("alone")
    for _ in dynapoint.reconstruct_many(videos, output=output, **OPTIONS):
        pass
    return output


@pytest.fixture(scope="module")
def cluster():
    """A head without cores, for this process, and two nodes with a core each."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    ray.init(address=found.address, log_to_driver=False, logging_level="error")
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture
def nodes(cluster):
    """Two nodes with a core each, new for each test."""
    found = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield found
    for node in found:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


def scenes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "index.parquet"
    }


def test_scenes_are_the_same_to_the_byte(videos, alone, nodes, tmp_path):
    made = list(
        dynapoint.reconstruct_many(videos, output=tmp_path / "out", cluster="auto", **OPTIONS)
    )
    assert [each.label for each in made if each.failure is not None] == ["3.mp4"]
    assert len({each.worker for each in made}) == 2
    assert scenes(tmp_path / "out") == scenes(alone)


def test_a_worker_that_is_killed_costs_nothing(videos, alone, nodes, tmp_path):
    made, killed = [], None
    for each in dynapoint.reconstruct_many(
        videos, output=tmp_path / "out", cluster="auto", **OPTIONS
    ):
        made.append(each)
        if killed is None:
            killed = each.worker
            os.kill(int(killed.rpartition(":")[2]), signal.SIGKILL)
    assert len(made) == CLIPS and [e.label for e in made if e.failure is not None] == ["3.mp4"]
    assert len({each.worker for each in made}) == 3
    assert scenes(tmp_path / "out") == scenes(alone)


def test_a_node_that_is_killed_costs_nothing(videos, alone, nodes, cluster, tmp_path):
    made = []
    for each in dynapoint.reconstruct_many(
        videos, output=tmp_path / "out", cluster="auto", **OPTIONS
    ):
        made.append(each)
        if len(made) == 2:
            cluster.remove_node(nodes[0], allow_graceful=False)
    assert len(made) == CLIPS and [e.label for e in made if e.failure is not None] == ["3.mp4"]
    assert scenes(tmp_path / "out") == scenes(alone)
    rows = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    assert sum(row["failure"] is None for row in rows) == CLIPS - 1
    again = dynapoint.reconstruct_many(videos, output=tmp_path / "out", cluster="auto", **OPTIONS)
    assert sum(each.skipped for each in again) == CLIPS - 1


def test_an_interrupted_command_goes_on_where_it_stopped(videos, alone, nodes, tmp_path):
    output = tmp_path / "out"
    words = ["reconstruct", str(videos), "-o", str(output), "--frames", "3", "--no-refine"]
    command = [sys.executable, "-m", "dynapoint", *words, "--cluster", "auto", "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    environment.pop("RAY_ADDRESS", None)
    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(output.glob("*.4d")) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=120) == 130
    there = len(list(output.glob("*.4d")))
    rows = pq.read_table(output / "index.parquet").to_pylist()
    assert 1 <= there < CLIPS - 1 and len(rows) >= 1
    second = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=600
    )
    assert second.returncode == 1, second.stderr
    assert f"{CLIPS - 1} of {CLIPS} scenes are saved" in second.stdout
    assert second.stdout.splitlines()[-1].startswith("  3.mp4: ")
    assert scenes(output) == scenes(alone)
    shutil.rmtree(output)


def test_the_documented_step_of_a_pipeline(videos, nodes, tmp_path, monkeypatch):
    sources = [str(videos / f"{number}.mp4") for number in (0, 1)]
    (tmp_path / "clips.csv").write_text("\n".join(["source", *sources]))
    text = (ROOT / "docs" / "scale.md").read_text("utf-8")
    block = next(each for each in text.split("```") if "map_batches" in each and "class " in each)
    block = block.partition("\n")[2].replace('"clips.csv"', repr(str(tmp_path / "clips.csv")))
    names = {"__name__": "documents"}
    exec(block.replace('"poses")\n', f"{str(tmp_path / 'poses')!r})\n"), names)
    rows = ray.data.read_parquet(str(tmp_path / "poses")).take_all()
    poses = {row["source"]: row["poses"] for row in rows}
    for source in sources:
        want = dynapoint.reconstruct(source).world_from_camera
        assert poses[source].tolist() == want.tolist()
