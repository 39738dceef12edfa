"""The published networks: V-DPM (arXiv 2601.09499) and VGGT (arXiv 2503.11651).

    images ─ patch tokens ─ aggregator ─ four levels ─┬─ point head ─────────────────── P
                                  │                   └─ decoder(target time) ─ point head ─ Q
                                  └─ camera tokens ─ camera head ─ cameras

The public code computes every frame at every time. Here a target time, a frame, a level are
computed when they are wanted, with the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dynapoint.errors import ModelError, ShapeError
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.layers.compute import autocast, in_parts, joined
from dynapoint.models.layers.dpt_head import DptHead
from dynapoint.models.layers.pose_encoding import intrinsics_px
from dynapoint.models.layers.tokens import check_sides
from dynapoint.models.protocol import PLAIN, EncodeRequest, ModelInfo
from dynapoint.models.vggt.config import PublishedConfig
from dynapoint.models.vggt.level_decoder import LevelDecoder
from dynapoint.models.vggt.parts import POINT_OUTPUTS, DepthMaps, VggtParts, point_maps, poses
from dynapoint.types import Cameras, PointMaps


@dataclass(frozen=True, kw_only=True)
class TimedPointMaps:
    """`points[frame i, time t]` for some frames and some times, in the camera of frame 0."""

    points: Float[Tensor, "batch time frame height width xyz=3"]
    confidence: Float[Tensor, "batch time frame height width"]


@dataclass(frozen=True, kw_only=True)
class PublishedEncoding:
    """All that does not depend on the target time.

    `encodings` are the camera head's answers of all iterations in the camera of the reference
    frame; everything else is in the camera of frame 0, to which `first_from_reference` leads where
    the reference is another frame. `levels` feed the decoder and the head.
    """

    own_time: PointMaps
    cameras: Cameras
    encodings: Float[Tensor, "iteration batch frame 9"]
    depth: DepthMaps | None
    levels: tuple[Float[Tensor, "batch frame token double_width"], ...]
    first_from_reference: Float[Tensor, "batch 4 4"] | None
    image_hw: tuple[int, int]


class PublishedNetwork(VggtParts):
    """V-DPM or VGGT, built from a `PublishedConfig`.

    State names are the published ones, but for the patch embedding and the decoder's blocks
    (models/vggt/key_maps.py).
    """

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__(config)
        width = config.aggregator.width
        decoder = config.decoder
        self.decoder = (
            LevelDecoder(decoder, width=2 * width, rope_base=config.aggregator.rope_base)
            if decoder is not None and decoder.conditioning != "head"
            else None
        )
        self.time_head = (
            DptHead(config.head, token_width=2 * width, outputs=POINT_OUTPUTS, condition=2 * width)
            if decoder is not None and decoder.conditioning == "head"
            else None
        )

        if self.time_head is not None:
            # The modulation, which the point head lacks, starts as the identity.
            self.time_head.load_state_dict(self.point_head.state_dict(), strict=False)

    @property
    def info(self) -> ModelInfo:
        """What it is; it heeds the reference, and knows a still world unless it has a decoder."""
        still = self.config.decoder is None
        return replace(super().info, takes_reference=True, still_world=still)

    @property
    def time_decoder(self) -> nn.Module | None:
        """V-DPM's decoder; VGGT has none."""
        return self.decoder

    def encode(
        self,
        images: Float[Tensor, "batch frame rgb=3 height width"],
        request: EncodeRequest = PLAIN,
    ) -> PublishedEncoding:
        """Encode frames, RGB in [0, 1], in any order.

        Answers are in frame 0's camera; another reference leads there through the estimated
        cameras.

        Raises:
            ModelError: More is asked than the network takes.
            ShapeError: Sides do not fit the patches, or there is no such frame.
        """
        request.check(self.info, images.shape[1])
        reference = request.reference
        frames, _, height, width = images.shape[1:]
        check_sides((height, width), self.patch_size)
        if not 0 <= reference < frames:
            raise ShapeError(f"reference is {reference} but the frames are 0 to {frames - 1}")
        with autocast(images.device, self.options.precision):
            levels = self._levels(self._patches(images), self._grid((height, width)), reference)
        encodings = self._encodings(levels[-1][:, :, self.aggregator.layout.camera])
        identity = torch.eye(4, dtype=encodings.dtype, device=encodings.device)
        pose = poses(encodings[-1], reference)
        world_from_camera = invert_rigid(pose)
        own_time = point_maps(self._head(self.point_head, levels, range(frames), (height, width)))
        first = None
        if reference != 0:
            first = pose[:, 0]
            world_from_camera = first[:, None] @ world_from_camera
            world_from_camera[:, 0] = identity
            own_time = PointMaps(
                points=_moved(own_time.points, first), confidence=own_time.confidence
            )
        return PublishedEncoding(
            own_time=own_time,
            cameras=Cameras(
                world_from_camera=world_from_camera,
                intrinsics=intrinsics_px(encodings[-1], (height, width), clamped=False),
            ),
            encodings=encodings,
            depth=self._depth_maps(levels, (height, width)),
            levels=levels,
            first_from_reference=first,
            image_hw=(height, width),
        )

    def decode(self, encoded: PublishedEncoding, *, time: int, frames: Sequence[int]) -> PointMaps:
        """Place the pixels of `frames` where they are at `time`, in the camera of frame 0.

        For the target frame itself the result is its own-time map P; `decode_times` gives the
        decoder's view of it. VGGT knows a still world only: its maps are P at every time.
        """
        wanted = list(frames)
        points = encoded.own_time.points[:, wanted]
        confidence = encoded.own_time.confidence[:, wanted]
        others = [k for k, frame in enumerate(wanted) if frame != time]
        if others and self.config.decoder is not None:
            moved = self.decode_times(encoded, times=[time], frames=[wanted[k] for k in others])
            points[:, others] = moved.points[:, 0]
            confidence[:, others] = moved.confidence[:, 0]
        return PointMaps(points=points, confidence=confidence)

    def decode_times(
        self, encoded: PublishedEncoding, *, times: Sequence[int], frames: Sequence[int]
    ) -> TimedPointMaps:
        """Q: the pixels of all `frames` at all `times`, the diagonal by the decoder like the rest.

        Raises:
            ModelError: The network has no decoder.
            ShapeError: There are no such frames or times.
        """
        batch, count = encoded.levels[0].shape[:2]
        at_once = max(1, self._sequences_at_once(encoded) // (batch * len(encoded.levels)))
        if not times:
            raise ShapeError("no time was asked for; give at least one")

        def compute(part: range) -> PointMaps:
            moments = torch.tensor([times[k] for k in part], dtype=torch.long)
            targets = moments.repeat_interleave(batch)[:, None].expand(-1, count)
            return self.decode_views(encoded, targets, frames=frames)

        parts = [maps for _, maps in in_parts(len(times), at_once, compute)]
        points = joined([maps.points for maps in parts], dim=0)
        confidence = joined([maps.confidence for maps in parts], dim=0)
        return TimedPointMaps(
            points=points.unflatten(0, (len(times), batch)).transpose(0, 1),
            confidence=confidence.unflatten(0, (len(times), batch)).transpose(0, 1),
        )

    def decode_views(
        self,
        encoded: PublishedEncoding,
        targets: Int[Tensor, "repeated_batch frame"],
        *,
        frames: Sequence[int],
    ) -> PointMaps:
        """The pixels of `frames`, where every frame of an example may have its own target time.

        `targets` may hold a whole number of rows for every example, all examples in turn; the maps
        then have as many.

        Raises:
            ModelError: The network has no decoder.
            ShapeError: There are no such frames or times.
        """
        if self.config.decoder is None:
            raise ModelError(
                f"{self.config.name} cannot place points at other times; use vdpm, or nano"
            )
        batch, count = encoded.levels[0].shape[:2]
        times = sorted(set(targets.flatten().tolist()))
        if not frames or not times or min(*frames, *times) < 0 or max(*frames, *times) >= count:
            raise ShapeError(
                f"frames {list(frames)} at times {times}: give at least one of each, from 0 to "
                f"{count - 1}"
            )
        repeats = len(targets) // batch
        tokens_of_time = encoded.levels[-1][:, :, self.aggregator.layout.time]
        tokens_of_time = tokens_of_time.repeat(repeats, 1, 1)
        index = targets.to(tokens_of_time.device)[:, :, None].expand_as(tokens_of_time)
        conditions = tokens_of_time.gather(1, index)
        if self.time_head is not None:
            levels = [level.repeat(repeats, 1, 1, 1) for level in encoded.levels]
            raw = self._head(
                self.time_head, levels, frames, encoded.image_hw, conditions=conditions
            )
        else:
            with autocast(tokens_of_time.device, self.options.precision):
                moved = self._moved_levels(encoded, conditions, frames)
            raw = self._head(self.point_head, moved, range(len(frames)), encoded.image_hw)
        maps = point_maps(raw)
        if encoded.first_from_reference is None:
            return maps
        first = encoded.first_from_reference.repeat(repeats, 1, 1)
        return PointMaps(points=_moved(maps.points, first), confidence=maps.confidence)

    def _sequences_at_once(self, encoded: PublishedEncoding) -> int:
        frames, tokens = encoded.levels[0].shape[1:3]
        return self.options.decoder_tokens_at_once // (frames * tokens)

    def _moved_levels(
        self,
        encoded: PublishedEncoding,
        conditions: Float[Tensor, "repeated_batch frame double_width"],
        frames: Sequence[int],
    ) -> tuple[Float[Tensor, "repeated_batch wanted token double_width"], ...]:
        """All levels through the decoder, as many at once as the options say."""
        decoder, batch = self.decoder, len(conditions)
        assert decoder is not None
        repeats = batch // len(encoded.levels[0])
        at_once = max(1, self._sequences_at_once(encoded) // batch)

        def move(part: range) -> Tensor:
            return decoder(
                joined([encoded.levels[k].repeat(repeats, 1, 1, 1) for k in part], dim=0),
                conditions.repeat(len(part), 1, 1),
                specials=self.aggregator.layout.patch_start,
                grid_hw=self._grid(encoded.image_hw),
                frames=frames,
            )

        levels: list[Tensor] = []
        for _, moved in in_parts(len(encoded.levels), at_once, move):
            levels += moved.split(batch)
        return tuple(levels)


def _moved(
    points: Float[Tensor, "batch frame height width xyz=3"],
    first_from_reference: Float[Tensor, "batch 4 4"],
) -> Float[Tensor, "batch frame height width xyz=3"]:
    """Points in the camera of frame 0, from those in the camera of the reference frame."""
    rotation = first_from_reference[:, None, None, :3, :3]
    shift = first_from_reference[:, None, None, None, :3, 3]
    return points @ rotation.transpose(-1, -2) + shift
