"""Random scenes: exact geometry for every time, materials, light and cameras, all as NumPy arrays.

Everything is drawn from one `Generator(PCG64(seed))`, so a seed names a scene. Scenes are built on a
stage (z up) and handed over in the world of the package: the camera of frame 0, OpenCV axes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32

from dynapoint.errors import ConfigError

from . import shapes
from .bodies import Body, random_body
from .cameras import CameraPath, random_camera_path
from .lights import Look, random_look
from .materials import random_material


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What kind of scenes to draw.

    `difficulty` runs from 0 (a few textured ellipsoids and boxes with large motions before a plain
    wall, camera still or slow) to 1 (everything). Raises ConfigError for values out of range.
    """

    frames: int = 8
    difficulty: float = 0.0

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError(f"frames is {self.frames}; a scene needs at least 1 frame.")
        if not 0.0 <= self.difficulty <= 1.0:
            raise ConfigError(f"difficulty is {self.difficulty}; choose a value from 0 to 1.")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One scene in the world of its frame 0 (OpenCV axes, scene units).

    `focal_per_height` and `principal` (offset of the principal point from the image's centre, in
    image widths and heights) make intrinsics for any image of the scene's aspect.
    """

    vertices: Float32[np.ndarray, "time vertex xyz=3"]
    texture: Float32[np.ndarray, "vertex xyz=3"]
    faces: Int32[np.ndarray, "face corner=3"]
    face_instance: Int32[np.ndarray, " face"]
    face_group: Int32[np.ndarray, " face"]
    face_moving: Bool[np.ndarray, " face"]
    face_casts: Bool[np.ndarray, " face"]
    materials: Float32[np.ndarray, "instance parameter"]
    world_from_camera: Float32[np.ndarray, "time 4 4"]
    focal_per_height: float
    principal: Float32[np.ndarray, " xy=2"]
    look: Look


def random_scene(seed: int, config: SceneConfig, *, aspect: float) -> Scene:
    """Draw the scene named by `seed` for images of `aspect` (width over height)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    difficulty = config.difficulty
    tau = np.linspace(0.0, 1.0, config.frames)
    kind = rng.random()
    camera_moves = kind >= 0.4 if rng.random() < 0.4 + 0.6 * difficulty else False
    has_movers = not (0.4 <= kind < 0.4 + 0.2 * difficulty)
    camera = random_camera_path(
        rng, frames=config.frames, difficulty=difficulty, aspect=aspect, moving=camera_moves
    )
    bodies = _draw_bodies(rng, camera, tau=tau, difficulty=difficulty, movers=has_movers)
    stage = _draw_stage(rng, camera, difficulty=difficulty, times=config.frames)
    return _assemble(rng, camera, bodies, stage, difficulty=difficulty)


def _draw_bodies(
    rng: np.random.Generator,
    camera: CameraPath,
    *,
    tau: np.ndarray,
    difficulty: float,
    movers: bool,
) -> list[Body]:
    """Bodies in view of frame 0, apart from each other and from the camera at all times."""
    count = int(rng.integers(4, 7 + round(4 * difficulty)))
    share = rng.uniform(0.5, 1.0) if rng.random() > 0.6 * difficulty else rng.uniform(0.2, 0.6)
    cameras = camera.stage_from_camera[:, :3, 3]
    bodies: list[Body] = []
    circles: list[tuple[np.ndarray, float]] = []
    for index in range(count):
        moves = movers and (index == 0 or rng.random() < share)
        for attempt in range(6):
            shrink = 0.85**attempt
            distance = camera.distance * float(np.exp(rng.uniform(np.log(0.45), np.log(1.9))))
            across = rng.uniform(-1.0, 1.0) * camera.half_width * (0.75 if index < 3 else 1.05)
            size = float(np.exp(rng.normal(np.log(0.42), 0.4))) * (distance / 3.0) ** 0.5 * shrink
            size = min(size, 0.3 * distance)
            reach = 0.0
            if moves:
                low, high = (0.1, 0.4) if difficulty < 0.5 else (0.04, 0.35)
                reach = camera.distance * rng.uniform(low, high)
            body = random_body(
                rng,
                tau=tau,
                place=(across * distance, distance),
                size=size,
                reach=reach,
                difficulty=difficulty,
                detail=5 if size / distance < 0.12 else 7,
            )
            centres = 0.5 * (body.positions.min(1) + body.positions.max(1))
            radius = float(np.linalg.norm(body.positions[0] - centres[0], axis=1).max())
            gap = np.linalg.norm(centres - cameras, axis=1).min() - radius
            clear = all(
                np.linalg.norm(centres - other, axis=1).min() > 0.8 * (radius + other_radius)
                for other, other_radius in circles
            )
            if gap > 0.25 * camera.distance * 0.5 and clear:
                bodies.append(body)
                circles.append((centres, radius))
                break
    return bodies


