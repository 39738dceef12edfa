"""Flow between pictures, grids, and fields that stop at edges, against shifts and dense solves."""

import numpy as np
import pytest

from dynapoint.models.kept.correction import MOVING, STILL, UNKNOWN
from dynapoint.refinement.field import Affinity, affinity_of, correction_field, solve_field
from dynapoint.refinement.flow import FlowField, FlowMeter, PairToMeasure, sample, texture
from dynapoint.refinement.matches import Grid, match_grid, spanning_pairs
from dynapoint.refinement.stillness import spread_stillness


def textured_picture(height=64, width=96, seed=0):
    import cv2

    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.uniform(0, 255, (height, width)).astype(np.float32), (0, 0), 1.5)
    low, high = noise.min(), noise.max()
    return ((noise - low) / (high - low) * 255).astype(np.uint8)


def shifted_pair(step=3):
    wide = textured_picture(64, 96 + step)
    return np.stack([wide[:, :96], wide[:, step:]])


def test_flow_finds_a_shift_and_knows_the_border():
    pictures = shifted_pair(3)
    meter = FlowMeter(pictures=pictures, usable=np.ones(pictures.shape, dtype=np.float32))
    ((there, back),) = meter.measure([PairToMeasure(first=0, second=1)])
    inner = np.s_[8:-8, 12:-12]
    assert np.abs(there.flow[inner] - [-3, 0]).max() < 0.3
    assert np.abs(back.flow[inner] - [3, 0]).max() < 0.3
    assert there.weight[inner].min() > 0.8
    # What the shift takes out of the picture cannot be found.
    assert not there.weight[:, :3].any() and not back.weight[:, -3:].any()
    ((again, _),) = meter.measure([PairToMeasure(first=0, second=1)])
    assert np.array_equal(again.flow, there.flow) and np.array_equal(again.weight, there.weight)


def test_a_guide_leads_farther_than_flow_alone():
    wide = textured_picture(64, 160)
    pictures = np.stack([wide[:, :96], wide[:, 60:156]])
    meter = FlowMeter(pictures=pictures, usable=np.ones(pictures.shape, dtype=np.float32))
    guide = np.zeros((64, 96, 2), dtype=np.float32)
    guide[..., 0] = -58.0
    kept = guide.copy()
    ((alone, _),) = meter.measure([PairToMeasure(first=0, second=1)])
    ((guided, _),) = meter.measure(
        [PairToMeasure(first=0, second=1, forward=guide, backward=-guide)]
    )
    right = np.s_[8:-8, 68:88]
    assert np.abs(guided.flow[right] - [-60, 0]).max() < 0.5 and guided.weight[right].min() > 0.8
    assert np.abs(alone.flow[right] - [-60, 0]).max() > 5
    assert np.array_equal(guide, kept)


def test_bare_and_ignored_pixels_weigh_nothing():
    pictures = shifted_pair(3)
    pictures[:, :, 50:] = 120
    usable = np.ones(pictures.shape, dtype=np.float32)
    usable[1, 20:30, 20:30] = 0
    meter = FlowMeter(pictures=pictures, usable=usable)
    ((there, back),) = meter.measure([PairToMeasure(first=0, second=1)])
    assert not there.weight[:, 62:].any()
    assert not back.weight[20:30, 20:30].any()
    # The shift takes these into what is ignored.
    assert not there.weight[21:29, 24:32].any()
    assert texture(np.full((40, 40), 7, dtype=np.uint8)).max() == 0


def test_sampling_is_bilinear_at_half_integers():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 7, 2)).astype(np.float32)
    xy = rng.uniform([0.5, 0.5], [6.5, 4.5], size=(3, 4, 2))
    found = sample(values, xy)
    for row in range(3):
        for column in range(4):
            x, y = xy[row, column] - 0.5
            i, j = min(int(y), 3), min(int(x), 5)
            a, b = y - i, x - j
            wanted = (1 - a) * ((1 - b) * values[i, j] + b * values[i, j + 1])
            wanted = wanted + a * ((1 - b) * values[i + 1, j] + b * values[i + 1, j + 1])
            # OpenCV's remap knows 32 places between two pixels.
            assert np.abs(found[row, column] - wanted).max() < 0.12
    exact = np.array([[[0.5, 0.5], [6.5, 4.5], [-3.0, 9.0]]])
    corners = np.stack([values[0, 0], values[4, 6], values[4, 0]])
    np.testing.assert_allclose(sample(values, exact)[0], corners)


def test_flow_of_another_size_means_the_same():
    flow = np.zeros((20, 30, 2), dtype=np.float32)
    flow[..., 0], flow[..., 1] = 3.0, -2.0
    field = FlowField(flow=flow, weight=np.ones((20, 30), dtype=np.float32))
    larger = field.resized(40, 45)
    np.testing.assert_allclose(larger.flow, np.broadcast_to([4.5, -4.0], (40, 45, 2)), atol=1e-5)
    assert field.resized(20, 30) is field


