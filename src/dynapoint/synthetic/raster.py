"""A batched triangle z-buffer in plain torch: triangles to rows to exact fragments.

Edges are 2D homogeneous functions, so triangles that cross the camera plane need no clipping. A
fragment's key holds the bits of its nearness (larger is nearer) above its triangle's index, and the
nearest fragment wins by `scatter_reduce(amax)`: no order dependence, so pixels are reproducible.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_FAR_AWAY = 1.0e9
_CHUNK_CPU = 32_768
_CHUNK_GPU = 16_777_216


@dataclass(frozen=True, kw_only=True)
class SampleGrid:
    """Where the samples of every image lie, in pixels.

    Row r lies at y = `first_y` + r·`step_y`; column c of an even row at x = c + `even_x`, of an odd
    row at x = c + `odd_x`. Even rows hold one column more than odd ones if `even_extra`.
    """

    rows: int
    columns: int
    first_y: float
    step_y: float
    even_x: float
    odd_x: float
    even_extra: bool


def centre_grid(height: int, width: int) -> SampleGrid:
    """One sample at every pixel centre."""
    return SampleGrid(
        rows=height, columns=width, first_y=0.5, step_y=1.0, even_x=0.5, odd_x=0.5, even_extra=False
    )


def quincunx_grid(height: int, width: int) -> SampleGrid:
    """Pixel corners (even rows) and centres (odd rows): the half-pixel lattice that antialiases."""
    return SampleGrid(
        rows=2 * height + 1,
        columns=width + 1,
        first_y=0.0,
        step_y=0.5,
        even_x=0.0,
        odd_x=0.5,
        even_extra=True,
    )


@dataclass(frozen=True, kw_only=True)
class TriangleSetup:
    """Triangles ready to be drawn, all images' together.

    `edges[k]` are the coefficients of edge function k over (x, y, 1) in pixels, positive inside;
    `nearness` those of the value compared between fragments (positive, larger is nearer);
    `first_y`, `last_y` bound the triangle in pixels; `image[s]` is the image it belongs to.
    """

    edges: Float[Tensor, "corner=3 3 triangle"]
    nearness: Float[Tensor, "3 triangle"]
    first_y: Float[Tensor, " triangle"]
    last_y: Float[Tensor, " triangle"]
    image: Int[Tensor, " triangle"]


def corner_values(
    values: Float[Tensor, "clip time vertex 3"], faces: Int[Tensor, "clip face corner=3"]
) -> Float[Tensor, "corner=3 3 triangle"]:
    """Vertex values at the corners of every (clip, time, face), triangles along the last axis.

    One contiguous row per quantity keeps all that follows free of strided access.
    """
    clips, times, vertices, _ = values.shape
    rows = values.permute(3, 0, 1, 2).reshape(3, -1)
    start = torch.arange(clips * times, device=values.device).view(clips, times, 1) * vertices
    return torch.stack(
        [rows.index_select(1, (faces[:, None, :, k] + start).reshape(-1)) for k in range(3)]
    )


def edge_functions(
    corners: Float[Tensor, "corner=3 3 triangle"],
) -> tuple[Float[Tensor, "corner=3 3 triangle"], Float[Tensor, " triangle"]]:
    """Edge functions and determinant of triangles given by homogeneous pixel positions.

    `corners` holds (x·w, y·w, w) per corner. Both results are positive inside a triangle that faces
    the viewer (wound counter-clockwise from outside, seen with y down); barycentric coordinate k at
    (x, y) is e_k / Σe with e_k = edges[k] · (x, y, 1), and 1/w there is Σe / determinant.
    """
    edges = torch.empty_like(corners)
    for k in range(3):
        # With y down and z forward an outward face has a negative determinant, hence this order.
        (ax, ay, aw), (bx, by, bw) = corners[(k + 2) % 3], corners[(k + 1) % 3]
        edges[k, 0] = ay * bw - aw * by
        edges[k, 1] = aw * bx - ax * bw
        edges[k, 2] = ax * by - ay * bx
    return edges, (edges[0] * corners[0]).sum(0)


def row_bounds(
    corners: Float[Tensor, "corner=3 3 triangle"], rows_y: float
) -> tuple[Float[Tensor, " triangle"], Float[Tensor, " triangle"]]:
    """Least and greatest y that triangles cover; all of [0, `rows_y`] if one crosses w = 0."""
    w = corners[:, 2]
    in_front = (w > 1e-6).all(0)
    y = corners[:, 1] / torch.where(in_front, w, 1.0)
    first = torch.where(in_front, y.amin(0), 0.0)
    last = torch.where(in_front, y.amax(0), rows_y)
    return first, last


def rasterize(
    triangles: TriangleSetup, grid: SampleGrid, *, images: int
) -> Int[Tensor, "image row column"]:
    """Draw all triangles into `images` grids and return each sample's key.

    A key is 0 where nothing was hit, else the float32 bits of the nearness above 32 bits of the
    triangle's index (`key & 0xFFFFFFFF`).
    """
    device = triangles.edges.device
    keys = torch.zeros(images * grid.rows * grid.columns, dtype=torch.int64, device=device)
    spans = _spans(triangles, grid)
    if spans.counts.numel():
        _scatter_fragments(keys, spans)
    return keys.view(images, grid.rows, grid.columns)


@dataclass(frozen=True, kw_only=True)
class _Spans:
    """Runs of covered samples, one per triangle and row."""

    counts: Int[Tensor, " span"]
    first_column: Int[Tensor, " span"]
    row_start: Int[Tensor, " span"]  # index of the row's column 0 in the flat key buffer
    triangle: Int[Tensor, " span"]
    value_at_column_0: Float[Tensor, " span"]
    value_step: Float[Tensor, " span"]


def _edge_lines(
    edges: Float[Tensor, "corner=3 3 triangle"],
) -> Float[Tensor, "12 triangle"]:
    """Every edge as x = slope·y + offset, once as left and once as right bound (or far off)."""
    a, b, c = edges.unbind(1)
    # An exactly horizontal edge becomes a nearly horizontal one, with one sign for both its faces.
    tiny = 1e-9 * (b.abs() + 1e-30)
    a = torch.where(a.abs() < tiny, tiny, a)
    slope, offset = -b / a, -c / a
    left = a > 0
    lines = [
        torch.where(left, slope, 0.0),
        torch.where(left, offset, -_FAR_AWAY),
        torch.where(left, 0.0, slope),
        torch.where(left, _FAR_AWAY, offset),
    ]
    return torch.cat(lines).float()


def _spans(triangles: TriangleSetup, grid: SampleGrid) -> _Spans:
    """Intersect every triangle with every sample row it may cover."""
    device = triangles.edges.device
    first_row = ((triangles.first_y - grid.first_y) / grid.step_y).ceil().clamp(0, grid.rows)
    last_row = ((triangles.last_y - grid.first_y) / grid.step_y).floor().clamp(-1, grid.rows - 1)
    heights = (last_row - first_row + 1).clamp_min(0).long()
    total = int(heights.sum())
    index = torch.arange(len(heights), device=device).repeat_interleave(heights, output_size=total)
    row_shift = first_row.long() - (heights.cumsum(0) - heights)
    row = torch.arange(total, device=device) + row_shift.index_select(0, index)
    table = torch.cat([_edge_lines(triangles.edges), triangles.nearness.float()])
    gathered = table.index_select(1, index)
    y = row * grid.step_y + grid.first_y
    x = [torch.addcmul(gathered[k + 3], gathered[k], y) for k in (0, 1, 2, 6, 7, 8)]
    odd = (row & 1).to(torch.float32)
    x_shift = odd * (grid.odd_x - grid.even_x) + grid.even_x
    left = torch.maximum(torch.maximum(x[0], x[1]), x[2]) - x_shift
    right = torch.minimum(torch.minimum(x[3], x[4]), x[5]) - x_shift
    first = left.clamp(-1.0, grid.columns + 1.0).ceil().clamp_min(0.0)
    last = right.clamp(-2.0, grid.columns + 1.0).floor()
    last = torch.minimum(
        last, grid.columns - 1.0 - odd if grid.even_extra else odd * 0 + grid.columns - 1.0
    )
    counts = (last - first + 1.0).clamp_min(0.0)
    kept = counts.nonzero()[:, 0]
    index, row = index.index_select(0, kept), row.index_select(0, kept)
    image = triangles.image.index_select(0, index)
    step = gathered[12].index_select(0, kept)
    value = gathered[13] * y + gathered[14] + gathered[12] * x_shift
    return _Spans(
        counts=counts.index_select(0, kept).long(),
        first_column=first.index_select(0, kept).long(),
        row_start=(image * grid.rows + row) * grid.columns,
        triangle=index,
        value_at_column_0=value.index_select(0, kept),
        value_step=step,
    )


def _chunks(counts: Int[Tensor, " span"], size: int) -> list[tuple[int, int, int]]:
    """(first span, last span + 1, fragments) of runs of spans with about `size` fragments each."""
    ends = counts.cumsum(0)
    total = int(ends[-1])
    marks = torch.arange(size, total + size, size, device=counts.device)
    stops = torch.searchsorted(ends, marks).clamp_max(len(counts) - 1) + 1
    stops = torch.unique_consecutive(stops)
    sums = ends.index_select(0, stops - 1)
    edges = [0, *stops.tolist()]
    totals = [0, *sums.tolist()]
    return [(edges[k], edges[k + 1], totals[k + 1] - totals[k]) for k in range(len(edges) - 1)]


def _scatter_fragments(keys: Int[Tensor, " sample"], spans: _Spans) -> None:
    """Expand spans to fragments chunk by chunk (cache-sized on a CPU) and keep the nearest."""
    device = keys.device
    size = _CHUNK_CPU if device.type == "cpu" else _CHUNK_GPU
    chunks = _chunks(spans.counts, size)
    largest = max(fragments for _, _, fragments in chunks)
    packed = torch.empty(largest, 2, dtype=torch.int32, device=device)
    ramp = torch.arange(largest, device=device)
    before = spans.counts.cumsum(0) - spans.counts
    triangle = spans.triangle.int()
    for start, stop, fragments in chunks:
        counts = spans.counts[start:stop]
        span = torch.arange(stop - start, device=device).repeat_interleave(
            counts, output_size=fragments
        )
        column_shift = spans.first_column[start:stop] - (before[start:stop] - before[start])
        column = ramp[:fragments] + column_shift.index_select(0, span)
        step = spans.value_step[start:stop].index_select(0, span)
        base = spans.value_at_column_0[start:stop].index_select(0, span)
        value = torch.addcmul(base, step, column.to(torch.float32)).clamp_min_(1e-30)
        key = packed[:fragments]
        key[:, 0] = triangle[start:stop].index_select(0, span)
        key[:, 1] = value.view(torch.int32)
        sample = column.add_(spans.row_start[start:stop].index_select(0, span))
        keys.scatter_reduce_(0, sample, key.view(torch.int64).view(-1), "amax")
