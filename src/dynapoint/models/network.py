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
from dynapoint.models.aggregator import Aggregator
from dynapoint.models.attention import RotaryPositions
from dynapoint.models.camera_head import CameraHead
from dynapoint.models.config import NetworkConfig
from dynapoint.models.dense_head import DenseHead, confidence_from_logits, join_confidences
from dynapoint.models.ego_motion import solve_ego_motion
from dynapoint.models.matching import CELL_PX, Matcher
from dynapoint.models.motion_hints import (
    HINT_CHANNELS,
    MotionHints,
    PairGeometry,
    motion_hints,
)
from dynapoint.models.pose_encoding import (
    camera_from_world,
    encode_cameras,
    intrinsics_px,
    invert_rigid,
)
from dynapoint.models.precision import at_least_float32
from dynapoint.models.stem import ConvStem, StemFeatures
from dynapoint.models.time_decoder import TimeDecoder
from dynapoint.types import Cameras, PointMaps

LOG_DISTANCE_LIMIT = 5.0
POSE_HYPOTHESES = 16
"""Starts tried for each camera's pose; more gained nothing (docs/nano.md)."""


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
    grid_hw: tuple[int, int]
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


class VideoPointMapNetwork(nn.Module):
    """A network of the V-DPM family built from a `NetworkConfig`."""

    weights_sha256: str | None = None
    """The hash of the file that the weights came from, where they came from one."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.aggregator.width
        stem = config.stem
        self.stem = ConvStem(stem, width)
        self.aggregator = Aggregator(config.aggregator)
        self.matcher = Matcher(config.matcher, stem.quarter_width, width)
        self.geometry_head = DenseHead(
            config.head,
            token_width=2 * width,
            stem_half=stem.half_width,
            stem_quarter=stem.quarter_width,
            outputs=1,
        )
        self.camera_head = CameraHead(config.camera, 2 * width)
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

    @property
    def patch_size(self) -> int:
        """Sides of the images must be multiples of this."""
        return self.config.stem.patch_size

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        return self.config.image_side

    def encode(self, images: Float[Tensor, "batch frame rgb=3 height width"]) -> VideoEncoding:
        """Encode frames, RGB in [0, 1]; raises ShapeError where sides do not fit the patches."""
        batch, frames, _, height, width = images.shape
        patch = self.patch_size
        if height % patch or width % patch or min(height, width) < 2 * patch:
            raise ShapeError(
                f"image sides must be multiples of {patch} and at least {2 * patch}, "
                f"got {height} × {width}; resize the images first"
            )
        stem = self.stem(images.flatten(0, 1))
        rows, columns = stem.patches.shape[-2:]
        patches = stem.patches.flatten(2).transpose(1, 2).unflatten(0, (batch, frames))
        match_layer, last = self.config.matcher.after_pair - 1, self.config.aggregator.depth - 1
        aggregated = self.aggregator(patches, (rows, columns), keep=(match_layer, last))
        early, tokens = aggregated.layers[0], aggregated.layers[-1]
        layout = self.aggregator.layout
        channels = self.config.aggregator.width
        early_map = layout.patches(early)[..., :channels].flatten(0, 1)
        descriptors = self.matcher.describe(
            stem.quarter, early_map.transpose(1, 2).unflatten(2, (rows, columns))
        ).unflatten(0, (batch, frames))
        values, log_confidence = self.geometry_head(
            layout.patches(tokens).flatten(0, 1),
            (rows, columns),
            quarter=stem.quarter,
            half=stem.half,
        )
        log_distance = at_least_float32(values.squeeze(1)).unflatten(0, (batch, frames))
        log_distance = log_distance.clamp(-LOG_DISTANCE_LIMIT, LOG_DISTANCE_LIMIT)
        encodings = self._cameras(tokens[:, :, layout.camera], log_distance, descriptors)
        pose = _first_is_identity(camera_from_world(encodings[-1]))
        intrinsics = self._intrinsics(encodings[-1], (height, width))
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
            grid_hw=(rows, columns),
            stem=stem,
            descriptors=descriptors,
        )

    def _cameras(
        self,
        camera_tokens: Float[Tensor, "batch frame double_width"],
        log_distance: Float[Tensor, "batch frame height width"],
        descriptors: Float[Tensor, "batch frame cell descriptor"],
    ) -> Float[Tensor, "iteration batch frame 9"]:
        """Pose encodings of all iterations; the second may start from the matches' own pose."""
        raw, results = None, []
        for iteration in range(self.config.camera.iterations):
            if raw is not None and iteration == 1 and self.config.camera.start_from_matches:
                raw = self._pose_from_matches(raw.detach(), log_distance.detach(), descriptors)
            raw = at_least_float32(self.camera_head.step(camera_tokens, raw))
            results.append(self.camera_head.activate(raw))
        return torch.stack(results)

    def _intrinsics(
        self, encodings: Float[Tensor, "batch frame 9"], image_hw: tuple[int, int]
    ) -> Float[Tensor, "batch frame 3 3"]:
        return intrinsics_px(encodings, image_hw, square_pixels=self.config.camera.square_pixels)

    def _pose_from_matches(
        self,
        raw: Float[Tensor, "batch frame 9"],
        log_distance: Float[Tensor, "batch frame height width"],
        descriptors: Float[Tensor, "batch frame cell descriptor"],
    ) -> Float[Tensor, "batch frame 9"]:
        """Replace the poses of frames 1… by those that place frame 0's points on their matches."""
        batch, frames, height, width = log_distance.shape
        if frames == 1:
            return raw
        map_hw = (height // CELL_PX, width // CELL_PX)
        with torch.no_grad():
            intrinsics = self._intrinsics(raw, (height, width))
            first = at_cells(log_distance[:, :1])
            identity = torch.eye(4, dtype=raw.dtype, device=raw.device).expand(batch, 1, 4, 4)
            points = place(first, identity, _to_cells(intrinsics[:, :1])).flatten(1, 3)
            others = frames - 1
            matches = self.matcher.match(
                descriptors[:, :1].expand(-1, others, -1, -1).flatten(0, 1),
                descriptors[:, 1:].flatten(0, 1),
                map_hw,
            )
            start = _first_is_identity(camera_from_world(raw))[:, 1:]
            ego = solve_ego_motion(
                points_world=points[:, None].expand(-1, others, -1, -1).flatten(0, 1),
                target_xy=matches.xy,
                weight=matches.weight,
                intrinsics=intrinsics[:, 1:].flatten(0, 1),
                initial=start.flatten(0, 1),
                hypotheses=POSE_HYPOTHESES,
            )
            solved = encode_cameras(
                ego.camera_from_world, intrinsics[:, 1:].flatten(0, 1), (height, width)
            ).unflatten(0, (batch, others))
            others_raw = torch.cat([solved[..., :7], raw[:, 1:, 7:]], dim=-1)
            return torch.cat([raw[:, :1], others_raw], dim=1)

    def decode_pairs(
        self, encoded: VideoEncoding, *, sources: Sequence[int], targets: Sequence[int]
    ) -> Decoded:
        """Displacements of the pixels of frames `sources[k]` to times of frames `targets[k]`."""
        batch, pairs = encoded.tokens.shape[0], len(sources)
        source = list(sources)
        read = self._pairs_read(encoded, source, list(targets))
        hints = self._hints(encoded, [i for i, _ in read], [t for _, t in read])
        layout, width = self.aggregator.layout, self.config.aggregator.width
        added = self.hint_to_tokens(hints.features.to(encoded.tokens.dtype)).flatten(2)
        added = functional.pad(added.transpose(1, 2), (0, 0, layout.patch_start, 0))
        moved = self.decoder(
            encoded.tokens[..., width:],
            encoded.tokens[:, :, layout.time],
            encoded.positions,
            sources=[i for i, _ in read],
            targets=[t for _, t in read],
            added=added.unflatten(0, (batch, len(read))),
        )
        chosen = [read.index(pair) for pair in zip(source, targets, strict=True)]
        moved, hints = moved[:, chosen], hints.chosen(batch, chosen)
        frames = encoded.tokens.shape[1]

        def of_sources(maps: Tensor) -> Tensor:
            return maps.unflatten(0, (batch, frames))[:, source].flatten(0, 1)

        quarter = of_sources(encoded.stem.quarter)
        values, log_confidence = self.motion_head(
            layout.patches(moved).flatten(0, 1),
            encoded.grid_hw,
            quarter=torch.cat([quarter, hints.features.to(quarter.dtype)], dim=1),
            half=of_sources(encoded.stem.half),
        )
        values = at_least_float32(values)
        lateral, inward = (_to_pixels(hint) for hint in (hints.lateral, hints.inward))
        relative = values[:, :1] * lateral + values[:, 1:2] * inward + values[:, 2:]
        distance = encoded.log_distance[:, source].detach().exp().flatten(0, 1)
        displacement = (relative * distance[:, None]).permute(0, 2, 3, 1)
        return Decoded(
            displacement=displacement.unflatten(0, (batch, pairs)),
            log_confidence=at_least_float32(log_confidence).unflatten(0, (batch, pairs)),
        )

    def _pairs_read(
        self, encoded: VideoEncoding, source: list[int], target: list[int]
    ) -> list[tuple[int, int]]:
        """The pairs whose hints the decoder reads: all frames' where it attends to all of them."""
        if self.config.decoder.scope == "pair":
            return list(dict.fromkeys(zip(source, target, strict=True)))
        frames = range(encoded.tokens.shape[1])
        return [(i, t) for t in dict.fromkeys(target) for i in frames]

    def _hints(self, encoded: VideoEncoding, source: list[int], target: list[int]) -> MotionHints:
        """What matches say about the motion of source frames to target times, without gradients."""
        height, width = encoded.image_hw
        matches = self.matcher.match(
            encoded.descriptors[:, source].flatten(0, 1).detach(),
            encoded.descriptors[:, target].flatten(0, 1).detach(),
            (height // CELL_PX, width // CELL_PX),
        )
        coarse = _to_cells(encoded.cameras.intrinsics.detach())
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

    def decode_own_time(self, encoded: VideoEncoding, *, frame: int) -> PointMaps:
        """The decoder's own view of `points[frame, frame]`, kept apart for self-checks."""
        decoded = self.decode_pairs(encoded, sources=[frame], targets=[frame])
        return PointMaps(
            points=encoded.own_time.points[:, [frame]] + decoded.displacement,
            confidence=join_confidences(
                encoded.own_time.confidence[:, [frame]],
                confidence_from_logits(decoded.log_confidence),
            ),
        )


def place(
    log_distance: Float[Tensor, "batch frame height width"],
    camera_from_world_matrix: Float[Tensor, "batch frame 4 4"],
    intrinsics: Float[Tensor, "batch frame 3 3"],
) -> Float[Tensor, "batch frame height width xyz=3"]:
    """Points at the given distances along the pixels' rays, in the world."""
    height, width = log_distance.shape[-2:]
    x = torch.arange(width, device=log_distance.device, dtype=log_distance.dtype) + 0.5
    y = torch.arange(height, device=log_distance.device, dtype=log_distance.dtype) + 0.5
    fx, fy, cx, cy = (intrinsics[..., i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    ray_x = ((x - cx[..., None]) / fx[..., None])[..., None, :].expand_as(log_distance)
    ray_y = ((y - cy[..., None]) / fy[..., None])[..., :, None].expand_as(log_distance)
    ray = torch.stack([ray_x, ray_y, torch.ones_like(ray_x)], dim=-1)
    own = functional.normalize(ray, dim=-1) * log_distance.exp()[..., None]
    world_from_camera = invert_rigid(camera_from_world_matrix)
    rotation, shift = world_from_camera[..., :3, :3], world_from_camera[..., :3, 3]
    # Written out, because autocast would round a matrix product to half precision.
    right, down, forward = rotation[..., None, None, :, :].unbind(-1)
    turned = own[..., 0:1] * right + own[..., 1:2] * down + own[..., 2:3] * forward
    return turned + shift[..., None, None, :]


def at_cells(
    log_distance: Float[Tensor, "batch frame height width"],
) -> Float[Tensor, "batch frame rows columns"]:
    """Log distances at the centres of the matching map's cells."""
    return functional.interpolate(
        log_distance, scale_factor=1 / CELL_PX, mode="bilinear", align_corners=False
    )


def _to_cells(intrinsics: Float[Tensor, "batch frame 3 3"]) -> Float[Tensor, "batch frame 3 3"]:
    """Intrinsics in cells of the matching map, from those in pixels."""
    scaled = intrinsics / CELL_PX
    scaled[..., 2, 2] = 1.0
    return scaled


def _to_pixels(cells: Tensor) -> Tensor:
    return functional.interpolate(
        cells, scale_factor=float(CELL_PX), mode="bilinear", align_corners=False
    )


def _first_is_identity(
    camera_from_world_matrix: Float[Tensor, "batch frame 4 4"],
) -> Float[Tensor, "batch frame 4 4"]:
    """Frame 0's camera is the world by definition, whatever the camera head says of it."""
    identity = torch.eye(4, device=camera_from_world_matrix.device).to(camera_from_world_matrix)
    first = identity.expand(camera_from_world_matrix.shape[0], 1, 4, 4)
    return torch.cat([first, camera_from_world_matrix[:, 1:]], dim=1)
