"""Colours of surface and sky samples: procedural textures, light, shadow and fog in linear RGB."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .batch import SceneBatch, spread_over_samples
from .contact import GroundView, darkening
from .materials import Column
from .noise import BLOTCH, CLOUD, LEAF, SECOND_LEAF, sample_noise
from .photographs import LaidPhotographs, photographed
from .raster import corner_values
from .screens import ScreenTables, screened_light
from .shadow import SunView, lit_fraction

_TAU = 6.283185307179586
_JOINT_STEEPNESS = 6.0  # joints take about a twentieth of a tile's width on each side


@dataclass(frozen=True, kw_only=True)
class ShadingTables:
    """Everything that shading looks up, as tables with one contiguous row per quantity.

    `planes` (9, triangle): edge functions over the determinant; `corners`: rows of `attributes`,
    which hold camera-space normal, texture coordinate, sun view and ground view of every
    (clip, time, vertex); `frames` (row, image): light in camera axes and lens of each image.
    """

    planes: Float[Tensor, "9 triangle"]
    corners: Int[Tensor, "triangle corner=3"]
    material: Int[Tensor, " triangle"]
    materials: Float[Tensor, "parameter material"]
    attributes: Float[Tensor, "vertex_row 12"]
    frames: Float[Tensor, "frame_parameter image"]
    shadow: Float[Tensor, "image shadow_row shadow_column"]
    contact: Float[Tensor, "image contact_row contact_column"]
    screens: ScreenTables
    foggy: bool  # whether any clip has fog
    laid: LaidPhotographs | None = None  # None where no material is a photograph


_FRAME_ROWS = (
    ("sun", 3), ("sun_colour", 3), ("fill", 3), ("fill_colour", 1), ("up", 3), ("sky_colour", 3),
    ("bounce_colour", 3), ("horizon", 3), ("fog_density", 1), ("lens", 3), ("bias", 1),
    ("zenith", 3), ("cloud", 1),
)  # fmt: skip
_FRAME_START: dict[str, int] = {}
_row = 0
for _name, _size in _FRAME_ROWS:
    _FRAME_START[_name] = _row
    _row += _size


def frame_table(scenes: SceneBatch, view: SunView) -> Float[Tensor, "parameter image"]:
    """Light directions in every camera's axes, colours and lens, one column per image."""
    look = scenes.look
    rotation = scenes.world_from_camera[..., :3, :3]
    clips, times = rotation.shape[:2]

    def in_camera(direction: Tensor) -> Tensor:
        return torch.einsum("ctij,ci->ctj", rotation, direction)

    def per_frame(value: Tensor) -> Tensor:
        return value.view(clips, 1, -1).expand(clips, times, -1)

    lens = torch.stack(
        [
            scenes.intrinsics[..., 0, 0].reciprocal(),
            scenes.intrinsics[..., 0, 2],
            scenes.intrinsics[..., 1, 2],
        ],
        -1,
    )
    columns = {
        "sun": in_camera(look.sun),
        "sun_colour": per_frame(look.sun_colour),
        "fill": in_camera(look.fill),
        "fill_colour": per_frame(look.fill_colour.mean(1)),
        "up": in_camera(look.ground[:, :3]),
        "sky_colour": per_frame(look.sky_colour),
        "bounce_colour": per_frame(look.bounce_colour),
        "fog_density": per_frame(look.fog_density),
        "lens": lens,
        "bias": per_frame(view.texel * 0.3),
        "horizon": per_frame(look.horizon_colour),
        "zenith": per_frame(look.zenith_colour),
        "cloud": per_frame(look.cloud_amount),
    }
    table = torch.cat([columns[name] for name, _ in _FRAME_ROWS], -1)
    return table.flatten(0, 1).T.contiguous()


def vertex_attributes(
    scenes: SceneBatch, view: SunView, ground: GroundView
) -> Float[Tensor, "row 12"]:
    """Camera-space normal, texture, sun view and ground view of every (clip, time, vertex)."""
    normals = _vertex_normals(scenes)
    normals = torch.einsum("ctvi,ctij->ctvj", normals, scenes.world_from_camera[..., :3, :3])
    clips, times, vertices = normals.shape[:3]
    texture = scenes.texture[:, None].expand(clips, times, vertices, 3)
    joined = torch.cat([normals, texture, view.vertices, ground.vertices], -1)
    return joined.view(-1, 12)


