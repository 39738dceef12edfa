"""Depth Anything 3 for any number of views (arXiv 2511.10647), as a network of a still world.

    images ─ patch tokens ─ blocks, some across views ─ four layers ─┬─ depth head ─ depth
                                 │                                   └─ ray head ─── rays
                                 └─ camera tokens ─ camera decoder ─ cameras

Depth and cameras are in one scale; points are pixels at their depth. Known cameras go in as tokens
in place of the camera tokens, and come out as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynapoint.geometry.pinhole import pixel_centres, unproject
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.geometry.similarity import (
    fit_similarity,
    fit_similarity_robustly,
    split_similarity,
)
from dynapoint.models.da3.backbone import Backbone, Features, layers_of
from dynapoint.models.da3.camera_parts import (
    CameraDecoder,
    CameraEncoder,
    encoded_cameras,
    intrinsics_of,
    normalised_cameras,
)
from dynapoint.models.da3.config import Da3Config
from dynapoint.models.da3.heads import DenseHeads
from dynapoint.models.da3.ray_cameras import RayCameras, cameras_from_rays
from dynapoint.models.layers.blocks import Block, compile_block
from dynapoint.models.layers.compute import ComputeOptions, autocast, in_parts, joined
from dynapoint.models.layers.pose_encoding import camera_from_world
from dynapoint.models.layers.precision import at_least_float32
from dynapoint.models.layers.tokens import check_sides
from dynapoint.models.network import Network
from dynapoint.models.protocol import PLAIN, EncodeRequest, ModelInfo
from dynapoint.types import Cameras, PointMaps

_ROBUST_FROM = 10

Own = TypeVar("Own", bound="Da3Parts")


@dataclass(frozen=True, kw_only=True)
class Da3Depth:
    """Depth along the axis of each view's own camera, in the scale of the cameras.

    Attributes:
        confidence: 1 and more.
    """

    depth: Float[Tensor, "batch view height width"]
    confidence: Float[Tensor, "batch view height width"]


@dataclass(frozen=True, kw_only=True)
class Da3Rays:
    """Rays of a grid of pixels, in the world of the encodings.

    Attributes:
        rays: Direction, of any length, and the camera's place.
        confidence: 1 and more.
    """

    rays: Float[Tensor, "batch view rows columns number=6"]
    confidence: Float[Tensor, "batch view rows columns"]


@dataclass(frozen=True, kw_only=True)
class Da3Encoding:
    """All that is said of some views.

    `own_time` and `cameras` are in the camera of view 0; `encodings` (place, quaternion xyzw, two
    fields of view; world from camera) are in the network's own world.
    """

    own_time: PointMaps
    cameras: Cameras
    encodings: Float[Tensor, "batch view 9"]


@dataclass(frozen=True, kw_only=True)
class _Known:
    """Known cameras of the views of an example, and what the backbone is told of them."""

    world_from_camera: Float[Tensor, "batch view 4 4"]
    intrinsics: Float[Tensor, "batch view 3 3"]
    tokens: Float[Tensor, "batch view channel"]


class Da3Parts(Network):
    """Backbone and dense heads, and how they are computed."""

    def __init__(self, config: Da3Config) -> None:
        super().__init__()
        self.config = config
        self.options = ComputeOptions()
        self.backbone = Backbone(config)
        self.heads = DenseHeads(config)

    def use(self: Own, options: ComputeOptions) -> Own:
        """Compute with these options from now on; returns the network itself."""
        self.options = options
        self.backbone.checkpoint_blocks = options.checkpoint_blocks
        for part in self.backbone.modules():
            if isinstance(part, Block):
                compile_block(part, options.compile_blocks)
        return self

    @property
    def info(self) -> ModelInfo:
        """What it is and computes in."""
        return ModelInfo(
            name=self.config.name,
            precision=self.options.precision,
            source=self.source,
            takes_poses=self.config.across_from is not None,
            published_images="da3",
            still_world=True,
        )

    @property
    def patch_size(self) -> int:
        """Sides of the images must be multiples of this."""
        return self.config.patch_size

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        return self.config.image_side

    def features(
        self,
        images: Float[Tensor, "batch view rgb=3 height width"],
        known: Float[Tensor, "batch view channel"] | None = None,
        *,
        normalise: bool = True,
    ) -> Features:
        """What the heads read of images in [0, 1], or of those that are normalised already.

        Raises:
            ShapeError: Sides do not fit the patches.
        """
        check_sides(_hw(images), self.patch_size)
        with autocast(images.device, self.options.precision):
            return self.backbone(images, known, normalise=normalise)

    def raw_maps(
        self, features: Features, image_hw: tuple[int, int]
    ) -> Float[Tensor, "batch view outputs height width"]:
        """Raw values of the depth head, as many views at once as the options say."""
        return self._in_parts(features, image_hw, self.heads)

    def _in_parts(
        self, features: Features, image_hw: tuple[int, int], head: object
    ) -> Float[Tensor, "batch view outputs rows columns"]:
        batch, views = features.patches[0].shape[:2]
        grid_hw = (image_hw[0] // self.patch_size, image_hw[1] // self.patch_size)

        def compute(part: range) -> Tensor:
            tokens = layers_of(features, part)
            with autocast(tokens[0].device, self.options.head_precision):
                values = head(tokens, grid_hw, image_hw)  # type: ignore[operator]
            return at_least_float32(values).unflatten(0, (batch, len(part)))

        at_once = max(1, self.options.head_frames_at_once // batch)
        return joined([maps for _, maps in in_parts(views, at_once, compute)], dim=1)


class Da3Network(Da3Parts):
    """Depth Anything 3 Small or Base; state names are ours (models/da3/weights.py has the map)."""

    def __init__(self, config: Da3Config) -> None:
        super().__init__(config)
        self.camera_encoder = CameraEncoder(config.width)
        self.camera_decoder = CameraDecoder(config.head_width)

    def encode(
        self,
        images: Float[Tensor, "batch frame rgb=3 height width"],
        request: EncodeRequest = PLAIN,
    ) -> Da3Encoding:
        """Cameras and maps of frames, RGB in [0, 1], in any order.

        Raises:
            ModelError: More is asked than the network takes.
            ShapeError: Sides do not fit the patches.
        """
        request.check(self.info, images.shape[1])
        image_hw = _hw(images)
        known = self._known(request, image_hw)
        features = self.features(images, None if known is None else known.tokens)
        encodings = self.encodings(features)
        depth = self.depth_maps(features, image_hw)
        # As large as all maps together.
        del features
        intrinsics = intrinsics_of(encodings, image_hw)
        world_from_camera = camera_from_world(encodings)
        if known is not None:
            scale = scale_of_known(known.world_from_camera, world_from_camera)
            depth = replace(depth, depth=depth.depth / scale[:, None, None, None])
            intrinsics, world_from_camera = known.intrinsics, known.world_from_camera
        moved = invert_rigid(world_from_camera[:, :1]) @ world_from_camera
        moved[:, 0] = torch.eye(4, dtype=moved.dtype, device=moved.device)
        return Da3Encoding(
            own_time=PointMaps(
                points=placed_pixels(depth.depth, intrinsics, moved), confidence=depth.confidence
            ),
            cameras=Cameras(world_from_camera=moved, intrinsics=intrinsics),
            encodings=encodings,
        )

    def decode(self, encoded: Da3Encoding, *, time: int, frames: Sequence[int]) -> PointMaps:
        """The own-time maps of `frames` at every time: the network knows a still world only."""
        own, wanted = encoded.own_time, list(frames)
        return PointMaps(points=own.points[:, wanted], confidence=own.confidence[:, wanted])

    def _known(self, request: EncodeRequest, image_hw: tuple[int, int]) -> _Known | None:
        if request.world_from_camera is None or request.intrinsics is None:
            return None
        like = self.backbone.pos_embed
        poses, lens = (each.to(like) for each in (request.world_from_camera, request.intrinsics))
        return _Known(
            world_from_camera=poses,
            intrinsics=lens,
            tokens=self.known_tokens(invert_rigid(poses), lens, image_hw),
        )

    def known_tokens(
        self,
        camera_from_world: Float[Tensor, "batch view 4 4"],
        intrinsics: Float[Tensor, "batch view 3 3"],
        image_hw: tuple[int, int],
        *,
        normalise: bool = True,
    ) -> Float[Tensor, "batch view width"]:
        """Tokens of known cameras, in any world and unit, for `features`."""
        cameras = normalised_cameras(camera_from_world) if normalise else camera_from_world
        encoding = at_least_float32(encoded_cameras(cameras, intrinsics, image_hw))
        return self.camera_encoder(encoding)

    def encodings(self, features: Features) -> Float[Tensor, "batch view 9"]:
        """Pose encodings, world from camera, by the camera decoder."""
        return self.camera_decoder(at_least_float32(features.camera_tokens[-1]))

    def depth_maps(self, features: Features, image_hw: tuple[int, int]) -> Da3Depth:
        """Depth of all views, in pixels of the images."""
        raw = self.raw_maps(features, image_hw)
        return Da3Depth(depth=raw[:, :, 0].exp(), confidence=raw[:, :, 1].exp() + 1)

    def rays(self, features: Features, image_hw: tuple[int, int]) -> Da3Rays:
        """Rays at 8/14 of the images' size; cameras do not need them unless asked by them."""
        raw = self._in_parts(features, image_hw, self.heads.ray_values).movedim(2, -1)
        return Da3Rays(rays=raw[..., :6], confidence=raw[..., 6].exp() + 1)

    def cameras_by_rays(self, features: Features, image_hw: tuple[int, int]) -> RayCameras:
        """Cameras from the maps of rays: slower, and by the paper more accurate."""
        said = self.rays(features, image_hw)
        return cameras_from_rays(said.rays, said.confidence, image_hw)