def test_a_grid_reads_fields_at_its_pixels():
    grid = Grid(hw=(3, 4), picture_hw=(30, 40))
    assert grid.count == 12
    np.testing.assert_allclose(grid.xy_px[5], [15.0, 15.0])
    flow = np.zeros((30, 40, 2), dtype=np.float32)
    flow[..., 0] = 2.0
    field = FlowField(flow=flow, weight=np.full((30, 40), 0.5, dtype=np.float32))
    usable = np.ones((3, 12), dtype=np.float32)
    usable[0, 0] = 0
    matches = match_grid({(0, 2): field, (2, 0): field}, 3, grid, usable)
    assert matches.target.tolist() == [[2], [1], [0]]
    np.testing.assert_allclose(matches.place_px[0, 0], grid.xy_px + np.array([2, 0]), atol=1e-4)
    assert matches.weight[0, 0].tolist() == [0.0] + [0.5] * 11
    assert not matches.weight[1].any()
    assert matches.coverage == pytest.approx(23 / 24)
    some = matches.at(np.array([1, 5]))
    np.testing.assert_allclose(
        some.place_px[0, 0], grid.xy_px[[1, 5]] + np.array([2, 0]), atol=1e-4
    )


@pytest.mark.parametrize("step", [1, 2, 3, 9])
def test_every_so_many_th_pixel_makes_a_smaller_grid(step):
    grid = Grid(hw=(7, 5), picture_hw=(70, 50))
    chosen, (rows, columns) = grid.every(step)
    assert len(chosen) == rows * columns >= 1 and chosen.max() < grid.count
    xy = grid.xy_px[chosen].reshape(rows, columns, 2)
    assert (np.ptp(xy[..., 0], axis=0) == 0).all() and (np.ptp(xy[..., 1], axis=1) == 0).all()


def test_spans():
    assert spanning_pairs(4, (1, 3)) == [(0, 1), (0, 3), (1, 2), (2, 3)]
    assert spanning_pairs(1, (1, 2)) == []


def dense_field(value, weight, affinity, smoothness, pull):
    height, width = value.shape
    index = np.arange(height * width).reshape(height, width)
    matrix = np.diag((weight + pull).ravel().astype(np.float64))
    for strength, one, other in (
        (affinity.right[0], index[:, :-1], index[:, 1:]),
        (affinity.down[0], index[:-1], index[1:]),
    ):
        strong = smoothness * strength.astype(np.float64).ravel()
        for a, i, j in zip(strong, one.ravel(), other.ravel(), strict=True):
            matrix[i, i] += a
            matrix[j, j] += a
            matrix[i, j] -= a
            matrix[j, i] -= a
    return np.linalg.solve(matrix, (weight * value).ravel()).reshape(height, width)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_field_is_that_of_a_dense_solve(seed):
    rng = np.random.default_rng(seed)
    value = rng.normal(size=(2, 9, 11))
    weight = rng.uniform(0, 1, size=value.shape) * (rng.random(value.shape) < 0.5)
    affinity = Affinity(
        right=rng.uniform(1e-3, 1, size=(2, 9, 10)).astype(np.float32),
        down=rng.uniform(1e-3, 1, size=(2, 8, 11)).astype(np.float32),
    )
    found = solve_field(value, weight, affinity, smoothness=3.0, pull=0.01, tolerance=1e-6)
    for frame in range(2):
        one = Affinity(right=affinity.right[[frame]], down=affinity.down[[frame]])
        wanted = dense_field(value[frame], weight[frame], one, 3.0, 0.01)
        np.testing.assert_allclose(found[frame], wanted, atol=2e-4)


def test_fields_stop_at_edges_and_are_nothing_without_values():
    colors = np.zeros((1, 12, 20, 3), dtype=np.float32)
    colors[:, :, 10:] = 200
    affinity = affinity_of(colors, np.zeros((1, 12, 20)))
    weight = np.zeros((1, 12, 20))
    weight[0, 6, 3] = 20.0
    found = solve_field(np.ones_like(weight), weight, affinity)
    # Values spread as far as the pull lets them: hardly at all beyond the edge.
    assert found[0, 6, 9] > 10 * found[0, 6, 10] > 0
    assert not correction_field(np.ones_like(weight), 0 * weight, affinity).any()
    stray = np.full((1, 12, 20), 0.1)
    stray[0, 4, 4] = 3.0
    found = correction_field(stray, np.ones_like(stray), affinity)
    assert abs(found[0, 4, 4] - 0.1) < 0.25


def test_stillness_spreads_over_plain_surfaces_and_stops_at_edges():
    rng = np.random.default_rng(3)
    colors = np.zeros((2, 24, 32, 3), dtype=np.float32)
    body = np.s_[:, 8:16, 12:20]
    colors[body] = 200
    affinity = affinity_of(colors, np.zeros((2, 24, 32)))
    evidence = np.full((2, 24, 32), UNKNOWN, dtype=np.uint8)
    seen = rng.random(evidence.shape) < 0.2
    evidence[seen] = STILL
    evidence[body] = UNKNOWN
    evidence[:, 8:16:3, 12:20:3] = MOVING
    filled = spread_stillness(evidence, affinity)
    outside = np.ones(evidence.shape, dtype=bool)
    outside[body] = False
    assert (filled[outside] == STILL).all()
    # What moves neither turns still nor spreads, and what is known stays as it is.
    assert np.array_equal(filled[body], evidence[body])
    known = evidence != UNKNOWN
    assert np.array_equal(filled[known], evidence[known])
    nothing = np.full_like(evidence, UNKNOWN)
    assert np.array_equal(spread_stillness(nothing, affinity), nothing)
