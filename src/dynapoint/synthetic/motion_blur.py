"""Motion blur: light is averaged along the exact image motion of what passes over each pixel.

The shutter opens symmetrically about a frame's own time, so truth stays that of the frame. What
moves over a pixel while the shutter is open is looked up beside it in the sharp image: a sample
there is used if its own motion carries it over the pixel and nothing nearer hides it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .batch import SceneBatch

_LONGEST = 0.1  # of the longer side: how far light is smeared at most
_LEAST_PX = 0.7  # shorter smears are not visible
_SAME_DEPTH = 0.03  # relative difference in nearness within which neither sample hides the other
_MOST_TAPS_A_SIDE = 4
_CHUNK_CPU = 32_768
_CHUNK_GPU = 4_194_304


@dataclass(frozen=True, kw_only=True)
class MotionTables:
    """What image motion is looked up in, for a whole batch.

    `planes` and `corners` are those of `ShadingTables`; `neighbours` holds the homogeneous pixel of
    every (clip, time, vertex) one frame earlier and one later, `turns` the homographies that do the
    same to points at infinity. The first and the last frame stand in for what lies beyond them.
    """

    planes: Float[Tensor, "9 triangle"]
    corners: Int[Tensor, "triangle corner=3"]
    neighbours: Float[Tensor, "row 6"]
    turns: Float[Tensor, "clip time 6 3"]


def motion_tables(
    scenes: SceneBatch,
    pixels: Float[Tensor, "clip time vertex 3"],
    planes: Float[Tensor, "9 triangle"],
    corners: Int[Tensor, "triangle corner=3"],
) -> MotionTables:
    """Tables from all vertices' homogeneous pixels in float64 and the visible triangles."""
    times = torch.arange(pixels.shape[1], device=pixels.device)
    before, after = (times - 1).clamp_min(0), (times + 1).clamp_max(len(times) - 1)
    rotation, intrinsics = (
        scenes.world_from_camera[..., :3, :3].double(),
        scenes.intrinsics.double(),
    )
    rays = rotation @ torch.linalg.inv(intrinsics)
    images = intrinsics @ rotation.transpose(-1, -2)
    return MotionTables(
        planes=planes,
        corners=corners,
        neighbours=torch.cat([pixels[:, before], pixels[:, after]], -1).float().view(-1, 6),
        turns=torch.cat([images[:, before] @ rays, images[:, after] @ rays], 2).float(),
    )


