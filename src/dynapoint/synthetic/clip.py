"""Rendered clips with exact truth: where every pixel's surface point is at every time.

Storage grows linearly with frames: a face index per pixel and vertices per time. Barycentric
coordinates are recomputed in float64 wherever points are asked for.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from .raster import corner_values, edge_functions

_DEPTH_TOLERANCE = 1.01
_CHUNK_CPU = 32_768


@dataclass(frozen=True, kw_only=True)
class ClipTruth:
    """Dense truth for chosen source frames and target times of each clip."""

    points: Float[Tensor, "clip target source height width xyz=3"]
    visible: Bool[Tensor, "clip target source height width"]
    valid: Bool[Tensor, "clip source height width"]
    moving: Bool[Tensor, "clip source height width"]


@dataclass(frozen=True, kw_only=True)
class ClipBatch:
    """Clips as images, geometry and cameras; world = the camera of frame 0 of each clip.

    `face` indexes `faces` (-1 where the pixel centre's ray meets nothing); `faces` are padded with
    degenerate ones; `face_moving` marks bodies that move or deform during the clip. `vertices` and
    translations are in scene units, `intrinsics` in pixels with centres at half-integers.
    """

    images: UInt8[Tensor, "clip frame height width rgb=3"]
    face: Int[Tensor, "clip frame height width"]
    vertices: Float[Tensor, "clip time vertex xyz=3"]
    faces: Int[Tensor, "clip face corner=3"]
    face_instance: Int[Tensor, "clip face"]
    face_moving: Bool[Tensor, "clip face"]
    world_from_camera: Float[Tensor, "clip frame 4 4"]
    intrinsics: Float[Tensor, "clip frame 3 3"]

    def points(
        self, frames: Int[Tensor, "clip source"], times: Int[Tensor, "clip target"]
    ) -> Float[Tensor, "clip target source height width xyz=3"]:
        """World positions at `times` of the surface points seen in `frames`; NaN at sky."""
        return self.truth(frames, times).points

    def visible(
        self, frames: Int[Tensor, "clip source"], times: Int[Tensor, "clip target"]
    ) -> Bool[Tensor, "clip target source height width"]:
        """Whether those points are seen by the camera of each time at that time.

        A point is seen if it lies in the image, in front of the camera, on a face turned to it,
        and not behind the face hit by its pixel's centre, whose plane is met at the point's exact
        position with a tolerance of 1 %. False at sky.
        """
        return self.truth(frames, times).visible

    def truth(
        self, frames: Int[Tensor, "clip source"], times: Int[Tensor, "clip target"]
    ) -> ClipTruth:
        """`points`, `visible`, `valid` and `moving` at the price of one of them."""
        clips, sources = frames.shape
        targets = times.shape[1]
        height, width = self.face.shape[2:]
        device = self.face.device
        points = torch.empty(clips, targets, sources, height, width, 3, device=device)
        visible = torch.empty(
            clips, targets, sources, height, width, dtype=torch.bool, device=device
        )
        surfaces = self._planes(frames)[0]
        view = self._target_view(times)
        # Images go in cache-sized groups on a CPU and all together on a GPU.
        group = max(_CHUNK_CPU // (height * width), 1) if device.type == "cpu" else clips * sources
        for image in torch.arange(clips * sources, device=device).split(group):
            clip, source = image // sources, image % sources
            hits = self._hits(frames, image, surfaces)
            blended = torch.nn.functional.embedding_bag(
                hits.corners, view.table, per_sample_weights=hits.weights, mode="sum"
            ).view(len(image), height, width, targets, 6)
            for target in range(targets):
                points[clip, target, source] = blended[..., target, :3]
                visible[clip, target, source] = self._seen(
                    view, hits, clip, target, blended[..., target, 3:]
                )
        return ClipTruth(
            points=points, visible=visible, valid=self.valid(frames), moving=self.moving(frames)
        )

    def valid(self, frames: Int[Tensor, "clip source"]) -> Bool[Tensor, "clip source height width"]:
        """Whether pixels of `frames` meet a surface."""
        return self._faces_of(frames) >= 0

    def moving(
        self, frames: Int[Tensor, "clip source"]
    ) -> Bool[Tensor, "clip source height width"]:
        """Whether pixels of `frames` meet a body that moves or deforms during the clip."""
        face = self._faces_of(frames)
        flat = face.clamp_min(0).flatten(1).long()
        return self.face_moving.gather(1, flat).view(face.shape) & (face >= 0)

    def instance(
        self, frames: Int[Tensor, "clip source"]
    ) -> Int[Tensor, "clip source height width"]:
        """The body index met by pixels of `frames`, -1 at sky."""
        face = self._faces_of(frames)
        flat = face.clamp_min(0).flatten(1).long()
        found = self.face_instance.gather(1, flat).view(face.shape)
        return torch.where(face >= 0, found, -1)

    def depth(
        self, frames: Int[Tensor, "clip source"]
    ) -> Float[Tensor, "clip source height width"]:
        """Depth along each frame's own optical axis, in scene units; NaN at sky."""
        surfaces = self._planes(frames)[0]
        image = torch.arange(frames.numel(), device=self.face.device)
        nearness = self._hits(frames, image, surfaces).nearness
        return (
            nearness.reciprocal().to(self.vertices.dtype).view(*frames.shape, *self.face.shape[2:])
        )

    def centre_cropped(
        self, frames: Int[Tensor, "clip chosen"], shares: Float[Tensor, " clip"]
    ) -> "ClipBatch":
        """Some frames as clips of their own, cropped about their centres and enlarged again.

        A clip keeps the middle `shares` of both of its sides at its size, so that its focal length
        is divided by the share: images by bilinear interpolation, cameras and truth exactly. A
        pixel looks through its own centre at the surface of the nearest pixel of old; where it
        misses the face there by more than the face's own size, it has no truth.
        """
        chosen = ClipBatch(
            images=self.images.gather(1, _spread(frames, self.images)),
            face=self._faces_of(frames),
            vertices=self.vertices.gather(1, _spread(frames, self.vertices)),
            faces=self.faces,
            face_instance=self.face_instance,
            face_moving=self.face_moving,
            world_from_camera=self.world_from_camera.gather(
                1, _spread(frames, self.world_from_camera)
            ),
            intrinsics=self.intrinsics.gather(1, _spread(frames, self.intrinsics)),
        )
        clips, count, height, width = chosen.face.shape
        # Centred images span [-1, 1] both ways, so that a crop is a scaling.
        ways = torch.eye(2, 3, device=shares.device) * shares[:, None, None]
        grid = affine_grid(ways.to(self.face.device), [clips, 1, height, width], False)
        colours = chosen.images.permute(0, 1, 4, 2, 3).flatten(1, 2).float()
        colours = grid_sample(colours, grid, "bilinear", "border", False)
        colours = colours.unflatten(1, (count, 3)).permute(0, 1, 3, 4, 2)
        column = ((grid[..., 0] + 1) * width / 2).long().clamp(0, width - 1)
        row = ((grid[..., 1] + 1) * height / 2).long().clamp(0, height - 1)
        pixel = (row * width + column).flatten(1)[:, None].expand(-1, count, -1)
        face = chosen.face.flatten(2).gather(2, pixel).view_as(chosen.face)
        scale = 1 / shares.to(chosen.intrinsics)[:, None, None]
        centre = chosen.intrinsics.new_tensor([width / 2, height / 2])
        intrinsics = chosen.intrinsics.clone()
        intrinsics[..., :2, :2] *= scale[..., None]
        intrinsics[..., :2, 2] = centre + (intrinsics[..., :2, 2] - centre) * scale
        cropped = replace(
            chosen, images=colours.round().to(torch.uint8), face=face, intrinsics=intrinsics
        )
        every = torch.arange(count, device=face.device).expand(clips, -1)
        image = torch.arange(clips * count, device=face.device)
        hits = cropped._hits(every, image, cropped._planes(every)[0])
        met = (hits.weights >= -1).all(dim=-1).view_as(face) & (hits.nearness > 0).view_as(face)
        return replace(cropped, face=torch.where(met, face, -1))

    def _faces_of(
        self, frames: Int[Tensor, "clip source"]
    ) -> Int[Tensor, "clip source height width"]:
        """Face maps of `frames`."""
        return self.face.gather(1, _spread(frames, self.face))

    def _pixels(self, frames: Int[Tensor, "clip chosen"]) -> Float[Tensor, "clip chosen vertex 3"]:
        """Homogeneous pixel positions (x·z, y·z, z) of all vertices at the frames' own times."""
        return homogeneous_pixels(
            self.vertices.gather(1, _spread(frames, self.vertices)).double(),
            self.world_from_camera.gather(1, _spread(frames, self.world_from_camera)),
            self.intrinsics.gather(1, _spread(frames, self.intrinsics)),
        )

    def _planes(
        self, frames: Int[Tensor, "clip chosen"]
    ) -> tuple[Float[Tensor, "9 triangle"], Float[Tensor, " triangle"]]:
        """Edge functions over the determinant of every (clip, frame, face), and the determinant."""
        edges, determinant = edge_functions(corner_values(self._pixels(frames), self.faces))
        safe = torch.where(determinant == 0, 1.0, determinant)
        return (edges / safe).view(9, -1), determinant

    def _hits(
        self,
        frames: Int[Tensor, "clip source"],
        image: Int[Tensor, " image"],
        surfaces: Float[Tensor, "9 triangle"],
    ) -> "_Hits":
        """Corner vertices and float64 barycentric weights at the pixels of some (clip, source)."""
        sources, faces = frames.shape[1], self.faces.shape[1]
        height, width = self.face.shape[2:]
        clip, source = image // sources, image % sources
        face = self.face[clip, frames[clip, source].long()].view(len(image), -1)
        sky = face < 0
        face = face.clamp_min(0)
        p = surfaces.index_select(1, (face + (image * faces)[:, None]).view(-1))
        p = p.view(9, len(image), height, width)
        x = torch.arange(width, device=face.device, dtype=p.dtype) + 0.5
        y = torch.arange(height, device=face.device, dtype=p.dtype)[:, None] + 0.5
        e = [torch.addcmul(torch.addcmul(p[k + 2], p[k], x), p[k + 1], y) for k in (0, 3, 6)]
        nearness = (e[0] + e[1] + e[2]).masked_fill_(sky.view(len(image), height, width), torch.nan)
        depth = nearness.reciprocal()
        weights = torch.stack([(value * depth).float() for value in e], -1)
        flat_face = (face + (clip * faces)[:, None]).view(-1)
        corners = self.faces.view(-1, 3).index_select(0, flat_face).view(len(image), -1, 3)
        corners = corners + (clip * self.vertices.shape[2])[:, None, None]
        return _Hits(
            corners=corners.view(-1, 3),
            weights=weights.view(-1, 3),
            nearness=nearness,
            face=face.view(nearness.shape),
        )

    def _target_view(self, times: Int[Tensor, "clip target"]) -> "_TargetView":
        """Tables over all vertices and faces at the target times."""
        clips, targets = times.shape
        pixels = self._pixels(times)
        world = self.vertices.gather(1, _spread(times, self.vertices))
        table = torch.cat([world, pixels.to(world.dtype)], -1).permute(0, 2, 1, 3)
        planes, determinant = self._planes(times)
        nearness = planes.view(3, 3, -1).sum(0).float()
        return _TargetView(
            table=table.reshape(-1, targets * 6),
            nearness=nearness.view(3, clips, targets, -1),
            turned=(determinant > 0).view(clips, targets, -1),
            face=self._faces_of(times),
        )

    def _seen(
        self,
        view: "_TargetView",
        hits: "_Hits",
        clip: Int[Tensor, " image"],
        target: int,
        moved: Float[Tensor, "image height width 3"],
    ) -> Bool[Tensor, "image height width"]:
        """Depth-test points, given as (x·z, y·z, z), against the face map of a target frame."""
        height, width = hits.nearness.shape[1:]
        z = moved[..., 2].contiguous()
        scale = z.reciprocal()
        x, y = moved[..., 0] * scale, moved[..., 1] * scale
        # Comparisons with NaN (sky) are false, so sky never lies inside.
        inside = (z > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        column = x.nan_to_num_(0.0, 0.0, 0.0).clamp(0, width - 1).to(torch.int64)
        row = y.nan_to_num_(0.0, 0.0, 0.0).clamp(0, height - 1).to(torch.int64)
        clip_start = clip[:, None, None]
        targets, faces = view.turned.shape[1:]
        image = clip_start * targets + target
        pixel = (image * height + row) * width + column
        met = view.face.view(-1).index_select(0, pixel.view(-1))
        plane = (image * faces).expand_as(pixel).reshape(-1) + met.clamp_min(0)
        a, b, c = view.nearness.view(3, -1).index_select(1, plane).view(3, *x.shape)
        nearness = torch.addcmul(torch.addcmul(c, a, x), b, y)
        front = (z * nearness <= _DEPTH_TOLERANCE) | (met.view(x.shape) < 0)
        own = (image * faces + hits.face).view(-1)
        facing = view.turned.view(-1).index_select(0, own).view(x.shape)
        return inside & front & facing


@dataclass(frozen=True, kw_only=True)
class _Hits:
    """What the pixel centres of some images meet."""

    corners: Int[Tensor, "pixel corner=3"]  # rows of tables over (clip, vertex)
    weights: Float[Tensor, "pixel corner=3"]  # NaN at sky
    nearness: Float[Tensor, "image height width"]  # 1 / depth, NaN at sky
    face: Int[Tensor, "image height width"]  # 0 at sky


@dataclass(frozen=True, kw_only=True)
class _TargetView:
    """All vertices and faces as the cameras of the target times see them."""

    table: Float[Tensor, "row value"]  # per (clip, vertex): world and pixel position per target
    nearness: Float[Tensor, "3 clip target face"]  # 1 / depth over (x, y, 1)
    turned: Bool[Tensor, "clip target face"]  # towards the camera
    face: Int[Tensor, "clip target height width"]


def _spread(chosen: Int[Tensor, "clip chosen"], values: Tensor) -> Int[Tensor, "clip chosen *rest"]:
    """Indices for `values.gather(1, …)` that pick whole entries of axis 1 per clip."""
    clips, count = chosen.shape
    rest = values.shape[2:]
    return chosen.long().view(clips, count, *([1] * len(rest))).expand(clips, count, *rest)


def homogeneous_pixels(
    points: Float[Tensor, "clip time vertex xyz=3"],
    world_from_camera: Float[Tensor, "clip time 4 4"],
    intrinsics: Float[Tensor, "clip time 3 3"],
) -> Float[Tensor, "clip time vertex 3"]:
    """World points as (x·z, y·z, z) with x, y in pixels and z the depth, in the points' dtype."""
    pose = world_from_camera.to(points.dtype)
    rotation = pose[..., :3, :3]
    camera = (points - pose[..., None, :3, 3]) @ rotation
    return camera @ intrinsics.to(points.dtype).transpose(-1, -2)
