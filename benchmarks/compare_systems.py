"""One table of systems: motion, geometry and matches on several sets of clips, seconds, memory.

    python benchmarks/compare_systems.py --clips bench=CLIPS easy=CLIPS -o table.json
        --rows nano V-DPM=runs/vdpm/weights.safetensors DPM=runs/dpm/weights.safetensors

A row is a model's name, or LABEL=FILE for weights of a small network. Each is scored by `dynapoint
evaluate` in a process of its own, so that its peak memory is its own; seconds are those of ten
frames reconstructed and the tracks of frame 0 decoded, loading apart. Without -o the JSON is not
kept; finished rows of an existing one are not scored again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

KEYS = {
    "own EPE m8": "own_time_epe_m8",
    "ratio m8": "motion_ratio_m8",
    "leak m8": "leak_m8",
    "recall m8 all": "match_recall_m8",
    "moving": "match_recall_moving_m8",
    "ratio m2": "motion_ratio_m2",
    "EPE m2": "epe_m2",
    "EPE m8": "epe_m8",
    "EPE 10f": "epe_tracks",
    "rotation °": "camera_rotation_deg",
    "s": "seconds_tracks",
}


def scores_of(row: str, clips: Path) -> dict[str, dict[str, float | None]]:
    """Pooled scores of a row, of its geometry without motion, and its process's peak memory."""
    label, _, weights = row.partition("=")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "scores.json"
        words = ["evaluate", str(clips), "-o", str(output)]
        words += ["--weights", weights] if weights else ["--model", label]
        process = subprocess.Popen(
            [sys.executable, "-m", "dynapoint", *words], stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{row} on {clips} failed with status {status}")
        rows = json.loads(output.read_text())["rows"]
    name = Path(weights).name if weights else label
    return {
        label: {**rows[name]["pooled"], "peak_mib": usage.ru_maxrss / 1024},
        f"{label}, nothing moved": rows[f"{name}, nothing moved"]["pooled"],
        "flat scene": rows["flat scene"]["pooled"],
        "true geometry, nothing moved": rows["true geometry, nothing moved"]["pooled"],
    }


def table(found: dict[str, dict[str, float | None]]) -> str:
    """Markdown: a line per row."""
    titles = [*KEYS, "peak MiB"]
    lines = ["| | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for label, scores in found.items():
        cells = []
        for key in (*KEYS.values(), "peak_mib"):
            value = scores.get(key)
            digits = {"camera_rotation_deg": 1, "peak_mib": 0, "seconds_tracks": 2}.get(key, 3)
            cells.append("–" if value is None else f"{value:.{digits}f}")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", nargs="+", required=True, metavar="LABEL=FOLDER")
    parser.add_argument("--rows", nargs="+", required=True, metavar="NAME or LABEL=FILE")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    kept = arguments.output and arguments.output.exists()
    found = json.loads(arguments.output.read_text()) if kept else {}
    for named in arguments.clips:
        label, _, folder = named.partition("=")
        of_set = found.setdefault(label, {})
        for row in arguments.rows:
            if row.partition("=")[0] not in of_set:
                of_set.update(scores_of(row, Path(folder)))
                if arguments.output:
                    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
        print(f"\n{label}\n\n{table(of_set)}", flush=True)


if __name__ == "__main__":
    main()
