"""Rendered clips with exact truth: where every pixel's surface point is at every time.

Storage grows linearly with frames: a face index per pixel and vertices per time. Barycentric
coordinates are recomputed in float64 wherever points are asked for.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from dynapoint.types import TensorRecord

from .raster import edge_functions

_DEPTH_TOLERANCE = 1.01


@dataclass(frozen=True, kw_only=True)
class ClipTruth(TensorRecord):
    """Dense truth for chosen source frames and target times of each clip."""

    points: Float[Tensor, "clip target source height width xyz=3"]
    visible: Bool[Tensor, "clip target source height width"]
    valid: Bool[Tensor, "clip source height width"]
    moving: Bool[Tensor, "clip source height width"]


@dataclass(frozen=True, kw_only=True)
class ClipBatch(TensorRecord):
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
        hits = self._hits(frames)
        clip, count = frames.shape[0], times.shape[1]
        table = self.vertices.gather(1, _spread(times, self.vertices)).permute(0, 2, 1, 3)
        blended = _blend(hits, table.reshape(-1, count * 3))
        shape = (clip, frames.shape[1], *self.face.shape[2:], count, 3)
        return blended.view(shape).permute(0, 4, 1, 2, 3, 5).contiguous()

    def visible(
        self, frames: Int[Tensor, "clip source"], times: Int[Tensor, "clip target"]
    ) -> Bool[Tensor, "clip target source height width"]:
        """Whether those points are seen by the camera of each time at that time.

        A point is seen if it lies in the image, in front of the camera, on a face turned towards it,
        and not behind the face hit by its pixel's centre, whose plane is met at the point's exact
        position with a tolerance of 1 %. False at sky.
        """
        return self._visible(self._hits(frames), frames, times)

    def truth(
        self, frames: Int[Tensor, "clip source"], times: Int[Tensor, "clip target"]
    ) -> ClipTruth:
        """`points`, `visible`, `valid` and `moving` at the price of one surface look-up."""
        hits = self._hits(frames)
        clip, count = frames.shape[0], times.shape[1]
        table = self.vertices.gather(1, _spread(times, self.vertices)).permute(0, 2, 1, 3)
        blended = _blend(hits, table.reshape(-1, count * 3))
        shape = (clip, frames.shape[1], *self.face.shape[2:], count, 3)
        return ClipTruth(
            points=blended.view(shape).permute(0, 4, 1, 2, 3, 5).contiguous(),
            visible=self._visible(hits, frames, times),
            valid=self.valid(frames),
            moving=self.moving(frames),
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
        hits = self._hits(frames)
        depth = hits.nearness.reciprocal().view(self._faces_of(frames).shape)
        return depth.to(self.vertices.dtype)

    def _faces_of(
        self, frames: Int[Tensor, "clip source"]
    ) -> Int[Tensor, "clip source height width"]:
        """Face maps of `frames`."""
        return self.face.gather(1, _spread(frames, self.face))

    def _corners(self, frames: Int[Tensor, "clip chosen"]) -> Float[Tensor, "clip chosen vertex 3"]:
        """Homogeneous pixel positions (x·z, y·z, z) of all vertices at the frames' own times."""
        vertices = self.vertices.gather(1, _spread(frames, self.vertices)).double()
        return homogeneous_pixels(
            vertices,
            self.world_from_camera.gather(1, _spread(frames, self.world_from_camera)),
            self.intrinsics.gather(1, _spread(frames, self.intrinsics)),
        )

    def _planes(
        self, frames: Int[Tensor, "clip chosen"]
    ) -> tuple[Float[Tensor, "clip chosen face 3 3"], Float[Tensor, "clip chosen face"]]:
        """Edge functions over their determinant per face, and the determinant (> 0: turned to us)."""
        corners = gather_corners(self._corners(frames), self.faces)
        edges, determinant = edge_functions(corners)
        safe = torch.where(determinant == 0, 1.0, determinant)
        return edges / safe[..., None, None], determinant

    def _hits(self, frames: Int[Tensor, "clip source"]) -> "_Hits":
        """Corner vertices and float64 barycentric weights at the pixel centres of `frames`."""
        clips, sources = frames.shape
        height, width = self.face.shape[2:]
        planes, _ = self._planes(frames)
        face = self._faces_of(frames)
        sky = (face < 0).flatten()
        face = face.clamp_min(0).long()
        clip = torch.arange(clips, device=face.device)[:, None, None, None]
        per_clip = self.faces.shape[1]
        image = torch.arange(clips * sources, device=face.device).view(clips, sources, 1, 1)
        coefficients = (
            planes.view(-1, 9).index_select(0, (image * per_clip + face).flatten()).view(-1, 3, 3)
        )
        x = torch.arange(width, device=face.device, dtype=torch.float64) + 0.5
        y = torch.arange(height, device=face.device, dtype=torch.float64) + 0.5
        ray = torch.stack(
            [
                x.expand(clips, sources, height, width),
                y[:, None].expand(clips, sources, height, width),
                torch.ones_like(x).expand(clips, sources, height, width),
            ],
            -1,
        ).view(-1, 3)
        edge = (coefficients * ray[:, None]).sum(-1)
        nearness = edge.sum(1)
        nearness = torch.where(sky, torch.nan, nearness)
        vertex_start = clip * self.vertices.shape[2]
        flat_face = (clip * per_clip + face).flatten()
        corners = self.faces.view(-1, 3).index_select(0, flat_face).long()
        return _Hits(
            corners=corners + vertex_start.expand(face.shape).reshape(-1, 1),
            weights=(edge / nearness[:, None]).to(self.vertices.dtype),
            nearness=nearness,
            face=flat_face,
        )

    def _visible(
        self, hits: "_Hits", frames: Int[Tensor, "clip source"], times: Int[Tensor, "clip target"]
    ) -> Bool[Tensor, "clip target source height width"]:
        """Depth-test the hits against the face maps of the target frames."""
        clips, targets = times.shape
        sources = frames.shape[1]
        height, width = self.face.shape[2:]
        faces = self.faces.shape[1]
        planes, determinant = self._planes(times)
        pixels = self._corners(times).float().permute(0, 2, 1, 3).reshape(-1, targets * 3)
        moved = _blend(hits, pixels).view(clips, -1, targets, 3)
        target_face = self._faces_of(times).flatten(2).long()
        nearness = planes.sum(-2).float()
        turned = (determinant > 0).float()
        results = []
        for target in range(targets):
            x, y, z = moved[:, :, target].unbind(-1)
            scale = 1.0 / z
            x, y = x * scale, y * scale
            inside = (z > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
            column = x.nan_to_num(0.0).clamp(0, width - 1).long()
            row = y.nan_to_num(0.0).clamp(0, height - 1).long()
            met = target_face[:, target].gather(1, row * width + column)
            plane = nearness[:, target].reshape(-1, 3)
            clip_start = torch.arange(clips, device=met.device)[:, None] * faces
            chosen = plane.index_select(0, (met.clamp_min(0) + clip_start).flatten())
            a, b, c = chosen.view(clips, -1, 3).unbind(-1)
            met_nearness = torch.where(met >= 0, a * x + b * y + c, 0.0)
            front = z * met_nearness <= _DEPTH_TOLERANCE
            facing = turned[:, target].reshape(-1).index_select(0, hits.face)
            seen = inside & front & (facing.view(clips, -1) > 0)
            results.append(seen.view(clips, sources, height, width))
        return torch.stack(results, 1)


@dataclass(frozen=True, kw_only=True)
class _Hits:
    """What the pixel centres of some frames meet, flattened over clip, source, row and column."""

    corners: Int[Tensor, "pixel corner=3"]  # rows of tables over (clip, vertex)
    weights: Float[Tensor, "pixel corner=3"]  # NaN at sky
    nearness: Float[Tensor, " pixel"]  # 1 / depth
    face: Int[Tensor, " pixel"]  # over (clip, face)


def _spread(chosen: Int[Tensor, "clip chosen"], values: Tensor) -> Int[Tensor, "clip chosen *rest"]:
    """Indices for `values.gather(1, …)` that pick whole entries of axis 1 per clip."""
    clips, count = chosen.shape
    rest = values.shape[2:]
    return chosen.long().view(clips, count, *([1] * len(rest))).expand(clips, count, *rest)


def _blend(hits: _Hits, table: Float[Tensor, "row value"]) -> Float[Tensor, "pixel value"]:
    """Barycentric combination of table rows at every hit."""
    return torch.nn.functional.embedding_bag(
        hits.corners, table.contiguous(), per_sample_weights=hits.weights, mode="sum"
    )


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


def gather_corners(
    values: Float[Tensor, "clip time vertex value"], faces: Int[Tensor, "clip face corner=3"]
) -> Float[Tensor, "clip time face corner=3 value"]:
    """The values of each face's three corners."""
    clips, times, _, size = values.shape
    index = faces.reshape(clips, 1, -1, 1).long().expand(clips, times, -1, size)
    return values.gather(2, index).view(clips, times, -1, 3, size)
