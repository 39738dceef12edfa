"""2D flow and matches of neighbouring frames beside OpenCV's DIS at the pictures' full size.

    python benchmarks/flow_against_dis.py [NAME=SOURCE ...] [--clips FOLDER ...] [--engine 2]

SOURCE is a video or a folder; one with cameras.json and depth, lidar or true flow (as those of TUM,
7-Scenes, DDAD and DeepDeform here) has truth, as have clips in the bench format and those of the
data engine (seeds from 1,000,900,000). `--frames` used frames of each; pairs are neighbours, both
ways. For each the network alone, refined answers by projection alone, the answers as they are, and
DIS are told: mean difference in grey levels between a pixel and where flow leads, share within 4
pixels of the truth where it is visible (all, and moving where some of it moves), share within 4 of
DIS where that comes home, and for matches the share within 4 of the truth, or else of DIS. Pixels
are those of the maps, distances in pixels of the pictures. Measured: docs/notes/refinement.md.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from following import engine_truth, real_truth

from dynapoint.data.images import images_in_folder
from dynapoint.data.selection import FrameSelection
from dynapoint.evaluation.clips import find_clips, read_clip
from dynapoint.geometry.arrays import pixel_centres
from dynapoint.inference.pipeline import reconstruct
from dynapoint.models.catalog import load_model
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

NEAR_PX = 4.0
METHODS = ("network", "projected", "ours", "DIS")
HW, FIRST_SEED = (168, 224), 1_000_900_000


@dataclass(frozen=True, kw_only=True)
class Known:
    """True flow from each pixel of a picture, where it is visible, and what of it moves."""

    flow: np.ndarray
    visible: np.ndarray
    moving: np.ndarray


Truth = Callable[[int, int, tuple[int, int]], Known]


def flow_by_dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(first, second, None)


def between(values: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Values at places, centres at half-integers."""
    place = np.moveaxis((xy - 0.5).astype(np.float32), -1, 0)
    return cv2.remap(values, *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def nearest(values: np.ndarray, xy: np.ndarray) -> np.ndarray:
    column, row = (np.clip(xy[..., k].astype(int), 0, values.shape[1 - k] - 1) for k in (0, 1))
    return values[row, column]


class Table:
    """What is added up over the pairs of one source."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[np.ndarray]] = {}
        self.seconds: list[float] = []

    def add(self, method: str, kind: str, values: np.ndarray) -> None:
        """Add the values of a pair."""
        self.rows.setdefault((method, kind), []).append(np.ravel(values))

    def say(self, name: str, note: str) -> None:
        """Print a line for each measure."""
        print(f"\n{name} ({note}; {np.mean(self.seconds):.2f} s a pair)")
        kinds = dict.fromkeys(kind for _, kind in self.rows)
        for kind in kinds:
            words = []
            for method in METHODS:
                if (method, kind) in self.rows:
                    mean = np.concatenate(self.rows[method, kind]).mean()
                    words.append(f"{method} {mean:.3f}")
            print(f"  {kind:22s}" + "; ".join(words), flush=True)


def measure(table: Table, recs: dict[str, Reconstruction], i: int, j: int, truth: Known | None):
    """Add one pair."""
    rec = recs["ours"]
    greys = [cv2.cvtColor(np.asarray(rec.frames.picture(k)), cv2.COLOR_RGB2GRAY) for k in (i, j)]
    xy = rec.pixel_map.to_picture(i, pixel_centres(rec.map_hw))
    dis, back = flow_by_dis(*greys), flow_by_dis(*greys[::-1])
    by_dis = between(dis, xy)
    home = np.linalg.norm(by_dis + between(back, xy + by_dis), axis=-1) < 1
    start = time.perf_counter()
    flows = {"ours": rec.optical_flow(frame=i, to_time=j).flow_px}
    table.seconds.append(time.perf_counter() - start)
    others = [name for name in recs if name != "ours"]
    flows |= {name: recs[name].optical_flow(frame=i, to_time=j).flow_px for name in others}
    flows["DIS"] = by_dis
    known = None if truth is None else nearest(truth.visible, xy)
    grey = [each.astype(np.float32) for each in greys]
    for method, flow in flows.items():
        apart = np.abs(between(grey[1], xy + flow) - between(grey[0], xy))
        table.add(method, "grey levels", apart)
        matched = by_dis if method == "DIS" else matched_flow(recs[method], i, j, xy)
        if truth is None:
            if method != "DIS":
                table.add(method, "within 4 of DIS", off(flow, by_dis)[home])
                table.add(method, "match within 4 of DIS", off(matched, by_dis)[home])
            continue
        exact, moves = nearest(truth.flow, xy), nearest(truth.moving, xy)
        table.add(method, "within 4", off(flow, exact)[known])
        if (moves & known).any() and (~moves & known).any():
            table.add(method, "movers within 4", off(flow, exact)[known & moves])
        table.add(method, "match within 4", off(matched, exact)[known])


def matched_flow(rec: Reconstruction, i: int, j: int, xy: np.ndarray) -> np.ndarray:
    return np.nan_to_num(rec.match(frame=i, to_frame=j).xy_px, nan=1e9) - xy


def off(flow: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Which are near enough."""
    return np.linalg.norm(flow - exact, axis=-1) < NEAR_PX


def folder_truth(folder: Path) -> tuple[Any, Truth | None]:
    """A folder's pictures, and what is known of their flow."""
    if not (folder / "cameras.json").exists():
        inner = folder / "images"
        return [str(each) for each in images_in_folder(inner if inner.is_dir() else folder)], None
    listed = json.loads((folder / "cameras.json").read_text())["frames"]
    listed = [each for each in listed if (folder / each["file"]).exists()]
    files = [str(folder / each["file"]) for each in listed]
    flow_file = next(iter(sorted(folder.glob("flow_*_to_*.png"))), None)

    def of(i: int, j: int, hw: tuple[int, int]) -> Known:
        if flow_file is not None:
            return flow_picture(flow_file, forward=(i, j) == (0, 1))
        if (folder / "lidar").is_dir():
            return of_lidar(folder, listed, i, j, hw)
        truth = real_truth(folder, listed, i, j, hw)
        return Known(flow=truth.flow, visible=truth.visible, moving=truth.moving)

    return files, of


def flow_picture(path: Path, *, forward: bool) -> Known:
    """Of a PNG of 16 bits: flow times 64 plus half the range, and what is known."""
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(float)
    known = (values[..., 2] > 0) & forward
    flow = (values[..., :2] - 32768) / 64
    return Known(flow=flow, visible=known, moving=np.zeros_like(known))


def of_lidar(folder: Path, listed: list[dict], i: int, j: int, hw: tuple[int, int]) -> Known:
    """Of points outside the boxes of movers, each spread over seven by seven pixels."""
    sweep = np.load(folder / "lidar" / f"{Path(listed[i]['file']).stem}.npz")
    chosen = (sweep["instance"] == 0) & (sweep["z"] > 0.5)
    uv, z = sweep["uv"][chosen], sweep["z"][chosen]
    poses = [np.array(listed[k]["T_wc"]).reshape(4, 4) for k in (i, j)]
    lens = [np.array(listed[k]["K_fx_fy_cx_cy"]) for k in (i, j)]
    points = np.concatenate([(uv - lens[0][2:]) / lens[0][:2] * z[:, None], z[:, None]], axis=1)
    way = np.linalg.inv(poses[1]) @ poses[0]
    there = points @ way[:3, :3].T + way[:3, 3]
    end = there[:, :2] / there[:, 2:] * lens[1][:2] + lens[1][2:]
    kept = (there[:, 2] > 0.5) & ((end > 0) & (end < hw[::-1])).all(axis=1)
    column, row = np.round(uv[kept]).astype(int).T
    flow, visible = np.zeros((*hw, 2)), np.zeros(hw, dtype=bool)
    for down, right in np.ndindex(7, 7):
        at = np.clip(row + down - 3, 0, hw[0] - 1), np.clip(column + right - 3, 0, hw[1] - 1)
        flow[at], visible[at] = (end - uv)[kept], True
    return Known(flow=flow, visible=visible, moving=np.zeros(hw, dtype=bool))


def bench_truth(folder: Path) -> tuple[Any, Truth]:
    """A clip's pictures, and its truth on its grid, of which each place stands for those around."""
    clip = read_clip(folder)
    stride, lens = clip.stride, np.asarray(clip.intrinsics)

    def of(i: int, j: int, hw: tuple[int, int]) -> Known:
        pose = np.linalg.inv(clip.world_from_camera[j])
        seen = clip.points[j, i].astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
        xy = seen[..., :2] / seen[..., 2:] * lens[[0, 1], [0, 1]] + lens[:2, 2]
        row, column = np.indices(xy.shape[:2]) * stride + stride // 2 + 0.5
        flow = xy - np.stack([column, row], axis=-1)
        whole = [
            each.repeat(stride, axis=0).repeat(stride, axis=1)[: hw[0], : hw[1]]
            for each in (
                flow,
                clip.visible[j, i] & np.isfinite(flow).all(axis=-1),
                (clip.instance[i] >= 100) & (clip.instance[i] != 255),
            )
        ]
        return Known(flow=np.nan_to_num(whole[0]), visible=whole[1], moving=whole[2])

    return sorted(str(each) for each in folder.glob("rgb_*.jpg")), of


def engine(count: int) -> Iterator[tuple[str, Any, Truth, FrameSelection]]:
    """Clips of two paces: every picture and every fifth one used."""
    for step in (1, 5):
        for number in range(count):
            seed = FIRST_SEED + 1000 * step + number
            config = SceneConfig(frames=41, difficulty=0.5 + 0.5 * (number % 2))
            scene = random_scene(seed, config, aspect=HW[1] / HW[0])
            clip = render_clips([scene], image_hw=HW, seed=seed)

            def of(i: int, j: int, hw: tuple[int, int], clip: Any = clip) -> Known:
                truth = engine_truth(clip, i, j)
                return Known(flow=truth.flow, visible=truth.visible, moving=truth.moving)

            pictures = clip.images[0].numpy()[: 7 * step + 1]
            yield f"engine {seed}, every {step}", pictures, of, FrameSelection(stride=step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", help="NAME=SOURCE or SOURCE")
    parser.add_argument("--clips", type=Path, nargs="*", default=[], help="in the bench format")
    parser.add_argument("--engine", type=int, default=0, help="clips of each pace")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=9, help="at most, of a source, both ways")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = load_model(options.model)
    some = FrameSelection(max_frames=options.frames)
    cases: list[tuple[str, Any, Truth | None, FrameSelection]] = []
    for source in options.sources:
        name, _, path = source.rpartition("=")
        read = folder_truth(Path(path)) if Path(path).is_dir() else (path, None)
        cases.append((name or Path(path).stem, *read, some))
    for folder in options.clips:
        cases += [(clip.name, *bench_truth(clip), some) for clip in find_clips(folder)]
    for name, source, truth, chosen in [*cases, *engine(options.engine)]:
        ours = reconstruct(source, network, frames=chosen, refine=True)
        plain = reconstruct(source, network, frames=chosen, refine=False)
        recs = {"network": plain, "projected": replace(ours, pictures=None), "ours": ours}
        table, index = Table(), ours.source_frame_index.tolist()
        pairs = np.arange(ours.frame_count - 1)
        pairs = pairs[:: max(1, -(-len(pairs) // options.pairs))]
        for k in pairs.tolist():
            for i, j in ((k, k + 1), (k + 1, k)):
                hw = ours.frames.picture(i).shape[:2]
                known = None if truth is None else truth(index[i], index[j], hw)
                if known is None or known.visible.any():
                    measure(table, recs, i, j, known)
        taken = ours.refinement is not None and ours.refinement.poses
        table.say(name, "refined" if taken else "left alone by the gate")


if __name__ == "__main__":
    main()
