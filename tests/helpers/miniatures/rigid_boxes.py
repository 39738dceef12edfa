"""A tiny exact scene: rigid boxes that fly, slide and rest in a dome, by ray casting in float64.

It stands in for a clip of the data engine, whose bodies bend, where a set's truth is made of rigid
poses. The world has z up. Nothing here is shared with the readers.
"""

from dataclasses import dataclass

import numpy as np

DOME_RADIUS = 30.0
# Lower and upper corners along the box's own axes: the origin is not the middle.
BOUNDS = np.array(
    [
        [[-0.8, -0.6, -0.5], [1.0, 0.7, 0.9]],
        [[-1.0, -0.5, -0.4], [0.9, 0.8, 0.6]],
        [[-0.7, -0.9, -0.6], [0.8, 0.6, 1.2]],
    ]
)
COLOURS = np.array([[90, 110, 130], [220, 70, 50], [60, 180, 80], [70, 90, 210]])


def turn(axis, angle):
    """Rotation about an axis (Rodrigues)."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def quaternion_wxyz(axis, angle):
    axis = np.asarray(axis) / np.linalg.norm(axis)
    return np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * axis])


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxScene:
    """Boxes by frame; box 2 rests. With `upright`, they turn about z alone."""

    frames: int
    upright: bool = False

    def axis_angle(self, box, frame):
        axis = (0, 0, 1) if self.upright else ((1, 2, 3), (0, 1, 4), (1, 1, 1))[box]
        return axis, (0.4 + 0.11 * frame, -0.3 - 0.05 * frame, 1.0)[box]

    def position(self, box, frame):
        start = np.array([[-1.6, 0.5, 0.4], [1.2, 1.0, 0.0], [0.3, -1.8, -0.2]])[box]
        speed = np.array([[0.22, -0.04, 0.09], [-0.12, 0.1, 0.0], [0, 0, 0]])[box]
        return start + frame * speed

    def world_from_box(self, box, frame):
        pose = np.eye(4)
        pose[:3, :3] = turn(*self.axis_angle(box, frame))
        pose[:3, 3] = self.position(box, frame)
        return pose

    def corners(self, box, frame):
        """x slowest, z fastest."""
        ends = BOUNDS[box]
        pose = self.world_from_box(box, frame)
        return np.array(
            [
                pose[:3, :3] @ [ends[i, 0], ends[j, 1], ends[k, 2]] + pose[:3, 3]
                for i in (0, 1)
                for j in (0, 1)
                for k in (0, 1)
            ]
        )

    def cast(self, origins, directions, frame):
        """Distance, box (-1 for the dome) and place in the box's own axes of what rays meet."""
        norm = np.linalg.norm(directions, axis=-1, keepdims=True)
        directions = directions / norm
        along = (origins * directions).sum(-1)
        distance = -along + np.sqrt(along**2 - (origins**2).sum(-1) + DOME_RADIUS**2)
        hit = np.full(distance.shape, -1)
        for box, ends in enumerate(BOUNDS):
            pose = self.world_from_box(box, frame)
            start = (origins - pose[:3, 3]) @ pose[:3, :3]
            ray = directions @ pose[:3, :3]
            with np.errstate(divide="ignore"):
                near, far = (ends[0] - start) / ray, (ends[1] - start) / ray
            enters, leaves = np.minimum(near, far).max(-1), np.maximum(near, far).min(-1)
            met = (enters < leaves) & (enters > 0) & (enters < distance)
            distance, hit = np.where(met, enters, distance), np.where(met, box, hit)
        places = origins + directions * distance[..., None]
        own = np.zeros_like(places)
        for box in range(len(BOUNDS)):
            pose = self.world_from_box(box, frame)
            own[hit == box] = ((places - pose[:3, 3]) @ pose[:3, :3])[hit == box]
        return distance, hit, own

    def moved(self, places, hit, own, time):
        """Where surfaces are at a time."""
        result = places.copy()
        for box in range(len(BOUNDS)):
            pose = self.world_from_box(box, time)
            result[hit == box] = own[hit == box] @ pose[:3, :3].T + pose[:3, 3]
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxClip:
    """As `EngineClip`, in the scene's own world, with what rigid bodies have besides."""

    scene: BoxScene
    images: np.ndarray
    distance: np.ndarray  # frame height width, along the ray
    depth: np.ndarray  # frame height width, along z
    points: np.ndarray  # time frame height width xyz
    visible: np.ndarray  # time frame height width
    instance: np.ndarray  # frame height width, -1 for the dome
    moving: np.ndarray  # frame height width
    coordinates: np.ndarray  # frame height width xyz, 0 to 1 in the box
    world_from_camera: np.ndarray  # frame 4 4, OpenCV
    camera_axis_angle: list  # of Blender's camera
    intrinsics: np.ndarray  # 3 3
    focal_mm: float
    sensor_mm: float

    @property
    def frame_count(self):
        return len(self.images)

    @property
    def image_hw(self):
        return self.images.shape[1:3]


