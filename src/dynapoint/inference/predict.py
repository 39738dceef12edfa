"""Running a network over frames: encode once, decode the times asked for."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor, nn

from dynapoint.data.between import Between
from dynapoint.data.frames import Frames
from dynapoint.errors import ModelError
from dynapoint.inference.asking import on_device, request_of
from dynapoint.inference.cleaning import (
    clean_intrinsics,
    clean_maps,
    clean_own_time,
    clean_poses,
)
from dynapoint.inference.finer import agreeing_answer
from dynapoint.inference.known_cameras import KnownCameras, poses_of_known_cameras
from dynapoint.inference.lens import LensRule, with_square_lens
from dynapoint.inference.prepare import (
    Preparation,
    PreparedImages,
    ignored_pixels,
    prepare_images,
)
from dynapoint.inference.refining import (
    CleanedAnswer,
    pictures_to_measure,
    read_only,
)
from dynapoint.inference.storing import store_network
from dynapoint.models.kept.finer_maps import doubted
from dynapoint.models.kept.placed_encoding import PlacedEncoding
from dynapoint.models.layers.compute import is_out_of_memory, is_small
from dynapoint.models.protocol import (
    EncodeRequest,
    ModelInfo,
    PointMapDecoder,
    PointMapModel,
    encode,
    info_of,
)
from dynapoint.progress import begin
from dynapoint.results.on_disk.manifest import NetworkEntry
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.threads import chosen_threads, computing
from dynapoint.types import PointMaps

# Decoded maps are kept up to this many bytes; older ones are decoded again when asked for.
_CACHE_BYTES = 512 * 1024**2


class NetworkDecoder:
    """Decodes further (frame, time) on demand and keeps what it decoded, within bounds.

    Frames of equal time share the first of them as target, and answer each other's time with their
    own-time maps: points depend on the frame and on the time alone (docs/conventions.md).
    """

    def __init__(
        self,
        model: PointMapDecoder,
        encoded: Any,
        own_time_points: Float32[np.ndarray, "frame height width xyz=3"],
        own_time_confidence: Float32[np.ndarray, "frame height width"],
    ) -> None:
        self._model = model
        self._small = is_small(model)
        self._placed = PlacedEncoding.of(encoded, len(own_time_points))
        self.own_time_points = own_time_points
        self._own_time_confidence = own_time_confidence
        self._kept: OrderedDict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = OrderedDict()
        bytes_per_map = own_time_points[0].nbytes + own_time_confidence[0].nbytes
        self._room = _CACHE_BYTES // max(1, bytes_per_map)

    def decode(
        self, frames: Sequence[int], time: int, *, keep: bool = True
    ) -> list[
        tuple[Float32[np.ndarray, "height width xyz=3"], Float32[np.ndarray, "height width"]]
    ]:
        """For each of `frames`, finite points (world) and confidence of its pixels at `time`.

        Points that the network does not give as finite numbers stay where they are at the frame's
        own time, with confidence 0; so has what is not to be trusted at its own time.

        Args:
            frames: Indices of the frames; those not kept from before are decoded together.
            time: Index of the time.
            keep: Whether the answer is to be kept in case it is asked for again.

        Raises:
            ModelError: Memory does not suffice.
        """
        time = int(self._placed.target_of_frame[time])
        known = {frame: self._kept[frame, time] for frame in frames if (frame, time) in self._kept}
        for frame in known:
            self._kept.move_to_end((frame, time))
        fresh = self._decode([frame for frame in frames if frame not in known], time)
        if keep:
            self._kept.update({(frame, time): maps for frame, maps in fresh.items()})
            while len(self._kept) > self._room:
                self._kept.popitem(last=False)
        known.update(fresh)
        return [known[frame] for frame in frames]

    @property
    def placed(self) -> PlacedEncoding:
        """What the network keeps of the clip, and what became of it since."""
        return self._placed

    def store(self, folder: Path) -> NetworkEntry | None:
        """Write the network and what it keeps of the clip; None unless `load_model` made it.

        Raises:
            ModelError: The model's card does not name a kind of what is to be kept.
            OSError: `folder` cannot be written to.
        """
        source = info_of(self._model).source
        return None if source is None else store_network(self._placed, source, folder)

    def scaled(self, factor: float) -> "NetworkDecoder":
        """The same with all points multiplied by a factor."""
        return NetworkDecoder(
            self._model,
            self._placed.scaled(factor),
            read_only(self.own_time_points * np.float32(factor)),
            self._own_time_confidence,
        )

    def _decode(self, frames: list[int], time: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        decoded = {
            frame: (self.own_time_points[frame], self._own_time_confidence[frame])
            for frame in frames
            if int(self._placed.target_of_frame[frame]) == time
        }
        frames = [frame for frame in frames if frame not in decoded]
        if not frames:
            return decoded
        threads = computing(chosen_threads(small=self._small))
        with torch.inference_mode(), _advice_on_memory(f"to decode time {time}"), threads:
            maps = self._model.decode(self._placed.encoded, time=time, frames=frames)
            if not isinstance(maps, PointMaps):
                raise ModelError(
                    f"decode of model {info_of(self._model).name} gave a {type(maps).__name__}; "
                    "make it dynapoint.PointMaps"
                )
            all_points, all_confidence = _to_numpy(maps.points)[0], _to_numpy(maps.confidence)[0]
        for k, frame in enumerate(frames):
            points, confidence = self._placed_maps(all_points[k], all_confidence[k], frame, time)
            confidence[self._own_time_confidence[frame] == 0] = 0.0
            decoded[frame] = points, confidence
        return decoded

    def _placed_maps(
        self,
        points: Float32[np.ndarray, "rows columns xyz=3"],
        confidence: Float32[np.ndarray, "rows columns"],
        frame: int,
        time: int,
    ) -> tuple[Float32[np.ndarray, "height width xyz=3"], Float32[np.ndarray, "height width"]]:
        """What the network says of a frame at a time: in the scene's world, as fine as its maps."""
        correction, finer = self._placed.correction, self._placed.finer
        fallback = self._network_points(frame)
        points, confidence = clean_maps(self._placed.moved(points), confidence, fallback)
        if correction is not None and correction.still_motion is not None:
            points, left = correction.carried(self._coarse_points, frame=frame, time=time)
            confidence = confidence * left
        elif correction is not None:
            points = correction.placed(
                points - fallback, self._coarse_points, frame=frame, time=time
            )
        if finer is None:
            return points, confidence
        moved = finer.carried(points - finer.own_points(frame), frame)
        return self.own_time_points[frame] + moved, doubted(confidence, finer.hw)

    @property
    def _coarse_points(self) -> Float32[np.ndarray, "frame rows columns xyz=3"]:
        """Own-time maps of the network's size, corrected if anything was."""
        finer = self._placed.finer
        return self.own_time_points if finer is None else finer.points.cpu().numpy()

    def _network_points(self, frame: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """The network's own-time map of a frame, before anything was corrected, all of it finite.

        Where the network gave none, what stands in for it is of no matter: there the network's
        points at other times are displaced from it by nothing, or are not trusted.
        """
        if self._placed.correction is None:
            return self._coarse_points[frame]
        raw = _to_numpy(self._placed.encoded.own_time.points[:, frame])[0]
        ones = np.ones(raw.shape[:2], dtype=np.float32)
        return clean_maps(self._placed.moved(raw), ones, self._coarse_points[frame])[0]


def predict(
    frames: Frames,
    model: PointMapModel,
    *,
    info: ModelInfo,
    prepare: Preparation = "default",
    reference: int = 0,
    known: KnownCameras | None = None,
    lens: LensRule = "shared",
    focal_px: float | None = None,
    poses: Float64[np.ndarray, "frame 4 4"] | None = None,
    refine: bool = False,
    between: Callable[[], Between] | None = None,
    progress: bool = False,
) -> Reconstruction:
    """Reconstruct frames; raises what `pipeline.reconstruct_frames` does.

    Args:
        frames: All of them.
        model: A network in evaluation mode.
        info: What it says of itself (`protocol.info_of`).
        prepare: See `inference.prepare`.
        reference: The frame in whose camera the network works, where it leaves a choice.
        known: Cameras that are known: pictures are undistorted, and poses solved again.
        lens: Whether frames of one size have one lens, where it is not known.
        focal_px: In pixels of the pictures, where other frames told it; it stays as it is.
        poses: Of the cameras, where other frames told them; for refinement.
        refine: Whether the answer is to agree with pictures (`inference.refining`, `finer`).
        between: Gives the pictures between the frames.
        progress: Whether the network and the result show it.
    """
    prepared = _prepared(frames, model, info, prepare, known)
    pixel_map, found = prepared.pixel_map, None
    one_lens = lens == "shared" and frames.sizes_hw is None
    request = request_of(frames, pixel_map, known, info, reference=reference)
    encoded = _encode(model, prepared, replace(request, progress=progress))
    answer = _cleaned(encoded, frames, pixel_map, known, info.name)
    if known is None:
        answer = with_square_lens(answer, pixel_map, shared=one_lens, focal_px=focal_px)
    if refine:
        posed = answer.world_from_camera if known is not None and known.posed else poses
        told: Any = {"known_lens": (known, focal_px) != (None, None), "poses": posed}
        told |= {"one_lens": one_lens, "between": between, "still_world": info.still_world}
        answer, pixel_map, found = agreeing_answer(answer, frames, pixel_map, **told)
    return Reconstruction(
        frames=frames,
        world_from_camera=answer.world_from_camera,
        intrinsics=_in_pictures(answer, pixel_map, known),
        own_time_points=answer.points,
        own_time_confidence=answer.confidence,
        pixel_map=pixel_map,
        decoder=NetworkDecoder(model, answer.placed, answer.points, answer.confidence),
        model_name=info.name,
        weights_sha256=info.weights_sha256,
        progress=progress,
        refinement=found,
        pictures=pictures_to_measure(frames, pixel_map) if refine and frames.count > 1 else None,
        settings=settings_of(model, info, known, prepare, lens) | {"reference": reference},
        calibration=info.calibration,
    )


def _prepared(
    frames: Frames,
    model: PointMapModel,
    info: ModelInfo,
    prepare: Preparation,
    known: KnownCameras | None,
) -> PreparedImages:
    """Frames at a network's size."""
    return prepare_images(
        frames,
        how=prepare,
        lenses=None if known is None else known.lenses,
        image_side=model.image_side,
        patch_size=model.patch_size,
        published=info.published_images,
    )


def _in_pictures(
    answer: CleanedAnswer, pixel_map: PixelMap, known: KnownCameras | None
) -> Float64[np.ndarray, "frame 3 3"]:
    """Intrinsics in pixels of the pictures."""
    if known is not None and known.lenses is not None:
        # To the last bit those with which pictures are undistorted, as an opened scene has them.
        return known.intrinsics
    return np.linalg.inv(pixel_map.map_from_image) @ answer.map_intrinsics


def _cleaned(
    encoded: Any,
    frames: Frames,
    pixel_map: PixelMap,
    known: KnownCameras | None,
    model_name: str,
) -> CleanedAnswer:
    """Cameras and own-time maps: finite, rigid, doubted where asked, for lenses that can be."""
    raw_points = _to_numpy(encoded.own_time.points)[0]
    if raw_points.shape != (frames.count, *pixel_map.map_hw, 3):
        raise ModelError(
            f"model {model_name} gave maps of shape {raw_points.shape} for {frames.count} images "
            f"of {pixel_map.map_hw}; its maps must have the size of its images"
        )
    poses = clean_poses(_to_numpy(encoded.cameras.world_from_camera)[0])
    predicted = clean_intrinsics(_to_numpy(encoded.cameras.intrinsics)[0], pixel_map.map_hw)
    map_intrinsics = predicted
    if known is not None:
        map_intrinsics = pixel_map.map_from_image @ known.intrinsics
    points, confidence = clean_own_time(
        raw_points,
        _to_numpy(encoded.own_time.confidence)[0],
        world_from_camera=poses,
        intrinsics=map_intrinsics,
        pixel_map=pixel_map,
    )
    if frames.ignore is not None:
        confidence = np.where(ignored_pixels(frames, pixel_map), np.float32(0), confidence)
    placed = replace(
        PlacedEncoding.of(encoded, frames.count),
        target_of_frame=torch.from_numpy(frames.target_of_frame),
    )
    if known is not None and not known.posed:
        poses, world_from_network = poses_of_known_cameras(
            points, confidence, map_intrinsics, poses
        )
        placed = replace(placed, world_from_network=torch.from_numpy(world_from_network))
        points = placed.moved(points)
    return CleanedAnswer(
        world_from_camera=poses,
        network_intrinsics=predicted,
        map_intrinsics=map_intrinsics,
        points=read_only(points),
        confidence=read_only(confidence),
        placed=placed,
    )


def settings_of(
    model: PointMapModel, info: ModelInfo, known: object, prepare: Preparation, lens: LensRule
) -> dict[str, str]:
    """Where a network computes and in what, and what it was given."""
    settings = {"device": str(device_of(model)), "precision": info.precision}
    settings |= {"prepare": prepare, "lens": lens}
    if isinstance(known, KnownCameras) and known.posed:
        settings |= {"poses": "given"}
    return settings if known is None else settings | {"intrinsics": "given"}


def _encode(model: PointMapModel, prepared: PreparedImages, request: EncodeRequest) -> Any:
    """Encode images on the device of the network."""
    begin("network")
    images, device = prepared.images, device_of(model)
    count, _, height, width = images.shape[1:]
    with torch.inference_mode(), _advice_on_memory(f"for {count} frames of {width}x{height}"):
        return encode(model, images.to(device), on_device(request, device))


@contextmanager
def _advice_on_memory(what: str) -> Iterator[None]:
    """Answer a lack of memory in one line.

    Raises:
        ModelError: Memory did not suffice.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"memory does not suffice {what}; use fewer frames (--frames, frames=)"
        ) from error


def device_of(model: object) -> torch.device:
    """The device of a network's weights; the CPU for anything without weights."""
    if isinstance(model, nn.Module):
        for parameter in model.parameters():
            return parameter.device
    return torch.device("cpu")


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """A tensor's values as float32 on the host, without a copy where they are that."""
    return tensor.detach().to("cpu", torch.float32).numpy()
