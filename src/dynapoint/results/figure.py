"""A scene as one figure of matplotlib: depth, tracks, motion and the cameras' path."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, get_args

import numpy as np
from jaxtyping import Float
from PIL import Image

from dynapoint.errors import ConfigError, InputError
from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.results.checked import checked_index
from dynapoint.results.colors import hue_colors
from dynapoint.results.panels import MOTION_SCALE, grid_of
from dynapoint.results.pictures import picture_in_map
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.subscene import segment_at, worlds
from dynapoint.results.thinning import even_choice
from dynapoint.results.views import extent_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panel = Literal["depth", "tracks", "motion", "cameras"]

_WIDTH_IN, _MOST_COLUMNS = 5.5, 2
# Of frame 0's points so many are drawn from above.
_POINTS_FROM_ABOVE = 20_000


def figure(
    scene: SceneMaps, *panels: Panel, frame: SupportsIndex = 0, time: SupportsIndex | None = None
) -> "Figure":
    """Draw some panels of a scene into one figure, which belongs to no window.

        rec.figure().savefig("walk.pdf")
        rec.figure("depth", frame=3)

    Axes of pictures are in original pixels. "depth" is that of `frame` at its own time, in scene
    units; "motion" is how far its pixels have moved until `time`, as a share of their distance, on
    one scale for all scenes; "tracks" are the ways of its points until then, seen by the camera of
    `time`; "cameras" are the path of all cameras and the points of frame 0 from above. Of a scene
    with several worlds (`segments`) it is that of `frame`, and its first frame.

    Args:
        scene: The scene.
        panels: Which, in order; all four without any.
        frame: Index of the frame whose pixels are shown.
        time: Index of the frame until whose time points have moved; the last of the frame's world
            unless it is given.

    Raises:
        ConfigError: A panel is unknown, or matplotlib is not installed.
        InputError: `frame` or `time` is no index of a frame used, or they are of two worlds.
    """
    chosen = checked_panels(panels)
    source = checked_index(frame, "frame", scene.frame_count)
    world = worlds(scene)[segment_at(scene, source)]
    last = world.stop - 1
    moment = last if time is None else checked_index(time, "time", scene.frame_count)
    if not world.start <= moment < world.stop:
        raise InputError(
            f"time is {moment} but frame {source} is of the world of frames {world.start} to {last}"
        )
    made, axes = _empty(len(chosen), scene)
    draw: dict[str, Callable[[Axes, SceneMaps, int, int], None]] = {
        "depth": _draw_depth,
        "tracks": _draw_tracks,
        "motion": _draw_motion,
        "cameras": _draw_cameras,
    }
    for panel, axis in zip(chosen, axes, strict=True):
        draw[panel](axis, scene, source, moment)
    return made


def checked_panels(panels: Sequence[str]) -> Sequence[str]:
    """The panels asked for; all where none is.

    Raises:
        ConfigError: One is unknown.
    """
    known = get_args(Panel)
    unknown = [panel for panel in panels if panel not in known]
    if unknown:
        raise ConfigError(f"there is no panel {unknown[0]!r}; give some of {', '.join(known)}")
    return panels or known


def _empty(count: int, scene: SceneMaps) -> "tuple[Figure, Sequence[Axes]]":
    """A figure with so many axes, of the shape of the scene's pictures."""
    try:
        # A figure of pyplot's would stay in memory until it is closed.
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra.
    except ImportError as error:
        raise ConfigError(
            "figures need matplotlib, which is not installed; run `pip install dynapoint[plot]`"
        ) from error
    columns = min(count, _MOST_COLUMNS)
    rows = -(-count // columns)
    height, width = scene.frames.picture_hw[0].tolist()
    panel_height = _WIDTH_IN * float(np.clip(height / width, 0.5, 1.6)) * 0.9
    made = Figure(figsize=(columns * _WIDTH_IN, rows * panel_height), layout="constrained")
    axes = [made.add_subplot(rows, columns, index + 1) for index in range(count)]
    made.suptitle(scene.frames.name)
    return made, axes


def _draw_depth(axis: "Axes", scene: SceneMaps, frame: int, time: int) -> None:
    depth = scene.depth_of(frame)
    shown = np.where(depth > 0, depth, np.nan)
    usable = depth[depth > 0]
    near, far = np.percentile(usable, [2, 98]) if usable.size else (0.0, 1.0)
    _map(
        axis,
        scene,
        frame,
        shown,
        limits=(float(near), float(far)),
        colors="turbo_r",
        words=f"depth {_unit(scene)}",
    )
    axis.set_title(f"depth of frame {frame}")


def _draw_motion(axis: "Axes", scene: SceneMaps, frame: int, time: int) -> None:
    points, confidence = scene.maps(frame=frame, time=time)
    start = scene.own_time_points[frame].astype(np.float64)
    moved = np.linalg.norm(points.astype(np.float64) - start, axis=-1)
    eye = scene.world_from_camera[frame, :3, 3]
    away = np.maximum(np.linalg.norm(start - eye, axis=-1), np.finfo(np.float64).tiny)
    percent = np.where(confidence > 0, 100 * moved / away, np.nan)
    words = "moved, % of the distance"
    limits = 0.0, 100 * MOTION_SCALE
    _map(axis, scene, frame, percent, limits=limits, colors="inferno", words=words, extend="max")
    axis.set_title(f"motion of frame {frame} until frame {time}")


def _draw_tracks(axis: "Axes", scene: SceneMaps, frame: int, time: int) -> None:
    axis.imshow(scene.frames.picture(time), alpha=0.6, extent=_extent(scene, time))
    rows, columns = grid_of(scene.map_hw)
    shown = scene.pixel_map.shown_pixels(frame)[rows, columns]
    rows, columns = rows[shown], columns[shown]
    # From the frame's own time to the other, whichever comes first.
    first, count = min(frame, time), abs(time - frame) + 1
    way = [first + step for step in even_choice(count)]
    maps = (scene.maps(frame=frame, time=each)[0] for each in way)
    points = np.stack([each[rows, columns] for each in maps]).astype(np.float64)
    xy = project(points_in_camera(points, scene.world_from_camera[time]), scene.intrinsics[time])
    point_map, confidence = scene.maps(frame=frame, time=time)
    here = point_map[rows, columns]
    seen = scene._visible(here, frame, time, point_map, confidence)
    colors = hue_colors((columns / scene.map_hw[1] + 0.35 * rows / scene.map_hw[0]) % 1.0) / 255
    end = -1 if time >= frame else 0
    for track in range(len(rows)):
        strength = 0.25 + 0.75 * float(seen[track])
        axis.plot(*xy[:, track].T, color=colors[track], alpha=strength, linewidth=1.0)
        axis.plot(*xy[end, track], ".", color=colors[track], alpha=strength, markersize=4)
    height, width = scene.frames.picture_hw[time].tolist()
    axis.set(xlim=(0, width), ylim=(height, 0), xlabel="pixels", ylabel="pixels")
    axis.set_title(f"frame {frame}'s points, seen from frame {time}")


def _draw_cameras(axis: "Axes", scene: SceneMaps, frame: int, time: int) -> None:
    world = worlds(scene)[segment_at(scene, frame)]
    first = world.start
    shown = scene.pixel_map.shown_pixels(first)
    points = scene.own_time_points[first][shown].astype(np.float64)
    size = scene.map_hw[::-1]
    colors = np.asarray(picture_in_map(scene, first, size, Image.Resampling.BOX))[shown] / 255
    every = max(1, len(points) // _POINTS_FROM_ABOVE)
    order = np.argsort(-points[:, 1], kind="stable")[::every]
    path = scene.world_from_camera[first : world.stop, [2, 0], 3]
    low, high = extent_of(points[:, [2, 0]], path)
    room = 0.06 * float((high - low).max())
    axis.scatter(points[order, 2], points[order, 0], s=1.5, c=colors[order], linewidths=0)
    axis.plot(*path.T, "-", color="tab:red", linewidth=1.5, label="cameras")
    axis.plot(*path[0], "o", color="black", label="first")
    axis.plot(*path[-1], "s", color="tab:orange", label="last")
    # What lies right of the first camera is below, as seen from above with ahead to the right.
    axis.set(xlim=(low[0] - room, high[0] + room), ylim=(high[1] + room, low[1] - room))
    axis.set(xlabel=f"ahead {_unit(scene)}", ylabel=f"right {_unit(scene)}", aspect="equal")
    axis.locator_params(nbins=5)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small", frameon=False)
    axis.set_title(f"cameras and frame {first} from above")


def _map(
    axis: "Axes",
    scene: SceneMaps,
    frame: int,
    values: Float[np.ndarray, "map_height map_width"],
    *,
    limits: tuple[float, float],
    colors: str,
    words: str,
    **bar: Any,
) -> None:
    """A map in original pixels, with what its colours mean."""
    left, top = scene.pixel_map.to_picture(frame, np.zeros((1, 2)))[0].tolist()
    right, low = scene.pixel_map.to_picture(frame, np.array([scene.map_hw[::-1]], float))[
        0
    ].tolist()
    drawn = axis.imshow(
        values, cmap=colors, vmin=limits[0], vmax=limits[1], extent=(left, right, low, top)
    )
    axis.figure.colorbar(drawn, ax=axis, label=words, **bar)
    height, width = scene.frames.picture_hw[frame].tolist()
    axis.set(xlim=(0, width), ylim=(height, 0), xlabel="pixels", ylabel="pixels")


def _extent(scene: SceneMaps, frame: int) -> tuple[float, float, float, float]:
    """Where the borders of a picture are, for axes in its pixels."""
    height, width = scene.frames.picture_hw[frame].tolist()
    return 0.0, float(width), float(height), 0.0


def _unit(scene: SceneMaps) -> str:
    """What lengths are in."""
    return f"({scene.settings.get('units', 'scene units')})"
