"""Which places of two frames show the same physical point, moving parts included.

Both maps hold points at ONE common time, so a point of one frame that the other one sees lies on
the other's surface: the match is the nearest neighbour in 3D (DPM, arXiv 2503.16318, appendix A.4).
The nearest of the other map's points comes from a k-d tree, exactly. From there the search goes on
over the surface between that point and its neighbours in the map, which gives the place within a
pixel. Nothing is continued across steps from one surface to another. Where it is known from
elsewhere in which places points are seen, `match_seen` says which of them to believe.
"""

from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dynapoint.geometry.pinhole import mixing_step
from dynapoint.types import Array

from .map_surface import MapSurface, map_surface

# A match is valid if the two surfaces lie no farther apart than so many sample spacings, or than
# so many times the distance that is usual between the two maps.
_SPACINGS_APART = 0.5
_USUAL_DISTANCES_APART = 3.0
# A way back that ends within so many pixels of the start, in x and in y, is mutual.
_MUTUAL_PX = 1.0
# One that ends within so many is the way of something that is seen in both frames.
_SEEN_AGAIN_PX = 2.0
# About how many pixels, spread over the image, tell what distance is usual, if at least a share of
# them is mutual: frames that see nothing in common are mutual along their borders alone.
_PROBES = 2048
_LEAST_MUTUAL_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Correspondence(Generic[Array]):
    """Where places of frame a are found in frame b.

    Attributes:
        xy_px: (column, row) in pixels of b's map, centres at half-integers; NaN without a match.
        distance: from the point of a to the surface of b at the common time, in scene units;
            NaN without a match.
        mutual: the point of a that is nearest to the place found is the start or beside it.
        valid: the distance is within what sampling explains (or noise, where the two maps differ
            everywhere); false for most points that b does not see.
        score: in [0, 1], smaller the farther apart the surfaces are, and the start and the end of
            the way there and back; 0 without a match. The maps' own confidences do not enter.
    """

    xy_px: Float[Array, "*place xy=2"]
    distance: Float[Array, "*place"]
    mutual: Bool[Array, "*place"]
    valid: Bool[Array, "*place"]
    score: Float[Array, "*place"]


def match_pixels(
    points_a: Float[Tensor, "height width xyz=3"],
    confidence_a: Float[Tensor, "height width"],
    points_b: Float[Tensor, "height_b width_b xyz=3"],
    confidence_b: Float[Tensor, "height_b width_b"],
    *,
    workers: int = 2,
) -> Correspondence:
    """Find every pixel of frame a in frame b.

    Args:
        points_a: `points[a, t]`, the pixels of a at the common time t, in the world.
        confidence_a: 0 where a has no point; such pixels, and points that are not finite, match
            nothing.
        points_b: `points[b, t]` at the same time, in the same world and unit.
        confidence_b: the same of b.
        workers: threads of the nearest-neighbour search; the answer does not depend on it.

    Returns:
        One answer per pixel of a, in the dtype and on the device of `points_a`.
    """
    surfaces = map_surface(points_a, confidence_a), map_surface(points_b, confidence_b)
    height, width = surfaces[0].image_hw
    xy_px = surfaces[0].centres_px(np.arange(height * width))
    found = _matched(*surfaces, xy_px, workers)
    return _as_tensors(found, points_a, (height, width))


def match_places(
    xy_px: Float[Tensor, "place xy=2"],
    points_a: Float[Tensor, "height width xyz=3"],
    confidence_a: Float[Tensor, "height width"],
    points_b: Float[Tensor, "height_b width_b xyz=3"],
    confidence_b: Float[Tensor, "height_b width_b"],
    *,
    workers: int = 2,
) -> Correspondence:
    """Find places of frame a, given in pixels of its map, in frame b.

    Places lie on the surface around their pixel and may fall between centres. Those outside the
    map or on a pixel without a point match nothing. At pixel centres the answers are those of
    `match_pixels`, whose other arguments are the same.
    """
    surfaces = map_surface(points_a, confidence_a), map_surface(points_b, confidence_b)
    found = _matched(*surfaces, xy_px.detach().cpu().double().numpy(), workers)
    return _as_tensors(found, points_a, (len(xy_px),))


