"""Random scenes: exact geometry for every time, materials, light and cameras, all as NumPy arrays.

Everything is drawn from one `Generator(PCG64(seed))`, so a seed names a scene. Scenes are built on
a stage (z up) and handed over in the world of the package: the camera of frame 0, OpenCV axes.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int32

from dynapoint.errors import ConfigError

from . import shapes
from .actors import random_actors
from .bodies import Body
from .cameras import LONG_LENSES, MOST_LONG_LENSES, CameraPath, random_camera_path
from .driving import random_drive
from .lights import Look, random_look
from .materials import mean_colour, random_material
from .photographs import lay_on
from .places import random_corridor, random_street
from .rooms import random_room
from .settings import Draw, Setting
from .shallow import random_shallow_setting
from .stage import Stage, random_screens, random_stage


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What kind of scenes to draw.

    `difficulty` runs from 0 (a few textured ellipsoids and boxes with large motions before a plain
    wall, camera still or slow) to 1 (everything). Raises ConfigError for values out of range.
    """

    frames: int = 8
    difficulty: float = 0.0
    # Share of clips before a still camera (more at low difficulty).
    still_camera: float = 0.4
    # Share of scenes of little depth, as most are that people film indoors; about half as many
    # at difficulty 0.
    shallow: float = 0.28
    # Share of lenses longer than those of phones and depth cameras (38 to 60° across).
    long_lens: float = LONG_LENSES
    # Shares of deep scenes that are roads seen from a car, and furnished rooms.
    driving: float = 0.0
    rooms: float = 0.0
    # Share of clips whose camera certainly moves, 1.5 to 3.5 times as far as others.
    brisk: float = 0.0
    # How many photographs there are for materials to be made of (synthetic.photographs).
    photographs: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError(f"frames is {self.frames}; a scene needs at least 1 frame.")
        if not 0.0 <= self.difficulty <= 1.0:
            raise ConfigError(f"difficulty is {self.difficulty}; choose a value from 0 to 1.")
        if not 0.0 <= self.shallow <= 1.0:
            raise ConfigError(f"shallow is {self.shallow}, a share; choose a value from 0 to 1.")
        if min(self.driving, self.rooms) < 0.0 or self.driving + self.rooms > 1.0:
            raise ConfigError(
                f"driving is {self.driving} and rooms {self.rooms}; choose shares from 0 to 1 that "
                "add up to no more than 1."
            )
        if not 0.0 <= self.brisk <= 1.0:
            raise ConfigError(f"brisk is {self.brisk}, a share; choose a value from 0 to 1.")
        if not 0.0 <= self.long_lens <= MOST_LONG_LENSES:
            raise ConfigError(
                f"long_lens is {self.long_lens}; choose a share from 0 to {MOST_LONG_LENSES}."
            )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One scene in the world of its frame 0 (OpenCV axes, scene units).

    `focal_per_height` and `principal` (offset of the principal point from the image's centre, in
    image widths and heights) make intrinsics for any image of the scene's aspect. `screens` are the
    rectangles that keep the sun off or let it in (see `stage.random_screens`).
    """

    vertices: Float32[np.ndarray, "time vertex xyz=3"]
    texture: Float32[np.ndarray, "vertex xyz=3"]
    faces: Int32[np.ndarray, "face corner=3"]
    face_instance: Int32[np.ndarray, " face"]
    face_group: Int32[np.ndarray, " face"]
    face_moving: Bool[np.ndarray, " face"]
    face_casts: Bool[np.ndarray, " face"]
    materials: Float32[np.ndarray, "instance parameter"]
    screens: Float32[np.ndarray, "screen=2 number=10"]
    world_from_camera: Float32[np.ndarray, "time 4 4"]
    focal_per_height: float
    principal: Float32[np.ndarray, " xy=2"]
    look: Look


def random_scene(seed: int, config: SceneConfig, *, aspect: float) -> Scene:
    """Draw the scene named by `seed` for images of `aspect` (width over height)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    difficulty = config.difficulty
    kind = rng.random()
    camera_moves = kind >= config.still_camera if rng.random() < 0.4 + 0.6 * difficulty else False
    has_movers = not (0.0 <= kind - config.still_camera < 0.2 * difficulty)
    briskness = 1.0
    # Without a share nothing is drawn for it: seeds go on naming the scenes they named.
    if config.brisk > 0.0 and rng.random() < config.brisk:
        camera_moves = True
        briskness = float(np.exp(rng.uniform(*np.log([1.5, 3.5]))))
    draw = Draw(
        rng=rng,
        tau=np.linspace(0.0, _pace(rng, difficulty), config.frames),
        difficulty=difficulty,
        aspect=aspect,
        camera_moves=camera_moves,
        movers=has_movers,
        long_lens=config.long_lens,
        driving=config.driving,
        rooms=config.rooms,
        briskness=briskness,
    )
    shallow = config.shallow if difficulty > 0.0 else config.shallow**1.5
    setting = random_shallow_setting(draw) if rng.random() < shallow else _open_setting(draw)
    scene = assemble(rng, setting, difficulty=difficulty)
    if config.photographs:
        materials = lay_on(scene.materials, count=config.photographs, seed=seed)
        return replace(scene, materials=materials)
    return scene