def _camera(frame):
    """Blender's camera (looks along -z, y up): axis and angle of its pose, and where it is."""
    around = 0.3 + 0.04 * frame
    place = np.array([8 * np.cos(around), 8 * np.sin(around), 2.5 + 0.05 * frame])
    back = place / np.linalg.norm(place)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(back, right), back], axis=1)
    angle = np.arccos((np.trace(rotation) - 1) / 2)
    skew = rotation - rotation.T
    return (np.array([skew[2, 1], skew[0, 2], skew[1, 0]]), angle), place


def box_clip(frames, image_hw, sample_at=0.5):
    """The scene as Kubric would render it; `sample_at` is where in a pixel its ray goes through."""
    scene, (height, width) = BoxScene(frames=frames), image_hw
    focal_mm, sensor_mm = 35.0, 32.0
    focal = focal_mm / sensor_mm * width
    lens = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    column, row = np.meshgrid(np.arange(width) + sample_at, np.arange(height) + sample_at)
    rays = np.stack(
        [(column - width / 2) / focal, (row - height / 2) / focal, np.ones(image_hw)], -1
    )
    poses, axis_angles, casts, seen = [], [], [], []
    for frame in range(frames):
        axis_angle, place = _camera(frame)
        pose = np.eye(4)
        pose[:3, :3] = turn(*axis_angle) @ np.diag([1, -1, -1])
        pose[:3, 3] = place
        directions = rays @ pose[:3, :3].T
        distance, hit, own = scene.cast(np.broadcast_to(place, rays.shape), directions, frame)
        unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
        poses.append(pose)
        axis_angles.append(axis_angle)
        casts.append((distance, hit, own))
        seen.append(place + unit * distance[..., None])
    every = range(frames)
    points = np.array(
        [[scene.moved(seen[i], *casts[i][1:], time) for i in every] for time in every]
    )
    coordinates = np.array([_in_bounds(hit, own) for _, hit, own in casts])
    instance = np.array([hit for _, hit, _ in casts])
    return BoxClip(
        scene=scene,
        images=np.array([_painted(*one) for one in zip(instance, coordinates, seen, strict=True)]),
        distance=np.array([distance for distance, _, _ in casts]),
        depth=np.array([distance for distance, _, _ in casts]) / np.linalg.norm(rays, axis=-1),
        points=points,
        visible=np.array(
            [_seen(scene, lens, poses[t], points[t], time=t, image_hw=image_hw) for t in every]
        ),
        instance=instance,
        moving=(instance == 0) | (instance == 1),
        coordinates=coordinates,
        world_from_camera=np.array(poses),
        camera_axis_angle=axis_angles,
        intrinsics=lens,
        focal_mm=focal_mm,
        sensor_mm=sensor_mm,
    )


def _in_bounds(hit, own):
    lower, upper = BOUNDS[hit, 0], BOUNDS[hit, 1]
    return np.where(hit[..., None] >= 0, (own - lower) / (upper - lower), 0).clip(0, 1)


def _painted(hit, coordinates, places):
    """A checkerboard on every surface."""
    cells = np.where(hit[..., None] >= 0, coordinates * 4, places / 3)
    dark = np.floor(cells + 1e-6).sum(-1) % 2
    return (COLOURS[hit + 1] * (1 - 0.4 * dark[..., None])).astype(np.uint8)


def _seen(scene, lens, pose, points, *, time, image_hw):
    """Whether a camera sees points: nothing is nearer on the way to them."""
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    with np.errstate(divide="ignore", invalid="ignore"):
        x = local[..., 0] / local[..., 2] * lens[0, 0] + lens[0, 2]
        y = local[..., 1] / local[..., 2] * lens[1, 1] + lens[1, 2]
    inside = (local[..., 2] > 0) & (x >= 0) & (y >= 0) & (x < image_hw[1]) & (y < image_hw[0])
    distance, _, _ = scene.cast(
        np.broadcast_to(pose[:3, 3], points.shape), points - pose[:3, 3], time
    )
    return inside & (np.linalg.norm(local, axis=-1) <= distance + 1e-6)