def _vertex_normals(scenes: SceneBatch) -> Float[Tensor, "clip time vertex xyz=3"]:
    """Unit normals averaged by area over the faces that share a vertex (outward)."""
    clips, times, vertices, _ = scenes.vertices.shape
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corner_values(scenes.vertices, scenes.faces)
    bx, by, bz, cx, cy, cz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
    normal = torch.stack([by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx], 1)
    # Sums in float64 come out the same in any order once rounded, also where a GPU adds atomically.
    normal = normal.double()
    total = torch.zeros(clips * times * vertices, 3, dtype=torch.float64, device=ax.device)
    start = torch.arange(clips * times, device=ax.device).view(clips, times, 1, 1) * vertices
    rows = scenes.faces[:, None] + start
    for k in range(3):
        total.index_add_(0, rows[..., k].reshape(-1), normal)
    unit = torch.nn.functional.normalize(total, dim=1, eps=1e-30)
    return unit.float().view(clips, times, vertices, 3)


def surface_colours(
    tables: ShadingTables,
    image: Int[Tensor, " sample"],
    triangle: Int[Tensor, " sample"],
    x: Float[Tensor, " sample"],
    y: Float[Tensor, " sample"],
) -> Float[Tensor, "rgb=3 sample"]:
    """Linear RGB of samples at pixel positions (x, y) that hit the given triangles.

    Samples are sorted by image.
    """
    p = tables.planes.index_select(1, triangle)
    e = [torch.addcmul(torch.addcmul(p[k + 2], p[k], x), p[k + 1], y) for k in (0, 3, 6)]
    depth = (e[0] + e[1] + e[2]).reciprocal()
    weights = torch.stack([e[0] * depth, e[1] * depth, e[2] * depth], 1)
    corners = tables.corners.index_select(0, triangle)
    blended = torch.nn.functional.embedding_bag(
        corners, tables.attributes, per_sample_weights=weights, mode="sum"
    )
    a = blended.T.contiguous()
    # The last row is the sky's.
    frame = spread_over_samples(tables.frames[: _FRAME_START["cloud"]], image)
    material = tables.materials.index_select(1, tables.material.index_select(0, triangle))
    norm = (a[0] * a[0] + a[1] * a[1] + a[2] * a[2]).clamp_min(1e-12).rsqrt()
    normal = (a[0] * norm, a[1] * norm, a[2] * norm)
    lens = frame[_FRAME_START["lens"] :]
    ray = ((x - lens[1]) * lens[0], (y - lens[2]) * lens[0])
    length = (ray[0] * ray[0] + ray[1] * ray[1] + 1.0).sqrt()
    facing = -(normal[0] * ray[0] + normal[1] * ray[1] + normal[2]) / length
    footprint = depth * lens[0] / facing.abs().clamp_min(0.15)
    albedo = _texture(material, (a[3], a[4], a[5]), footprint)
    _lay_photographs(albedo, tables, triangle, (material, a[3:6], footprint))
    bias = frame[_FRAME_START["bias"]]
    lit = lit_fraction(tables.shadow, image, a[6], a[7], a[8] + bias)
    passed = screened_light(tables.screens, image, corners, weights)
    lit = lit if passed is None else lit * passed
    # Contact darkens what is low over the ground, and undersides more than what faces up.
    open_share = (
        1.0 - 0.75 * darkening(tables.contact, image, a[9], a[10]) * (-5.0 * a[11].abs()).exp()
    )
    colours = _light(
        frame=frame,
        material=material,
        albedo=albedo,
        normal=normal,
        ray=ray,
        length=length,
        facing=facing,
        lit=lit,
        open_share=open_share,
    )
    _add_mirrors(colours, frame, (material[Column.MIRROR], *normal, *ray, length, facing))
    if not tables.foggy:
        return colours
    clear = (-depth * length * frame[_FRAME_START["fog_density"]]).exp()
    horizon = _FRAME_START["horizon"]
    return torch.lerp(frame[horizon : horizon + 3], colours, clear)