def _pace(rng: np.random.Generator, difficulty: float) -> float:
    """How much of its motions a clip shows: all, or a small part as at thirty frames a second."""
    if rng.random() < 1.0 - 0.22 * difficulty:
        return 1.0
    return float(np.exp(rng.uniform(np.log(0.08), np.log(0.7))))


def _open_setting(draw: Draw) -> Setting:
    """Ground, often walls, and all kinds of actors at all distances; corridors, streets, roads."""
    rng, times = draw.rng, len(draw.tau)
    # Without shares nothing is drawn for them: seeds go on naming the scenes they named.
    if draw.driving + draw.rooms > 0.0:
        place = rng.random()
        if place < draw.driving:
            return random_drive(draw)
        if place < draw.driving + draw.rooms:
            return random_room(draw)
    chance = rng.random() if draw.difficulty > 0.0 else 1.0
    if chance < 0.08:
        return random_corridor(draw)
    if chance < 0.18:
        return random_street(draw)
    crowd = int(rng.integers(6, 14)) if chance < 0.28 else 0
    camera = random_camera_path(
        rng, tau=draw.tau, difficulty=draw.difficulty, aspect=draw.aspect,
        moving=draw.camera_moves, long_lens=draw.long_lens, briskness=draw.briskness,
    )  # fmt: skip
    stage = random_stage(rng, camera, difficulty=draw.difficulty, times=times)
    actors = random_actors(
        rng, camera, stage, tau=draw.tau, difficulty=draw.difficulty, movers=draw.movers,
        crowd=crowd,
    )  # fmt: skip
    return Setting(camera=camera, stage=stage, actors=actors)


def assemble(rng: np.random.Generator, setting: Setting, *, difficulty: float) -> Scene:
    """Join all bodies into one mesh in the camera of frame 0 and give each a material."""
    camera, stage, actors = setting.camera, setting.stage, setting.actors
    parts = [*stage.bodies, *(body for actor in actors for body in actor)]
    still = len(stage.bodies)
    mesh = shapes.join_meshes([part.mesh for part in parts])
    counts = np.array([len(part.mesh.faces) for part in parts])
    instance = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
    casts = np.repeat(np.arange(len(parts)) >= still, counts)
    moving = np.repeat(np.array([part.moving for part in parts]), counts)
    camera_from_stage = np.linalg.inv(camera.stage_from_camera[0])
    positions = np.concatenate([part.positions for part in parts], 1)
    world = positions @ camera_from_stage[:3, :3].T + camera_from_stage[:3, 3]
    poses = camera_from_stage @ camera.stage_from_camera
    poses[0] = np.eye(4)
    materials = _materials(rng, actors, stage, difficulty=difficulty)
    look = random_look(
        rng,
        world_from_stage=camera_from_stage,
        ground_colour=mean_colour(materials[0]),  # the stage's first body
        frames=len(poses),
        difficulty=difficulty,
    )
    return Scene(
        vertices=world.astype(np.float32),
        texture=np.concatenate([part.texture for part in parts]).astype(np.float32),
        faces=mesh.faces,
        face_instance=instance,
        face_group=mesh.face_group,
        face_moving=moving,
        face_casts=casts,
        materials=materials,
        screens=_screens(rng, stage, camera, look),
        world_from_camera=poses.astype(np.float32),
        focal_per_height=camera.focal_per_height,
        principal=np.zeros(2, np.float32),
        look=look,
    )


def _screens(
    rng: np.random.Generator, stage: Stage, camera: CameraPath, look: Look
) -> Float32[np.ndarray, "screen=2 number=10"]:
    """What stands between the scene and the sun, in the world."""
    pose = camera.stage_from_camera[0]
    screens = random_screens(
        rng,
        stage,
        sun=pose[:3, :3] @ look.sun.astype(np.float64),
        heart=np.array([0.0, camera.distance, 0.0]),
    )
    used = screens.any(1)
    vectors = screens[used, :9].reshape(-1, 3, 3)
    vectors[:, 0] -= pose[:3, 3]
    screens[used, :9] = (vectors @ pose[:3, :3]).reshape(-1, 9)
    return screens.astype(np.float32)


def _materials(
    rng: np.random.Generator, actors: list[list[Body]], stage: Stage, *, difficulty: float
) -> Float32[np.ndarray, "instance parameter"]:
    """A material per body; within an actor, bodies of one dress share theirs."""
    texture = 0.75 + 0.25 * (1.0 - difficulty)
    rows: list[np.ndarray] = []
    hidden = rng.random() < 0.12 * difficulty
    for index, actor in enumerate([[body] for body in stage.bodies] + actors):
        surroundings = index < len(stage.bodies)
        chance = 0.85 * texture if surroundings else texture
        worn: dict[int, np.ndarray] = {}
        for body in actor:
            if body.dress not in worn:
                worn[body.dress] = random_material(
                    rng, size=body.size, texture=chance, vivid=0.25 if surroundings else 0.6
                )
                if hidden and body.moving:
                    # One mover looks like something behind it.
                    worn[body.dress] = rows[int(rng.integers(len(stage.bodies)))]
                    hidden = False
            rows.append(worn[body.dress])
    return np.stack(rows)
