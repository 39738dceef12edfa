"""2D flow and motion of movers with and without followed paths, on clips of the data engine.

    python benchmarks/movers.py [--model nano] [--clips 5] [--frames 41] [--step 5]

Eight frames, `step` apart, of clips of 168 x 224 at difficulties .5 and 1; the pictures between
are there to follow points through. Errors are those of points that the camera of the other time
sees, in pixels of the pictures: median and share within 4, by how many used frames apart. Motion
ratio and leak: docs/scoring.md. `measured` is what `optical_flow` answers, with paths and by what
the pictures show; the others project points. Measured: docs/notes/refinement.md.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dynapoint.data.selection import FrameSelection
from dynapoint.evaluation.metrics import PairScores, score_pairs
from dynapoint.geometry.pinhole import project
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.inference.pipeline import reconstruct
from dynapoint.inference.predict import NetworkDecoder
from dynapoint.models.catalog import load_model
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.synthetic.clip import ClipBatch
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

HW = (168, 224)
FIRST_SEED = 1_000_700_000
USED = 8
APART = {"1": (1,), "2-3": (2, 3), "4-7": (4, 5, 6, 7)}


def without_paths(rec: Reconstruction, network: Any) -> Reconstruction:
    """The same refined reconstruction without paths."""
    placed = rec.decoder._placed  # type: ignore[attr-defined]
    if placed.correction is None:
        return rec
    placed = replace(placed, correction=replace(placed.correction, followed=None))
    decoder = NetworkDecoder(network, placed, rec.own_time_points, rec.own_time_confidence)
    return replace(rec, decoder=decoder)


class Truth:
    """What a clip's used frames hold at the pixels that maps show."""

    def __init__(self, clip: ClipBatch, used: np.ndarray, rec: Reconstruction) -> None:
        height, width = rec.map_hw
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        place = rec.pixel_map.to_picture(0, np.stack([x, y], axis=-1)).astype(int)
        self.at = place[..., 1], place[..., 0]
        self._clip, self._used = clip, used

    def of(self, frame: int, time: int) -> dict[str, np.ndarray]:
        """Points, flow, and which are visible and which moving."""
        source, target = int(self._used[frame]), int(self._used[time])
        truth = self._clip.truth(torch.tensor([[source]]), torch.tensor([[target]]))
        points = truth.points[0, 0, 0].double()
        pose = invert_rigid(self._clip.world_from_camera[0, target].double())
        seen = transform_points(pose, points.view(-1, 3))
        xy = project(seen, self._clip.intrinsics[0, target].double()).view(*HW, 2).numpy()
        flow = xy[self.at] - np.stack(self.at[::-1], axis=-1) - 0.5
        valid = truth.valid[0, 0].numpy()[self.at]
        return {
            "points": np.where(valid[..., None], points.numpy()[self.at], np.nan),
            "flow": flow,
            "visible": truth.visible[0, 0, 0].numpy()[self.at] & valid,
            "moving": truth.moving[0, 0].numpy()[self.at],
        }


class Table:
    """Errors and scores by method."""

    def __init__(self) -> None:
        self.errors: dict[tuple[str, str, str], list[np.ndarray]] = {}
        self.scores: dict[str, PairScores] = {}

    def add(self, name: str, rec: Reconstruction, truth: Truth) -> None:
        """Compare one reconstruction with the truth."""
        for first in range(USED):
            for second in range(first + 1, USED):
                pair = (first, second)
                known = {(t, i): truth.of(i, t) for t in pair for i in pair}
                said = [[rec.maps(frame=i, time=t)[0] for i in pair] for t in pair]
                points = [[known[t, i]["points"] for i in pair] for t in pair]
                pose = rec.world_from_camera[first]
                local = (np.array(said, dtype=np.float64) - pose[:3, 3]) @ pose[:3, :3]
                scores = score_pairs(np.array(points)[None], local[None])
                self.scores[name] = self.scores.get(name, PairScores()) + scores
                for i, t in (pair, pair[::-1]):
                    self._add_flow(name, rec, known[t, i], (i, t))

    def _add_flow(
        self, name: str, rec: Reconstruction, truth: dict[str, np.ndarray], pair: tuple[int, int]
    ) -> None:
        found = rec.optical_flow(frame=pair[0], to_time=pair[1])
        error = np.linalg.norm(found.flow_px - truth["flow"], axis=-1)
        error = np.where(found.valid, error, np.inf)
        apart = next(key for key, far in APART.items() if abs(pair[0] - pair[1]) in far)
        for kind, chosen in (("still", ~truth["moving"]), ("moving", truth["moving"])):
            kept = error[chosen & truth["visible"]]
            self.errors.setdefault((name, kind, apart), []).append(kept)

    def say(self) -> None:
        """Print two lines for each method."""
        for name, scores in self.scores.items():
            print(f"{name}: motion ratio {scores.motion_ratio:.3f}, leak {scores.leak:.4f}")
            for kind in ("still", "moving"):
                errors = {key: np.concatenate(self.errors[name, kind, key]) for key in APART}
                words = [
                    f"{key} apart {np.median(each):.2f} px, {(each < 4).mean():.3f}"
                    for key, each in errors.items()
                    if len(each)
                ]
                print(f"  {kind}: " + "; ".join(words), flush=True)


def clips(frames: int, count: int) -> Iterator[ClipBatch]:
    """Clips of two difficulties."""
    for difficulty in (0.5, 1.0):
        for number in range(count):
            seed = FIRST_SEED + 1000 * frames + number + (100 if difficulty == 1 else 0)
            config = SceneConfig(frames=frames, difficulty=difficulty)
            scene = random_scene(seed, config, aspect=HW[1] / HW[0])
            yield render_clips([scene], image_hw=HW, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clips", type=int, default=5, help="of a difficulty")
    parser.add_argument("--frames", type=int, default=41)
    parser.add_argument("--step", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, table = load_model(options.model), Table()
    used = np.arange(USED) * options.step
    for clip in clips(options.frames, options.clips):
        pictures = clip.images[0].numpy()[: used[-1] + 1]
        chosen: dict[str, Any] = {"frames": FrameSelection(stride=options.step)}
        refined = reconstruct(pictures, network, refine=True, **chosen)
        truth = Truth(clip, used, refined)
        # Its maps have fewer pixels than refined ones.
        plain = reconstruct(pictures, network, refine=False, **chosen)
        table.add("network", plain, Truth(clip, used, plain))
        projected = replace(refined, pictures=None)
        table.add("refined", without_paths(projected, network), truth)
        table.add("paths", projected, truth)
        table.add("measured", refined, truth)
    table.say()


if __name__ == "__main__":
    main()
