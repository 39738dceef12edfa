"""The graph of windows against exact poses, SciPy's solver, theory and finite differences."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.stats import chi2

from dynapoint.geometry.sim3 import exp_sim3, invert_similarity, log_sim3
from dynapoint.windows import graph_solver
from dynapoint.windows.graph import GraphEdge, GraphSolution, _stacked, solve_graph

SIGMA = np.array([0.002, 0.002, 0.002, 0.005, 0.005, 0.005, 0.01])


def on_a_circle(rng: np.random.Generator, count: int) -> np.ndarray:
    """Windows once around a circle, the last near the first, each with a unit of its own."""
    turn = np.array([0, 2 * np.pi / (count - 1), 0, 1, 0, 0, 0])
    steps = exp_sim3(np.tile(turn, (count - 1, 1)))
    poses = [np.eye(4)]
    for step in steps:
        poses.append(poses[-1] @ step)
    units = np.zeros((count, 7))
    units[:, 6] = 0.3 * rng.normal(size=count)
    poses = np.array(poses) @ exp_sim3(units)
    return invert_similarity(poses[0]) @ poses


def edge(
    poses: np.ndarray,
    pair: tuple[int, int],
    *,
    error: np.ndarray | None = None,
    information: np.ndarray | None = None,
    is_closure: bool = False,
) -> GraphEdge:
    """What is true of two windows, but for an error."""
    between = invert_similarity(poses[pair[0]]) @ poses[pair[1]]
    wrong = np.eye(4) if error is None else exp_sim3(error)
    return GraphEdge(
        first=pair[0],
        second=pair[1],
        first_from_second=between @ wrong,
        information=np.diag(SIGMA**-2) if information is None else information,
        is_closure=is_closure,
    )


def chain(
    rng: np.random.Generator, poses: np.ndarray, size: float = 1.0, reach: int = 1
) -> list[GraphEdge]:
    """Edges between neighbours, of usual errors."""
    return [
        edge(poses, (first, first + step), error=size * SIGMA * rng.normal(size=7))
        for step in range(1, reach + 1)
        for first in range(len(poses) - step)
    ]


def closure(
    rng: np.random.Generator, poses: np.ndarray, pair: tuple[int, int], *, wrong: bool = False
) -> GraphEdge:
    """An edge that closes a loop, or does not and says so."""
    error = (
        rng.normal(size=7) * [0.5, 0.5, 0.5, 3, 3, 3, 0.3] if wrong else SIGMA * rng.normal(size=7)
    )
    return edge(poses, pair, error=error, is_closure=True)


def off(found: GraphSolution, poses: np.ndarray) -> np.ndarray:
    return log_sim3(invert_similarity(found.world_from_window) @ poses)


@pytest.mark.parametrize("fixed", [0, 7, 19])
def test_exact_edges_in_any_direction_and_order(fixed):
    rng = np.random.default_rng(0)
    poses = on_a_circle(rng, 20)
    edges = [edge(poses, pair) for pair in [(k, k + 1) for k in range(19)]]
    edges += [edge(poses, (3, 0)), edge(poses, (0, 19), is_closure=True)]
    edges = [
        GraphEdge(
            first=one.second, second=one.first,
            first_from_second=invert_similarity(one.first_from_second),
            information=one.information, is_closure=one.is_closure,
        )
        if index % 3 == 0 else one
        for index, one in enumerate(edges)
    ]  # fmt: skip
    rng.shuffle(edges)
    found = solve_graph(20, edges, fixed=fixed)
    np.testing.assert_allclose(found.world_from_window[fixed], np.eye(4), atol=1e-12)
    assert np.abs(off(found, invert_similarity(poses[fixed]) @ poses)).max() < 1e-9
    assert (found.fixed == fixed).all()
    assert found.refused == () and found.converged
    assert found.objective_after < 1e-9


def test_derivatives_are_finite_differences():
    rng = np.random.default_rng(1)
    poses = on_a_circle(rng, 5)
    root = rng.normal(size=(4, 7, 7))
    edges = [
        edge(poses, (k, k + 1), error=rng.normal(size=7) * 0.4, information=root[k].T @ root[k])
        for k in range(4)
    ]
    stacked = _stacked(edges)
    rows, _ = graph_solver._rows(stacked, poses)
    step = 1e-6
    for number, one in enumerate(edges):
        for half, window in enumerate((one.first, one.second)):
            for axis in range(7):
                ends = []
                for sign in (1, -1):
                    moved = poses.copy()
                    moved[window] = moved[window] @ exp_sim3(sign * step * np.eye(7)[axis])
                    residual, _ = graph_solver.residuals_of(stacked, moved)
                    ends.append(stacked.root[number] @ residual[number])
                wanted = (ends[0] - ends[1]) / (2 * step)
                np.testing.assert_allclose(rows[number, :, 7 * half + axis], wanted, atol=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_the_least_objective_is_that_of_scipy(seed):
    rng = np.random.default_rng(seed)
    poses = on_a_circle(rng, 6)
    edges = []
    for pair in [*((k, k + 1) for k in range(5)), (0, 5), (1, 4), (2, 5)]:
        root = np.diag(1 / SIGMA) @ (np.eye(7) + 0.3 * rng.normal(size=(7, 7)))
        error = 10 * SIGMA * rng.normal(size=7)
        edges.append(edge(poses, pair, error=error, information=root.T @ root))

    def residuals(tangents: np.ndarray) -> np.ndarray:
        moved = np.concatenate([np.eye(4)[None], poses[1:] @ exp_sim3(tangents.reshape(-1, 7))])
        found = []
        for one in edges:
            between = invert_similarity(moved[one.first]) @ moved[one.second]
            error = log_sim3(invert_similarity(one.first_from_second) @ between)
            found.append(np.linalg.cholesky(one.information).T @ error)
        return np.concatenate(found)

    wanted = least_squares(residuals, np.zeros(35), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    found = solve_graph(6, edges)
    assert found.objective_after == pytest.approx(wanted.cost, rel=1e-6)
    ours = invert_similarity(poses[1:] @ exp_sim3(wanted.x.reshape(-1, 7)))
    assert np.abs(log_sim3(ours @ found.world_from_window[1:])).max() < 1e-5
    assert found.objective_after < found.objective_before


def test_a_closure_spreads_drift_as_theory_has_it():
    """Scales add up like a random walk, k·σ² after k edges; a bridge has k(n − k)/n·σ².

    The closure knows the scale alone: places around a circle tell of scales too.
    """
    rng = np.random.default_rng(2)
    count, runs = 21, 24
    poses = on_a_circle(rng, count)
    wrong = {"open": [], "closed": []}
    for _ in range(runs):
        edges = chain(rng, poses)
        scale_alone = np.diag([0, 0, 0, 0, 0, 0, 1e4 * SIGMA[6] ** -2])
        closing = [edge(poses, (0, count - 1), information=scale_alone)]
        wrong["open"].append(off(solve_graph(count, edges), poses)[:, 6])
        wrong["closed"].append(off(solve_graph(count, [*edges, *closing]), poses)[:, 6])
    steps = np.arange(count)
    walk = SIGMA[6] ** 2 * steps
    bridge = SIGMA[6] ** 2 * steps * (count - 1 - steps) / (count - 1)
    for name, variance in (("open", walk), ("closed", bridge)):
        found = np.mean(np.square(wrong[name]), axis=0)[5:16] / variance[5:16]
        assert 0.6 < found.mean() < 1.6, name
    assert np.abs(np.array(wrong["closed"])[:, -1]).max() < 1e-3


def test_objective_is_distributed_as_theory_has_it():
    """Twice the objective is χ² of as many numbers as edges have more than windows."""
    rng = np.random.default_rng(3)
    poses = on_a_circle(rng, 12)
    freedom = 7 * (11 + 10 - 11)
    found = [2 * solve_graph(12, chain(rng, poses, reach=2)).objective_after for _ in range(20)]
    low, high = chi2.ppf([1e-4, 1 - 1e-4], freedom * len(found))
    assert low < np.sum(found) < high


@pytest.mark.parametrize("seed", range(4))
def test_wrong_closures_are_refused_and_true_ones_kept(seed):
    rng = np.random.default_rng(seed)
    poses = on_a_circle(rng, 60)
    edges = chain(rng, poses)
    true = [closure(rng, poses, pair) for pair in [(0, 59), (2, 58), (5, 30)]]
    wrong = [
        closure(rng, poses, (int(a), int(a) + 20 + int(b)), wrong=True)
        for a, b in rng.integers(0, 20, size=(5, 2))
    ]
    found = solve_graph(60, [*edges, *true, *wrong])
    assert found.refused == tuple(range(62, 67))
    assert (found.weight[62:] == 0).all() and (found.weight[:62] > 0.5).all()
    # The world is the one that there would be without them.
    without = solve_graph(60, [*edges, *true])
    assert np.abs(off(found, without.world_from_window)).max() < 1e-6
    drift = np.abs(off(solve_graph(60, edges), poses)[-1])
    assert np.linalg.norm(off(found, poses)[-1][3:6]) < 0.1 * np.linalg.norm(drift[3:6])


def test_a_wrong_closure_alone_does_not_bend_the_world():
    rng = np.random.default_rng(4)
    poses = on_a_circle(rng, 30)
    edges = chain(rng, poses)
    found = solve_graph(30, [*edges, closure(rng, poses, (3, 17), wrong=True)])
    alone = solve_graph(30, edges)
    assert found.refused == (29,)
    assert np.abs(off(found, alone.world_from_window)).max() < 1e-9


def test_large_drift_is_closed():
    """400 windows drift by far more than a closure's sigmas, and a third in scale."""
    rng = np.random.default_rng(5)
    poses = on_a_circle(rng, 400)
    edges = chain(rng, poses, size=1.5)
    closing = closure(rng, poses, (0, 399))
    before = np.abs(off(solve_graph(400, edges), poses)[-1])
    found = solve_graph(400, [*edges, closing])
    assert before[3:6].max() > 3 and found.refused == ()
    assert (np.abs(off(found, poses)[-1]) < 5 * SIGMA).all()
    assert found.converged and found.iterations < 40
    assert np.abs(found.change[-1, 3:6]).max() > 3


