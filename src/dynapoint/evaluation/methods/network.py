"""A network as a method: what `dynapoint.reconstruct` makes of the pictures shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dynapoint.errors import ModelError
from dynapoint.evaluation.environment import measured
from dynapoint.evaluation.methods.method import MethodInfo, Question
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.geometry.arrays import transform_points
from dynapoint.models.cards import find_card
from dynapoint.models.weight_files import require_weights
from dynapoint.whole_file import sha256_of

if TYPE_CHECKING:
    from dynapoint.results.reconstruction import Reconstruction

# As likely as not.
_SEEN = _MOVES = 0.5
_OPTIONS = "reconstruct(frames='all')"


class NetworkMethod:
    """Reconstructs from the frames shown, as users do; more than a network takes, in windows."""

    def __init__(self, model: Any, *, name: str = "", weights: Path | None = None) -> None:
        """Find the network; it is loaded when the first task is answered.

        Args:
            model: A network's name, or a loaded network.
            name: Of the row; the network's by default.
            weights: A file to load instead of the network's own.

        Raises:
            ModelError: The network is unknown, or its weights are not on this machine.
        """
        self._model, self._weights = model, weights
        if isinstance(model, str):
            file = require_weights(model, weights)
            if not file.is_file():
                raise ModelError(f"no weights file at {file}; give the path of one")
            self._weights_sha256 = sha256_of(file)
            card = find_card(model).name
            # A file of this package says itself which network it is of.
            self._known_as = card if weights is None else f"a file loaded as {card}"
            self._name = name or model
        else:
            from dynapoint.models.protocol import info_of  # noqa: PLC0415 - loads torch.

            info = info_of(model)
            self._weights_sha256 = info.weights_sha256 or ""
            self._known_as = info.name
            self._name = name or info.name

    @property
    def info(self) -> MethodInfo:
        """Its name and weights."""
        return MethodInfo(
            name=self._name,
            weights_sha256=self._weights_sha256,
            options=f"{self._known_as}, {_OPTIONS}",
        )

    @cached_property
    def _network(self) -> Any:
        if not isinstance(self._model, str):
            return self._model
        from dynapoint.models.catalog import load_model  # noqa: PLC0415 - loads torch.

        return load_model(self._model, weights=self._weights)

    def answer(self, question: Question) -> Answer:
        """Reconstruct once, or twice where the task asks for swapped frames, and look places up.

        Raises:
            DynapointError: As `reconstruct`.
        """
        # Neither loading the network nor reading pictures counts.
        _ = self._network, question.images
        with measured() as spent:
            answer = self._answered(question)
        return replace(answer, seconds=spent.seconds, peak_mib=spent.peak_mib)

    def _answered(self, question: Question) -> Answer:
        task, image_hw = question.task, question.image_hw
        scene = self._scene(question.images, question.intrinsics)
        asked = _Asked(task=task, image_hw=image_hw)
        given: dict[str, Any] = {}
        if task.maps:
            given["points"], given["confidence"] = scene.maps(task.maps, asked)
        if task.depth:
            given["depth"] = scene.depth(asked)
        if task.cameras:
            given["world_from_camera"] = scene.world_from_camera
            given["intrinsics"] = np.asarray(scene.rec.intrinsics)
        if task.track_xy:
            given["tracks"], given["tracks_visible"] = scene.tracks(task.track_xy)
        if task.moving:
            given["moving"] = scene.moving(asked)
        if task.maps and task.swapped:
            given["swapped_points"] = self._swapped(question, asked)
        return Answer(**given)

    def _swapped(
        self, question: Question, asked: "_Asked"
    ) -> Float32[np.ndarray, "map row column xyz=3"]:
        """The same maps of a second call, whose first two frames are swapped."""
        order = np.arange(len(question.task.frames))
        order[:2] = 1, 0
        lens = question.intrinsics
        scene = self._scene(question.images[order], None if lens is None else lens[order])
        # Swapping is its own inverse.
        maps = [(int(order[source]), int(order[time])) for source, time in question.task.maps]
        return scene.maps(maps, asked)[0]

    def _scene(
        self,
        images: UInt8[np.ndarray, "frame height width rgb=3"],
        intrinsics: Float64[np.ndarray, "frame 3 3"] | None,
    ) -> "_Scene":
        # The networks' code is loaded only where a network is asked.
        from dynapoint.inference.pipeline import reconstruct  # noqa: PLC0415

        return _Scene(reconstruct(images, self._network, frames="all", intrinsics=intrinsics))


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The grid that maps are asked on."""

    task: Task
    image_hw: tuple[int, int]

    @cached_property
    def grid_hw(self) -> tuple[int, int]:
        return self.task.grid_hw(self.image_hw)

    @cached_property
    def xy(self) -> Float64[np.ndarray, "place xy=2"]:
        return self.task.grid_xy(self.image_hw).reshape(-1, 2)


