"""Where the pixels of one frame are seen in another: by the maps, and by what the pictures show."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from dynapoint.errors import SceneError
from dynapoint.geometry.arrays import pixel_centres
from dynapoint.geometry.between_pixels import flow_between_pixels
from dynapoint.results.asking import as_numpy, as_tensor, maps_of_both

if TYPE_CHECKING:
    from dynapoint.reductions.correspondence import Correspondence
    from dynapoint.reductions.flow import OpticalFlow

# Flow between two frames is kept up to this many bytes; older ones are measured again.
_KEPT_BYTES = 64 * 1024**2


def seen_flow(rec: Any, frame: int, time: int) -> "OpticalFlow":
    """Flow in pixels of the maps from a frame's own time into the camera of another.

    Points and cameras tell it; where the scene keeps pictures, these tell it more exactly.
    """
    kept: dict[tuple[int, int], OpticalFlow] = rec._flows
    if (frame, time) in kept:
        return kept[frame, time]
    if rec.pictures is None or frame == time:
        flows = {(frame, time): _by_maps(rec, frame, time)}
    else:
        flows = _by_pictures(rec, frame, time)
    kept.update(flows)
    flow = flows[frame, time]
    while len(kept) > max(2, _KEPT_BYTES // flow.flow_px.nbytes):
        kept.pop(next(iter(kept)))
    return flow


def _by_maps(rec: Any, frame: int, time: int) -> "OpticalFlow":
    """The projection of the points at that time."""
    return _projected(rec, *_maps_at(rec, frame, time), time)


def _maps_at(rec: Any, frame: int, time: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and confidence of a frame at a time."""
    maps: tuple[np.ndarray, np.ndarray] = rec.maps(frame=frame, time=time)
    return maps


def _projected(rec: Any, points: np.ndarray, confidence: np.ndarray, time: int) -> "OpticalFlow":
    """Flow from the pixels of a map to where a camera sees their points."""
    from dynapoint.reductions.flow import optical_flow  # noqa: PLC0415 - torch is slow to load.

    return as_numpy(
        optical_flow(
            as_tensor(points),
            world_from_camera_to=as_tensor(rec.world_from_camera[time].astype(np.float32)),
            intrinsics_to=as_tensor(rec.map_intrinsics[time].astype(np.float32)),
            confidence_to=as_tensor(confidence),
        )
    )


def _by_pictures(rec: Any, first: int, second: int) -> "dict[tuple[int, int], OpticalFlow]":
    """What the pictures say, which take the flow of the maps for a guess, there and back."""
    from dynapoint.refinement.measured_flow import Guess, measured_flow  # noqa: PLC0415

    ways = ((first, second), (second, first))
    there = _maps_at(rec, first, second)
    try:
        back = _maps_at(rec, second, first)
        back_is_known = True
    except SceneError:
        # The scene answers from its tracks without its network: the way back is a rougher guess.
        back = rec.own_time_points[second], rec.own_time_confidence[second]
        back_is_known = False
    flows = [_projected(rec, *maps, way[1]) for maps, way in zip((there, back), ways, strict=True)]
    guesses = []
    for (frame, _), (points, _), flow in zip(ways, (there, back), flows, strict=True):
        # What refinement found to be still has not moved by a single bit.
        still = (points == rec.own_time_points[frame]).all(axis=-1) & flow.valid
        guesses.append(Guess(flow=flow.flow_px, still=still & (back_is_known or frame == first)))
    pictures = np.asarray(rec.pictures[first]), np.asarray(rec.pictures[second])
    both = measured_flow(*pictures, guesses[0], guesses[1])
    measured = {}
    for way, flow, found in zip(ways, flows, both, strict=True):
        known = np.where(flow.valid[..., None], found, np.float32(0))
        place = pixel_centres(rec.map_hw) + known
        inside = flow.valid & ((place >= 0) & (place <= rec.map_hw[::-1])).all(axis=-1)
        measured[way] = replace(flow, flow_px=known, inside=inside)
    return measured


def seen_places(
    rec: Any, frame: int, time: int, start: Float64[np.ndarray, "place xy=2"]
) -> Float64[np.ndarray, "place xy=2"]:
    """Where places of a frame's map are seen in that of another time; NaN where it is not known."""
    flow = seen_flow(rec, frame, time)
    moved, known = flow_between_pixels(flow.flow_px, flow.valid.astype(np.float32), start)
    end: Float64[np.ndarray, "place xy=2"] = np.where(known[:, None] > 0.5, start + moved, np.nan)
    return end


def matches_along_flow(
    rec: Any, frame: int, to_frame: int, start: Float64[np.ndarray, "place xy=2"] | None
) -> "Correspondence":
    """Matches of places of a frame's map, or of all its pixels, where they are seen in another."""
    from dynapoint.reductions.correspondence import match_seen  # noqa: PLC0415

    places = pixel_centres(rec.map_hw).reshape(-1, 2) if start is None else start
    end = seen_places(rec, frame, to_frame, places)
    home = seen_places(rec, to_frame, frame, end)
    maps = maps_of_both(rec, frame, to_frame, time=to_frame)
    found = as_numpy(
        match_seen(as_tensor(places), *maps, end_px=as_tensor(end), home_px=as_tensor(home))
    )
    if start is not None:
        return found
    shaped = {
        each.name: getattr(found, each.name).reshape(
            *rec.map_hw, *getattr(found, each.name).shape[1:]
        )
        for each in fields(found)
    }
    return replace(found, **shaped)
