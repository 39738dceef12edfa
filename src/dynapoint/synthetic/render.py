"""Render batches of scenes to clips: one raster serves exact truth and antialiased colours."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .batch import SceneBatch, stack_scenes
from .clip import ClipBatch, homogeneous_pixels
from .contact import contact_maps, ground_view
from .develop import develop
from .motion_blur import blur_motion, image_motion, motion_tables
from .photographs import LaidPhotographs, Photographs, texture_axis
from .raster import (
    TriangleSetup,
    centre_grid,
    corner_values,
    edge_functions,
    quincunx_grid,
    rasterize,
    row_bounds,
)
from .scene import Scene
from .screens import screen_tables
from .shade import ShadingTables, frame_table, sky_colours, surface_colours, vertex_attributes
from .shadow import shadow_maps, sun_view

_CHUNK_CPU = 32_768
_CHUNK_GPU = 4_194_304


@torch.no_grad()
def render_clips(
    scenes: Sequence[Scene],
    *,
    image_hw: tuple[int, int],
    seed: int,
    device: torch.device | str = "cpu",
    photographs: Photographs | None = None,
) -> ClipBatch:
    """Render all frames of all scenes; truth belongs to pixel centres, colours are antialiased.

    `seed` drives image noise only. `photographs` are those that the scenes were drawn with; without
    them materials keep their patterns. Raises ConfigError if the scenes differ in their frame
    counts.
    """
    batch = stack_scenes(scenes, image_hw=image_hw, device=device)
    return render_batch(batch, image_hw=image_hw, seed=seed, photographs=photographs)


@torch.no_grad()
def render_batch(
    batch: SceneBatch,
    *,
    image_hw: tuple[int, int],
    seed: int,
    photographs: Photographs | None = None,
) -> ClipBatch:
    """`render_clips` of scenes that were stacked for images of this size, on their device."""
    linear, face = render_light(batch, image_hw=image_hw, photographs=photographs)
    return ClipBatch(
        images=develop(linear, batch.look, seed=seed),
        face=face,
        vertices=batch.vertices,
        faces=batch.faces,
        face_instance=batch.face_instance,
        face_moving=batch.face_moving,
        world_from_camera=batch.world_from_camera,
        intrinsics=batch.intrinsics,
    )


@torch.no_grad()
def render_light(
    batch: SceneBatch, *, image_hw: tuple[int, int], photographs: Photographs | None = None
) -> tuple[Float[Tensor, "clip time height width rgb=3"], Int[Tensor, "clip time height width"]]:
    """The light that reaches each pixel, linear, and the face at its centre (-1 at sky)."""
    height, width = image_hw
    clips, times = batch.vertices.shape[:2]
    pixels = homogeneous_pixels(batch.vertices.double(), batch.world_from_camera, batch.intrinsics)
    triangles, tables, origin = _prepare(batch, pixels, image_hw, photographs)
    keys = rasterize(triangles, quincunx_grid(height, width), images=clips * times)
    hit = keys != 0
    triangle = keys & 0xFFFFFFFF
    group = batch.face_group.flatten().index_select(0, origin.clip_face)
    linear = _colours(tables, triangle, hit, group)
    face = (origin.clip_face % batch.faces.shape[1]).int()
    centre_face = _pick(face, triangle[:, 1::2, :width], hit[:, 1::2, :width])
    linear = linear.view(clips, times, height, width, 3)
    _open_shutter(batch, pixels, tables, keys[:, 1::2, :width].view(*linear.shape[:4]), linear)
    return linear, centre_face.view(clips, times, height, width)


@torch.no_grad()
def render_faces(
    batch: SceneBatch, *, image_hw: tuple[int, int]
) -> Int[Tensor, "clip time height width"]:
    """The faces that `render_light` finds at the pixels' centres, for the price of no light."""
    height, width = image_hw
    clips, times = batch.vertices.shape[:2]
    pixels = homogeneous_pixels(batch.vertices.double(), batch.world_from_camera, batch.intrinsics)
    triangles, _, origin = _visible_triangles(batch, pixels, image_hw)
    keys = rasterize(triangles, centre_grid(height, width), images=clips * times)
    face = (origin.clip_face % batch.faces.shape[1]).int()
    return _pick(face, keys & 0xFFFFFFFF, keys != 0).view(clips, times, height, width)


