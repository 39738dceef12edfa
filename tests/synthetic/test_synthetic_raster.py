"""The rasteriser against float64 brute force, with triangles that cross the camera plane."""

import torch

from dynapoint.synthetic.raster import (
    TriangleSetup,
    centre_grid,
    edge_functions,
    quincunx_grid,
    rasterize,
    row_bounds,
)


def _random_setup(count: int, seed: int) -> tuple[TriangleSetup, torch.Tensor]:
    """Random front faces before, behind and across the camera of a 40 × 50 image."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(3, 3, count, generator=generator, dtype=torch.float64)
    points[:, 2] = points[:, 2] * 1.5 + 1.0
    intrinsics = torch.tensor([[30.0, 0, 25.0], [0, 30.0, 20.0], [0, 0, 1.0]], dtype=torch.float64)
    corners = torch.einsum("ij,kjn->kin", intrinsics, points)
    edges, determinant = edge_functions(corners)
    kept = ((determinant > 1e-9) & (corners[:, 2] > 0).any(0)).nonzero()[:, 0]
    corners, edges = corners[:, :, kept], edges[:, :, kept]
    first, last = row_bounds(corners, 40.0)
    planes = edges / determinant[kept]
    setup = TriangleSetup(
        edges=edges,
        nearness=planes.sum(0),
        first_y=first,
        last_y=last,
        image=torch.arange(len(kept)) % 3,
    )
    return setup, planes


def _brute_force(
    setup: TriangleSetup, planes: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nearest triangle per image and sample (-1: none), its nearness, and how clear the case is."""
    position = torch.stack([x, y, torch.ones_like(x)]).double()
    values = torch.einsum("kin,is->kns", setup.edges, position)
    scale = setup.edges.abs().amax((0, 1))[:, None]
    inside = (values >= 0).all(0)
    nearness = torch.einsum("in,is->ns", planes.sum(0), position)
    margin = (values.amin(0) / scale).abs()
    ids, best, clear = [], [], []
    for image in range(3):
        own = (setup.image == image)[:, None]
        shown = torch.where(inside & own, nearness, 0.0)
        two = shown.topk(2, dim=0)
        ids.append(torch.where(two.values[0] > 0, two.indices[0], -1))
        best.append(two.values[0])
        gap = (two.values[0] - two.values[1]) / two.values[0].clamp_min(1e-12)
        close = torch.where(own, margin, torch.inf).amin(0)
        clear.append((close > 1e-7) & ((gap > 1e-4) | (two.values[0] == 0)))
    return torch.stack(ids), torch.stack(best), torch.stack(clear)


def test_faces_and_depths_agree_with_brute_force_also_across_the_camera_plane() -> None:
    wrong = total = 0
    for seed in range(4):
        setup, planes = _random_setup(300, seed)
        assert bool(((setup.last_y - setup.first_y) == 40.0).any())
        keys = rasterize(setup, centre_grid(40, 50), images=3).view(3, -1)
        y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(50) + 0.5, indexing="ij")
        ids, nearness, clear = _brute_force(setup, planes, x.reshape(-1), y.reshape(-1))
        found = torch.where(keys != 0, keys & 0xFFFFFFFF, -1)
        wrong += int(((found != ids) & clear).sum())
        total += int(clear.sum())
        same = (found == ids) & (ids >= 0)
        value = (keys >> 32).int().view(torch.float32)
        error = (value.double() / nearness.clamp_min(1e-12) - 1.0).abs()[same & (nearness > 1e-2)]
        assert error.max() < 1e-3
    assert total > 20_000
    assert wrong == 0


def test_quincunx_lattice_holds_the_pixel_centres_and_the_corners() -> None:
    setup, planes = _random_setup(200, 9)
    lattice = rasterize(setup, quincunx_grid(40, 50), images=3)
    centres = rasterize(setup, centre_grid(40, 50), images=3)
    assert torch.equal(lattice[:, 1::2, :50] & 0xFFFFFFFF, centres & 0xFFFFFFFF)
    assert not lattice[:, 1::2, 50].any()
    y, x = torch.meshgrid(torch.arange(41.0), torch.arange(51.0), indexing="ij")
    ids, _, clear = _brute_force(setup, planes, x.reshape(-1), y.reshape(-1))
    keys = lattice[:, 0::2].reshape(3, -1)
    found = torch.where(keys != 0, keys & 0xFFFFFFFF, -1)
    assert torch.equal(found[clear], ids[clear])


def test_neighbouring_triangles_leave_no_cracks() -> None:
    # A fan of thin triangles covers the whole image; every sample has to be hit.
    angles = torch.linspace(0, 2 * torch.pi, 200, dtype=torch.float64)[:-1]
    rim = torch.stack([25 + 100 * angles.cos(), 20 + 100 * angles.sin(), torch.ones_like(angles)])
    centre = torch.tensor([24.37, 19.13, 1.0], dtype=torch.float64)[:, None].expand_as(rim)
    corners = torch.stack([centre, rim.roll(-1, 1), rim])
    edges, determinant = edge_functions(corners)
    assert bool((determinant > 0).all())
    first, last = row_bounds(corners, 40.0)
    setup = TriangleSetup(
        edges=edges,
        nearness=(edges / determinant).sum(0),
        first_y=first,
        last_y=last,
        image=torch.zeros(len(angles), dtype=torch.int64),
    )
    keys = rasterize(setup, quincunx_grid(40, 50), images=1)
    assert bool((keys[:, 1::2, :50] != 0).all())
    assert bool((keys[:, 0::2] != 0).all())


def test_nothing_to_draw_is_an_empty_image() -> None:
    setup, _ = _random_setup(50, 2)
    empty = TriangleSetup(
        edges=setup.edges[:, :, :0],
        nearness=setup.nearness[:, :0],
        first_y=setup.first_y[:0],
        last_y=setup.last_y[:0],
        image=setup.image[:0],
    )
    assert not rasterize(empty, centre_grid(4, 5), images=2).any()
