"""How near a still world's motion comes to the truth, by how well its network knows depth.

    python benchmarks/still_world_motion.py [CLIPS] [--noise 0 1 2 5 10 20] [--engine 6]
        [-o FILE.json] [--plot FILE.png] [--kept FOLDER]

In place of a network: true cameras, and true depth times exp of smooth noise (Gaussian, smoothed
over an eighth of the longer side, new in every frame) of so many per cent. On CLIPS, the
rendered bench (ten frames, nothing between them), and on clips of the data engine (168 x 224): 70
pictures, as at 24 a second, of which every third is used: the first ones, from a seed on, of which
anything moves. With --kept, what was measured of a clip lies in a folder and is not measured again;
so a run may be broken off. Motion ratio, leak and recall of points
that move, two and eight used frames apart (docs/scoring.md), of

- nothing: "nothing moved" with the same maps;
- paths: what paths gave before (`models.kept.followed_paths`; true depth alone);
- step: `refinement.still_world`;
- step, true flow: the same with true flow between neighbouring frames (true depth alone);
- seen exactly: true points where the camera sees them, what is hidden left still; no depth errs.

Measured: docs/notes/still_world.md.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from dynapoint.data.between import Between
from dynapoint.data.frames import Frames
from dynapoint.evaluation.clips import find_clips, read_clip
from dynapoint.evaluation.metrics import MatchCounts, PairScores, match_recall, score_pairs
from dynapoint.geometry.arrays import points_on_rays, project, transform_points
from dynapoint.inference.refining import CleanedAnswer, refined_answer
from dynapoint.models.kept.followed_paths import FollowedPaths
from dynapoint.models.kept.placed_encoding import PlacedEncoding
from dynapoint.refinement.setting import Answer
from dynapoint.refinement.still_world.motion import motion_of_still_world
from dynapoint.results.pixel_map import PixelMap
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

HW = (168, 224)
# Clips of which nearly nothing moves are passed over.
FIRST_SEED, DIFFICULTY = 1_000_741_200, 0.5
FRAMES, STEP = 24, 3
BETWEEN_SIDE = 256
BENCH_PAIRS = {2: ((0, 2), (4, 6)), 8: ((0, 8), (1, 9))}
ENGINE_PAIRS = {2: ((0, 2), (8, 10), (16, 18)), 8: ((0, 8), (6, 14), (12, 20))}


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A clip: all its pictures, which are used, and what is true of these.

    `truth(frame, time)` gives points in the world (NaN at the sky) and which are visible;
    `intrinsics` are in pixels of the maps, and of the pictures `picture_intrinsics` with `grid_xy`.
    """

    name: str
    pictures: np.ndarray
    used: np.ndarray
    truth: Callable[[int, int], tuple[np.ndarray, np.ndarray]]
    poses: np.ndarray
    intrinsics: np.ndarray
    picture_intrinsics: np.ndarray
    grid_xy: np.ndarray
    pairs: dict[int, tuple[tuple[int, int], ...]]

    @property
    def own(self) -> np.ndarray:
        """True own-time points."""
        return np.stack([self.truth(frame, frame)[0] for frame in range(len(self.used))])