class _Origin:
    """Where the drawn triangles come from: their row in the padded (clip, face) tables."""

    def __init__(self, clip_face: Int[Tensor, " triangle"]) -> None:
        self.clip_face = clip_face


def _pick(
    values: Int[Tensor, " triangle"],
    triangle: Int[Tensor, "image row column"],
    hit: torch.Tensor,
) -> Int[Tensor, "image row column"]:
    """`values` of the triangles that were hit, -1 elsewhere."""
    if not len(values):
        return torch.full_like(triangle, -1, dtype=values.dtype)
    picked = values.index_select(0, triangle.reshape(-1)).view(triangle.shape)
    return torch.where(hit, picked, -1)


def _open_shutter(
    batch: SceneBatch,
    pixels: Float[Tensor, "clip time vertex 3"],
    tables: ShadingTables,
    keys: Int[Tensor, "clip time height width"],
    linear: Float[Tensor, "clip time height width rgb=3"],
) -> None:
    """Blur what moves in the clips whose shutter stays open, in place."""
    chosen = (batch.look.shutter > 0).nonzero()[:, 0]
    if not len(chosen):
        return
    motions = motion_tables(batch, pixels, tables.planes, tables.corners)
    # On a CPU the clips go one by one, so that intermediate images stay in the cache.
    for group in chosen.split(1 if keys.device.type == "cpu" else len(chosen)):
        own = keys[group]
        motion = image_motion(motions, group, own & 0xFFFFFFFF, own != 0)
        nearness = (own >> 32).int().view(torch.float32)
        smear = motion * batch.look.shutter[group].view(-1, 1, 1, 1)
        blurred = blur_motion(
            linear[group].flatten(0, 1), smear.flatten(1, 2), nearness.flatten(0, 1)
        )
        linear[group] = blurred.view(len(group), *linear.shape[1:])


