"""Scenes of a batch as padded tensors on a device, in the layout that rendering needs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dynapoint.errors import ConfigError

from .lights import Look
from .scene import Scene


@dataclass(frozen=True, kw_only=True)
class LookBatch:
    """`Look` of every clip, stacked."""

    sun: Float[Tensor, "clip xyz=3"]
    sun_colour: Float[Tensor, "clip rgb=3"]
    fill: Float[Tensor, "clip xyz=3"]
    fill_colour: Float[Tensor, "clip rgb=3"]
    sky_colour: Float[Tensor, "clip rgb=3"]
    bounce_colour: Float[Tensor, "clip rgb=3"]
    ground: Float[Tensor, "clip plane=4"]
    horizon_colour: Float[Tensor, "clip rgb=3"]
    zenith_colour: Float[Tensor, "clip rgb=3"]
    cloud_amount: Float[Tensor, " clip"]
    shadow_softness: Float[Tensor, " clip"]
    fog_density: Float[Tensor, " clip"]
    exposure: Float[Tensor, "clip time rgb=3"]
    shutter: Float[Tensor, " clip"]
    vignette: Float[Tensor, " clip"]
    contrast: Float[Tensor, " clip"]
    saturation: Float[Tensor, " clip"]
    noise: Float[Tensor, " clip"]
    blur: Float[Tensor, " clip"]
    sharpening: Float[Tensor, " clip"]
    compression: Float[Tensor, " clip"]


@dataclass(frozen=True, kw_only=True)
class SceneBatch:
    """Scenes padded to common numbers of vertices and (degenerate) faces.

    `material` indexes the columns of `materials`, which hold all clips' one after the other.
    """

    vertices: Float[Tensor, "clip time vertex xyz=3"]
    texture: Float[Tensor, "clip vertex xyz=3"]
    faces: Int[Tensor, "clip face corner=3"]
    face_instance: Int[Tensor, "clip face"]
    face_group: Int[Tensor, "clip face"]
    face_moving: Bool[Tensor, "clip face"]
    face_casts: Bool[Tensor, "clip face"]
    material: Int[Tensor, "clip face"]
    materials: Float[Tensor, "parameter material"]
    screens: Float[Tensor, "clip screen=2 number=10"]
    world_from_camera: Float[Tensor, "clip time 4 4"]
    intrinsics: Float[Tensor, "clip time 3 3"]
    look: LookBatch


def _padded(arrays: list[np.ndarray], axis: int, fill: int = 0) -> Tensor:
    """Stack arrays that differ in length along `axis`."""
    longest = max(array.shape[axis] for array in arrays)
    shape = list(arrays[0].shape)
    shape[axis] = longest
    out = np.full((len(arrays), *shape), fill, arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        np.moveaxis(row, axis, 0)[: array.shape[axis]] = np.moveaxis(array, axis, 0)
    return torch.from_numpy(out)


def _intrinsics(scene: Scene, image_hw: tuple[int, int]) -> np.ndarray:
    height, width = image_hw
    focal = scene.focal_per_height * height
    matrix = np.eye(3, dtype=np.float32)
    matrix[0, 0] = matrix[1, 1] = focal
    matrix[:2, 2] = (0.5 + scene.principal) * (width, height)
    return np.tile(matrix, (len(scene.vertices), 1, 1))


def stack_scenes(
    scenes: Sequence[Scene], *, image_hw: tuple[int, int], device: torch.device | str
) -> SceneBatch:
    """Pad and stack scenes with intrinsics for images of `image_hw`.

    Raises ConfigError if there is no scene or if their numbers of frames differ.
    """
    frames = {len(scene.vertices) for scene in scenes}
    if len(frames) != 1:
        raise ConfigError(
            f"Found scenes with frame counts {sorted(frames)}; one batch needs at least one scene "
            "and the same number of frames in all: draw them with one SceneConfig."
        )
    first_material = np.cumsum([0] + [len(scene.materials) for scene in scenes])
    material = [
        scene.face_instance.astype(np.int64) + start
        for scene, start in zip(scenes, first_material, strict=False)
    ]
    look = {
        field.name: torch.from_numpy(
            np.stack([np.asarray(getattr(scene.look, field.name)) for scene in scenes])
        ).to(device)
        for field in fields(Look)
    }
    materials = np.concatenate([scene.materials for scene in scenes]).T
    poses = np.stack([scene.world_from_camera for scene in scenes])
    intrinsics = np.stack([_intrinsics(scene, image_hw) for scene in scenes])
    return SceneBatch(
        vertices=_padded([scene.vertices for scene in scenes], 1).to(device),
        texture=_padded([scene.texture for scene in scenes], 0).to(device),
        faces=_padded([scene.faces for scene in scenes], 0).to(device),
        face_instance=_padded([scene.face_instance for scene in scenes], 0).to(device),
        face_group=_padded([scene.face_group for scene in scenes], 0).to(device),
        face_moving=_padded([scene.face_moving for scene in scenes], 0).to(device),
        face_casts=_padded([scene.face_casts for scene in scenes], 0).to(device),
        material=_padded(material, 0).to(device),
        materials=torch.from_numpy(np.ascontiguousarray(materials)).to(device),
        screens=torch.from_numpy(np.stack([scene.screens for scene in scenes])).to(device),
        world_from_camera=torch.from_numpy(poses).to(device),
        intrinsics=torch.from_numpy(intrinsics).to(device),
        look=LookBatch(**look),
    )


def spread_over_samples(
    table: Float[Tensor, "parameter image"], image: Int[Tensor, " sample"]
) -> Float[Tensor, "parameter sample"]:
    """Each sample's column of a table; samples are sorted by image."""
    if table.device.type != "cpu":
        return table.index_select(1, image)
    # Runs of equal columns are written several times faster than they are looked up.
    first = int(image[0])
    counts = torch.bincount(image - first).tolist()
    runs = [table[:, first + k, None].expand(-1, count) for k, count in enumerate(counts) if count]
    return torch.cat(runs, 1)
