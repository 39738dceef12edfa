"""Self-check: how far to trust a reconstruction, and where not, without any ground truth.

What is wrong betrays itself where two answers to one question differ: the depths at which two
frames see one surface, a pixel taken to another time and back, what stands still at two times, the
colours of one place in two pictures, own-time maps and cameras. Errors are shares of the distance
from the camera, so no scale changes them.

What all answers share in being wrong stays unseen, so a low grade is better founded than a high
one. `benchmarks/self_check.py` measures what the grade is worth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from dynapoint.geometry.pinhole import pixel_centres, project
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.reductions.grades import grade_of_error
from dynapoint.types import Array

_SAMPLES = 3000  # pixels of a map looked at, on a regular grid
# A pair of frames in which fewer sampled pixels meet says nothing.
_FEWEST = 20
# A pixel moves if it goes farther than this share of its distance and than so many medians.
_MOVING, _MOVING_MEDIANS = 0.02, 4.0
# Neighbours in a map whose depths differ by this share lie on two surfaces.
_EDGE = 0.1
# No error counts more than this: of a point that is as far off as it is away, nothing is known.
_LARGEST = 1.0

# The grade: for each signal an exponent, and its median over the clips that it was fitted on: 48
# clips of ten frames of the data engine, difficulties 0 to 1, reconstructed by nano-1. Exponents
# are those that explain the logarithm of the true error best (the geometric mean of the own-time
# EPE and of the EPE of frame 0's tracks), none negative, drawn towards 0 by a ridge of 3 for
# signals of unit spread. Roughness works because nano's maps are rough where they are wrong. The
# fit had a fourth signal, a second run on tighter pictures: without it the grade ranks 62 other
# clips of nano-1 by .39 instead of .41, and each scene takes one run instead of two.
_EXPONENTS = {
    "expected_error": (0.255, 0.295),
    "cycle_error": (0.097, 0.0481),
    "roughness": (0.384, 0.0144),
}
_USUAL_ERROR = 0.231
# Signals below this are as good as none.
_SMALLEST = 1e-4


@dataclass(frozen=True, kw_only=True)
class SelfCheck(Generic[Array]):
    """Signals, each NaN where there was nothing to look at, and the grade made of them.

    Attributes:
        grade: From 0 to 1, larger is better; .5 stands for points off by about a fifth of their
            distance. None for a single picture, which nothing can contradict.
        expected_error: Mean of 1 / confidence over own-time pixels. The losses of this family
            teach confidence to be inverse to the error, in a unit of their own.
        depth_disagreement: Median |log ratio| of the depths at which two frames see one place at
            their own times; mean over pairs.
        reprojection_error: Median distance of own-time points, seen by their own camera, from
            their own pixels, over the focal length.
        cycle_error: Median distance from where it began of a point that went to another time and,
            through the pixel that it met there, came back.
        still_drift: Median displacement of all pixels between two times: that of still things
            unless most of the picture moves.
        color_difference: Of pixels that show one place, over that of pixels paired by chance.
        overlap: Share of a frame's points that another frame's image contains.
        scale_change: Standard deviation over frames of the logarithm of their median depth.
        roughness: Median |second difference| of log depth along image rows.
        camera_jump: Largest step between the cameras of neighbouring frames over the median one.
        field_of_view_deg: Of the longer side of the map, median over frames.
        moving_share: Share of sampled pixels that move.
        moving_cycle_error: `cycle_error` of those alone.
        edge_doubt: Mean 1 / confidence at edges in depth over that elsewhere.
        far_doubt: The same for the farthest quarter of the pixels over the nearest.
        frame_expected_error: `expected_error` of each frame.
        frame_disagreement: `depth_disagreement` of each frame's own pixels.
        cameras_grade: Of the cameras alone (`reductions.camera_grade`), from pictures that are
            matched; NaN where nothing was. So are the three signals that it is made of.
        matches_explained: Share of matches between neighbouring frames that the cameras explain.
        matches_missed: Median distance by which they miss, over the distance that matches go.
        path_roughness: Mean second difference of the cameras' places over their mean step.
    """

    grade: float | None
    expected_error: float
    depth_disagreement: float
    reprojection_error: float
    cycle_error: float
    still_drift: float
    color_difference: float
    overlap: float
    scale_change: float
    roughness: float
    camera_jump: float
    field_of_view_deg: float
    moving_share: float
    moving_cycle_error: float
    edge_doubt: float
    far_doubt: float
    frame_expected_error: Float[Array, " frame"]
    frame_disagreement: Float[Array, " frame"]
    cameras_grade: float = math.nan
    matches_explained: float = math.nan
    matches_missed: float = math.nan
    path_roughness: float = math.nan


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """Own-time maps with what follows from them, pixels in row-major order."""

    points: Float[Tensor, "frame pixel xyz=3"]
    depth: Float[Tensor, "frame pixel"]
    distance: Float[Tensor, "frame pixel"]
    confidence: Float[Tensor, "frame pixel"]
    colors: Float[Tensor, "frame pixel rgb=3"]
    camera_from_world: Float[Tensor, "frame 4 4"]
    intrinsics: Float[Tensor, "frame 3 3"]
    image_hw: tuple[int, int]
    sample: Int[Tensor, " sample"]

    @property
    def usable(self) -> Bool[Tensor, "frame pixel"]:
        """Pixels that have confidence and lie before their camera."""
        return (self.confidence > 0) & (self.depth > 0)


@dataclass(frozen=True, kw_only=True)
class _Meeting:
    """Where points of some frames, `pair` by `pair`, meet the own-time maps of others."""

    pixel: Int[Tensor, "pair sample"]
    inside: Bool[Tensor, "pair sample"]
    log_ratio: Float[Tensor, "pair sample"]


def self_check(
    points: Float[Tensor, "frame height width xyz=3"],
    confidence: Float[Tensor, "frame height width"],
    images: UInt8[Tensor, "frame height width rgb=3"],
    world_from_camera: Float[Tensor, "frame 4 4"],
    intrinsics: Float[Tensor, "frame 3 3"],
    *,
    decoded: Mapping[tuple[int, int], Float[Tensor, "height width xyz=3"]],
) -> SelfCheck:
    """Look for contradictions in a reconstruction and grade it.

    Args:
        points: Own-time maps, `points[i]` being frame i at time i, in the world.
        confidence: Of these, not negative; 0 takes part in nothing.
        images: Of the size of the maps.
        world_from_camera: Poses.
        intrinsics: In pixels of the maps.
        decoded: Points of frame i at time t under the key (i, t), in the world. Cycles need (i, t)
            and (t, i), with i ≠ t. `chosen_pairs` names those that suffice.

    Returns:
        The signals; a grade of 0 where no pixel is usable, none for one frame.
    """
    clip = _clip(points, confidence, images, world_from_camera, intrinsics)
    signals = {
        **_confidence_signals(clip),
        **_frame_signals(clip),
        **_pair_signals(clip),
        **_time_signals(clip, decoded),
    }
    grade = grade_of({k: v for k, v in signals.items() if isinstance(v, float)})
    alone = grade > 0.0 and len(points) == 1
    return SelfCheck(grade=None if alone else grade, **signals)  # type: ignore[arg-type]


def chosen_pairs(frame_count: int, *, most: int = 5) -> list[tuple[int, int]]:
    """(frame, time) to decode: frame 0 to some other times and back, spread over the clip.

    Frame 0 at other times is what tracks are; all frames at time 0 take a large network one pass.
    """
    count = min(most, frame_count - 1)
    others = [round((k + 1) * (frame_count - 1) / count) for k in range(count)]
    return [(0, t) for t in others] + [(t, 0) for t in others]


def _clip(
    points: Float[Tensor, "frame height width xyz=3"],
    confidence: Float[Tensor, "frame height width"],
    images: UInt8[Tensor, "frame height width rgb=3"],
    world_from_camera: Float[Tensor, "frame 4 4"],
    intrinsics: Float[Tensor, "frame 3 3"],
) -> _Clip:
    height, width = confidence.shape[1:]
    finite = points.isfinite().all(dim=-1) & confidence.isfinite()
    flat = torch.where(finite[..., None], points, 0.0).flatten(1, 2)
    to_camera = invert_rigid(world_from_camera.to(points.dtype))
    camera = transform_points(to_camera, flat)
    every = max(1, math.ceil((height * width / _SAMPLES) ** 0.5))
    rows = torch.arange(every // 2, height, every)
    columns = torch.arange(every // 2, width, every)
    return _Clip(
        points=flat,
        depth=camera[..., 2],
        distance=camera.norm(dim=-1),
        confidence=torch.where(finite, confidence, 0.0).flatten(1),
        colors=images.flatten(1, 2).to(points.dtype) / 255,
        camera_from_world=to_camera,
        intrinsics=intrinsics.to(points.dtype),
        image_hw=(height, width),
        sample=(rows[:, None] * width + columns).flatten().to(points.device),
    )


def _confidence_signals(clip: _Clip) -> dict[str, float | Tensor]:
    """What the network itself expects, over all, per frame, at edges and far away."""
    usable = clip.usable
    doubt = torch.where(usable, 1 / clip.confidence.clamp_min(1e-12), torch.nan)
    height, width = clip.image_hw
    log_depth = torch.where(usable, clip.depth, torch.nan).log().unflatten(1, (height, width))
    edge = torch.zeros_like(log_depth, dtype=torch.bool)
    across, down = log_depth.diff(dim=2).abs() > _EDGE, log_depth.diff(dim=1).abs() > _EDGE
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    edge = edge.flatten(1)
    sampled = torch.where(usable, clip.distance, torch.nan)[:, clip.sample].flatten()
    near, far = (torch.nanquantile(sampled, q) if len(sampled) else sampled for q in (0.25, 0.75))
    bend = log_depth.diff(n=2, dim=2).abs()
    return {
        "expected_error": float(doubt.nanmean()),
        "frame_expected_error": doubt.nanmean(dim=1),
        "edge_doubt": float(doubt[edge].nanmean() / doubt[~edge].nanmean()),
        "far_doubt": float(
            doubt[clip.distance > far].nanmean() / doubt[clip.distance < near].nanmean()
        ),
        "roughness": float(bend[:, :: max(1, height // 50)].flatten().nanmedian()),
    }


def _frame_signals(clip: _Clip) -> dict[str, float | Tensor]:
    """What each frame says of itself: camera beside map, scale, lens, step."""
    height, width = clip.image_hw
    sample, usable = clip.sample, clip.usable[:, clip.sample]
    camera = transform_points(clip.camera_from_world, clip.points[:, sample])
    centres = pixel_centres((height, width), dtype=camera.dtype, device=camera.device)
    miss = (project(camera, clip.intrinsics) - centres.flatten(0, 1)[sample]).norm(dim=-1)
    miss = torch.where(usable, miss, torch.nan) / clip.intrinsics[:, :1, 0]
    depth = torch.where(usable, clip.depth[:, sample], torch.nan)
    typical = depth.nanmedian(dim=1).values.log()
    typical = typical[typical.isfinite()]
    focal = clip.intrinsics[:, 0, 0] if width >= height else clip.intrinsics[:, 1, 1]
    position = invert_rigid(clip.camera_from_world)[:, :3, 3]
    step = position.diff(dim=0).norm(dim=-1)
    floor = 0.01 * float(depth.nanmedian())  # steps far below the scene's size are noise
    return {
        "reprojection_error": float(miss.flatten().nanmedian()),
        "scale_change": float(typical.std()) if len(typical) > 1 else math.nan,
        "field_of_view_deg": math.degrees(2 * math.atan(max(height, width) / 2 / focal.median())),
        "camera_jump": float(step.max() / step.median().clamp_min(floor))
        if len(step)
        else math.nan,
    }


def _meet(
    clip: _Clip,
    points: Float[Tensor, "pair sample xyz=3"],
    target: Int[Tensor, " pair"],
    usable: Bool[Tensor, "pair sample"],
) -> _Meeting:
    """The pixel of a frame that points fall on at its time, and how their depth compares to its."""
    height, width = clip.image_hw
    camera = transform_points(clip.camera_from_world[target], points)
    xy = project(camera, clip.intrinsics[target])
    limit = torch.tensor([width, height], dtype=xy.dtype, device=xy.device)
    # Comparisons with NaN are false, so what is not before the camera falls on no pixel.
    inside = usable & ((xy >= 0) & (xy < limit)).all(dim=-1)
    column, row = torch.where(inside[..., None], xy, 0.0).long().unbind(dim=-1)
    pixel = row * width + column
    inside &= clip.usable[target].gather(1, pixel)
    there = torch.where(inside, clip.depth[target].gather(1, pixel), 1.0)
    ratio = (torch.where(inside, camera[..., 2], 1.0) / there).log().abs().clamp_max(_LARGEST)
    return _Meeting(pixel=pixel, inside=inside, log_ratio=ratio)


def _pair_signals(clip: _Clip) -> dict[str, float | Tensor]:
    """Own-time maps and pictures of two frames, as if nothing moved: medians leave movers out."""
    frames = len(clip.points)
    gaps = sorted({1, max(1, frames // 2)})
    ahead = [(i, i + gap) for gap in gaps for i in range(frames - gap)]
    pairs = torch.tensor([*ahead, *((t, i) for i, t in ahead)], dtype=torch.int64).reshape(-1, 2)
    source, target = pairs.to(clip.points.device).unbind(dim=1)
    sample = clip.sample
    met = _meet(clip, clip.points[:, sample][source], target, clip.usable[:, sample][source])
    apart = _medians(met.log_ratio, met.inside)
    own = clip.colors[:, sample][source]
    other = clip.colors[target[:, None], met.pixel]
    # A fixed shuffle, so that the same reconstruction always gets the same grade.
    shuffled = torch.randperm(len(sample), generator=torch.Generator().manual_seed(0))
    difference = (own - other).abs().mean(dim=-1)
    by_chance = (own - other[:, shuffled]).abs().mean(dim=-1)
    both = met.inside & met.inside[:, shuffled]
    ratio = _means(difference, both) / _means(by_chance, both).clamp_min(1e-3)
    per_frame = torch.stack([apart[source == frame].nanmean() for frame in range(frames)])
    return {
        "depth_disagreement": float(apart.nanmean()),
        "frame_disagreement": per_frame,
        "color_difference": float(ratio.nanmean()),
        "overlap": float(
            _means(met.inside.to(apart.dtype), clip.usable[:, sample][source]).nanmean()
        ),
    }


def _time_signals(
    clip: _Clip, decoded: Mapping[tuple[int, int], Float[Tensor, "height width xyz=3"]]
) -> dict[str, float | Tensor]:
    """What decoded maps say of themselves, from one time to another and back."""
    found: dict[str, list[Tensor]] = {}
    for (frame, time), maps in decoded.items():
        moved = maps.flatten(0, 1)[clip.sample].to(clip.points.dtype)
        start, far = clip.points[frame, clip.sample], clip.distance[frame, clip.sample]
        usable = (clip.usable[frame, clip.sample] & moved.isfinite().all(dim=-1))[None]
        far = far.clamp_min(1e-12)
        step = ((moved - start).norm(dim=-1) / far).clamp_max(_LARGEST)[None]
        typical = _medians(step, usable)
        found.setdefault("still_drift", []).append(typical)
        moving = usable & (step > _MOVING) & (step > _MOVING_MEDIANS * typical[:, None])
        found.setdefault("moving_share", []).append(_means(moving.to(step.dtype), usable))
        if (time, frame) not in decoded:
            continue
        there = torch.tensor([time], device=moved.device)
        met = _meet(clip, torch.where(usable[..., None], moved, 0.0), there, usable)
        back = decoded[time, frame].flatten(0, 1).to(moved.dtype)[met.pixel]
        miss = ((back - start).norm(dim=-1) / far).nan_to_num(_LARGEST).clamp_max(_LARGEST)
        found.setdefault("cycle_error", []).append(_medians(miss, met.inside))
        found.setdefault("moving_cycle_error", []).append(_medians(miss, met.inside & moving))
    names = ("still_drift", "moving_share", "cycle_error", "moving_cycle_error")
    return {
        name: float(torch.cat(found[name]).nanmean()) if name in found else math.nan
        for name in names
    }


def _medians(
    values: Float[Tensor, "pair sample"], where: Bool[Tensor, "pair sample"]
) -> Float[Tensor, " pair"]:
    """Median of each row where `where`; NaN where it is hardly anywhere."""
    kept = torch.where(where, values, torch.nan)
    found = kept.nanmedian(dim=1).values
    return torch.where(where.sum(dim=1) >= _FEWEST, found, torch.nan)


def _means(
    values: Float[Tensor, "pair sample"], where: Bool[Tensor, "pair sample"]
) -> Float[Tensor, " pair"]:
    """Mean of each row where `where`; NaN where it is hardly anywhere."""
    found = torch.where(where, values, torch.nan).nanmean(dim=1)
    return found.where(where.sum(dim=1) >= _FEWEST, torch.nan)


def grade_of(signals: Mapping[str, float]) -> float:
    """From 0 to 1, never larger for larger signals: 2 to the power of -error / one fifth.

    The error, a share of the distance, is what the signals of `_EXPONENTS` foretell; those that
    are NaN count as usual. 0 where the network expects nothing, because no pixel is usable.
    """
    if math.isnan(signals["expected_error"]):
        return 0.0
    exponent = 0.0
    for name, (weight, usual) in _EXPONENTS.items():
        if not math.isnan(signals[name]):
            exponent += weight * math.log(max(signals[name], _SMALLEST) / usual)
    return grade_of_error(_USUAL_ERROR * math.exp(exponent))
