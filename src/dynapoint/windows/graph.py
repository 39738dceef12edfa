"""Where all windows lie, from similarities between pairs of them: drift is spread over the graph.

Least squares in Sim(3): with T the similarities world-from-window and Z that of an edge, the sum
of r'Λr of r = log(Z⁻¹·T_first⁻¹·T_second) is least (`graph_solver`). A loop closure may be wrong.
It is used only if its residual is likely with the covariance that the rest of the graph gives it;
and those that are used weigh as Cauchy's cost has it in the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy import sparse
from scipy.sparse import csgraph

from dynapoint.geometry.sim3 import invert_similarity, log_sim3
from dynapoint.windows.graph_solver import (
    MOST_SQUARE,
    Edges,
    State,
    objective_of,
    residuals_of,
    solved,
    surprise,
    weights_of,
)

_ROUNDS = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphEdge:
    """How two windows lie to each other, as a `registration.Registration` says.

    Attributes:
        first: Index of a window.
        second: Index of another one.
        first_from_second: [s·R | t], from the second window's world to the first's.
        information: Inverse covariance of its right perturbation: rotation, translation, logarithm
            of scale. An edge whose information is 0 joins nothing.
        is_closure: Whether it closes a loop, and may be wrong.
    """

    first: int
    second: int
    first_from_second: Float64[np.ndarray, "4 4"]
    information: Float64[np.ndarray, "7 7"]
    is_closure: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphSolution:
    """Where all windows lie.

    Attributes:
        world_from_window: [s·R | t]. Windows that no edges join have different worlds.
        fixed: For each window, the one of its component whose similarity is the identity.
        refused: Indices of edges that are closures, and were not used because they contradict the
            others.
        weight: Of each edge: 1, or less for closures that fit badly, and 0 for those refused.
        objective_before: Half the sum of squared whitened residuals, with Cauchy's cost for
            closures, of the edges that were used, where windows follow one another along a
            spanning tree.
        objective_after: The same of the solution.
        change: By how much each window moved between the two, as a right perturbation: rotation,
            translation in the window's own unit, logarithm of scale.
        iterations: How many steps all solutions took.
        converged: Whether the last one ended by itself.
    """

    world_from_window: Float64[np.ndarray, "window 4 4"]
    fixed: Int64[np.ndarray, " window"]
    refused: tuple[int, ...]
    weight: Float64[np.ndarray, " edge"]
    objective_before: float
    objective_after: float
    change: Float64[np.ndarray, "window 7"]
    iterations: int
    converged: bool


def solve_graph(count: int, edges: Sequence[GraphEdge], *, fixed: int = 0) -> GraphSolution:
    """The similarities world-from-window of `count` windows.

    The world is that of window `fixed`; in a component without it, that of its first window.

    Raises:
        ValueError: If an edge or `fixed` names a window that is none of the `count`, or an edge
            joins a window to itself.
    """
    _check(count, edges, fixed)
    stacked = _stacked(edges)
    known = np.abs(stacked.root).max(axis=(1, 2), initial=0.0) > 0
    anchor = _anchors(count, stacked, known, fixed)
    start, trusted = _along_tree(stacked, known, anchor)
    trusted |= known & ~stacked.is_closure
    free = anchor != np.arange(count)
    used, state = _without_wrong_closures(stacked, trusted, known, free, start)
    state = solved(stacked, used, free, state, robust=True)
    before, square = (residuals_of(stacked, poses)[1] for poses in (start, state.poses))
    return GraphSolution(
        world_from_window=state.poses,
        fixed=anchor,
        refused=tuple(int(edge) for edge in np.flatnonzero(known & ~used)),
        weight=weights_of(stacked, square, used, robust=True),
        objective_before=objective_of(stacked, before, used, robust=True),
        objective_after=objective_of(stacked, square, used, robust=True),
        change=log_sim3(invert_similarity(start) @ state.poses),
        iterations=state.iterations,
        converged=state.converged,
    )


def _check(count: int, edges: Sequence[GraphEdge], fixed: int) -> None:
    if not 0 <= fixed < count:
        raise ValueError(f"fixed={fixed} is none of the {count} windows")
    for edge in edges:
        for window in (edge.first, edge.second):
            if not 0 <= window < count:
                raise ValueError(f"an edge names window {window}, but there are {count}")
        if edge.first == edge.second:
            raise ValueError(f"an edge joins window {edge.first} to itself: give it two windows")


def _stacked(edges: Sequence[GraphEdge]) -> Edges:
    information = np.array([edge.information for edge in edges]).reshape(-1, 7, 7)
    information = 0.5 * (information + information.transpose(0, 2, 1))
    values, vectors = np.linalg.eigh(information)
    root = np.sqrt(np.maximum(values, 0.0))[..., None] * vectors.transpose(0, 2, 1)
    matrices = np.array([edge.first_from_second for edge in edges]).reshape(-1, 4, 4)
    return Edges(
        first=np.array([edge.first for edge in edges], dtype=np.int64),
        second=np.array([edge.second for edge in edges], dtype=np.int64),
        second_from_first=invert_similarity(matrices),
        root=root,
        is_closure=np.array([edge.is_closure for edge in edges], dtype=bool),
    )


def _anchors(
    count: int, edges: Edges, known: Bool[np.ndarray, " edge"], fixed: int
) -> Int64[np.ndarray, " window"]:
    links = sparse.coo_matrix(
        (np.ones(known.sum()), (edges.first[known], edges.second[known])), shape=(count, count)
    )
    _, component = csgraph.connected_components(links, directed=False)
    first = np.full(component.max() + 1, count, dtype=np.int64)
    np.minimum.at(first, component, np.arange(count))
    first[component[fixed]] = fixed
    return np.asarray(first[component])


def _along_tree(
    edges: Edges, known: Bool[np.ndarray, " edge"], anchor: Int64[np.ndarray, " window"]
) -> tuple[Float64[np.ndarray, "window 4 4"], Bool[np.ndarray, " edge"]]:
    """Windows that follow one another along the surest edges, closures last; and these edges."""
    count = len(anchor)
    # The least of what is known of rotation and scale; lengths have another unit in each window.
    least = np.linalg.norm(edges.root[:, :, [0, 1, 2, 6]], axis=1).min(axis=1, initial=np.inf)
    price = 1 + 1 / (1 + least) + 1e3 * edges.is_closure
    best: dict[tuple[int, int], int] = {}
    for edge in np.flatnonzero(known):
        pair = (
            min(edges.first[edge], edges.second[edge]),
            max(edges.first[edge], edges.second[edge]),
        )
        if pair not in best or price[edge] < price[best[pair]]:
            best[pair] = int(edge)
    rows, columns = np.array(list(best), dtype=np.int64).reshape(-1, 2).T
    chosen = np.array(list(best.values()), dtype=np.int64)
    links = sparse.coo_matrix((price[chosen], (rows, columns)), shape=(count, count))
    tree = csgraph.minimum_spanning_tree(links.tocsr())
    poses, taken = np.tile(np.eye(4), (count, 1, 1)), np.zeros_like(known)
    for root in np.unique(anchor):
        order, before = csgraph.breadth_first_order(tree, root, directed=False)
        for window in order[1:]:
            other = int(before[window])
            used = best[min(window, other), max(window, other)]
            taken[used] = True
            step = edges.second_from_first[used]
            if edges.second[used] == window:
                step = invert_similarity(step)
            poses[window] = poses[other] @ step
    return poses, taken


def _without_wrong_closures(
    edges: Edges,
    trusted: Bool[np.ndarray, " edge"],
    known: Bool[np.ndarray, " edge"],
    free: Bool[np.ndarray, " window"],
    start: Float64[np.ndarray, "window 4 4"],
) -> tuple[Bool[np.ndarray, " edge"], State]:
    """Which edges to use, and the solution that they have.

    Closures come in that the trusted edges make likely. Then those that all others make unlikely go
    out, the worst ones first, and others may come back once.
    """
    used = trusted.copy()
    state = solved(edges, used, free, State(poses=start))
    tested = np.flatnonzero(known & ~trusted)
    chances = np.full(len(tested), 2)
    for _ in range(_ROUNDS):
        if not len(tested):
            break
        square = surprise(edges, used, free, state, tested)
        wrong = used[tested] & (square > MOST_SQUARE)
        fine = ~used[tested] & (square <= MOST_SQUARE) & (chances > 0)
        if wrong.any():
            used[tested[wrong & (square > square[wrong].max() / 2)]] = False
        elif fine.any():
            used[tested[fine]] = True
            chances[fine] -= 1
        else:
            break
        state = solved(edges, used, free, state)
    return used, state