def test_windows_that_nothing_joins_have_worlds_of_their_own():
    rng = np.random.default_rng(6)
    poses = on_a_circle(rng, 9)
    pairs: Sequence[tuple[int, int]] = [(0, 1), (1, 2), (4, 3), (4, 5), (6, 7)]
    nothing = edge(poses, (2, 3), information=np.zeros((7, 7)))
    found = solve_graph(9, [*(edge(poses, pair) for pair in pairs), nothing], fixed=2)
    assert found.fixed.tolist() == [2, 2, 2, 3, 3, 3, 6, 6, 8]
    for window, anchor in enumerate(found.fixed):
        wanted = invert_similarity(poses[anchor]) @ poses[window]
        np.testing.assert_allclose(found.world_from_window[window], wanted, atol=1e-9)
    assert found.weight.tolist() == [1, 1, 1, 1, 1, 0]
    assert found.refused == ()


def test_a_closure_that_alone_joins_two_parts_is_used():
    poses = on_a_circle(np.random.default_rng(7), 4)
    edges = [edge(poses, (0, 1)), edge(poses, (2, 3)), edge(poses, (1, 2), is_closure=True)]
    found = solve_graph(4, edges)
    assert np.abs(off(found, poses)).max() < 1e-9
    assert (found.fixed == 0).all()