def rendered(folder: Path) -> Case:
    """A clip of the bench; its grid's pixels are the maps'."""
    clip = read_clip(folder)
    frames, stride = clip.frame_count, clip.stride
    lens = clip.intrinsics.copy()
    lens[:2] /= stride
    lens[:2, 2] -= (stride // 2 + 0.5) / stride - 0.5
    points = clip.points.astype(np.float64)
    return Case(
        name=clip.name,
        pictures=clip.images,
        used=np.arange(frames),
        truth=lambda frame, time: (points[time, frame], clip.visible[time, frame]),
        poses=clip.world_from_camera,
        intrinsics=np.tile(lens, (frames, 1, 1)),
        picture_intrinsics=clip.intrinsics,
        grid_xy=clip.grid_xy,
        pairs=BENCH_PAIRS,
    )


def engine(count: int) -> Iterator[Case]:
    """Clips of the data engine at full frame rate."""
    seed = FIRST_SEED
    while count:
        config = SceneConfig(frames=(FRAMES - 1) * STEP + 1, difficulty=DIFFICULTY)
        scene = random_scene(seed, config, aspect=HW[1] / HW[0])
        if scene.face_moving.any():
            case = _of_engine(render_clips([scene], image_hw=HW, seed=seed), f"engine {seed}")
            if _moves(case):
                count -= 1
                yield case
        seed += 1


def _of_engine(clip: Any, name: str) -> Case:
    used = np.arange(FRAMES) * STEP

    @lru_cache(maxsize=400)
    def truth(frame: int, time: int) -> tuple[np.ndarray, np.ndarray]:
        indices = (torch.tensor([[int(used[each])]]) for each in (frame, time))
        found = clip.truth(*indices)
        return found.points[0, 0, 0].double().numpy(), found.visible[0, 0, 0].numpy()

    poses = clip.world_from_camera[0].double().numpy()[used]
    poses[0] = np.eye(4)
    lens = clip.intrinsics[0].double().numpy()[used]
    x, y = np.meshgrid(np.arange(HW[1]) + 0.5, np.arange(HW[0]) + 0.5)
    return Case(
        name=name,
        pictures=clip.images[0].numpy(),
        used=used,
        truth=truth,
        poses=poses,
        intrinsics=lens,
        picture_intrinsics=lens[0],
        grid_xy=np.stack([x, y], axis=-1).reshape(-1, 2),
        pairs=ENGINE_PAIRS,
    )


def _moves(case: Case) -> bool:
    """Whether a hundredth of the first frame moves by a hundredth of its distance."""
    own = case.truth(0, 0)[0]
    length = np.linalg.norm(case.truth(0, 2)[0] - own, axis=-1)
    return bool(np.mean(length > 0.01 * np.nanmedian(np.linalg.norm(own, axis=-1))) > 0.01)


def with_noise(case: Case, own: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Own-time maps of noisy depth, the sky far away, and which pixels are not sky."""
    known = np.isfinite(own).all(axis=-1)
    rng, side = np.random.default_rng(0), max(known.shape[1:])
    points, wide = np.empty(own.shape, dtype=np.float32), side // 4
    for frame, pose in enumerate(case.poses):
        depth = transform_points(
            np.linalg.inv(pose), np.where(known[frame, ..., None], own[frame], 1)
        )
        depth = depth[..., 2]
        depth = np.where(known[frame], depth, 2 * depth[known[frame]].max(initial=1.0))
        field = rng.normal(size=[each + 2 * wide for each in depth.shape])
        field = cv2.GaussianBlur(field, (0, 0), side / 8)[wide:-wide, wide:-wide]
        depth = depth * np.exp(share * field / field.std())
        points[frame] = points_on_rays(depth, case.intrinsics[frame], pose)
    return points, known


def refined(
    case: Case, points: np.ndarray, known: np.ndarray, *, still_world: bool
) -> CleanedAnswer:
    """What `reconstruct` would make of maps with these cameras."""
    count, hw, picture_hw = len(points), points.shape[1:3], case.pictures.shape[1:3]
    scale = np.array(hw[::-1]) / picture_hw[::-1]
    frames = Frames(
        images=case.pictures[case.used],
        timestamps_s=np.arange(count) / 8.0,
        source_frame_index=case.used.astype(np.int64),
        name=case.name,
    )
    pixel_map = PixelMap(
        scale=np.tile(scale, (count, 1)),
        offset=np.zeros((count, 2)),
        picture_hw=np.tile(np.array(picture_hw), (count, 1)),
        map_hw=hw,
    )
    shrink = min(1.0, BETWEEN_SIDE / max(picture_hw))
    size = [round(side * shrink) for side in picture_hw[::-1]]
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in case.pictures]
    small = np.stack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in grey])
    between = Between(
        pictures=small,
        source_index=np.arange(len(small)),
        times_s=np.arange(len(small)) / 24.0,
        used=case.used.astype(np.int64),
        in_order=True,
    )
    answer = CleanedAnswer(
        world_from_camera=case.poses,
        network_intrinsics=case.intrinsics,
        map_intrinsics=case.intrinsics,
        points=points,
        # Networks doubt the sky, and have points there all the same.
        confidence=np.where(known, 1.0, 0.2).astype(np.float32),
        placed=PlacedEncoding.of(None, count),
    )
    told: Any = {"known_lens": True, "one_lens": True, "poses": case.poses}
    told |= {"between": lambda: between, "still_world": still_world}
    return refined_answer(answer, frames, pixel_map, **told)[0]


def true_flow(case: Case) -> FollowedPaths:
    """Between neighbouring frames, in pixels of the maps."""
    height, width = case.truth(0, 0)[1].shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)

    def flow(frame: int, time: int) -> tuple[np.ndarray, np.ndarray]:
        points, visible = case.truth(frame, time)
        seen = transform_points(np.linalg.inv(case.poses[time]), np.nan_to_num(points, nan=1.0))
        ahead = seen[..., 2:] > 0
        xy = project(np.where(ahead, seen, [0, 0, 1.0]), case.intrinsics[time])
        return np.clip(xy - np.stack([x, y], axis=-1), -500, 500), visible.astype(np.float32)

    pairs = [(k, k + 1) for k in range(len(case.used) - 1)]
    return FollowedPaths.of([flow(a, b) for a, b in pairs], [flow(b, a) for a, b in pairs])


@dataclass
class Tally:
    """Sums of scores of one method at one noise, by how far apart."""

    pairs: dict[int, PairScores]
    matches: dict[int, MatchCounts]

    @classmethod
    def empty(cls) -> "Tally":
        """Of nothing."""
        apart = tuple(BENCH_PAIRS)
        return cls(dict.fromkeys(apart, PairScores()), dict.fromkeys(apart, MatchCounts()))

    @classmethod
    def of(cls, case: Case, said: Callable[[int, int], np.ndarray]) -> "Tally":
        """What a method says of a clip's frames at times."""
        tally = cls.empty()
        tally.add(case, said)
        return tally

    def add(self, case: Case, said: Callable[[int, int], np.ndarray]) -> None:
        """What a method says of frames at times."""
        step = 1 if len(case.grid_xy) < 10_000 else 2
        part = np.s_[..., ::step, ::step]
        of_part = np.arange(len(case.grid_xy)).reshape(case.truth(0, 0)[1].shape)[part].reshape(-1)
        for apart, pairs in case.pairs.items():
            for pair in pairs:
                known = [[case.truth(i, t) for i in pair] for t in pair]
                pose = case.poses[pair[0]]
                true = np.array([[each[0] for each in row] for row in known])[
                    ..., ::step, ::step, :
                ]
                found = np.array([[said(i, t) for i in pair] for t in pair], dtype=np.float64)
                found = found[..., ::step, ::step, :]
                true, found = ((each - pose[:3, 3]) @ pose[:3, :3] for each in (true, found))
                visible = np.array([[each[1] for each in row] for row in known])[part]
                self.pairs[apart] += score_pairs(true[None], found[None])
                self.matches[apart] += match_recall(
                    truth_points=true.reshape(2, 2, -1, 3),
                    predicted_points=found.reshape(2, 2, -1, 3),
                    visible=visible.reshape(2, 2, -1),
                    grid_xy=case.grid_xy[of_part],
                    intrinsics=case.picture_intrinsics,
                    world_from_camera=np.linalg.inv(pose) @ case.poses[list(pair)],
                )

    def join(self, other: "Tally") -> None:
        """Add another's sums."""
        for apart in self.pairs:
            self.pairs[apart] += other.pairs[apart]
            self.matches[apart] += other.matches[apart]

    def said(self) -> dict[str, list[float]]:
        """Ratio, leak and recall of what moves, by how far apart."""
        return {
            str(apart): [
                round(self.pairs[apart].motion_ratio, 4),
                round(self.pairs[apart].leak, 5),
                round(self.matches[apart].recall_moving, 4),
            ]
            for apart in self.pairs
        }


Said = Callable[[int, int], np.ndarray]
Tallies = dict[tuple[str, float], Tally]


def methods(case: Case, points: np.ndarray, known: np.ndarray, *, exact: bool) -> dict[str, Said]:
    """What each method says of a frame at a time."""
    answer = refined(case, points, known, still_world=True)
    maps, correction = answer.points, answer.placed.correction

    def nothing(frame: int, time: int) -> np.ndarray:
        return maps[frame]

    if correction is None:
        return dict.fromkeys(("nothing", "step"), nothing)
    said: dict[str, Said] = {
        "nothing": nothing,
        "step": lambda frame, time: correction.carried(maps, frame=frame, time=time)[0],
    }
    if exact:
        scene = Answer(
            world_from_camera=case.poses,
            intrinsics=answer.map_intrinsics,
            points=maps,
            confidence=answer.confidence,
        )
        ratio, evidence = (each.numpy() for each in (correction.depth_ratio, correction.evidence))
        motion = motion_of_still_world(scene, evidence, ratio, true_flow(case))
        guided = replace(correction, still_motion=motion)
        plain = refined(case, points, known, still_world=False).placed.correction
        none = np.zeros_like(maps[0])
        said["step, true flow"] = lambda frame, time: guided.carried(maps, frame=frame, time=time)[
            0
        ]
        said["paths"] = lambda frame, time: plain.placed(none, maps, frame=frame, time=time)
    return said


def measure(case: Case, shares: list[float], kept: Path | None) -> Tallies:
    """All tallies of one clip, those that are kept already as they are."""
    found: Tallies = {}
    for share in (None, *shares):
        file = None if kept is None else kept / f"{case.name} {share}.json"
        if file is not None and file.is_file():
            found |= read_tallies(file)
            continue
        began = time.process_time()
        of_share = {
            (name, share or 0.0): Tally.of(case, said) for name, said in _methods(case, share)
        }
        spent = time.process_time() - began
        ratios = {name: tally.said() for (name, _), tally in of_share.items()}
        print(f"{case.name}, noise {share}: {ratios} ({spent:.1f} s of one core)", flush=True)
        found |= of_share
        if file is not None:
            write_tallies(of_share, file)
    return found


def _methods(case: Case, share: float | None) -> list[tuple[str, Said]]:
    """What is measured at one noise, or, without one, what no depth enters."""
    own = case.own
    if share is not None:
        return list(methods(case, *with_noise(case, own, share), exact=share == 0).items())

    def exact(frame: int, time: int) -> np.ndarray:
        points, visible = case.truth(frame, time)
        return np.where(visible[..., None], points, own[frame])

    return [("seen exactly", exact)]


def write_tallies(tallies: Tallies, file: Path) -> None:
    """Sums of one clip at one noise."""
    told = [
        {"method": name, "share": share, "pairs": plain(each.pairs), "matches": plain(each.matches)}
        for (name, share), each in tallies.items()
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told))


def plain(sums: dict[int, Any]) -> dict[int, dict[str, float]]:
    """Sums by how far apart, as numbers."""
    return {apart: asdict(each) for apart, each in sums.items()}


def read_tallies(file: Path) -> Tallies:
    """What `write_tallies` wrote."""
    return {
        (each["method"], each["share"]): Tally(
            {int(apart): PairScores(**sums) for apart, sums in each["pairs"].items()},
            {int(apart): MatchCounts(**sums) for apart, sums in each["matches"].items()},
        )
        for each in json.loads(file.read_text())
    }


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Motion ratio by noise, one panel for each set of clips."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(1, len(found), figsize=(4.2 * len(found), 3.4), sharey=True)
    for axis, (title, of_set) in zip(np.atleast_1d(axes), found.items(), strict=True):
        shares = sorted(float(share) for share in of_set["step"])
        per_cent = [100 * share for share in shares]
        for apart, colour in (("2", "tab:blue"), ("8", "tab:orange")):
            values = [of_set["step"][str(share)][apart][0] for share in shares]
            axis.plot(per_cent, values, "o-", color=colour, label=f"{apart} frames apart", ms=4)
            guided = of_set["step, true flow"]["0.0"][apart][0]
            axis.plot([0], [guided], "s", color=colour, mfc="none", label="… true flow", ms=6)
            bound = of_set["seen exactly"]["0.0"][apart][0]
            axis.axhline(bound, color=colour, lw=0.8, ls="--", label="… seen exactly")
        axis.axhline(1, color="grey", lw=1)
        axis.set(title=title, xlabel="noise of depth, %", ylim=(0, 1.15))
    np.atleast_1d(axes)[0].set_ylabel("motion ratio (1: nothing moved)")
    np.atleast_1d(axes)[-1].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="?", help="the bench; none without")
    parser.add_argument("--noise", type=float, nargs="+", default=[0, 1, 2, 5, 10, 20])
    parser.add_argument("--engine", type=int, default=6, help="how many clips of the data engine")
    parser.add_argument("--kept", type=Path, help="where what was measured of each clip is kept")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shares = [each / 100 for each in options.noise]
    sets = {
        "rendered, 10 frames": (
            rendered(each) for each in (find_clips(options.clips) if options.clips else [])
        ),
        "engine, 24 of 70 frames": engine(options.engine),
    }
    found: dict[str, dict[str, Any]] = {}
    for title, cases in sets.items():
        tallies: Tallies = {}
        for case in cases:
            for key, of_case in measure(case, shares, options.kept).items():
                tallies.setdefault(key, Tally.empty()).join(of_case)
        if not tallies:
            continue
        of_set = found.setdefault(title, {})
        for (name, share), tally in tallies.items():
            of_set.setdefault(name, {})[str(share)] = tally.said()
            print(title, name, share, tally.said(), flush=True)
        if options.output:
            options.output.write_text(json.dumps(found, indent=1))
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