def _lay_photographs(
    albedo: Float[Tensor, "rgb=3 sample"],
    tables: ShadingTables,
    triangle: Int[Tensor, " sample"],
    surface: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Photographs in place of the patterns of samples whose material is one.

    `surface` holds material, texture coordinates and footprint.
    """
    laid = tables.laid
    if laid is None:
        return
    material, at, footprint = surface
    own = material[Column.PHOTO].nonzero()[:, 0]
    if len(own):
        x, y, z = at.index_select(1, own).unbind(0)
        shown = photographed(
            laid.photographs,
            material.index_select(1, own),
            (x, y, z),
            laid.axis[triangle[own]],
            footprint[own],
        )
        albedo.index_copy_(1, own, shown)


def _dot(frame: Tensor, name: str, vector: tuple[Tensor, ...]) -> Tensor:
    start = _FRAME_START[name]
    return frame[start] * vector[0] + frame[start + 1] * vector[1] + frame[start + 2] * vector[2]


def _light(
    *,
    frame: Tensor,
    material: Tensor,
    albedo: Tensor,
    normal: tuple[Tensor, Tensor, Tensor],
    ray: tuple[Tensor, Tensor],
    length: Tensor,
    facing: Tensor,
    lit: Tensor,
    open_share: Tensor,
) -> Tensor:
    """Sun with shadow and highlight, fill light and hemispheric ambient light."""
    sun = _dot(frame, "sun", normal)
    fill = _dot(frame, "fill", normal).clamp_min(0.0) * frame[_FRAME_START["fill_colour"]]
    upward = 0.5 + 0.5 * _dot(frame, "up", normal)
    # The reflected view ray against the sun; `facing` is the cosine between normal and viewer.
    start = _FRAME_START["sun"]
    along = (frame[start] * ray[0] + frame[start + 1] * ray[1] + frame[start + 2]) / length
    mirror = (along + 2.0 * facing * sun).clamp(1e-3, 1.0)
    reached = lit * (sun > 0)
    highlight = material[Column.SPECULAR] * (mirror.log() * material[Column.SHININESS]).exp()
    highlight = highlight * reached
    direct = sun * reached
    colours = []
    for channel in range(3):
        strength = frame[_FRAME_START["sun_colour"] + channel]
        sky = frame[_FRAME_START["sky_colour"] + channel]
        bounce = frame[_FRAME_START["bounce_colour"] + channel]
        ambient = (torch.lerp(bounce, sky, upward) + fill) * open_share
        colour = albedo[channel] * (strength * direct + ambient)
        colours.append(torch.addcmul(colour, highlight, strength))
    return torch.stack(colours)


def _add_mirrors(
    colours: Float[Tensor, "rgb=3 sample"],
    frame: Float[Tensor, "parameter sample"],
    surface: tuple[Tensor, ...],
) -> None:
    """Lay what they mirror over the samples whose share (the first of `surface`) is not zero."""
    glossy = surface[0].nonzero()[:, 0]
    if len(glossy):
        chosen = tuple(values.index_select(0, glossy) for values in surface)
        mirrored, share = _mirrored(frame.index_select(1, glossy), chosen)
        own = colours.index_select(1, glossy)
        colours.index_copy_(1, glossy, torch.lerp(own, mirrored, share))


def _mirrored(
    frame: Float[Tensor, "parameter sample"], surface: tuple[Tensor, ...]
) -> tuple[Float[Tensor, "rgb=3 sample"], Float[Tensor, " sample"]]:
    """What a mirror there would show, sky above and lit ground below, and its share of the light.

    `surface` holds the mirror's own share, normal (x, y, z), ray (x, y; z is 1), the ray's length
    and the cosine between normal and viewer. Shares grow at grazing view as Schlick has it.
    """
    mirror, normal, ray, length, facing = surface[0], surface[1:4], surface[4:6], *surface[6:]
    start = _FRAME_START["up"]
    looking = (frame[start] * ray[0] + frame[start + 1] * ray[1] + frame[start + 2]) / length
    rise = looking + 2.0 * facing * _dot(frame, "up", normal)
    grazing = 1.0 - facing.clamp(0.0, 1.0)
    squared = grazing * grazing
    share = mirror + (1.0 - mirror) * squared * squared * grazing
    above = (0.5 + 5.0 * rise).clamp_(0.0, 1.0)
    high = (1.4 * rise).clamp_(0.0, 1.0)
    horizon, zenith, below = (
        frame[_FRAME_START[name] : _FRAME_START[name] + 3]
        for name in ("horizon", "zenith", "bounce_colour")
    )
    return torch.lerp(below, torch.lerp(horizon, zenith, high), above), share


def _texture(
    material: Float[Tensor, "parameter sample"],
    at: tuple[Tensor, Tensor, Tensor],
    footprint: Float[Tensor, " sample"],
) -> Float[Tensor, "rgb=3 sample"]:
    """Albedo at texture coordinates; patterns finer than the footprint fade to their mean."""
    rate = material[Column.NOISE_RATE]
    offset = material[Column.OFFSET :]
    noise = sample_noise(
        torch.addcmul(offset[0], at[0], rate),
        torch.addcmul(offset[1], at[1], rate),
        torch.addcmul(offset[2], at[2], rate),
    )
    cloud, leaf, second_leaf, blotch = noise.T.contiguous().unbind(0)
    assert (CLOUD, LEAF, SECOND_LEAF, BLOTCH) == (0, 1, 2, 3)
    # A dozen cycles of a period are the finest strong detail of the noise.
    noise_fade = (1.5 - 16.0 * footprint * rate).clamp(0.0, 1.0)
    k, q = material[Column.STRIPE :], material[Column.CHECKER]
    phase = k[0] * at[0] + k[1] * at[1] + k[2] * at[2] + material[Column.WARP] * cloud
    stripe_rate = (k[0] * k[0] + k[1] * k[1] + k[2] * k[2]).sqrt()
    stripe = (phase * _TAU).sin()
    # The shift keeps faces through the origin off the zeros of the sine.
    turn, shift = q * _TAU, q.new_tensor(0.4)
    waves = [torch.addcmul(shift, along, turn).sin_() for along in at]
    checker = waves[0] * waves[1] * waves[2]
    # Tiles meet where a wave changes its sign.
    edge = torch.minimum(torch.minimum(waves[0].abs(), waves[1].abs()), waves[2].abs())
    joint = (1.0 - _JOINT_STEEPNESS * edge).clamp_min_(0.0)
    stripe_fade = (1.5 - 2.5 * footprint * stripe_rate).clamp(0.0, 1.0)
    checker_fade = (1.5 - 2.5 * footprint * q).clamp(0.0, 1.0)
    noisy = material[Column.WEIGHT_CLOUD] * cloud + material[Column.WEIGHT_LEAF] * leaf
    noisy = torch.addcmul(noisy, material[Column.WEIGHT_BLOTCH], blotch)
    regular = material[Column.WEIGHT_STRIPE] * stripe * stripe_fade
    squares = (material[Column.WEIGHT_CHECKER] * checker).addcmul_(
        material[Column.WEIGHT_JOINT], joint
    )
    regular = torch.addcmul(regular, squares, checker_fade)
    value = noisy * noise_fade + regular
    # A pattern sharper than a pixel would alias, so contrast is limited by the footprint.
    contrast = material[Column.CONTRAST]
    finest = torch.maximum(stripe_rate, q).clamp_min(1e-6) * footprint
    contrast = torch.minimum(contrast, (0.3 / finest).clamp_min(0.5))
    blend = (0.5 + contrast * value + material[Column.BIAS]).clamp(0.0, 1.0)
    third = material[Column.THIRD_AMOUNT] * (0.5 + 0.5 * second_leaf) * noise_fade
    brightness = 1.0 + material[Column.GRAIN] * blotch * noise_fade
    colours = []
    for channel in range(3):
        colour = torch.lerp(
            material[Column.FIRST + channel], material[Column.SECOND + channel], blend
        )
        colour = torch.lerp(colour, material[Column.THIRD + channel], third)
        colours.append(colour * brightness)
    return torch.stack(colours)


def sky_colours(
    tables: ShadingTables,
    image: Int[Tensor, " sample"],
    x: Float[Tensor, " sample"],
    y: Float[Tensor, " sample"],
) -> Float[Tensor, "rgb=3 sample"]:
    """Linear RGB of samples that meet nothing: a gradient with clouds, still in the world."""
    frame = spread_over_samples(tables.frames, image)
    lens = frame[_FRAME_START["lens"] :]
    ray_x, ray_y = (x - lens[1]) * lens[0], (y - lens[2]) * lens[0]
    scale = (ray_x * ray_x + ray_y * ray_y + 1.0).rsqrt()
    ray = (ray_x * scale, ray_y * scale, scale)
    rise = (1.4 * _dot(frame, "up", ray)).clamp(0.0, 1.0)
    # Sun and fill directions turn with the camera, so clouds hung on them stay where they are.
    across, along = _dot(frame, "sun", ray), _dot(frame, "fill", ray)
    noise = sample_noise(across * 0.35, along * 0.35, rise * 0.8)
    cloud = frame[_FRAME_START["cloud"]] * (0.5 + noise[:, CLOUD]).clamp(0.0, 1.0) * 0.8
    colours = []
    for channel in range(3):
        colour = torch.lerp(
            frame[_FRAME_START["horizon"] + channel], frame[_FRAME_START["zenith"] + channel], rise
        )
        colours.append(torch.lerp(colour, torch.full_like(colour, 0.8), cloud))
    return torch.stack(colours)
