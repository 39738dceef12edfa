"""Masks, against scikit-learn and DAVIS's own way by dilation."""

import math

import cv2
import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from dynapoint.errors import ShapeError
from dynapoint.evaluation.measures.mask_overlap import boundary, boundary_match, region_overlap


def blobs(seed: int, hw: tuple[int, int] = (60, 90)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=hw)
    return cv2.GaussianBlur(noise, (0, 0), 6) > 0.02


def boundary_by_loops(mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (1, 0), (1, 1)):
                below, right = min(y + dy, height - 1), min(x + dx, width - 1)
                edge[y, x] |= mask[y, x] != mask[below, right]
    return edge


def published_f(truth: np.ndarray, predicted: np.ndarray, tolerance: float) -> float:
    """Boundary pixels that a disk around the other boundary covers."""
    radius = math.ceil(tolerance * np.linalg.norm(truth.shape))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    edges = [boundary_by_loops(mask).astype(np.uint8) for mask in (truth, predicted)]
    wide = [cv2.dilate(edge, disk) for edge in edges]
    precision = (edges[1] * wide[0]).sum() / edges[1].sum()
    recall = (edges[0] * wide[1]).sum() / edges[0].sum()
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tolerance", [0.008, 0.03])
def test_against_other_implementations(seed, tolerance):
    truth, predicted = blobs(seed), blobs(seed + 50) | blobs(seed)
    assert region_overlap(truth, predicted) == pytest.approx(
        jaccard_score(truth.ravel(), predicted.ravel())
    )
    found = boundary_match(truth, predicted, tolerance=tolerance)
    assert found == pytest.approx(published_f(truth, predicted, tolerance), rel=1e-12)
    assert 0.2 < found < 0.98


def test_hand_worked():
    truth, predicted = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    truth[2:6, 2:6], predicted[2:6, 3:7] = True, True
    assert region_overlap(truth, predicted) == 12 / 20
    # The tolerance is one pixel (.008 of 11.3 rounded up), the shift too.
    assert boundary_match(truth, predicted) == 1
    # The ring of 5 × 5 pixels around the square: those left of it, above it and on its other edges.
    assert boundary(truth).sum() == 16
    predicted = np.zeros((8, 8), bool)
    predicted[2:6, 5:8] = True
    assert boundary_match(truth, predicted) < 1


def test_empty_and_full_masks():
    nothing, something, everything = (
        np.zeros((6, 6), bool),
        np.eye(6, dtype=bool),
        np.ones((6, 6), bool),
    )
    assert region_overlap(nothing, nothing) == 1
    assert region_overlap(nothing, something) == 0
    assert boundary_match(nothing, nothing) == 1
    assert boundary_match(nothing, something) == boundary_match(something, nothing) == 0
    # A mask without a boundary is an empty one to F, which sees boundaries alone.
    assert boundary_match(nothing, everything) == 1
    assert region_overlap(nothing, everything) == 0


def test_neither_mask_comes_first():
    truth, predicted = blobs(7), blobs(8)
    assert region_overlap(truth, predicted) == region_overlap(predicted, truth)
    assert boundary_match(truth, predicted) == pytest.approx(boundary_match(predicted, truth))
    with pytest.raises(ShapeError):
        region_overlap(truth, predicted[:-1])