class _Scene:
    """A reconstruction, in the camera of the first frame shown.

    Where a long clip was cut into worlds of their own, each is placed at the last camera of the one
    before, in its own unit: the best that can be said of such a cut where there is none.
    """

    def __init__(self, rec: "Reconstruction") -> None:
        self.rec = rec
        self.world_from_camera = np.asarray(rec.world_from_camera, np.float64).copy()
        # The first world from that of each frame's segment; None where they are one.
        self._placed: Float64[np.ndarray, "frame 4 4"] | None = None
        if len(rec.segments) > 1:
            self._placed = np.tile(np.eye(4), (rec.frame_count, 1, 1))
            for segment in rec.segments[1:]:
                frames = slice(segment.start, segment.stop)
                self._placed[frames] = self.world_from_camera[segment.start - 1]
                self.world_from_camera[frames] = (
                    self._placed[frames] @ self.world_from_camera[frames]
                )

    def maps(
        self, wanted: Sequence[tuple[int, int]], asked: _Asked
    ) -> tuple[Float32[np.ndarray, "map row column xyz=3"], Float32[np.ndarray, "map row column"]]:
        """Points and confidence of maps (source, time); frames of one time are decoded together."""
        from dynapoint.results.scene_maps import maps_of_frames  # noqa: PLC0415

        points = np.empty((len(wanted), *asked.grid_hw, 3), np.float32)
        confidence = np.empty((len(wanted), *asked.grid_hw), np.float32)
        for time in sorted({time for _, time in wanted}):
            places = [place for place, (_, at) in enumerate(wanted) if at == time]
            sources = sorted({wanted[place][0] for place in places})
            if len(sources) > 1:
                # They stay in the decoder's cache, from which the queries take them.
                maps_of_frames(self.rec, sources, time)
            for place in places:
                source = wanted[place][0]
                found = self.rec.query(frame=source, xy=asked.xy, time=time)
                points[place] = self._in_first(found.points, source).reshape(points.shape[1:])
                confidence[place] = found.confidence.reshape(asked.grid_hw)
        return points, confidence

    def depth(self, asked: _Asked) -> Float32[np.ndarray, "frame row column"]:
        """Depth of every frame at its own time, in its own camera."""
        frames = [
            self.rec.query(frame=frame, xy=asked.xy, time=frame, camera=frame).points[:, 2]
            for frame in range(self.rec.frame_count)
        ]
        return np.stack(frames).reshape(-1, *asked.grid_hw)

    def tracks(
        self, xy: Sequence[tuple[float, float]]
    ) -> tuple[Float32[np.ndarray, "frame track xyz=3"], Bool[np.ndarray, "frame track"]]:
        """Places of the first frame at all times, and whether they are seen."""
        found = self.rec.query(frame=0, xy=np.array(xy, np.float64))
        return found.points, found.visible > _SEEN

    def moving(self, asked: _Asked) -> Bool[np.ndarray, "frame row column"]:
        """What moves at any time, read at the map pixel that holds each place."""
        from dynapoint.reductions.segmentation import segment_clip  # noqa: PLC0415
        from dynapoint.results.asking import as_tensor, frames_in_span, span_of  # noqa: PLC0415

        rec = self.rec
        masks = np.zeros((rec.frame_count, *asked.grid_hw), bool)
        if rec.frame_count == 1:
            return masks
        for frame, points, confidence in frames_in_span(rec, range(rec.frame_count)):
            found = segment_clip(
                points,
                own_time=frame - span_of(rec, frame).start,
                world_from_camera=as_tensor(rec.world_from_camera[frame].astype(np.float32)),
                confidence=confidence,
            )
            column, row = np.floor(rec.pixel_map.to_map(frame, asked.xy)).astype(int).T
            moves = found.probability.numpy() > _MOVES
            masks[frame] = moves[row, column].reshape(asked.grid_hw)
        return masks

    def _in_first(
        self, points: Float32[np.ndarray, "place xyz=3"], source: int
    ) -> Float32[np.ndarray, "place xyz=3"]:
        """Points of a frame, which are in the world of its segment."""
        if self._placed is None:
            return points
        moved = transform_points(self._placed[source], points.astype(np.float64))
        return moved.astype(np.float32)
