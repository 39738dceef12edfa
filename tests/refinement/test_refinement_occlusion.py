"""Changes of depth that put what hides other things behind them."""

import numpy as np
import pytest

from dynapoint.refinement.occlusion import put_behind

ROWS, COLUMNS = 48, 64
INNER = (slice(None), slice(21, 27), slice(31, 37))


def ground_with_a_thing(nearer: float) -> tuple[np.ndarray, np.ndarray]:
    """Log depth that falls towards the lower edge, with a thing before it; and where that is."""
    rng = np.random.default_rng(0)
    log_depth = np.linspace(0.6, -0.6, ROWS)[None, :, None] + np.zeros((3, ROWS, COLUMNS))
    thing = np.zeros(log_depth.shape, dtype=bool)
    thing[:, 20:28, 30:38] = True
    return log_depth - nearer * thing + rng.normal(scale=0.01, size=log_depth.shape), thing


@pytest.mark.parametrize("nearer", [0.3, 0.5, 0.8])
def test_a_thing_that_would_lie_behind_what_it_hides_is_told(nearer: float) -> None:
    log_depth, thing = ground_with_a_thing(nearer)
    change = np.where(thing, nearer + 0.35, 0.0)
    found = put_behind(log_depth, change)
    assert found[INNER].all()
    # Neighbours are looked at in the mean; what is told of them has no change to lose.
    beside = np.zeros_like(thing)
    beside[:, 19:29, 29:39] = True
    assert not found[~beside].any()


def test_no_other_change_is_told() -> None:
    rng = np.random.default_rng(1)
    log_depth, thing = ground_with_a_thing(0.4)
    changes = {
        "none": np.zeros(log_depth.shape),
        "one scale": np.full(log_depth.shape, 0.5),
        "still before": np.where(thing, 0.3, 0.0),
        "nearer": np.where(thing, -0.5, 0.0),
        "the ground alone": np.where(thing, 0.0, 0.3),
        "noise": rng.normal(scale=0.05, size=log_depth.shape),
    }
    for name, change in changes.items():
        assert not put_behind(log_depth, change).any(), name


def test_what_the_network_has_behind_may_go_farther() -> None:
    log_depth, thing = ground_with_a_thing(-0.4)
    assert not put_behind(log_depth, np.where(thing, 0.5, 0.0)).any()


def test_scale_does_not_matter_and_wild_changes_do_no_harm() -> None:
    log_depth, thing = ground_with_a_thing(0.4)
    change = np.where(thing, 0.75, 0.0)
    expected = put_behind(log_depth, change)
    assert (put_behind(log_depth + 3.0, change) == expected).all()
    wild = change.copy()
    wild[:, 2, 2] = 40.0
    found = put_behind(log_depth, wild)
    assert (found[INNER] == expected[INNER]).all()


def test_flat_and_small_grids() -> None:
    assert not put_behind(np.zeros((2, 5, 4)), np.zeros((2, 5, 4))).any()
