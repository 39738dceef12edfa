"""Any pair network as a model of video: pairs of a graph, aligned; further pairs on demand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.errors import ShapeError
from dynapoint.geometry.similarity import split_similarity
from dynapoint.models.layers.compute import in_parts
from dynapoint.models.layers.precision import at_least_float32
from dynapoint.models.pairwise.alignment import AlignmentConfig, align
from dynapoint.models.pairwise.graph import PairGraphConfig, frame_pairs
from dynapoint.models.pairwise.observations import PairCollector, PairObservations, pixel_weight
from dynapoint.models.pairwise.placing import (
    full_resolution_depth,
    intrinsics_of,
    points_in_world,
)
from dynapoint.models.pairwise.pose import scale_between, second_camera
from dynapoint.models.pairwise.start import focal_lengths
from dynapoint.models.protocol import (
    PLAIN,
    EncodeRequest,
    ModelInfo,
    PairMaps,
    PairModel,
    info_of,
)
from dynapoint.progress import steps
from dynapoint.types import Cameras, PointMaps

_PAIRS_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class PairwiseEncoding:
    """What stays of a clip: the network's features of every frame, and the aligned answer.

    `direct` holds the maps of (0, 1) of a clip of two frames, which are its answers as they are;
    `loss` the objective's course where frames were aligned.
    """

    own_time: PointMaps
    cameras: Cameras
    features: Any
    direct: PairMaps | None = None
    loss: tuple[float, ...] = ()


class PairwiseVideo(nn.Module):
    """A `PointMapModel` made of a `PairModel`.

    `encode` encodes every frame once and decodes the pairs of the graph (190 for 24 frames with the
    default window): three and more frames are aligned, two are not (both orders of the one pair are
    decoded, but the points are those of (0, 1) as they are), and a single frame is paired with
    itself. `decode` decodes one pair for every frame that is not the target itself, whether the
    pair is in the graph or not, as the maps of the graph's pairs are not kept.

    Args:
        pair_model: The network.
        graph: Which pairs are aligned.
        alignment: How.
    """

    def __init__(
        self,
        pair_model: PairModel,
        *,
        graph: PairGraphConfig | None = None,
        alignment: AlignmentConfig | None = None,
    ) -> None:
        super().__init__()
        self.pair_model = pair_model
        self.graph = graph or PairGraphConfig()
        self.alignment = alignment or AlignmentConfig()

    @property
    def patch_size(self) -> int:
        """Sides of the images must be multiples of this."""
        return self.pair_model.patch_size

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        return self.pair_model.image_side

    @property
    def info(self) -> ModelInfo:
        """What the pair network says of itself; it shows progress and takes nothing else."""
        return replace(
            info_of(self.pair_model),
            takes_reference=False,
            takes_intrinsics=False,
            takes_queries=False,
        )

    @torch.no_grad()
    def encode(
        self,
        images: Float[Tensor, "batch frame rgb=3 height width"],
        request: EncodeRequest = PLAIN,
    ) -> PairwiseEncoding:
        """Encode frames, decode the graph's pairs and align them.

        Units are those of the pairs on geometric average; of two frames and of one, the network's.
        Confidence is the largest that any pair whose first frame it is gives a frame's own map; of
        two frames that of their maps in the pair (0, 1).

        Raises:
            ModelError: The maps of some frame have no finite point, memory does not suffice, or
                more is asked than a network for pairs takes.
            ShapeError: There is more than one clip, or the sides do not fit the network's patches.
        """
        request.check(self.info, images.shape[1])
        if images.ndim != 5 or images.shape[0] != 1:
            raise ShapeError(
                f"images have shape {tuple(images.shape)}; pairs are aligned for one clip at a "
                "time, (1, frame, 3, height, width)"
            )
        count, image_hw = images.shape[1], (images.shape[-2], images.shape[-1])
        features = self.pair_model.encode_frames(images[0])
        pairs = frame_pairs(count, self.graph)
        stride = self.alignment.pixel_stride if count > 2 else 1
        collector = PairCollector(pairs, count, stride=stride)
        first_maps = self._collect(features, pairs, collector, progress=request.progress)
        given = collector.observations()
        if count <= 2:
            return self._unaligned(features, given, collector, first_maps)
        aligned = align(given, self.alignment, progress=request.progress)
        depth = full_resolution_depth(aligned.depth, given, collector.own_points[..., 2])
        intrinsics = intrinsics_of(aligned.focal_px, image_hw)
        points = points_in_world(depth, aligned.world_from_camera, intrinsics)
        return PairwiseEncoding(
            own_time=PointMaps(points=points[None], confidence=collector.own_confidence[None]),
            cameras=Cameras(
                world_from_camera=aligned.world_from_camera[None], intrinsics=intrinsics[None]
            ),
            features=features,
            loss=aligned.loss,
        )

    @torch.no_grad()
    def decode(self, encoded: PairwiseEncoding, *, time: int, frames: Sequence[int]) -> PointMaps:
        """Place the pixels of `frames` where they are at `time`, in the camera of frame 0.

        For three and more frames the pair (i, time) is decoded for every frame i but the target:
        P_i(t_time) - P_i(t_i), both in camera i, is how far its pixels move. That is brought to the
        clip's scale by the median ratio of the aligned depth to that of P_i(t_i), turned by the
        aligned pose of i and added to the aligned own-time map, so that what the pair says of the
        other camera does not matter. Confidence is that of P_i(t_time) in the pair.

        Raises:
            ShapeError: There is no such frame or time.
        """
        count = encoded.own_time.points.shape[1]
        if not frames or min(*frames, time) < 0 or max(*frames, time) >= count:
            raise ShapeError(
                f"frames {list(frames)} at time {time}: give at least one frame, from 0 to "
                f"{count - 1}"
            )
        points = encoded.own_time.points[:, list(frames)].clone()
        confidence = encoded.own_time.confidence[:, list(frames)].clone()
        others = [k for k, frame in enumerate(frames) if frame != time]
        if encoded.direct is not None:
            for k in others:
                points[0, k] = encoded.direct.points[0, time, frames[k]]
                confidence[0, k] = encoded.direct.confidence[0, time, frames[k]]
            return PointMaps(points=points, confidence=confidence)
        pairs = [(frames[k], time) for k in others]
        for part, maps in self._decoded(encoded.features, pairs):
            for k, pair_points, pair_confidence in zip(
                others[part.start : part.stop],
                at_least_float32(maps.points),
                at_least_float32(maps.confidence),
                strict=True,
            ):
                points[0, k] += _displacement(
                    pair_points[:, 0], pair_confidence[0, 0], encoded, frames[k]
                )
                confidence[0, k] = pair_confidence[1, 0]
        return PointMaps(points=points, confidence=confidence)

    def _decoded(self, features: Any, pairs: Sequence[tuple[int, int]]) -> Any:
        """Ranges of pairs and their maps, a few at a time."""

        def compute(part: range) -> PairMaps:
            chosen = pairs[part.start : part.stop]
            return self.pair_model.decode_frame_pairs(
                features,
                firsts=[first for first, _ in chosen],
                seconds=[second for _, second in chosen],
            )

        return in_parts(len(pairs), _PAIRS_AT_ONCE, compute)

    def _collect(
        self,
        features: Any,
        pairs: Sequence[tuple[int, int]],
        collector: PairCollector,
        *,
        progress: bool,
    ) -> PairMaps:
        """Decode all pairs into a collector; returns the maps of the first pair."""
        first: PairMaps | None = None
        parts = math.ceil(len(pairs) / _PAIRS_AT_ONCE)
        decoded = self._decoded(features, pairs)
        for _, maps in steps(decoded, "some pairs", total=parts, wanted=progress):
            collector.add(maps)
            if first is None:
                first = PairMaps(
                    points=at_least_float32(maps.points[:1]).clone(),
                    confidence=at_least_float32(maps.confidence[:1]).clone(),
                )
        assert first is not None
        return first

    def _unaligned(
        self,
        features: Any,
        given: PairObservations,
        collector: PairCollector,
        first: PairMaps,
    ) -> PairwiseEncoding:
        """One or two frames: the first pair's own-time maps as they are, and cameras for them."""
        count = given.frame_count
        focals = focal_lengths(given, share=self.alignment.share_focal)
        poses = torch.eye(4, dtype=torch.float64, device=focals.device).repeat(count, 1, 1)
        if count == 2:
            seen, own = given.points[0, 1].flatten(1).T, given.own_points[1].flatten(1).T
            weight = given.weight[0, 1].minimum(given.own_weight[1]).flatten()
            similarity = second_camera(
                seen, own, weight, given.centred_xy.flatten(1).T, float(focals[1])
            )
            poses[1] = split_similarity(similarity[None])[1][0]
        dtype = first.points.dtype
        intrinsics = intrinsics_of(focals.to(dtype), given.image_hw)
        own_maps = [first.points[0, frame, frame] for frame in range(count)]
        own_confidence = [first.confidence[0, frame, frame] for frame in range(count)]
        return PairwiseEncoding(
            own_time=PointMaps(
                points=torch.stack(own_maps)[None], confidence=torch.stack(own_confidence)[None]
            ),
            cameras=Cameras(world_from_camera=poses.to(dtype)[None], intrinsics=intrinsics[None]),
            features=features,
            direct=first if count == 2 else None,
        )


def _displacement(
    points: Float[Tensor, "time=2 height width xyz=3"],
    confidence: Float[Tensor, "height width"],
    encoded: PairwiseEncoding,
    frame: int,
) -> Float[Tensor, "height width xyz=3"]:
    """How far a frame's pixels move in the world, from a pair's maps of it in its own camera."""
    pose = encoded.cameras.world_from_camera[0, frame]
    own = encoded.own_time.points[0, frame].flatten(0, 1)
    in_camera = (own - pose[:3, 3]) @ pose[:3, :3]
    weight = pixel_weight(points[0], confidence).flatten()
    scale = scale_between(points[0].flatten(0, 1), in_camera, weight).to(points)
    return (points[1] - points[0]) @ (scale * pose[:3, :3].T)
