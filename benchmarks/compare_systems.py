"""One table of systems: motion, geometry and matches on several sets of clips, seconds, memory.

    python benchmarks/compare_systems.py --clips bench=CLIPS easy=CLIPS -o table.json
        --rows nano V-DPM=runs/vdpm/weights.safetensors

A row is a model's name, or LABEL=FILE for weights of a small network; a label that ends in "in
pairs" shows a video network two frames at a time, aligned as DPM's pairs are. Each row is scored in
a process of its own, so that its peak memory is its own; seconds are those of ten frames
reconstructed and the tracks of frame 0 decoded, loading apart. Rows that the JSON file has already
are not scored again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from dynapoint.evaluation.clips import find_clips, read_clip
from dynapoint.evaluation.report import to_json
from dynapoint.evaluation.score import evaluate_together, model_answers, trivial_answers
from dynapoint.models.catalog import load_model
from dynapoint.models.nano.network import VideoPointMapNetwork
from dynapoint.models.pairwise import PairwiseVideo
from dynapoint.models.protocol import PairMaps

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


class AsPairs:
    """A video network as a network for pairs: what is left of it without its other frames."""

    def __init__(self, network: VideoPointMapNetwork) -> None:
        self.network, self.info = network, network.info
        self.patch_size, self.image_side = network.patch_size, network.image_side

    def encode_frames(self, images: torch.Tensor) -> torch.Tensor:
        """Nothing can be computed for a frame alone."""
        return images

    def decode_frame_pairs(
        self, encoded: torch.Tensor, *, firsts: Sequence[int], seconds: Sequence[int]
    ) -> PairMaps:
        """All frames of each pair, at both times."""
        index = torch.tensor([list(firsts), list(seconds)]).T
        video = self.network.encode(encoded[index])
        maps = [self.network.decode(video, time=time, frames=[0, 1]) for time in (0, 1)]
        return PairMaps(
            points=torch.stack([each.points for each in maps], dim=1),
            confidence=torch.stack([each.confidence for each in maps], dim=1),
        )


def score(row: str, clips: Path, output: Path) -> None:
    """Score one row, in this process."""
    label, _, weights = row.partition("=")
    model = load_model(weights=weights) if weights else load_model(label)
    if label.endswith("in pairs"):
        model = PairwiseVideo(AsPairs(model))
    answers = {**model_answers({label: model}), **trivial_answers()}
    scored = evaluate_together((read_clip(path) for path in find_clips(clips)), answers)
    output.write_text(to_json(scored))


def scores_of(row: str, clips: Path) -> dict[str, dict[str, float | None]]:
    """Pooled scores of a row, of its geometry without motion, and its process's peak memory."""
    label = row.partition("=")[0]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "scores.json"
        words = [sys.executable, __file__, "--score", row, str(clips), str(output)]
        process = subprocess.Popen(words)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{row} on {clips} failed with status {status}")
        rows = json.loads(output.read_text())["rows"]
    return {
        label: {**rows[label]["pooled"], "peak_mib": usage.ru_maxrss / 1024},
        f"{label}, nothing moved": rows[f"{label}, nothing moved"]["pooled"],
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
    parser.add_argument("--clips", nargs="+", default=(), metavar="LABEL=FOLDER")
    parser.add_argument("--rows", nargs="+", default=(), metavar="NAME or LABEL=FILE")
    parser.add_argument("-o", "--output", type=Path, default=Path("comparison.json"))
    parser.add_argument("--score", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.score:
        row, clips, output = arguments.score
        score(row, Path(clips), Path(output))
        return
    found = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for named in arguments.clips:
        label, _, folder = named.partition("=")
        of_set = found.setdefault(label, {})
        for row in arguments.rows:
            if row.partition("=")[0] not in of_set:
                of_set.update(scores_of(row, Path(folder)))
                arguments.output.write_text(json.dumps(found, indent=1) + "\n")
        print(f"\n{label}\n\n{table(of_set)}", flush=True)


if __name__ == "__main__":
    main()