def match_seen(
    xy_px: Float[Tensor, "place xy=2"],
    points_a: Float[Tensor, "height width xyz=3"],
    confidence_a: Float[Tensor, "height width"],
    points_b: Float[Tensor, "height_b width_b xyz=3"],
    confidence_b: Float[Tensor, "height_b width_b"],
    *,
    end_px: Float[Tensor, "place xy=2"],
    home_px: Float[Tensor, "place xy=2"],
) -> Correspondence:
    """Matches of places of frame a that are known to be seen in frame b, at the time of b.

    A match is valid if the way there and back ends within two pixels of its start, mutual within
    one, in x and in y; `distance` says how far apart the two maps have it, and decides nothing.

    Args:
        xy_px: Places of a.
        points_a: `points[a, t_b]`, with confidence 0 where nothing is known.
        confidence_a: Of those.
        points_b: `points[b, t_b]`.
        confidence_b: Of those.
        end_px: Where the places are seen in b; NaN where that is not known.
        home_px: Where what is seen there in b is seen in a, likewise.
    """
    a, b = map_surface(points_a, confidence_a), map_surface(points_b, confidence_b)
    start, end, home = (each.detach().cpu().double().numpy() for each in (xy_px, end_px, home_px))
    pixel, points = a.at(start)
    there, met = b.at(np.nan_to_num(end, nan=-1.0))
    known = (pixel >= 0) & (there >= 0)
    miss = np.abs(home - start).max(axis=1)
    miss = np.where(known & np.isfinite(miss), miss, np.inf)
    found = {
        "xy_px": np.where(known[:, None], end, np.nan),
        "distance": np.where(known, np.linalg.norm(points - met, axis=1), np.nan),
        "mutual": miss <= _MUTUAL_PX,
        "valid": miss <= _SEEN_AGAIN_PX,
        "score": 1 / (1 + (miss / _MUTUAL_PX) ** 2),
    }
    return _as_tensors(found, points_a, (len(start),))


@dataclass(frozen=True, kw_only=True)
class _Ways:
    """From places of a to the surface of b and back to a pixel of a."""

    xy_px: Float[np.ndarray, "place xy=2"]
    distance: Float[np.ndarray, " place"]
    # The larger of the sample spacings around both ends.
    spacing: Float[np.ndarray, " place"]
    # How far from the start the way back ends, the larger one of x and y.
    return_px: Float[np.ndarray, " place"]


def _ways(
    a: MapSurface, b: MapSurface, xy_px: Float[np.ndarray, "place xy=2"], workers: int
) -> _Ways:
    """There and back; NaN and infinite where there is no start or nothing to be found."""
    pixel, points = a.at(xy_px)
    asked = np.flatnonzero(pixel >= 0)
    there = b.closest(points[asked], workers)
    back, _ = a.nearest_pixel(there.points, workers)
    missing = ~there.found
    offset = np.abs(a.centres_px(back) - xy_px[asked]).max(axis=1)
    spacing = np.maximum(a.spacing[pixel[asked]], b.spacing[there.pixel])
    return _Ways(
        xy_px=_put(there.xy_px, asked, len(xy_px), np.nan),
        distance=_put(there.distance, asked, len(xy_px), np.nan),
        spacing=_put(spacing, asked, len(xy_px), 0.0),
        return_px=_put(np.where(missing, np.inf, offset), asked, len(xy_px), np.inf),
    )


def _matched(
    a: MapSurface, b: MapSurface, xy_px: Float[np.ndarray, "place xy=2"], workers: int
) -> dict[str, np.ndarray]:
    """The fields of a `Correspondence`, in float64."""
    ways = _ways(a, b, xy_px, workers)
    # However few places are asked for, the same pixels tell what is usual between the two maps.
    every = mixing_step(len(a.usable_pixels) // _PROBES, a.image_hw[1])
    usual = _usual_spacings(_ways(a, b, a.centres_px(a.usable_pixels[::every]), workers))
    allowed = max(_SPACINGS_APART, _USUAL_DISTANCES_APART * usual) * ways.spacing
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(ways.distance > 0, ways.distance / allowed, 0.0)
    score = 1 / ((1 + apart**2) * (1 + (ways.return_px / _MUTUAL_PX) ** 2))
    return {
        "xy_px": ways.xy_px,
        "distance": ways.distance,
        "mutual": ways.return_px <= _MUTUAL_PX,
        "valid": ways.distance <= allowed,
        "score": np.where(np.isnan(ways.distance), 0.0, score),
    }


def _usual_spacings(probes: _Ways) -> float:
    """The median distance of mutual matches, in sample spacings; 0 if there are too few."""
    chosen = (probes.return_px <= _MUTUAL_PX) & (probes.spacing > 0)
    if not chosen.any() or chosen.mean() < _LEAST_MUTUAL_SHARE:
        return 0.0
    return float(np.median(probes.distance[chosen] / probes.spacing[chosen]))


def _put(
    values: Float[np.ndarray, "some *rest"], where: Int[np.ndarray, " some"], size: int, fill: float
) -> Float[np.ndarray, "all *rest"]:
    """Values at their places among `size` ones."""
    whole = np.full((size, *values.shape[1:]), fill)
    whole[where] = values
    return whole


def _as_tensors(
    found: dict[str, np.ndarray], like: Tensor, places: tuple[int, ...]
) -> Correspondence:
    """The answers in the shape of the places and in the dtype and on the device of `like`."""
    tensors = {}
    for name, value in found.items():
        tensor = torch.from_numpy(value.reshape(*places, *value.shape[1:])).to(like.device)
        tensors[name] = tensor.to(like.dtype) if tensor.is_floating_point() else tensor
    return Correspondence(**tensors)
