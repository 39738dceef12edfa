"""Where the cameras of a clip stand, from its point maps alone, and how far two answers differ."""

from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from dynapoint.errors import InputError
from dynapoint.geometry.pinhole import project
from dynapoint.geometry.pose_from_points import moved_by, pose_equations
from dynapoint.geometry.rigid import invert_rigid, rotation_angle_rad, transform_points
from dynapoint.geometry.similarity import (
    fit_similarity,
    fit_similarity_robustly,
    move,
    split_similarity,
    weighted_median,
)
from dynapoint.reductions.intrinsics import cauchy_weight, choose_pixels
from dynapoint.reductions.usable import usable_points
from dynapoint.types import Array

# Points that random samples are drawn from and judged by; all chosen ones refine the pose.
_DRAWN_FROM = 1024
_MOST_DRAWS = 300
_PNP_ITERATIONS = 20
# Gauss-Newton ends when steps move no point by more than about this.
_SMALLEST_STEP_PX = 1e-4
_PROCRUSTES_ITERATIONS = 8
# Of the longer side of the map: a point this far from its pixel is an outlier.
_INLIER_SHARE_OF_SIDE = 0.01
# Of a point's distance from the camera: a point this far from its other place is an outlier.
_INLIER_SHARE_OF_DISTANCE = 0.02
# Of the eigenvalues of scaled normal equations, and of squared spreads: below, a motion is free.
_SINGULAR = 1e-9


@dataclass(frozen=True, kw_only=True)
class PnpCameraMotion(Generic[Array]):
    """Cameras under which own-time points fall on their pixels.

    Where a frame's points determine no pose (fewer than four usable ones, all on one line or ray,
    none in front, unusable intrinsics), the pose is the start pose, or else the identity, with an
    inlier share of 0 and a residual of NaN.

    Attributes:
        world_from_camera: In the world and units of the points. Frame 0 is solved like any other,
            so it is only nearly the identity.
        inlier_share: Share of the used pixels whose points project within 1 % of the map's longer
            side (or 1 pixel) of them.
        residual_px: Weighted median distance, in pixels of the map.
        used: Number of pixels used, at most `intrinsics.MOST_PIXELS` of a frame.
    """

    world_from_camera: Float[Array, "frame 4 4"]
    inlier_share: Float[Array, " frame"]
    residual_px: Float[Array, " frame"]
    used: Int[Array, " frame"]


@dataclass(frozen=True, kw_only=True)
class ProcrustesCameraMotion(Generic[Array]):
    """Cameras that lay a frame's points in its own camera on the same points in the world.

    Where a frame's points determine no pose (fewer than three usable ones, or all on one line), the
    pose is the identity, with an inlier share of 0 and a residual of NaN.

    Attributes:
        world_from_camera: Rigid, in units of the world.
        scale: How much larger distances in the world are; 1 unless fitted.
        inlier_share: Share of the used pixels whose two places are within 2 % of their distance
            from the camera.
        residual: Weighted median distance between the two places, in units of the world.
        used: Number of pixels used, at most `intrinsics.MOST_PIXELS` of a frame.
    """

    world_from_camera: Float[Array, "frame 4 4"]
    scale: Float[Array, " frame"]
    inlier_share: Float[Array, " frame"]
    residual: Float[Array, " frame"]
    used: Int[Array, " frame"]


@dataclass(frozen=True, kw_only=True)
class CameraDisagreement(Generic[Array]):
    """How far two sets of cameras of the same frames differ, both seen from their first camera.

    Both are NaN where a pose is not finite.

    Attributes:
        rotation_deg: The angle between the two rotations.
        translation: The distance between the two camera centres, as a share of the scene's depth.
    """

    rotation_deg: Float[Array, " frame"]
    translation: Float[Array, " frame"]


