"""Where the pixels of one frame are seen in another: by the maps, and by what the pictures show."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from dynapoint.errors import SceneError
from dynapoint.geometry.arrays import pixel_centres
from dynapoint.geometry.between_pixels import flow_between_pixels
from dynapoint.results.asking import as_numpy, as_tensor, maps_of_both, span_of
from dynapoint.results.scene_maps import SceneMaps, kept_flows
from dynapoint.results.scene_points import MeasuredPictures

if TYPE_CHECKING:
    from dynapoint.reductions.correspondence import Correspondence
    from dynapoint.reductions.flow import OpticalFlow

# Flow between two frames is kept up to this many bytes; older ones are measured again.
_KEPT_BYTES = 64 * 1024**2


def seen_flow(scene: SceneMaps, frame: int, time: int) -> "OpticalFlow[np.ndarray]":
    """Flow in pixels of the maps from a frame's own time into the camera of another.

    Points and cameras tell it; where the scene keeps pictures, these tell it more exactly, unless
    it is of a long clip and no network saw the two together.
    """
    kept = kept_flows(scene)
    if (frame, time) in kept:
        return kept[frame, time]
    if scene.pictures is None or frame == time or time not in span_of(scene, frame):
        # Where the maps project the points of that time.
        maps = scene.maps(frame=frame, time=time)
        flows = {(frame, time): _projected(scene, *maps, time)}
    else:
        flows = _by_pictures(scene, scene.pictures, frame, time)
    kept.update(flows)
    flow = flows[frame, time]
    while len(kept) > max(2, _KEPT_BYTES // flow.flow_px.nbytes):
        kept.pop(next(iter(kept)))
    return flow


def _projected(
    scene: SceneMaps, points: np.ndarray, confidence: np.ndarray, time: int
) -> "OpticalFlow[np.ndarray]":
    """Flow from the pixels of a map to where a camera sees their points."""
    from dynapoint.reductions.flow import optical_flow  # noqa: PLC0415 - torch is slow to load.

    return as_numpy(
        optical_flow(
            as_tensor(points),
            world_from_camera_to=as_tensor(scene.world_from_camera[time].astype(np.float32)),
            intrinsics_to=as_tensor(scene.map_intrinsics[time].astype(np.float32)),
            confidence_to=as_tensor(confidence),
        )
    )


def _by_pictures(
    scene: SceneMaps, pictures: MeasuredPictures, first: int, second: int
) -> "dict[tuple[int, int], OpticalFlow[np.ndarray]]":
    """What the pictures say, which take the flow of the maps for a guess, there and back."""
    from dynapoint.refinement.measured_flow import Guess, measured_flow  # noqa: PLC0415

    ways = ((first, second), (second, first))
    there = scene.maps(frame=first, time=second)
    try:
        back = scene.maps(frame=second, time=first)
        back_is_known = True
    except SceneError:
        # The scene answers from its tracks without its network: the way back is a rougher guess.
        back = scene.own_time_points[second], scene.own_time_confidence[second]
        back_is_known = False
    flows = [
        _projected(scene, *maps, time) for maps, (_, time) in zip((there, back), ways, strict=True)
    ]
    guesses = []
    for (frame, _), (points, _), flow in zip(ways, (there, back), flows, strict=True):
        # What refinement found to be still has not moved by a single bit.
        still = (points == scene.own_time_points[frame]).all(axis=-1) & flow.valid
        guesses.append(Guess(flow=flow.flow_px, still=still & (back_is_known or frame == first)))
    both = measured_flow(np.asarray(pictures[first]), np.asarray(pictures[second]), *guesses)
    measured = {}
    for way, flow, found in zip(ways, flows, both, strict=True):
        known = np.where(flow.valid[..., None], found, np.float32(0))
        place = pixel_centres(scene.map_hw) + known
        inside = flow.valid & ((place >= 0) & (place <= scene.map_hw[::-1])).all(axis=-1)
        measured[way] = replace(flow, flow_px=known, inside=inside)
    return measured


def seen_places(
    scene: SceneMaps, frame: int, time: int, start: Float64[np.ndarray, "place xy=2"]
) -> Float64[np.ndarray, "place xy=2"]:
    """Where places of a frame's map are seen in that of another time; NaN where it is not known."""
    flow = seen_flow(scene, frame, time)
    moved, known = flow_between_pixels(flow.flow_px, flow.valid.astype(np.float32), start)
    end: Float64[np.ndarray, "place xy=2"] = np.where(known[:, None] > 0.5, start + moved, np.nan)
    return end


def matches_along_flow(
    scene: SceneMaps, frame: int, to_frame: int, start: Float64[np.ndarray, "place xy=2"] | None
) -> "Correspondence[np.ndarray]":
    """Matches of places of a frame's map, or of all its pixels, where they are seen in another."""
    from dynapoint.reductions.correspondence import match_seen  # noqa: PLC0415

    places = pixel_centres(scene.map_hw).reshape(-1, 2) if start is None else start
    end = seen_places(scene, frame, to_frame, places)
    home = seen_places(scene, to_frame, frame, end)
    maps = maps_of_both(scene, frame, to_frame, time=to_frame)
    found = as_numpy(
        match_seen(as_tensor(places), *maps, end_px=as_tensor(end), home_px=as_tensor(home))
    )
    if start is not None:
        return found
    shaped = {
        each.name: getattr(found, each.name).reshape(
            *scene.map_hw, *getattr(found, each.name).shape[1:]
        )
        for each in fields(found)
    }
    return replace(found, **shaped)