def _visible_triangles(
    batch: SceneBatch, pixels: Float[Tensor, "clip time vertex 3"], image_hw: tuple[int, int]
) -> tuple[TriangleSetup, Float[Tensor, "corner=3 3 triangle"], _Origin]:
    """The triangles of all images that face the camera and may be in view, in float64.

    With the planes of their barycentric coordinates over depth, and where they come from.
    """
    height, width = image_hw
    times, faces = batch.vertices.shape[1], batch.faces.shape[1]
    corners = corner_values(pixels, batch.faces)
    edges, determinant = edge_functions(corners)
    x, y, w = corners.unbind(1)
    # A triangle is out of view if all its corners lie beyond one side of the view's pyramid.
    outside = (w <= 0).all(0) | (x < 0).all(0) | (y < 0).all(0)
    outside |= (x > width * w).all(0) | (y > height * w).all(0)
    kept = ((determinant > 0) & ~outside).nonzero()[:, 0]
    corners, edges = corners.index_select(2, kept), edges.index_select(2, kept)
    planes = edges / determinant.index_select(0, kept)
    image = kept // faces
    first_y, last_y = row_bounds(corners, float(height))
    setup = TriangleSetup(
        edges=edges,
        nearness=planes.sum(0),
        first_y=first_y,
        last_y=last_y,
        image=image,
    )
    return setup, planes, _Origin(image // times * faces + kept % faces)


def _prepare(
    batch: SceneBatch,
    pixels: Float[Tensor, "clip time vertex 3"],
    image_hw: tuple[int, int],
    photographs: Photographs | None = None,
) -> tuple[TriangleSetup, ShadingTables, _Origin]:
    """Cull all triangles of all images in float64, and build the shading tables."""
    vertices = batch.vertices.shape[2]
    setup, planes, origin = _visible_triangles(batch, pixels, image_hw)
    image, clip_face = setup.image, origin.clip_face
    ground = ground_view(batch)
    view = sun_view(batch, ground.casts, map_size=_shadow_map_size(image_hw))
    corner_rows = batch.faces.view(-1, 3).index_select(0, clip_face).long()
    laid = None
    if photographs is not None:
        axis = texture_axis(batch.texture, batch.faces).flatten().index_select(0, clip_face)
        laid = LaidPhotographs(photographs=photographs, axis=axis)
    tables = ShadingTables(
        planes=planes.view(9, -1).float(),
        corners=corner_rows + (image * vertices)[:, None],
        material=batch.material.flatten().index_select(0, clip_face),
        materials=batch.materials,
        attributes=vertex_attributes(batch, view, ground),
        frames=frame_table(batch, view),
        shadow=shadow_maps(batch, view),
        contact=contact_maps(batch, ground),
        screens=screen_tables(batch),
        foggy=bool((batch.look.fog_density > 0).any()),
        laid=laid,
    )
    return setup, tables, origin


def _shadow_map_size(image_hw: tuple[int, int]) -> int:
    """Texels that keep shadow edges about as fine as the image."""
    return min(max(16 * round(1.15 * max(image_hw) / 16), 96), 640)


def _colours(
    tables: ShadingTables,
    triangle: Int[Tensor, "image row column"],
    hit: torch.Tensor,
    group: Int[Tensor, " triangle"],
) -> Float[Tensor, "image height width rgb=3"]:
    """Shade pixel centres, and pixel corners too wherever a pixel sees more than one surface."""
    images, rows, columns = triangle.shape
    height, width = (rows - 1) // 2, columns - 1
    device = triangle.device
    groups = _pick(group, triangle, hit)
    centre, corner = groups[:, 1::2, :width], groups[:, 0::2]
    edge = torch.zeros_like(centre, dtype=torch.bool)
    for j in (0, 1):
        for i in (0, 1):
            edge |= corner[:, j : j + height, i : i + width] != centre
    wanted = torch.zeros_like(triangle, dtype=torch.bool)
    wanted[:, 1::2, :width] = True
    for j in (0, 2):
        for i in (0, 1):
            wanted[:, j : j + 2 * height : 2, i : i + width] |= edge
    sample = wanted.flatten().nonzero()[:, 0]
    colours = torch.empty(3, images * rows * columns, device=device)
    is_hit = hit.flatten().index_select(0, sample)
    _shade_list(tables, triangle, sample[is_hit], colours, surface=True)
    _shade_list(tables, triangle, sample[~is_hit], colours, surface=False)
    grid = colours.view(3, images, rows, columns)
    image = grid[:, :, 1::2, :width].permute(1, 2, 3, 0).contiguous()
    pixel = edge.flatten().nonzero()[:, 0]
    row, column = pixel // width, pixel % width
    # Row 2·h of the lattice holds the upper corners of pixel row h; images have 2·height + 1 rows.
    start = (2 * row + row // height) * columns + column
    above, below = start, start + 2 * columns
    ring = colours.index_select(1, above) + colours.index_select(1, above + 1)
    ring = ring + colours.index_select(1, below) + colours.index_select(1, below + 1)
    flat = image.view(-1, 3)
    flat[pixel] = 0.5 * flat[pixel] + 0.125 * ring.T
    return image


def _shade_list(
    tables: ShadingTables,
    triangle: Int[Tensor, "image row column"],
    sample: Int[Tensor, " sample"],
    colours: Float[Tensor, "rgb=3 place"],
    *,
    surface: bool,
) -> None:
    """Shade lattice samples in cache-sized chunks and write them into `colours`."""
    if not len(sample):
        return
    _, rows, columns = triangle.shape
    flat = triangle.reshape(-1)
    size = _CHUNK_CPU if sample.device.type == "cpu" else _CHUNK_GPU
    for chunk in sample.split(size):
        line = chunk // columns
        image = line // rows
        row = line - image * rows
        column = chunk - line * columns
        x = column.float() + 0.5 * (row & 1)
        y = row.float() * 0.5
        if surface:
            values = surface_colours(tables, image, flat.index_select(0, chunk), x, y)
        else:
            values = sky_colours(tables, image, x, y)
        colours.index_copy_(1, chunk, values)
