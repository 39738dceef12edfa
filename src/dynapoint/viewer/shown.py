"""What a page asks of a scene: its pictures, clouds, tracks and exports, as bytes."""

import json
import struct
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

from dynapoint.data.selection import evenly_spaced
from dynapoint.exports import web_packing as packing
from dynapoint.exports import web_scene
from dynapoint.exports.catalog import FORMATS, export
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.web_bytes import (
    fused_paint,
    grid_certainty,
    grid_motion,
    share_bytes,
    track_arrays,
)
from dynapoint.exports.web_page import page_facts
from dynapoint.exports.web_scene import SplitCloud
from dynapoint.results.asking import span_of
from dynapoint.results.motion_answers import moving_at_ends
from dynapoint.results.on_disk.manifest import CACHE_FOLDER
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.subscene import main_segment, worlds
from dynapoint.results.thinning import MOST_SHOWN, shown_part
from dynapoint.viewer.cache import cached
from dynapoint.viewer.jobs import Report

# What ranks of confidence are taken from: so many frames, every so manyth row and column.
_RANKED_FRAMES, _RANKED_STEP = 16, 3
# Of a long scene so many frames' motion is kept.
_MOTION_KEPT = 64


class ShownScene:
    """A scene and what has been worked out of it for its pages.

    Places are 16-bit steps within the box about each cloud: along each axis an error of at most
    the box's edge / 65535 / 2. Points farther away than 20 median distances are left out. Pages
    count frames in the order of time, and so do the methods' arguments. Of a scene of many frames
    each has its cloud, but frames are fused, and points followed, at `MOST_SHOWN` times.

    Args:
        whole: The scene.
        segment: Index of the world that is shown; None for the longest.
    """

    def __init__(self, whole: Reconstruction, segment: int | None = None) -> None:
        # Bars of progress belong to the page here.
        self.whole = replace(whole, progress=False)
        self.segment = main_segment(whole) if segment is None else segment
        self.rec = self.whole.segment(self.segment)
        self._thinned = shown_part(self.rec, most=MOST_SHOWN)
        # With what there is to say of the points that move, and the box about all.
        self._fused: tuple[SplitCloud, np.ndarray, packing.Box] | None = None
        self._order = ExportOptions().times(self.rec)
        self._motion: UInt8[np.ndarray, "frame map_height map_width"] | None = None
        self._motion_of_frame: dict[int, UInt8[np.ndarray, "map_height map_width"]] = {}
        self._lock = threading.Lock()

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return self.rec.frame_count

    @cached_property
    def page_facts(self) -> dict[str, Any]:
        """What its page says of it, however often it is loaded."""
        times = len(self._thinned.frames)
        return {**page_facts(self.rec, ExportOptions()), "fusedTimes": times}

    @cached_property
    def _farthest(self) -> float:
        return web_scene.farthest_shown(self.rec)

    @cached_property
    def _ordered(self) -> np.ndarray:
        """Confidence of a sample of all points, ascending."""
        frames = evenly_spaced(self.frames, _RANKED_FRAMES)
        sample = self.rec.own_time_confidence[frames][:, ::_RANKED_STEP, ::_RANKED_STEP]
        return np.sort(sample[sample > 0])

    def picture(self, frame: int) -> bytes:
        """A frame's picture as its map shows it, as a JPEG file."""
        return packing.jpeg(web_scene.picture(self.rec, self._order[frame]))

    def cloud(self, frame: int, *, most: int, motion: bool) -> bytes:
        """A frame's own points: facts, and x, y, z and certainty * 256 + motion of each."""
        rec, frame = self.rec, self._order[frame]
        moving = self._moving(frame) if motion else None
        cloud = web_scene.grid_cloud(
            rec,
            frame,
            ExportOptions(),
            web_scene.grid_hw(rec, most),
            farthest=self._farthest,
            motion=moving,
        )
        shown = cloud.confidence > 0
        box = packing.box_around([cloud.points[shown]])
        rows, columns = cloud.confidence.shape
        facts = {
            **_box_facts(box),
            **{"rows": rows, "columns": columns, "footprint": cloud.footprint},
            "shown": int(shown.sum()),
        }
        about = _about(grid_certainty(cloud, self._ordered), grid_motion(cloud))
        return with_facts(facts, _places(cloud.points, about, box))

    def find_motion(self, report: Report) -> None:
        """Work out which pixels of all frames move; clouds hold it from then on.

        Of a long scene each frame's are worked out with its cloud; here only whether they can be.

        Raises:
            DynapointError: The network is needed but cannot be loaded.
        """
        if self._is_long:
            self._moving(self._order[0])
            return

        def make() -> dict[str, np.ndarray]:
            shares = np.zeros(self.rec.own_time_confidence.shape, dtype=np.uint8)
            for frame in range(self.frames):
                shares[frame] = share_bytes(moving_at_ends(self.rec, [frame])[0])
                report((frame + 1) / self.frames)
            return {"moving": shares}

        self._motion = self._cached("motion", make)["moving"]

    @property
    def _is_long(self) -> bool:
        return len(self._thinned.frames) < self.frames

    def _moving(self, frame: int) -> Float32[np.ndarray, "map_height map_width"] | None:
        """How likely each pixel of a frame moves, if that is known or to be found frame by frame.

        Raises:
            DynapointError: The network is needed but cannot be loaded.
        """
        if not self._is_long:
            return None if self._motion is None else self._motion[frame] / np.float32(255)
        with self._lock:
            kept = self._motion_of_frame
            if frame not in kept:
                if len(kept) >= _MOTION_KEPT:
                    del kept[next(iter(kept))]
                kept[frame] = share_bytes(moving_at_ends(self.rec, [frame])[0])
            return kept[frame] / np.float32(255)

    def _cached(
        self, name: str, make: Callable[[], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Arrays from the cache of the stored scene, under the name of the world shown."""
        one = len(worlds(self.whole)) == 1
        return cached(self.whole.folder, name if one else f"{name}_{self.segment}", make)

    def fuse(self, report: Report) -> bytes:
        """The fused cloud: facts, places of still points, and paint of all points.

        Raises:
            DynapointError: The network is needed but cannot be loaded.
        """

        def make() -> dict[str, np.ndarray]:
            made = web_scene.split_cloud(
                self._thinned.of(self.rec),
                ExportOptions(),
                max_points=web_scene.MOST_FUSED,
                report=report,
            )
            return {**vars(made), "times": np.array(made.times)}

        held: dict[str, Any] = self._cached("fused", make)
        cloud = SplitCloud(**{**held, "times": held["times"].tolist()})
        paint = fused_paint(cloud, np.arange(cloud.paths.shape[1]))
        box = packing.box_around([cloud.still, cloud.paths.reshape(-1, 3)])
        still, movers = len(cloud.still), cloud.paths.shape[1]
        facts = {
            **_box_facts(box),
            **{"still": still, "movers": movers, "spacing": paint.spacing},
        }
        about = _about(paint.certainty, paint.motion)
        self._fused = cloud, about[still:], box
        painted = np.concatenate([paint.colors, paint.spacing_share[:, None]], axis=1)
        return with_facts(facts, _places(cloud.still, about[:still], box), painted)

    def path(self, time: int) -> bytes | None:
        """Places of the fused points that move, at one time; None before `fuse`.

        Of a long scene at the nearest of the times that it was fused at.
        """
        if self._fused is None:
            return None
        cloud, about, box = self._fused
        if self._is_long:
            fused = [self._order.index(self._thinned.frames[frame]) for frame in cloud.times]
            time = int(np.abs(np.array(fused) - time).argmin())
        return with_facts({}, _places(cloud.paths[time], about * cloud.usable[time], box))

    def tracks(
        self, frame: int, part: tuple[float, float, float, float], report: Report | None = None
    ) -> bytes:
        """Tracks of pixels within a part of a frame's map (left, top, right, bottom in shares).

        Of a long clip at the times for which a network saw the frame, unless its tracks are stored,
        of other long scenes at those about its own. Facts say at which they begin.

        Raises:
            DynapointError: The network is needed but cannot be loaded.
        """
        # Elsewhere points are handed over from window to window, which takes half a minute.
        kept = self._order[frame] == 0 and self.rec.kept_tracks is not None
        span = range(self.frames) if kept else span_of(self.rec, self._order[frame])
        told = [place for place, time in enumerate(self._order) if time in span]
        middle = np.clip(frame - MOST_SHOWN // 2, told[0], max(told[0], told[-1] + 1 - MOST_SHOWN))
        first = int(middle)
        times = self._order[first : min(first + MOST_SHOWN, told[-1] + 1)]
        tracks = web_scene.frame_tracks(
            self.rec, times, frame=self._order[frame], box=part, report=report
        )
        facts = {"count": tracks.points.shape[1], "first": first, "steps": len(times)}
        return with_facts(facts, *track_arrays(tracks))

    def write(self, name: str, folder: Path) -> Path:
        """Write the scene in a format, or as it is stored (`4d`), as one file in a folder.

        Raises:
            DynapointError: The format cannot be written.
        """
        stem = self.rec.frames.name
        if name == "4d":
            assert self.whole.folder is not None
            return _zipped(self.whole.folder, folder / f"{stem}.4d.zip", f"{stem}.4d")
        options = ExportOptions(overwrite=True, segment=self.segment)
        written = export(self.whole, name, folder / f"{stem}_{name}", options)
        if written.is_file():
            return written
        return _zipped(written, folder / f"{stem}_{name}.zip", written.name)

    def formats(self) -> list[dict[str, str]]:
        """What the scene can be downloaded as."""
        kept = {"4d": "the scene itself, zipped: opens here and in Python"}
        return [
            {"name": name, "words": words}
            for name, words in (
                *(kept.items() if self.whole.folder is not None else ()),
                *((name, known.words) for name, known in FORMATS.items()),
            )
        ]


def with_facts(facts: dict[str, Any], *arrays: np.ndarray) -> bytes:
    """Facts as JSON with their length before them, and arrays from the next multiple of 8 on."""
    text = json.dumps(facts).encode()
    head = struct.pack("<I", len(text)) + text
    return head + b" " * (-len(head) % 8) + b"".join(array.tobytes() for array in arrays)


def _box_facts(box: packing.Box) -> dict[str, list[float]]:
    return {"low": box.low.tolist(), "size": box.size.tolist()}


def _about(
    certainty: UInt8[np.ndarray, "*shape"], motion: UInt8[np.ndarray, "*shape"]
) -> UInt16[np.ndarray, "*shape"]:
    return (certainty.astype("<u2") << 8) | motion


def _places(
    points: Float[np.ndarray, "*shape xyz=3"], about: UInt16[np.ndarray, "*shape"], box: packing.Box
) -> UInt16[np.ndarray, "*shape xyza=4"]:
    """Steps within the box and what there is to say of each point."""
    return np.concatenate([box.quantised(points), about[..., None]], axis=-1).astype("<u2")


def _zipped(folder: Path, path: Path, name: str) -> Path:
    """A folder as a ZIP file, without a scene's cache; not packed, as floats hardly shrink."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            inside = file.relative_to(folder)
            if file.is_file() and inside.parts[0] != CACHE_FOLDER:
                archive.write(file, name / inside)
    return path
