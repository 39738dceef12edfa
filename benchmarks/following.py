"""How well points are followed between used frames: direct flow, chained flow, and both corrected.

    python benchmarks/following.py [--seeds 4] [--real FOLDER ...] [--videos FILE ...] [--frames 8]

Engine clips are rendered with exact truth: 17 pictures (fast), 41 and 121 (slow) of one motion, of
which every eighth or tenth is used. FOLDERs are still scenes with depth and poses (cameras.json as
in TUM's and 7-Scenes' folders here), of whose pictures `--frames` are used. Of videos without truth
only the share of pixels with a weight above 1/2 is told, and how alike these look in both frames.
Errors are of visible points that move by half a pixel or more.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from dynapoint.data.between import load_between
from dynapoint.data.frames import load_frames
from dynapoint.data.selection import FrameSelection
from dynapoint.geometry.pinhole import project
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.refinement.flow import FlowField
from dynapoint.refinement.following import follow
from dynapoint.synthetic.clip import ClipBatch
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

HW = (168, 224)
FIRST_SEED = 1_000_600_500
SPEEDS = {"fast": (17, 8), "medium": (41, 8), "slow": (121, 10)}
DIFFICULTIES = (0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """True flow from one used frame to another; `known` where a point exists at all."""

    flow: np.ndarray
    known: np.ndarray
    visible: np.ndarray
    moving: np.ndarray


def grid(hw: tuple[int, int]) -> np.ndarray:
    """Centres of all pixels, (column, row)."""
    x, y = np.meshgrid(np.arange(hw[1]) + 0.5, np.arange(hw[0]) + 0.5)
    return np.stack([x, y], axis=-1)


def engine_truth(clip: ClipBatch, i: int, j: int) -> Truth:
    truth = clip.truth(torch.tensor([[i]]), torch.tensor([[j]]))
    points = truth.points[0, 0, 0].double().view(-1, 3)
    camera = transform_points(invert_rigid(clip.world_from_camera[0, j].double()), points)
    xy = project(camera, clip.intrinsics[0, j].double()).view(*HW, 2).numpy()
    known = truth.valid[0, 0].numpy()
    return Truth(
        flow=xy - grid(HW),
        known=known,
        visible=truth.visible[0, 0, 0].numpy() & known,
        moving=truth.moving[0, 0].numpy(),
    )


def real_truth(folder: Path, frames: Sequence[dict], i: int, j: int, hw: tuple[int, int]) -> Truth:
    """Of a still scene, by the depth of one frame and both poses; pixels are centred at wholes."""
    depth, pose, lens = [], [], []
    for frame in (frames[i], frames[j]):
        depth.append(np.asarray(Image.open(folder / frame["depth"])) / 5000)
        pose.append(np.array(frame["T_wc"], dtype=np.float64).reshape(4, 4))
        lens.append(frame["K_fx_fy_cx_cy"])
    scale = depth[0].shape[1] / hw[1]
    place = np.round(grid(hw) * scale - 0.5).astype(int)
    z = depth[0][place[..., 1], place[..., 0]]
    rays = ((grid(hw) * scale - 0.5) - lens[0][2:]) / lens[0][:2]
    points = np.concatenate([rays * z[..., None], z[..., None]], axis=-1)
    way = np.linalg.inv(pose[1]) @ pose[0]
    there = points @ way[:3, :3].T + way[:3, 3]
    ahead = np.maximum(there[..., 2], 1e-3)
    xy = there[..., :2] / ahead[..., None] * lens[1][:2] + lens[1][2:]
    column, row = (np.round(xy[..., axis]).astype(int) for axis in (0, 1))
    known = (z > 0) & (there[..., 2] > 0.05)
    inside = (column >= 0) & (row >= 0)
    inside &= (column < depth[1].shape[1]) & (row < depth[1].shape[0])
    met = depth[1][np.clip(row, 0, depth[1].shape[0] - 1), np.clip(column, 0, len(depth[1][0]) - 1)]
    visible = known & inside & (np.abs(met - ahead) < 0.03 * ahead)
    return Truth(
        flow=(xy + 0.5) / scale - grid(hw),
        known=known & ((met > 0) | ~inside),
        visible=visible,
        moving=np.zeros(hw, dtype=bool),
    )


def chained(pictures: np.ndarray) -> list[FlowField]:
    """Flow from the first picture to the last and back, step by step with DIS and no more."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(1)
    place = (grid(pictures.shape[1:]) - 0.5).astype(np.float32)
    flows = []
    for order in (pictures, pictures[::-1]):
        flow = np.zeros_like(place)
        for one, other in pairwise(order):
            at = place + flow
            step = dis.calc(one, other, None)
            flow = flow + cv2.remap(
                step, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        flows.append(flow)
    fields = []
    for flow, back in (flows, flows[::-1]):
        at = place + flow
        home = cv2.remap(
            back, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        miss = np.linalg.norm(flow + home, axis=-1)
        fields.append(FlowField(flow=flow, weight=np.exp(-np.square(miss / 1.5))))
    return fields


def by_method(
    pictures: np.ndarray, used: np.ndarray, spent: dict[str, float]
) -> Iterator[tuple[str, int, list[FlowField]]]:
    """For each method and each pair of neighbouring used frames the flow there and back."""
    start = time.process_time()
    direct = follow(pictures[used], np.arange(len(used)), threads=1)
    spent["direct"] = spent.get("direct", 0) + time.process_time() - start
    start = time.process_time()
    steps = [chained(pictures[a : b + 1]) for a, b in pairwise(used.tolist())]
    spent["chained"] = spent.get("chained", 0) + time.process_time() - start
    start = time.process_time()
    both = follow(pictures, used, threads=1)
    spent["followed"] = spent.get("followed", 0) + time.process_time() - start
    spent["pictures"] = spent.get("pictures", 0) + int(used[-1] - used[0])
    spent["steps"] = spent.get("steps", 0) + int(both.steps.sum())
    for pair in range(len(used) - 1):
        yield "direct", pair, [direct.forward[pair], direct.backward[pair]]
        yield "chained", pair, steps[pair]
        yield "followed", pair, [both.forward[pair], both.backward[pair]]


class Table:
    """Errors and weights by method and kind of point."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[np.ndarray]] = {}
        self.spent: dict[str, float] = {}

    def add(self, method: str, field: FlowField, truth: Truth) -> None:
        """Compare one flow with its truth."""
        error = np.linalg.norm(field.flow - truth.flow, axis=-1)
        goes = truth.visible & (np.linalg.norm(truth.flow, axis=-1) > 0.5)
        kinds = {"still": goes & ~truth.moving, "moving": goes & truth.moving}
        kinds["hidden"] = truth.known & ~truth.visible
        for kind, chosen in kinds.items():
            values = np.stack([error[chosen], field.weight[chosen]])
            self.rows.setdefault((method, kind), []).append(values)

    def say(self, title: str) -> None:
        """Print a line for each method."""
        print(f"\n{title}")
        for method in ("direct", "chained", "followed"):
            words = []
            for kind in ("still", "moving", "hidden"):
                error, weight = np.concatenate(self.rows[method, kind], axis=1)
                sure = weight > 0.5
                if not len(error):
                    continue
                if kind == "hidden":
                    words.append(f"hidden sure {sure.mean():.2f}")
                    continue
                shares = " ".join(f"{(error < px).mean():.2f}" for px in (1, 2, 4))
                right = f"{sure.mean():.2f} right {(error[sure] < 2).mean():.3f}"
                words.append(f"{kind} {np.median(error):.2f} px, {shares}, sure {right}")
            milliseconds = 1000 * self.spent[method] / self.spent["pictures"]
            print(f"  {method:9s}{'; '.join(words)}; {milliseconds:.1f} ms a picture")
        print(f"  {self.spent['steps'] / self.spent['pictures']:.2f} steps a picture")


def engine(table: Table, frames: int, step: int, seeds: int) -> None:
    for difficulty in DIFFICULTIES:
        for number in range(seeds):
            seed = FIRST_SEED + 1000 * frames + number + (100 if difficulty == 1 else 0)
            config = SceneConfig(frames=frames, difficulty=difficulty)
            scene = random_scene(seed, config, aspect=HW[1] / HW[0])
            clip = render_clips([scene], image_hw=HW, seed=seed)
            pictures = [cv2.cvtColor(each.numpy(), cv2.COLOR_RGB2GRAY) for each in clip.images[0]]
            used = np.arange(0, frames, step)
            truths = [
                (engine_truth(clip, a, b), engine_truth(clip, b, a)) for a, b in pairwise(used)
            ]
            for method, pair, fields in by_method(np.stack(pictures), used, table.spent):
                for field, truth in zip(fields, truths[pair], strict=True):
                    table.add(method, field, truth)


def real(folder: Path, frames: int) -> None:
    listed = json.loads((folder / "cameras.json").read_text())["frames"]
    listed = [each for each in listed if (folder / each["file"]).exists()]
    files = [folder / each["file"] for each in listed]
    loaded = load_frames(files, FrameSelection(max_frames=frames))
    between = load_between(files, loaded)
    hw = between.pictures.shape[1:]
    table = Table()
    index = between.source_index[between.used].tolist()
    for method, pair, fields in by_method(between.pictures, between.used, table.spent):
        ends = index[pair], index[pair + 1]
        for field, (i, j) in zip(fields, (ends, ends[::-1]), strict=True):
            table.add(method, field, real_truth(folder, listed, i, j, hw))
    table.say(f"{folder.name}: {len(index)} of {between.count} pictures used")


def video(path: Path, frames: int) -> None:
    loaded = load_frames(path, FrameSelection(max_frames=frames))
    between = load_between(path, loaded)
    spent: dict[str, float] = {}
    found: dict[str, list[tuple[float, float]]] = {}
    place = (grid(between.pictures.shape[1:]) - 0.5).astype(np.float32)
    for method, pair, fields in by_method(between.pictures, between.used, spent):
        ends = between.pictures[between.used[pair : pair + 2]]
        for field, source, target in zip(fields, ends, ends[::-1], strict=True):
            at = place + field.flow
            drawn = cv2.remap(target, at[..., 0], at[..., 1], cv2.INTER_LINEAR).astype(int)
            sure = field.weight > 0.5
            apart = np.abs(drawn - source)[sure]
            found.setdefault(method, []).append((sure.mean(), apart.mean() if sure.any() else 0))
    print(f"\n{path.name}: {len(between.used)} of {between.count} pictures used")
    for method, rows in found.items():
        sure, apart = np.mean(rows, axis=0)
        print(
            f"  {method:9s}sure {sure:.2f}, these differ by {apart:.1f} grey levels; "
            f"{1000 * spent[method] / spent['pictures']:.1f} ms a picture"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="clips of a difficulty and speed")
    parser.add_argument("--real", type=Path, nargs="*", default=[])
    parser.add_argument("--videos", type=Path, nargs="*", default=[])
    parser.add_argument("--frames", type=int, default=8, help="used of real pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for speed, (frames, step) in SPEEDS.items() if options.seeds else ():
        table = Table()
        engine(table, frames, step, options.seeds)
        table.say(f"engine, {speed}: every {step}th of {frames} pictures used")
    for folder in options.real:
        real(folder, options.frames)
    for path in options.videos:
        video(path, options.frames)


if __name__ == "__main__":
    main()