def camera_motion_by_pnp(
    own_points: Float[Tensor, "frame height width xyz=3"],
    confidence: Float[Tensor, "frame height width"],
    intrinsics: Float[Tensor, "frame 3 3"],
    *,
    start_world_from_camera: Float[Tensor, "frame 4 4"] | None = None,
) -> PnpCameraMotion:
    """Camera poses by robust perspective-n-point on every frame's own pixels at its own time.

    A point at its own time lies on its pixel's ray whether or not it moves, so that nothing need be
    masked, and errors along the ray do not count. Random samples of few points (OpenCV's RANSAC,
    with a fixed seed) give a start, with which a given one competes; iteratively re-weighted
    Gauss-Newton on the reprojection error refines it. Not differentiable.

    Args:
        own_points: `points[i, i]`, in the world.
        confidence: The weight of every pixel; those with 0 or without a finite point are left out.
        intrinsics: In pixels of the map.
        start_world_from_camera: A first guess, in the same world, e.g. from a camera head.
    """
    width = confidence.shape[2]
    points, given = own_points.detach().flatten(1, 2), confidence.detach().flatten(1)
    index, known = choose_pixels(usable_points(points, given))
    index, known, lenses = index.cpu(), known.cpu(), intrinsics.detach().cpu().double()
    threshold_px = max(_INLIER_SHARE_OF_SIDE * max(confidence.shape[1:]), 1.0)
    poses, shares, residuals = [], [], []
    for frame in range(len(points)):
        chosen = index[frame, known[frame]]
        start = None
        if start_world_from_camera is not None:
            start = start_world_from_camera[frame].detach().cpu().double()
        problem = _Perspective(
            points=points[frame, chosen].cpu().double(),
            xy=torch.stack([chosen % width, chosen // width], dim=-1).double() + 0.5,
            weight=given[frame, chosen].cpu().double(),
            lens=lenses[frame],
            threshold_px=threshold_px,
        )
        camera_from_world = problem.solve(start)
        if camera_from_world is None:
            poses.append(torch.eye(4, dtype=torch.float64) if start is None else start)
            shares.append(0.0)
            residuals.append(torch.nan)
            continue
        distance = problem.distances(camera_from_world)
        poses.append(invert_rigid(camera_from_world))
        shares.append(float((distance < threshold_px).double().mean()))
        residuals.append(float(weighted_median(distance, problem.weight)))
    as_given = own_points.new_tensor
    return PnpCameraMotion(
        world_from_camera=torch.stack(poses).to(own_points)
        if poses
        else as_given([]).view(0, 4, 4),
        inlier_share=as_given(shares),
        residual_px=as_given(residuals),
        used=known.sum(dim=1).to(own_points.device),
    )


@dataclass(frozen=True, kw_only=True)
class _Perspective:
    """Points in the world, the pixels they belong on, and a pinhole camera to be placed."""

    points: Float64[Tensor, "point xyz=3"]
    xy: Float64[Tensor, "point xy=2"]
    weight: Float64[Tensor, " point"]
    lens: Float64[Tensor, "3 3"]
    threshold_px: float

    def distances(self, camera_from_world: Float64[Tensor, "4 4"]) -> Float64[Tensor, " point"]:
        """Between pixels and projected points; infinite behind the camera."""
        shown = project(transform_points(camera_from_world, self.points), self.lens)
        return (shown - self.xy).norm(dim=-1).nan_to_num(torch.inf)

    def solve(self, start_world_from_camera: Tensor | None) -> Float64[Tensor, "4 4"] | None:
        """camera_from_world; None where the points determine no pose."""
        focal = self.lens.diagonal()[:2]
        if len(self.points) < 4 or not (self.lens.isfinite().all() and (focal > 0).all()):
            return None
        starts = [self._drawn_start()]
        if start_world_from_camera is not None and start_world_from_camera.isfinite().all():
            starts.append(invert_rigid(start_world_from_camera))
        # A start that sees most points behind the camera is none.
        known = [(self._median(pose), pose) for pose in starts if pose is not None]
        known = [(median, pose) for median, pose in known if median.isfinite()]
        if not known:
            return None
        median, start = min(known, key=lambda pair: float(pair[0]))
        refined, determined = self._refine(start)
        if not determined:
            return None
        return min(start, refined, key=lambda pose: self._cost(pose, median))

    def _median(self, camera_from_world: Float64[Tensor, "4 4"]) -> Float64[Tensor, ""]:
        return weighted_median(self.distances(camera_from_world), self.weight)

    def _cost(self, pose: Float64[Tensor, "4 4"], scale: Float64[Tensor, ""]) -> float:
        """What Cauchy weights of one scale minimise; points behind count as 100 images away."""
        furthest = 1e4 * self.threshold_px
        distance = self.distances(pose).clamp_max(furthest) / scale.clamp_min(1e-9)
        return float((self.weight * torch.log1p(distance.square())).sum())

    def _drawn_start(self) -> Float64[Tensor, "4 4"] | None:
        """The pose that most points agree with among those of random samples."""
        import cv2  # noqa: PLC0415

        index, known = choose_pixels(self.weight[None] > 0, most=_DRAWN_FROM)
        drawn = index[0, known[0]]
        try:
            found, turn, shift, _ = cv2.solvePnPRansac(
                self.points[drawn].numpy(),
                self.xy[drawn].numpy(),
                self.lens.numpy(),
                None,
                flags=cv2.SOLVEPNP_AP3P,
                iterationsCount=_MOST_DRAWS,
                reprojectionError=self.threshold_px,
                confidence=0.9999,
            )
        # Points without any extent make some of its solvers raise instead of finding nothing.
        except cv2.error:
            return None
        if not found or not (np.isfinite(turn).all() and np.isfinite(shift).all()):
            return None
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3:] = cv2.Rodrigues(turn)[0], shift
        return torch.from_numpy(pose)

    def _refine(
        self, camera_from_world: Float64[Tensor, "4 4"]
    ) -> tuple[Float64[Tensor, "4 4"], bool]:
        """Iteratively re-weighted Gauss-Newton; also whether all six directions are determined."""
        pose = camera_from_world.clone()
        for _ in range(_PNP_ITERATIONS):
            camera = transform_points(pose, self.points)
            left = self.xy - project(camera, self.lens)
            in_front = camera[:, 2] > 0
            left = torch.where(in_front[:, None], left, 0.0)
            weight = cauchy_weight(left, self.weight * in_front)
            found = pose_equations(pose, self.points, self.xy, weight, self.lens)
            normal, gradient = found.normal, found.gradient
            size = normal.diagonal().sqrt()
            if not ((size > 0).all() and size.isfinite().all()):
                return pose, False
            scaled = normal / torch.outer(size, size)
            if not torch.linalg.eigvalsh(scaled)[0] > _SINGULAR:
                return pose, False
            step = torch.linalg.solve(scaled, gradient / size)
            # Scaled so, a step is in pixels times the root of the weight that all points have.
            done = step.abs().max() < _SMALLEST_STEP_PX * weight.sum().sqrt()
            pose = moved_by(step / size, pose)
            if done:
                break
        return pose, True


def camera_motion_by_procrustes(
    points_world: Float[Tensor, "frame height width xyz=3"],
    points_camera: Float[Tensor, "frame height width xyz=3"],
    confidence: Float[Tensor, "frame height width"],
    *,
    moving: Float[Tensor, "frame height width"] | None = None,
    fit_scale: bool = False,
) -> ProcrustesCameraMotion:
    """Camera poses by robust alignment of every frame's points at one fixed time (DPM, A.4).

    The paper aligns matched still pixels of two frames; here each frame's own pixels are given
    twice, which needs no matches: P_i(t) in the camera of frame i and in the world. Distances count
    in scene units, along the ray too. Differentiable.

    Args:
        points_world: The points of every frame at one time, in the world.
        points_camera: The same pixels' points at the same time in the frame's own camera.
        confidence: The weight of every pixel; those with 0 or without finite points are left out.
        moving: How far a pixel moves (a probability or a mask of 0 and 1): its weight is
            confidence · (1 - moving). Needed where the two points may be of different times.
        fit_scale: Whether the two clouds' units may differ.
    """
    weight = confidence if moving is None else confidence * (1 - moving)
    source, target, weight = (
        points_camera.flatten(1, 2),
        points_world.flatten(1, 2),
        weight.flatten(1),
    )
    index, known = choose_pixels(usable_points(source, weight) & usable_points(target, weight))
    frames = [
        _aligned(source[k, chosen], target[k, chosen], weight[k, chosen], fit_scale=fit_scale)
        for k, chosen in ((k, index[k, known[k]]) for k in range(len(index)))
    ]
    none = points_world.new_zeros(0)
    # An empty part lets a clip of no frames through.
    parts = zip((none.view(0, 4, 4), none, none, none), *frames, strict=True)
    poses, scale, share, residual = (torch.cat(part).to(points_world) for part in parts)
    return ProcrustesCameraMotion(
        world_from_camera=poses,
        scale=scale,
        inlier_share=share,
        residual=residual,
        used=known.sum(dim=1),
    )


def _aligned(
    source: Float[Tensor, "point xyz=3"],
    target: Float[Tensor, "point xyz=3"],
    weight: Float[Tensor, " point"],
    *,
    fit_scale: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pose, scale, inlier share and residual of one frame, each with a dimension of length 1."""
    p, q, w = source.double()[None], target.double()[None], weight.double()[None]
    one = p.new_ones(1)
    nothing = torch.eye(4, dtype=p.dtype, device=p.device)[None], one, 0 * one, torch.nan * one
    if p.shape[1] < 3:
        return nothing
    matrix = fit_similarity_robustly(p, q, w, rigid=not fit_scale)
    for _ in range(_PROCRUSTES_ITERATIONS):
        robust = cauchy_weight(move(matrix, p) - q, w)
        matrix = fit_similarity(p, q, robust, rigid=not fit_scale)
    # Points on a line leave a turn about it free; what counts is what the robust weights left.
    share = (robust / robust.sum())[..., None]
    centred = p - (share * p).sum(dim=1, keepdim=True)
    spread = torch.linalg.eigvalsh((share * centred).transpose(1, 2) @ centred)[0]
    if not spread[1] > _SINGULAR * spread[2]:
        return nothing
    scale, rigid = split_similarity(matrix)
    left = (move(matrix, p) - q).norm(dim=-1)
    distance = (q - matrix[:, None, :3, 3]).norm(dim=-1)
    inliers = (left < _INLIER_SHARE_OF_DISTANCE * distance).to(left).mean(dim=1)
    return rigid, scale, inliers, weighted_median(left, w)


def camera_disagreement(
    first: Float[Tensor, "frame 4 4"],
    second: Float[Tensor, "frame 4 4"],
    *,
    scene_depth: float,
) -> CameraDisagreement:
    """How far two sets of world_from_camera differ, each put into its own first camera.

    Args:
        first: Of every frame of a clip, frame 0 first, e.g. by PnP.
        second: Of the same frames, e.g. of a camera head or by Procrustes; in the same units.
        scene_depth: A typical depth, e.g. the median one, in those units.

    Raises:
        InputError: the depth is not a positive number.
    """
    if not 0 < scene_depth < float("inf"):
        raise InputError(
            f"The scene's depth is {scene_depth}; wanted a positive number in the units of the "
            "cameras' translations. Give the median depth of the points that are seen."
        )
    one, other = (invert_rigid(pose[:1].double()) @ pose.double() for pose in (first, second))
    angle = rotation_angle_rad(one[:, :3, :3], other[:, :3, :3])
    apart = (one[:, :3, 3] - other[:, :3, 3]).norm(dim=-1)
    return CameraDisagreement(
        rotation_deg=torch.rad2deg(angle).to(first.dtype),
        translation=(apart / scene_depth).to(first.dtype),
    )