def _slab(
    low: tuple[float, float, float], high: tuple[float, float, float], times: int, size: float
) -> Body:
    """A still axis-aligned box of the stage, such as a wall."""
    lower, upper = np.array(low), np.array(high)
    mesh = shapes.placed(shapes.box_mesh(1), scale=(upper - lower) / 2, centre=(upper + lower) / 2)
    return Body(
        positions=np.broadcast_to(mesh.vertices, (times, *mesh.vertices.shape)),
        texture=mesh.vertices,
        mesh=mesh,
        size=size,
        moving=False,
    )


def _draw_stage(
    rng: np.random.Generator, camera: CameraPath, *, difficulty: float, times: int
) -> list[Body]:
    """The ground and, often, walls (sometimes a whole room with a ceiling)."""
    far = 60.0
    ground = _slab((-far, -far, -0.5), (far, far, 0.0), times, 1.0)
    stage = [ground]
    poses = camera.stage_from_camera[:, :3, 3]
    depth = camera.distance
    walls = rng.random()
    back = depth * rng.uniform(2.0, 3.6)
    height = depth * (rng.uniform(0.5, 2.0) if difficulty > 0.3 else 3.0)
    reach = max(back * camera.half_width, 0.9 * depth)
    left = min(-reach * rng.uniform(0.6, 1.3), poses[:, 0].min() - 0.5)
    right = max(reach * rng.uniform(0.6, 1.3), poses[:, 0].max() + 0.5)
    front = poses[:, 1].min() - rng.uniform(1.0, 2.0)
    back = max(back, poses[:, 1].max() + 1.0)
    room = rng.random() < 0.25 * difficulty
    if room:
        height = max(depth * rng.uniform(0.8, 1.4), poses[:, 2].max() + 0.4)
        stage.append(_slab((left, front, height), (right, back, height + 0.1), times, 2.0))
        stage.append(_slab((left, front - 0.1, 0.0), (right, front, height), times, 2.0))
    if room or walls < 0.75 or difficulty < 0.1:
        stage.append(_slab((left - 0.1, back, 0.0), (right + 0.1, back + 0.1, height), times, 2.0))
    if room or walls < 0.45 * (0.3 + 0.7 * difficulty):
        stage.append(_slab((left - 0.1, front, 0.0), (left, back, height), times, 2.0))
    if room or walls < 0.25 * (0.3 + 0.7 * difficulty):
        stage.append(_slab((right, front, 0.0), (right + 0.1, back, height), times, 2.0))
    return stage


def _assemble(
    rng: np.random.Generator,
    camera: CameraPath,
    bodies: list[Body],
    stage: list[Body],
    *,
    difficulty: float,
) -> Scene:
    """Join all bodies into one mesh in the camera of frame 0 and give each a material."""
    parts = stage + bodies
    mesh = shapes.join_meshes([part.mesh for part in parts])
    counts = np.array([len(part.mesh.faces) for part in parts])
    instance = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
    casts = np.repeat(np.arange(len(parts)) >= len(stage), counts)
    moving = np.repeat(np.array([part.moving for part in parts]), counts)
    camera_from_stage = np.linalg.inv(camera.stage_from_camera[0])
    positions = np.concatenate([part.positions for part in parts], 1)
    world = positions @ camera_from_stage[:3, :3].T + camera_from_stage[:3, 3]
    poses = camera_from_stage @ camera.stage_from_camera
    poses[0] = np.eye(4)
    texture = 0.75 + 0.25 * (1.0 - difficulty)
    materials = [
        random_material(
            rng,
            size=part.size,
            texture=texture if index >= len(stage) else 0.75 * texture,
            vivid=0.6 if index >= len(stage) else 0.25,
        )
        for index, part in enumerate(parts)
    ]
    return Scene(
        vertices=world.astype(np.float32),
        texture=np.concatenate([part.texture for part in parts]).astype(np.float32),
        faces=mesh.faces,
        face_instance=instance,
        face_group=mesh.face_group,
        face_moving=moving,
        face_casts=casts,
        materials=np.stack(materials),
        world_from_camera=poses.astype(np.float32),
        focal_per_height=camera.focal_per_height,
        principal=np.zeros(2, np.float32),
        look=random_look(
            rng,
            world_from_stage=camera_from_stage,
            frames=len(poses),
            difficulty=difficulty,
        ),
    )