def test_directions_that_one_edge_does_not_know_come_from_others():
    """Two edges between the same windows: one knows the scale alone, one all but the scale."""
    poses = on_a_circle(np.random.default_rng(8), 2)
    zoom = np.diag([0, 0, 0, 0, 0, 0, 1e4])
    rest = np.diag([1e4] * 6 + [0.0])
    edges = [
        edge(poses, (0, 1), information=zoom, error=np.array([0.5, 0.2, 0.1, 1, 1, 1, 0])),
        edge(poses, (0, 1), information=rest, error=np.array([0, 0, 0, 0, 0, 0, 0.2])),
    ]
    found = solve_graph(2, edges)
    assert np.abs(off(found, poses)).max() < 1e-3
    assert found.objective_after < 1e-3


def test_what_nothing_is_known_of_stays_as_guessed():
    """In the middle of a chain with a closed loop an edge knows nothing of scale."""
    rng = np.random.default_rng(10)
    poses = on_a_circle(rng, 30)
    edges = chain(rng, poses, reach=2)
    edges = [
        GraphEdge(
            first=one.first, second=one.second, first_from_second=one.first_from_second,
            information=one.information * (np.diag([1, 1, 1, 1, 1, 1, 0.0])
                                           if one.first <= 14 < one.second else 1),
        )
        for one in edges
    ]  # fmt: skip
    found = solve_graph(30, edges)
    assert found.converged
    assert np.abs(off(found, poses)[:, 6]).max() < 0.2
    assert np.abs(off(found, poses)[:, :3]).max() < 0.05


def test_one_window_and_no_edges():
    found = solve_graph(1, [])
    np.testing.assert_array_equal(found.world_from_window, np.eye(4)[None])
    assert found.fixed.tolist() == [0] and found.objective_after == 0


def test_bad_input_is_named():
    poses = on_a_circle(np.random.default_rng(9), 3)
    with pytest.raises(ValueError, match="names window 3, but there are 3"):
        solve_graph(
            3, [GraphEdge(first=0, second=3, first_from_second=np.eye(4), information=np.eye(7))]
        )
    with pytest.raises(ValueError, match="joins window 1 to itself"):
        solve_graph(3, [edge(poses, (1, 1))])
    with pytest.raises(ValueError, match="fixed=5 is none of the 3"):
        solve_graph(3, [], fixed=5)
