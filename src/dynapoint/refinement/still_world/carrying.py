"""How one thing of a frame moves to all other times: what is seen, and what goes with it."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8

from dynapoint.geometry.similarity import fit_similarity_robustly, move
from dynapoint.models.kept.still_motion import CARRIED, SEEN
from dynapoint.refinement.still_world.along import course
from dynapoint.refinement.still_world.sightings import Sightings

# Paths count from this weight on.
_PATH = 0.25
# So many pixels, and so much of a thing, have to be seen for the rest to go with them.
_FEWEST, _LEAST = 6, 0.1
# Depths in the map at a time that are off those of the thing by more are another thing's.
_SAME_THING = 0.15
# Offsets of what is seen from the motion of the whole are smoothed over so many pixels, and taken
# over by what is not seen as far as this much weight is around it.
_SMOOTH_PX = 2.0
_PULL = 0.05
# A motion of the whole that leaves more than this share of itself unexplained is none.
_UNEXPLAINED = 0.5
# How often depths are made to fit the motion of the whole, and that to them, and by how many
# pixels at least motions are fitted to.
_TURNS = 1
_FITTED = 150
# Planes are fitted to so many pixels at least, in so many rounds.
_FEWEST_OF_PLANE, _ROUNDS = 12, 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Carried:
    """Displacements of one thing's pixels at all times, from their own; `known` 0: it is lost."""

    displacement: Float64[np.ndarray, "time pixel xyz=3"]
    known: UInt8[np.ndarray, "time pixel"]


def carried(
    seen: Sightings,
    centres: Float64[np.ndarray, "time xyz=3"],
    inside: Bool[np.ndarray, "rows columns"],
    frame: int,
    *,
    scatter: float,
) -> Carried:
    """Move one thing.

    Args:
        seen: The frame's pixels at all times.
        centres: Of the cameras.
        inside: The thing's pixels.
        frame: Whose pixels.
        scatter: What depths of things of its size err by from frame to frame (logarithm).
    """
    pixels = np.flatnonzero(inside)
    times = len(seen.weight)
    own = seen.points[pixels]
    sure = seen.weight[:, pixels] > _PATH
    sure[frame] = False
    ratio, has = _ratios(seen, pixels, sure)
    along = course(ratio, has | (np.arange(times) == frame), frame, scatter=scatter)
    enough = sure.sum(axis=1) >= max(_FEWEST, _LEAST * len(pixels))
    moved = np.zeros((times, len(pixels), 3))
    known = np.zeros((times, len(pixels)), dtype=np.uint8)
    known[frame] = SEEN
    told = np.flatnonzero(enough)
    if len(told) == 0:
        return Carried(displacement=moved, known=known)
    weight = np.where(sure, seen.weight[:, pixels], 0.0)[told].astype(np.float64)
    ray, near = (each[told][:, pixels].astype(np.float64) for each in (seen.ray, seen.near))
    value = along.value[told][:, None] + _slanted(seen, pixels, sure, told, inside, scatter=scatter)
    there, whole, explains = _on_rays(own, centres[told], ray, near, weight, value=value)
    for k, time in enumerate(told):
        if explains[k]:
            local = _local(there[k] - own - whole[k], weight[k], inside, pixels)
            moved[time] = whole[k] + local
            known[time] = np.where(sure[time], SEEN, CARRIED)
    return Carried(displacement=moved, known=known)


def _ratios(
    seen: Sightings, pixels: np.ndarray, sure: Bool[np.ndarray, "time pixel"]
) -> tuple[Float64[np.ndarray, " time"], Bool[np.ndarray, " time"]]:
    """Of a thing at every time the median logarithm of its depth there over that of standing still.

    What the map shows there that is not near the thing is something else.
    """
    count = len(sure)
    ratio, has = np.zeros(count), np.zeros(count, dtype=bool)
    for time in range(count):
        good = sure[time] & seen.ratio_known[time, pixels]
        values = seen.ratio[time, pixels][good].astype(np.float64)
        if len(values) < _FEWEST:
            continue
        middle = float(np.median(values))
        near = np.abs(values - middle) < _SAME_THING
        if near.sum() < max(_FEWEST, 0.5 * len(values)):
            continue
        ratio[time], has[time] = float(np.median(values[near])), True
    return ratio, has


