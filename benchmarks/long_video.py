"""How exact long clips are: camera paths, loops, and tracks against time, beside the noise's floor.

    python benchmarks/long_video.py oracle [--seed 1] [--frames 400] [--cut 1400] [-o table.json]
    python benchmarks/long_video.py scene CLIP_FOLDER LABEL=SCENE.4d [LABEL=SCENE.4d ...]

`oracle` needs no network: windows say where their pixels truly are, with noise
(`evaluation.true_windows` states it), and what joins windows is measured alone. Its floor is what
remains where each window is placed as it truly lies. `scene` compares results with the clip that
`dynapoint.synthetic.long_files.write_long_clip` wrote: the folder with its recipe.

Lengths are in per cent of the median depth of a part of the clip, between cuts. Loops are pairs
of frames at least a hundred apart that look from within 0.4 m and 15 degrees of each other.
"""

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from long_joins import OraclePart, stages
from long_scores import median_depth, row_of, shown_tracks, table, track_table

import dynapoint
from dynapoint.evaluation.true_windows import TrueWindows, WindowNoise
from dynapoint.synthetic.long_clip import LongClip
from dynapoint.synthetic.long_files import read_long_clip


def oracle(options: argparse.Namespace) -> dict:
    """Measure everything that is there to join windows."""
    cuts = (options.cut,) if options.cut else ()
    clip = LongClip(options.seed, options.frames, image_hw=(72, 128), cuts=cuts)
    noise = WindowNoise(sigma=options.noise)
    said: dict = {"noise": vars(noise), "parts": []}
    for start, stop in pairwise([0, *cuts, options.frames]):
        clock = time.perf_counter()
        part = OraclePart(
            TrueWindows(clip, noise, seed=options.draw), range(start, stop),
            window=options.window, overlap=options.overlap,
        )  # fmt: skip
        took = time.perf_counter() - clock
        depth = float(np.median([median_depth(clip, f) for f in range(start, stop, 10)]))
        rows, placements = stages(part, depth)
        print(
            f"\nframes {start} to {stop}: {len(part.windows)} windows ({took:.0f} s), median "
            f"depth {depth:.2f}\n\n{table(rows)}",
            flush=True,
        )
        tracks = {}
        for label, each in placements.items() if options.tracks else ():
            decoder = part.decoder(each)
            tracks[label] = track_table(
                clip, part.part, each.world_from_camera,
                lambda i, j, decoder=decoder: decoder.decode([i], j, keep=False)[0][0],
                pairs=options.tracks, seed=0,
            )  # fmt: skip
            print("\n" + shown_tracks(label, tracks[label]), flush=True)
        said["parts"].append({"rows": [vars(row) for row in rows], "tracks": tracks})
    return said


def scene(options: argparse.Namespace) -> dict:
    """Compare results with the clip they were made of."""
    clip = read_long_clip(options.clip)
    said: dict = {}
    for named in options.scenes:
        label, _, path = named.partition("=")
        rec = dynapoint.open(path)
        frames = np.asarray(rec.source_frame_index)
        if not np.array_equal(frames, np.arange(clip.frame_count)):
            raise SystemExit(f"{path} has {len(frames)} frames, not all {clip.frame_count}")
        for start, stop in pairwise([0, *clip.cuts, clip.frame_count]):
            part = range(start, stop)
            depth = float(np.median([median_depth(clip, f) for f in range(start, stop, 20)]))
            found = rec.world_from_camera[start:stop].astype(np.float64)
            truth = clip.world_from_camera[start:stop]
            row = row_of(label, truth, found, depth, 0.0)
            print(f"\nframes {start} to {stop}\n\n{table([row])}", flush=True)
            tracks = []
            if options.tracks:
                tracks = track_table(
                    clip, part, found,
                    lambda i, j, s=start, r=rec: r.maps(frame=s + i, time=s + j)[0],
                    pairs=options.tracks, seed=0,
                )  # fmt: skip
                print("\n" + shown_tracks(label, tracks), flush=True)
            said.setdefault(label, []).append({"row": vars(row), "tracks": tracks})
    return said


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    without = commands.add_parser("oracle")
    without.add_argument("--seed", type=int, default=1)
    without.add_argument("--frames", type=int, default=400)
    without.add_argument("--cut", type=int, default=0)
    without.add_argument("--window", type=int, default=24)
    without.add_argument("--overlap", type=int, default=12)
    without.add_argument("--noise", type=float, default=0.02)
    without.add_argument("--draw", type=int, default=0, help="seed of the noise")
    measured = commands.add_parser("scene")
    measured.add_argument("clip", type=Path)
    measured.add_argument("scenes", nargs="+", metavar="LABEL=SCENE.4d")
    for command in (without, measured):
        command.add_argument("--tracks", type=int, default=12, help="pairs for each lag, 0: none")
        command.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    said = oracle(options) if options.command == "oracle" else scene(options)
    if options.output:
        options.output.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
