"""The video network: encode the frames once, decode any time.

    images ─ stem ─┬─ patches ─ aggregator ─ tokens ─┬─ dense head ─ log distance ─┐
                   │                │                └─ camera head ─ cameras ─────┴─ P
                   └─ quarter map ──┴─ matcher ─ matches ─ hints ─┐
                                      tokens, target time ─ time decoder ─ motion head ─ Q = P + D

Own-time maps are factored: a distance along each pixel's ray, placed by the frame's camera, so that
maps and cameras agree exactly. The motion head starts at zero, so decoding starts as exactly P.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.errors import ShapeError
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.layers.aggregator import Aggregated, Aggregator
from dynapoint.models.layers.attention import RotaryPositions
from dynapoint.models.layers.camera_head import CameraHead
from dynapoint.models.layers.frame_index import frame_index
from dynapoint.models.layers.pose_encoding import camera_from_world, intrinsics_px
from dynapoint.models.layers.precision import at_least_float32
from dynapoint.models.layers.tokens import TokenLayout
from dynapoint.models.nano.clip_cameras import first_is_identity, pose_encodings
from dynapoint.models.nano.config import NetworkConfig
from dynapoint.models.nano.dense_head import DenseHead, confidence_from_logits, join_confidences
from dynapoint.models.nano.matching import CELL_PX, Matcher
from dynapoint.models.nano.motion_hints import (
    HINT_CHANNELS,
    MotionHints,
    PairGeometry,
    motion_hints,
)
from dynapoint.models.nano.placing import at_cells, place, to_cells, to_pixels
from dynapoint.models.nano.stem import StemFeatures, build_stem
from dynapoint.models.nano.time_decoder import TimeDecoder
from dynapoint.models.network import Network
from dynapoint.models.protocol import PLAIN, EncodeRequest, ModelInfo
from dynapoint.types import Cameras, PointMaps

LOG_DISTANCE_LIMIT = 5.0


@dataclass(frozen=True, kw_only=True)
class VideoEncoding:
    """All that does not depend on the target time. Fields after `encodings` feed the decoder."""

    own_time: PointMaps
    cameras: Cameras
    camera_from_world: Float[Tensor, "batch frame 4 4"]
    encodings: Float[Tensor, "iteration batch frame 9"]
    log_distance: Float[Tensor, "batch frame height width"]
    log_confidence: Float[Tensor, "batch frame height width"]
    tokens: Float[Tensor, "batch frame token double_width"]
    positions: RotaryPositions
    stem: StemFeatures
    descriptors: Float[Tensor, "batch frame cell descriptor"]

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of the network's images."""
        height, width = self.own_time.confidence.shape[-2:]
        return height, width


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Raw answers of the decoder for source-target pairs, before own-time maps are put in.

    `displacement` is D = Q − P in the world; `log_confidence` is that of D alone.
    """

    displacement: Float[Tensor, "batch pair height width xyz=3"]
    log_confidence: Float[Tensor, "batch pair height width"]


class VideoPointMapNetwork(Network):
    """V-DPM in small, and what the small networks of the other two systems share with it.

    Subclasses say how frames become tokens (`_aggregate`) and how tokens come to know the target
    time (`_moved_tokens`).
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.aggregator.width
        stem = config.stem
        self.stem = build_stem(stem, width)
        self._add_backbone()
        self.matcher = Matcher(config.matcher, stem.quarter_width, width)
        self.geometry_head = DenseHead(
            config.head,
            token_width=2 * width,
            stem_half=stem.half_width,
            stem_quarter=stem.quarter_width,
            outputs=1,
        )
        self.camera_head = CameraHead(config.camera, 2 * width)
        self.decoder: TimeDecoder | None = None
        if config.decoder is not None:
            self.hint_to_tokens = nn.Conv2d(HINT_CHANNELS, width, 4, stride=2, padding=1)
            self.decoder = TimeDecoder(config.decoder, width=width, condition=2 * width)
        # Five outputs: how far to trust the two displacements that matches give, and a correction.
        self.motion_head = DenseHead(
            config.head,
            token_width=width,
            stem_half=stem.half_width,
            stem_quarter=stem.quarter_width,
            outputs=5,
            extra=HINT_CHANNELS,
        )

    def _add_backbone(self) -> None:
        self.aggregator = Aggregator(self.config.aggregator)

    @property
    def layout(self) -> TokenLayout:
        """Where the special tokens of a frame sit."""
        return self.aggregator.layout

    @property
    def patch_size(self) -> int:
        """Sides of the images must be multiples of this."""
        return self.config.stem.patch_size

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        return self.config.image_side

    @property
    def info(self) -> ModelInfo:
        """What it is; it heeds the pixels' aspect."""
        return ModelInfo(name=self.config.name, source=self.source)

    @property
    def time_decoder(self) -> nn.Module | None:
        """The decoder of V-DPM's kind; the other two systems have none."""
        return self.decoder

    def encode(
        self,
        images: Float[Tensor, "batch frame rgb=3 height width"],
        request: EncodeRequest = PLAIN,
    ) -> VideoEncoding:
        """Encode frames, RGB in [0, 1].

        Raises:
            ModelError: More is asked than the network takes.
            ShapeError: Sides do not fit the patches.
        """
        request.check(self.info, images.shape[1])
        stem, patches = self._patches(images)
        return self._finish(
            stem,
            self._aggregate(patches, stem.grid_hw),
            (images.shape[-2], images.shape[-1]),
            pixel_aspect=request.pixel_aspect,
        )

    def _patches(
        self, images: Float[Tensor, "batch frame rgb=3 height width"]
    ) -> tuple[StemFeatures, Float[Tensor, "batch frame patch channels"]]:
        """The stem's maps and the patch tokens; raises ShapeError where sides do not fit."""
        batch, frames, _, height, width = images.shape
        patch = self.patch_size
        if height % patch or width % patch or min(height, width) < 2 * patch:
            raise ShapeError(
                f"image sides must be multiples of {patch} and at least {2 * patch}, "
                f"got {height} × {width}; resize the images first"
            )
        stem = self.stem(images.flatten(0, 1))
        return stem, stem.patches.flatten(2).transpose(1, 2).unflatten(0, (batch, frames))

    def _aggregate(
        self, patches: Float[Tensor, "batch frame patch channels"], grid_hw: tuple[int, int]
    ) -> Aggregated:
        """Tokens for matching, and the last ones."""
        keep = (self.config.matcher.after_pair - 1, self.config.aggregator.depth - 1)
        aggregated: Aggregated = self.aggregator(patches, grid_hw, keep=keep)
        return aggregated

    def _finish(
        self,
        stem: StemFeatures,
        aggregated: Aggregated,
        image_hw: tuple[int, int],
        *,
        pixel_aspect: float = 1.0,
    ) -> VideoEncoding:
        """Own-time maps, cameras and descriptors from tokens."""
        early, tokens = aggregated.layers[0], aggregated.layers[-1]
        batch, frames = tokens.shape[:2]
        layout = self.layout
        channels = self.config.aggregator.width
        early_map = layout.patches(early)[..., :channels].flatten(0, 1)
        descriptors = self.matcher.describe(
            stem, early_map.transpose(1, 2).unflatten(2, stem.grid_hw)
        ).unflatten(0, (batch, frames))
        stem = stem.without_encoder()
        values, log_confidence = self.geometry_head(
            layout.patches(tokens).flatten(0, 1),
            stem.grid_hw,
            quarter=stem.quarter,
            half=stem.half,
        )
        log_distance = at_least_float32(values.squeeze(1)).unflatten(0, (batch, frames))
        log_distance = log_distance.clamp(-LOG_DISTANCE_LIMIT, LOG_DISTANCE_LIMIT)
        encodings = pose_encodings(
            self.camera_head,
            self.matcher,
            camera_tokens=tokens[:, :, layout.camera],
            log_distance=log_distance,
            descriptors=descriptors,
            pixel_aspect=pixel_aspect,
        )
        pose = first_is_identity(camera_from_world(encodings[-1]))
        intrinsics = intrinsics_px(
            encodings[-1],
            image_hw,
            square_pixels=self.config.camera.square_pixels,
            pixel_aspect=pixel_aspect,
        )
        points = place(log_distance, pose, intrinsics)
        log_confidence = at_least_float32(log_confidence).unflatten(0, (batch, frames))
        return VideoEncoding(
            own_time=PointMaps(points=points, confidence=confidence_from_logits(log_confidence)),
            cameras=Cameras(world_from_camera=invert_rigid(pose), intrinsics=intrinsics),
            camera_from_world=pose,
            encodings=encodings,
            log_distance=log_distance,
            log_confidence=log_confidence,
            tokens=tokens,
            positions=aggregated.positions,
            stem=stem,
            descriptors=descriptors,
        )

    def decode_pairs(
        self, encoded: VideoEncoding, *, sources: Sequence[int], targets: Sequence[int]
    ) -> Decoded:
        """Displacements of the pixels of frames `sources[k]` to times of frames `targets[k]`."""
        (batch, frames), pairs = encoded.tokens.shape[:2], len(sources)
        source = frame_index(sources, encoded.tokens.device)
        target = frame_index(targets, encoded.tokens.device)
        hints = self._hints(encoded, source, target)
        moved = self._moved_tokens(encoded, list(sources), list(targets), hints)

        def of_sources(maps: Tensor) -> Tensor:
            return maps.unflatten(0, (batch, frames))[:, source].flatten(0, 1)

        quarter = of_sources(encoded.stem.quarter)
        values, log_confidence = self.motion_head(
            self.layout.patches(moved).flatten(0, 1),
            encoded.stem.grid_hw,
            quarter=torch.cat([quarter, hints.features.to(quarter.dtype)], dim=1),
            half=of_sources(encoded.stem.half),
        )
        values = at_least_float32(values)
        lateral, inward = to_pixels(hints.lateral), to_pixels(hints.inward)
        relative = values[:, :1] * lateral + values[:, 1:2] * inward + values[:, 2:]
        distance = encoded.log_distance[:, source].detach().exp().flatten(0, 1)
        displacement = (relative * distance[:, None]).permute(0, 2, 3, 1)
        return Decoded(
            displacement=displacement.unflatten(0, (batch, pairs)),
            log_confidence=at_least_float32(log_confidence).unflatten(0, (batch, pairs)),
        )

    def _moved_tokens(
        self, encoded: VideoEncoding, source: list[int], target: list[int], hints: MotionHints
    ) -> Float[Tensor, "batch pair token channels"]:
        """Tokens of source frames that know of the target times."""
        assert self.decoder is not None
        layout, width = self.layout, self.config.aggregator.width
        added = self.hint_to_tokens(hints.features.to(encoded.tokens.dtype)).flatten(2)
        added = functional.pad(added.transpose(1, 2), (0, 0, layout.patch_start, 0))
        moved: Tensor = self.decoder(
            encoded.tokens[..., width:],
            encoded.tokens[:, :, layout.time],
            encoded.positions,
            sources=source,
            targets=target,
            added=added.unflatten(0, (encoded.tokens.shape[0], len(source))),
        )
        return moved

    def _hints(self, encoded: VideoEncoding, source: Tensor, target: Tensor) -> MotionHints:
        """What matches say about the motion of source frames to target times, without gradients."""
        height, width = encoded.image_hw
        matches = self.matcher.match(
            encoded.descriptors[:, source].flatten(0, 1).detach(),
            encoded.descriptors[:, target].flatten(0, 1).detach(),
            (height // CELL_PX, width // CELL_PX),
        )
        coarse = to_cells(encoded.cameras.intrinsics.detach())
        log_distance = at_cells(encoded.log_distance.detach())
        cells = place(log_distance, encoded.camera_from_world.detach(), coarse)
        geometry = PairGeometry(
            source_points=cells[:, source].flatten(0, 1).flatten(1, 2),
            source_distance=log_distance[:, source].exp().flatten(0, 1).flatten(1, 2),
            target_points=cells[:, target].flatten(0, 1).permute(0, 3, 1, 2),
            target_camera_from_world=encoded.camera_from_world[:, target].flatten(0, 1).detach(),
            target_intrinsics=encoded.cameras.intrinsics[:, target].flatten(0, 1).detach(),
            image_hw=(height, width),
        )
        return motion_hints(geometry, matches)

    def decode(
        self, encoded: VideoEncoding, *, time: int, frames: Sequence[int], chunk: int = 8
    ) -> PointMaps:
        """Place the pixels of `frames` where they are at `time`, in the camera of frame 0.

        For the target frame itself the result is its own-time map P. `chunk` frames are decoded
        together, which bounds memory and leaves the result as it is.
        """
        wanted = list(frames)
        points = encoded.own_time.points[:, wanted].clone()
        confidence = encoded.own_time.confidence[:, wanted].clone()
        others = [k for k, frame in enumerate(wanted) if frame != time]
        for start in range(0, len(others), chunk):
            part = others[start : start + chunk]
            decoded = self.decode_pairs(
                encoded, sources=[wanted[k] for k in part], targets=[time] * len(part)
            )
            points[:, part] += decoded.displacement
            confidence[:, part] = join_confidences(
                confidence[:, part], confidence_from_logits(decoded.log_confidence)
            )
        return PointMaps(points=points, confidence=confidence)