def scale_of_known(
    known: Float[Tensor, "batch view 4 4"], predicted: Float[Tensor, "batch view 4 4"]
) -> Float[Tensor, " batch"]:
    """How long a unit of known cameras is in that of predicted ones (both world-from-camera).

    The similarity (Umeyama 1991) between the cameras' places tells it. From ten views on the public
    code fits to random samples of them; here squares become distances, so that the answer is the
    same at every call. Cameras in one place tell nothing: 1.
    """
    places, seen = known[..., :3, 3], predicted[..., :3, 3]
    weight = torch.ones(places.shape[:2], dtype=torch.float64, device=places.device)
    fit = fit_similarity if places.shape[1] < _ROBUST_FROM else fit_similarity_robustly
    scale, _ = split_similarity(fit(places, seen, weight))
    return scale.to(known.dtype)


def placed_pixels(
    depth: Float[Tensor, "batch view height width"],
    intrinsics: Float[Tensor, "batch view 3 3"],
    world_from_camera: Float[Tensor, "batch view 4 4"],
) -> Float[Tensor, "batch view height width xyz=3"]:
    """Pixel centres at their depths, in the world."""
    image_hw = _hw(depth)
    xy = pixel_centres(image_hw, dtype=depth.dtype, device=depth.device).flatten(0, 1)
    seen = unproject(xy.expand(*depth.shape[:2], -1, -1), depth.flatten(2), intrinsics)
    return transform_points(world_from_camera, seen).unflatten(2, image_hw)


