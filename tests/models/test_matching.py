"""Matches between maps of descriptors whose true matches are known, and the hints they give."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from dynapoint.geometry.pose_from_points import cross_matrix
from dynapoint.models.nano.config import MatcherConfig
from dynapoint.models.nano.matching import CELL_PX, Matcher, Matches
from dynapoint.models.nano.motion_hints import (
    HINT_CHANNELS,
    PairGeometry,
    cell_centres,
    motion_hints,
)
from dynapoint.models.nano.stem import StemFeatures

ROWS, COLUMNS = 8, 12


@pytest.fixture
def matcher() -> Matcher:
    made = Matcher(MatcherConfig(width=16, hidden=16), quarter_width=8, token_width=12)
    with torch.no_grad():
        # "No match" is out of the way unless a test asks for it.
        made.missing_logit.fill_(-20.0)
    return made


def random_descriptors(pairs: int = 2, width: int = 64) -> torch.Tensor:
    return functional.normalize(torch.randn(pairs, ROWS * COLUMNS, width), dim=-1)


def smooth_descriptors(shift_cells: torch.Tensor, features: int = 512) -> torch.Tensor:
    """Random waves sampled at the cells' centres moved by `shift_cells` (x, y): similarity falls
    with distance like a bell of width 1.9 cells (random Fourier features)."""
    generator = torch.Generator().manual_seed(3)
    frequency = torch.randn(2, features, generator=generator) / 1.9
    phase = torch.rand(features, generator=generator) * 2 * math.pi
    where = cell_centres((ROWS, COLUMNS), frequency) / CELL_PX + shift_cells
    return functional.normalize(torch.cos(where @ frequency + phase), dim=-1)[None]


def test_identical_maps_match_to_themselves(matcher):
    descriptors = random_descriptors()
    matches = matcher.match(descriptors, descriptors, (ROWS, COLUMNS))
    centres = cell_centres((ROWS, COLUMNS), descriptors)
    assert (matches.xy - centres).abs().max() < 0.02 * CELL_PX
    assert (matches.certainty > 0.95).all()
    assert (matches.missing < 1e-6).all()
    assert (matches.mutual == 1).all()


def test_shifted_maps_match_shifted(matcher):
    grid = random_descriptors().unflatten(1, (ROWS, COLUMNS))
    # The target's cell (r + 2, c − 3) shows what the source's cell (r, c) shows.
    target = torch.roll(grid, (2, -3), dims=(1, 2))
    matches = matcher.match(grid.flatten(1, 2), target.flatten(1, 2), (ROWS, COLUMNS))
    moved = matches.xy - cell_centres((ROWS, COLUMNS), grid)
    inside = moved.unflatten(1, (ROWS, COLUMNS))[:, : ROWS - 2, 3:]
    expected = torch.tensor([-3.0, 2.0]) * CELL_PX
    assert (inside - expected).abs().max() < 0.02 * CELL_PX


@pytest.mark.parametrize("shift", [(0.3, 0.0), (-0.4, 0.2), (0.0, -0.25), (1.35, 0.6)])
def test_matches_are_finer_than_cells(matcher, shift):
    cells = torch.tensor(shift)
    # What the source shows at p, the target shows at p + shift.
    source, target = smooth_descriptors(torch.zeros(2)), smooth_descriptors(-cells)
    matches = matcher.match(source, target, (ROWS, COLUMNS))
    moved = (matches.xy - cell_centres((ROWS, COLUMNS), source)) / CELL_PX
    inner = moved.unflatten(1, (ROWS, COLUMNS))[0, 2:-3, 2:-3]
    assert (inner - cells).abs().max() < 0.15
    assert (inner.mean(dim=(0, 1)) - cells).abs().max() < 0.08


def test_certainty_is_missing_where_nothing_fits(matcher):
    with torch.no_grad():
        matcher.missing_logit.fill_(8.0)
    source, target = random_descriptors(), random_descriptors()
    here = matcher.match(source, source, (ROWS, COLUMNS))
    gone = matcher.match(source, target, (ROWS, COLUMNS))
    assert (here.missing < 0.01).all()
    assert gone.missing.mean() > 0.5
    assert (gone.certainty + gone.missing <= 1 + 1e-5).all()


def test_equal_cells_are_as_uncertain_as_can_be(matcher):
    same = torch.ones(1, ROWS * COLUMNS, 4) / 2
    matches = matcher.match(same, same, (ROWS, COLUMNS))
    # All 97 bins but "no match" are alike: a neighbourhood holds at most nine of them.
    assert (matches.certainty <= 9 / (ROWS * COLUMNS) + 1e-5).all()
    # The first of equal cells is everyone's best, which leads back to its own neighbours alone.
    assert 0 < matches.mutual.sum() < ROWS * COLUMNS


def test_logits_are_cosines_over_the_temperature(matcher):
    source, target = random_descriptors(1, 8), random_descriptors(1, 8)
    logits = matcher.logits(source, target)
    assert logits.shape == (1, ROWS * COLUMNS, ROWS * COLUMNS + 1)
    expected = (source[0, 5] * target[0, 17]).sum() / 0.07
    assert torch.allclose(logits[0, 5, 17], expected, atol=1e-4)
    assert (logits[..., -1] == -20).all()


def test_descriptors_are_unit_vectors_of_both_inputs(matcher):
    quarter, tokens = torch.randn(3, 8, ROWS, COLUMNS), torch.randn(3, 12, ROWS // 2, COLUMNS // 2)
    half, patches = torch.zeros(3, 4, 2 * ROWS, 2 * COLUMNS), torch.zeros(3, 12, *tokens.shape[2:])
    stem = StemFeatures(half=half, quarter=quarter, patches=patches)
    other = replace(stem, quarter=quarter + 1)
    descriptors = matcher.describe(stem, tokens)
    assert descriptors.shape == (3, ROWS * COLUMNS, 16)
    assert torch.allclose(descriptors.norm(dim=-1), torch.ones(3, ROWS * COLUMNS), atol=1e-5)
    assert not torch.allclose(descriptors, matcher.describe(other, tokens), atol=1e-2)
    assert not torch.allclose(descriptors, matcher.describe(stem, tokens * 2), atol=1e-2)


@pytest.mark.parametrize("camera_step_cells", [0, 1])
@pytest.mark.parametrize("order", ["near", "far"])
def test_hints_of_exact_matches_are_the_true_motion(camera_step_cells, order):
    # A wall at depth 3 and f = 50 px, so that a camera step of 3 · 4 / 50 = .24 moves its image by
    # one cell of 4 px. A block of 4 × 2 cells goes two cells to the right and to another depth.
    height, width, wall = ROWS * CELL_PX, COLUMNS * CELL_PX, 3.0
    block_depth = 2.7 if order == "near" else 3.4
    intrinsics = torch.tensor([[50.0, 0, width / 2], [0, 50, height / 2], [0, 0, 1]]).double()
    step = torch.tensor([0.24 * camera_step_cells, 0, 0]).double()
    pose = torch.eye(4).double()
    pose[:3, 3] = -step
    centres = cell_centres((ROWS, COLUMNS), pose)
    ray = torch.cat([centres, torch.ones(len(centres), 1)], dim=-1) @ intrinsics.inverse().T
    source = ray * wall
    row, column = torch.arange(len(ray)) // COLUMNS, torch.arange(len(ray)) % COLUMNS
    block = (row >= 2) & (row < 6) & (column >= 4) & (column < 6)
    matched_column = column - camera_step_cells + 2 * block
    hidden = (row >= 2) & (row < 6) & (column >= 6) & (column < 8)
    seen = (matched_column >= 0) & (matched_column < COLUMNS) & ~hidden
    matched = row * COLUMNS + matched_column.clamp(0, COLUMNS - 1)
    target = ray * wall + step
    target[matched[block]] = ray[matched[block]] * block_depth + step
    truth = torch.where(block[:, None], target[matched] - source, 0.0)
    # The world is the camera of neither frame: it is turned by half a radian.
    world_from_source = torch.linalg.matrix_exp(cross_matrix(torch.tensor([0, 0.5, 0]).double()))
    turn = torch.eye(4).double()
    turn[:3, :3] = world_from_source
    geometry = PairGeometry(
        source_points=(source @ world_from_source.T)[None],
        source_distance=source.norm(dim=-1)[None],
        target_points=(target @ world_from_source.T).T.unflatten(1, (ROWS, COLUMNS))[None],
        target_camera_from_world=(pose @ turn.T)[None],
        target_intrinsics=intrinsics[None],
        image_hw=(height, width),
    )
    one = seen.double()[None]
    matches = Matches(xy=centres[matched][None], certainty=one, missing=1 - one, mutual=one)
    hints = motion_hints(geometry, matches)
    assert hints.features.shape == (1, HINT_CHANNELS, ROWS, COLUMNS)
    assert torch.isfinite(hints.features).all() and hints.features.abs().max() <= 8
    distance = source.norm(dim=-1, keepdim=True)
    lateral = hints.lateral[0].flatten(1).T * distance @ world_from_source
    both = lateral + hints.inward[0].flatten(1).T * distance @ world_from_source
    assert (both - truth)[seen].norm(dim=-1).max() < 0.02
    # The lateral share alone leaves the point at the wall's depth.
    sideways = torch.where(block[:, None], ray[matched] * wall + step - source, 0.0)
    assert (lateral - sideways)[seen].norm(dim=-1).max() < 0.02
    residual = hints.features[0, 6:8].flatten(1).norm(dim=0)
    assert (residual[block] > 1.9).all() and (residual[seen & ~block] < 0.05).all()
