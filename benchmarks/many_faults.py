"""Many clips on two Ray nodes of this machine, while things go wrong; then the same once more.

    python benchmarks/many_faults.py [--clips 200] [--frames 3]

All clips are videos of the data engine, and three are damaged. When a tenth is done a worker is
killed, and at a third a node. One command has to make all the other scenes and say three lines; run
again it finds them all there.
"""

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
from engine_videos import write_engine_videos

DAMAGED = (7, 17, 31)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--frames", type=int, default=3)
    options = parser.parse_args()
    # The command is let in by a token made for this cluster alone.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", **token}
    # Ray reads the token once, when it is imported.
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    with tempfile.TemporaryDirectory() as folder:
        command = _command(Path(folder), options)
        first = _first_run(command, Path(folder) / "out", cluster, nodes, options)
        cluster.add_node(num_cpus=1)
        began_s = time.monotonic()
        again = subprocess.run(command, check=False, capture_output=True, text=True)
        print(json.dumps({**first, "again_s": time.monotonic() - began_s}, indent=2))
        said = _said(again.stdout)
        assert again.returncode == 1 and all(each["skipped"] for each in said["scenes"])
        index = Path(folder) / "out" / "index.parquet"
        query = "select count(*) as clips, count(failure) as failed, max(attempts) as attempts, "
        print(duckdb.sql(f"{query} count(distinct worker) as workers from '{index}'"))
        print(duckdb.sql(f"select label, failure from '{index}' where failure is not null"))
    cluster.shutdown()


def _command(folder: Path, options: argparse.Namespace) -> list[str]:
    """The one command, and its clips, three of which are cut off."""
    for number, clip in enumerate(write_engine_videos(folder / "clips", options.clips)):
        if number in DAMAGED:
            clip.write_bytes(clip.read_bytes()[: 1000 * (number % 3)])
    words = ["reconstruct", str(folder / "clips"), "-o", str(folder / "out"), "--lean", "--json"]
    more = ["--frames", str(options.frames), "--no-refine", "--cluster", "auto"]
    return [sys.executable, "-m", "dynapoint", *words, *more]


def _first_run(
    command: list[str], output: Path, cluster: Any, nodes: list[Any], options: argparse.Namespace
) -> dict[str, Any]:
    began_s = time.monotonic()
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    _wait_for(running, output, options.clips // 10)
    worker = _a_worker(output)
    os.kill(worker, signal.SIGKILL)
    _wait_for(running, output, options.clips // 3)
    before = len(list(output.glob("*.4d")))
    cluster.remove_node(nodes[0], allow_graceful=False)
    said = _said(running.communicate()[0])
    damaged = sorted(each["input"] for each in said["failed"])
    assert damaged == [f"{number:05d}.mp4" for number in DAMAGED], said["failed"]
    assert len(said["scenes"]) == options.clips - len(DAMAGED) and running.returncode == 1
    return {
        "scenes": len(said["scenes"]),
        "failed": [each["error"] for each in said["failed"]],
        "worker_killed": worker,
        "scenes_when_the_node_was_killed": before,
        "begun_again": sum(each["attempts"] > 1 for each in said["scenes"]),
        "first_run_s": time.monotonic() - began_s,
    }


def _said(text: str) -> Any:
    """The JSON object that the command printed, and nothing else beside it."""
    assert text.startswith("{"), f"beside JSON there is {text[:300]!r}"
    return json.loads(text)


def _wait_for(running: Any, output: Path, count: int) -> None:
    while len(list(output.glob("*.4d"))) < count:
        assert running.poll() is None, "the command ended too early"
        time.sleep(0.1)


def _a_worker(output: Path) -> int:
    """A process that has made a scene of the index."""
    index = output / "index.parquet"
    query = f"select worker from '{index}' where frames is not null order by finished_unix_s desc"
    rows = duckdb.sql(f"{query} limit 1").fetchall()
    return int(rows[0][0].rpartition(":")[2])


if __name__ == "__main__":
    main()