def image_motion(
    tables: MotionTables,
    clips: Int[Tensor, " chosen"],
    triangle: Int[Tensor, "chosen time height width"],
    hit: Bool[Tensor, "chosen time height width"],
) -> Float[Tensor, "xy=2 chosen time height width"]:
    """How far what is seen at each pixel's centre moves in the image, in pixels per frame.

    The mean of the steps from the frame before and to the frame after, from exact positions; sky
    moves as points at infinity do. What is behind the camera in a neighbouring frame counts as
    still. `triangle` and `hit` are the centres' triangles in the given clips.
    """
    _, times, height, width = triangle.shape
    device = triangle.device
    x = torch.arange(width, device=device) + 0.5
    y = torch.arange(height, device=device)[:, None] + 0.5
    if not len(tables.corners):
        hit = torch.zeros_like(hit)
        found = torch.empty(hit.numel(), 6, device=device)
    else:
        # What sky finds here is overwritten below.
        met = torch.where(hit, triangle, 0).flatten()
        p = tables.planes.index_select(1, met).view(9, *triangle.shape)
        e = [torch.addcmul(torch.addcmul(p[k + 2], p[k], x), p[k + 1], y) for k in (0, 3, 6)]
        # The weights need not add up to 1, since a common factor leaves homogeneous pixels alone.
        found = torch.nn.functional.embedding_bag(
            tables.corners.index_select(0, met),
            tables.neighbours,
            per_sample_weights=torch.stack(e, -1).view(-1, 3),
            mode="sum",
        )
    sky = (~hit).flatten().nonzero()[:, 0]
    if len(sky):
        image, place = sky // (height * width), sky % (height * width)
        pixel = torch.stack([place % width + 0.5, place // width + 0.5, torch.ones_like(place)], 1)
        turns = tables.turns[clips].view(-1, 6, 3).index_select(0, image)
        found[sky] = (turns @ pixel[..., None])[..., 0]
    before, after = found.T.contiguous().view(2, 3, -1)
    ahead = (before[2] > 0) & (after[2] > 0)
    step = torch.where(ahead, after[:2] / after[2] - before[:2] / before[2], 0.0)
    spans = torch.full((times, 1, 1), 2.0, device=device)
    spans[0] = spans[-1] = 1.0
    return step.view(2, *triangle.shape) / spans


def blur_motion(
    images: Float[Tensor, "image height width rgb=3"],
    smear: Float[Tensor, "xy=2 image height width"],
    nearness: Float[Tensor, "image height width"],
) -> Float[Tensor, "image height width rgb=3"]:
    """Average light over an open shutter; `smear` is each pixel's motion in that time, in pixels.

    `nearness` (larger is nearer, 0 for sky) decides what hides what. Smears longer than a tenth of
    the longer side are cut to that.
    """
    height, width = images.shape[1:3]
    longest = _LONGEST * max(height, width)
    smear = smear * (longest / (smear[0] * smear[0] + smear[1] * smear[1]).sqrt_()).clamp_max_(1.0)
    along = _passing(smear, reach=int(0.5 * longest) + 1).view(2, -1)
    length = (along[0] * along[0] + along[1] * along[1]).sqrt_()
    if not bool((length > _LEAST_PX).any()):
        return images
    flat = images.reshape(-1, 3)
    layers = torch.cat([flat.T, smear.reshape(2, -1), nearness.reshape(1, -1)])
    out = flat.clone()
    # By its own length alone, so that no pixel depends on which others are computed with it.
    sides = (0.5 * length).int().add_(1).clamp_max_(_MOST_TAPS_A_SIDE)
    sides[length <= _LEAST_PX] = 0
    for count in range(1, _MOST_TAPS_A_SIDE + 1):
        pixel = (sides == count).nonzero()[:, 0].int()
        for chunk in pixel.split(_CHUNK_CPU if images.device.type == "cpu" else _CHUNK_GPU):
            lines = along.index_select(1, chunk)
            gathered = _gathered(layers, lines, chunk, (height, width), sides=count)
            out.index_copy_(0, chunk.long(), gathered.T)
    return out.view_as(images)


def _gathered(
    layers: Float[Tensor, "6 place"],
    along: Float[Tensor, "xy=2 pixel"],
    pixel: Int[Tensor, " pixel"],
    image_hw: tuple[int, int],
    *,
    sides: int,
) -> Float[Tensor, "rgb=3 pixel"]:
    """Mean light over the shutter of some pixels, each averaged over a line of samples `along`.

    `sides` samples are taken on either side of a pixel. `layers` holds RGB, smear (x, y) and
    nearness of all pixels of all images.
    """
    height, width = image_hw
    length = (along[0] * along[0] + along[1] * along[1]).sqrt()
    direction = along / length
    own_near = layers[5].index_select(0, pixel)
    hidden_below, hiding_above = own_near * (1.0 - _SAME_DEPTH), own_near * (1.0 + _SAME_DEPTH)
    own_smear = [layers[k].index_select(0, pixel) for k in (3, 4)]
    own_reach = (own_smear[0] * direction[0]).addcmul_(own_smear[1], direction[1]).abs_()
    row, column = (pixel // width % height).float(), (pixel % width).float()
    first = pixel - pixel % (height * width)
    total = torch.zeros(3, len(pixel), device=layers.device)
    taps = 2 * sides + 1
    for k in range(-sides, sides + 1):
        x = torch.add(column, along[0], alpha=k / taps).round_().clamp_(0, width - 1)
        y = torch.add(row, along[1], alpha=k / taps).round_().clamp_(0, height - 1)
        place = torch.add(first, torch.add(x, y, alpha=width).int())
        smear_x, smear_y, near = (layers[j].index_select(0, place) for j in (3, 4, 5))
        distance = length * (2.0 * abs(k) / taps)
        carried = smear_x.mul_(direction[0]).addcmul_(smear_y, direction[1]).abs_() >= distance
        carried &= near >= hidden_below
        # A sample from behind stands for what the pixel's own surface uncovers as it moves off.
        uncovered = (own_reach >= distance) & (near <= hiding_above)
        place = torch.where(carried | uncovered, place, pixel)
        for j in range(3):
            total[j] += layers[j].index_select(0, place)
    return total / taps


def _passing(
    smear: Float[Tensor, "xy=2 image height width"], *, reach: int
) -> Float[Tensor, "xy=2 image height width"]:
    """The direction along which each pixel is averaged.

    The pixel's own smear, or one at least twice as long that may reach it: the longest in its tile
    of `reach` pixels and the eight tiles around.
    """
    height, width = smear.shape[2:]
    # Every second pixel of every second row will do.
    half = reach // 2 + 1
    sparse = smear[:, :, ::2, ::2]
    _, count, lines, places = sparse.shape
    rows, columns = -(-lines // half), -(-places // half)
    padded = torch.nn.functional.pad(
        sparse, (0, columns * half - places, 0, rows * half - lines)
    ).view(2, count, rows, half, columns, half)
    tiles = _longest(padded.transpose(3, 4).reshape(2, count, rows, columns, half * half))
    around = torch.nn.functional.pad(tiles, (1, 1, 1, 1))
    longest = _longest(
        torch.stack(
            [around[:, :, j : j + rows, i : i + columns] for j in range(3) for i in range(3)], -1
        )
    )
    spread = longest.repeat_interleave(2 * half, 2).repeat_interleave(2 * half, 3)
    spread = spread[:, :, :height, :width]
    shorter = 4.0 * (smear[0] * smear[0] + smear[1] * smear[1])
    shorter = shorter < spread[0] * spread[0] + spread[1] * spread[1]
    return torch.where(shorter, spread, smear)


def _longest(vectors: Float[Tensor, "xy=2 *place choice"]) -> Float[Tensor, "xy=2 *place"]:
    """The longest of the vectors at each place."""
    best = (vectors[0] * vectors[0] + vectors[1] * vectors[1]).argmax(-1)
    return vectors.gather(-1, best.expand(2, *best.shape)[..., None])[..., 0]