class Da3Metric(Da3Parts):
    """Depth Anything 3 Metric: depth of single pictures in metres, given their focal length."""

    def metres(
        self,
        images: Float[Tensor, "batch view rgb=3 height width"],
        focal_px: Float[Tensor, "batch view"],
    ) -> Float[Tensor, "batch view height width"]:
        """Depth along the axis in metres, that of sky a large one.

        Args:
            images: RGB in [0, 1].
            focal_px: The mean focal length of both axes, in pixels of these images.
        """
        return self.metres_and_sky(images, focal_px)[0]

    def metres_and_sky(
        self,
        images: Float[Tensor, "batch view rgb=3 height width"],
        focal_px: Float[Tensor, "batch view"],
    ) -> tuple[Float[Tensor, "batch view height width"], Bool[Tensor, "batch view height width"]]:
        """The same, and which pixels are sky."""
        depth, sky = self.depth_and_sky(self.features(images), _hw(images))
        return depth * focal_px[..., None, None] / FOCAL_OF_METRES, sky >= SKY

    def depth_and_sky(
        self, features: Features, image_hw: tuple[int, int]
    ) -> tuple[Float[Tensor, "batch view height width"], Float[Tensor, "batch view height width"]]:
        """Depth in units of the focal length over 300 metres, sky filled; and how much is sky."""
        raw = self.raw_maps(features, image_hw)
        depth, sky = raw[:, :, 0].exp(), raw[:, :, 1].relu()
        return with_far_sky(depth, sky), sky


FOCAL_OF_METRES = 300.0
SKY, LEAST_PIXELS, FAR_QUANTILE, MOST_OF_QUANTILE = 0.3, 10, 0.99, 100_000


def with_far_sky(
    depth: Float[Tensor, "*batch height width"], sky: Float[Tensor, "*batch height width"]
) -> Float[Tensor, "*batch height width"]:
    """Depth in which sky is as far as the farthest hundredth of all else.

    The public code takes this quantile of 100,000 random pixels where there are more; here these
    are evenly spaced.
    """
    ground = sky < SKY
    count = int(ground.sum())
    if count <= LEAST_PIXELS or ground.numel() - count <= LEAST_PIXELS:
        return depth
    seen = depth[ground]
    if count > MOST_OF_QUANTILE:
        chosen = torch.linspace(0, count - 1, MOST_OF_QUANTILE, device=seen.device)
        seen = seen[chosen.round().long()]
    return torch.where(ground, depth, torch.quantile(seen, FAR_QUANTILE))


def _hw(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]