def _slanted(
    seen: Sightings,
    pixels: np.ndarray,
    sure: Bool[np.ndarray, "time pixel"],
    times: np.ndarray,
    inside: Bool[np.ndarray, "rows columns"],
    *,
    scatter: float,
) -> Float64[np.ndarray, "told pixel"]:
    """How a thing's ratio changes over it, as a plane in the picture, as far as errors allow.

    A plane that is as steep as errors of depth is taken for half of what it is.
    """
    rows, columns = np.nonzero(inside)
    place = np.stack([columns - columns.mean(), rows - rows.mean()], axis=1)
    place = np.concatenate([place / max(1.0, np.abs(place).max()), np.ones((len(rows), 1))], axis=1)
    found = np.zeros((len(times), len(pixels)))
    for k, time in enumerate(times):
        good = sure[time] & seen.ratio_known[time, pixels]
        if good.sum() < _FEWEST_OF_PLANE:
            continue
        ratio = seen.ratio[time, pixels].astype(np.float64)
        good &= np.abs(ratio - np.median(ratio[good])) < _SAME_THING
        if good.sum() < _FEWEST_OF_PLANE:
            continue
        weight, plane = good.astype(np.float64), np.zeros(3)
        for _ in range(_ROUNDS):
            scaled = place * weight[:, None]
            system = scaled.T @ place + 1e-6 * np.eye(3)
            plane = np.linalg.solve(system, scaled.T @ ratio)
            off = np.abs(ratio - place @ plane)
            weight = good / (1e-3 + off)
        value = place[:, :2] @ plane[:2]
        value -= np.median(value[good])
        steep = float((value[good] ** 2).mean())
        found[k] = value * (steep / max(steep + scatter**2, 1e-12))
    return found


def _on_rays(
    own: Float64[np.ndarray, "pixel xyz=3"],
    centres: Float64[np.ndarray, "time xyz=3"],
    ray: Float64[np.ndarray, "time pixel xyz=3"],
    near: Float64[np.ndarray, "time pixel"],
    weight: Float64[np.ndarray, "time pixel"],
    *,
    value: Float64[np.ndarray, "time pixel"],
) -> tuple[
    Float64[np.ndarray, "time pixel xyz=3"],
    Float64[np.ndarray, "time pixel xyz=3"],
    Bool[np.ndarray, " time"],
]:
    """Points on their rays, displacements by the motion of the whole, and whether that explains.

    Of each thing and time the median depth on the rays is told; how depths differ from pixel to
    pixel follows from the motion of the whole, and that from the points, in turn.
    """
    depth = near * np.exp(value)
    there = centres[:, None] + ray * depth[..., None]
    whole, explains = _whole(own, there, weight)
    square = (ray * ray).sum(axis=-1)
    for _ in range(_TURNS):
        along = ((own + whole - centres[:, None]) * ray).sum(axis=-1) / square
        along = np.where(along > 0, along, depth)
        change = np.log(along / near) - value
        middle = np.nanmedian(np.where(weight > 0, change, np.nan), axis=1)
        depth = along * np.exp(-middle)[:, None]
        there = centres[:, None] + ray * depth[..., None]
        whole, explains = _whole(own, there, weight)
    return there, whole, explains


def _whole(
    own: Float64[np.ndarray, "pixel xyz=3"],
    there: Float64[np.ndarray, "time pixel xyz=3"],
    weight: Float64[np.ndarray, "time pixel"],
) -> tuple[Float64[np.ndarray, "time pixel xyz=3"], Bool[np.ndarray, " time"]]:
    """Displacements by the rigid motion that explains what is seen best, and whether it does."""
    some = slice(None, None, max(1, len(own) // _FITTED))
    source = torch.from_numpy(own)[None].expand(len(there), -1, -1)
    fitted = fit_similarity_robustly(
        source[:, some],
        torch.from_numpy(there[:, some]),
        torch.from_numpy(weight[:, some]),
        rigid=True,
    )
    whole = move(fitted, source).numpy() - own
    total = np.maximum(weight.sum(axis=1), 1e-12)
    left = (weight * np.linalg.norm(there - own - whole, axis=-1)).sum(axis=1) / total
    length = (weight * np.linalg.norm(whole, axis=-1)).sum(axis=1) / total
    unexplained = left / np.maximum(length, 1e-12)
    return whole, unexplained < _UNEXPLAINED


def _local(
    rest: Float64[np.ndarray, "pixel xyz=3"],
    weight: Float64[np.ndarray, " pixel"],
    inside: Bool[np.ndarray, "rows columns"],
    pixels: np.ndarray,
) -> Float32[np.ndarray, "pixel xyz=3"]:
    """What the motion of the whole leaves, smoothed over the thing; 0 far from what is seen."""
    typical = np.median(np.linalg.norm(rest[weight > 0], axis=1)) if (weight > 0).any() else 0.0
    off = np.linalg.norm(rest, axis=1) / max(3 * typical, 1e-12)
    weight = weight / (1 + off**4)
    field = np.zeros((*inside.shape, 4), dtype=np.float32)
    field.reshape(-1, 4)[pixels, :3] = rest * weight[:, None]
    field.reshape(-1, 4)[pixels, 3] = weight
    rows, columns = np.nonzero(inside)
    part = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    smooth = np.zeros_like(field)
    smooth[part] = cv2.GaussianBlur(field[part], (0, 0), _SMOOTH_PX, borderType=cv2.BORDER_CONSTANT)
    taken = smooth.reshape(-1, 4)[pixels]
    return taken[:, :3] / (taken[:, 3:] + _PULL)
