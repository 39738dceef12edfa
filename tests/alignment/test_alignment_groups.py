"""The objective of groups and both of its optimisers, on random groups whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dynapoint.alignment.coarse import coarse_depth
from dynapoint.alignment.linearised import linearised
from dynapoint.alignment.newton import NewtonPlan, newton
from dynapoint.alignment.objective import objective
from dynapoint.alignment.optimiser import AdamPlan, Parameters, adam, backward
from dynapoint.alignment.state import Freedom, GroupState, Terms
from exact_groups import COLUMNS, ROWS, all_but_gauge, exact_groups, shaken

# Frames 0 and 1 are seen again by the last group, as when a loop closes.
LOOP = [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 0, 1]]
CHAIN = [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
TERMS = Terms(smoothness=0.02, translation=0.7, depth_cost=0.3)
SHARP = NewtonPlan(iterations=60, settled=1e-10)


def differences(one: GroupState, other: GroupState) -> list[float]:
    pairs = [
        (one.world_from_camera, other.world_from_camera),
        (one.world_from_group, other.world_from_group),
        (one.scale, other.scale),
        (one.focal, other.focal),
    ]
    if one.log_change is not None and other.log_change is not None:
        pairs.append((one.log_change, other.log_change))
    return [float((a - b).abs().max()) for a, b in pairs]


@pytest.mark.parametrize("along", [None, 1.0, 0.2])
@pytest.mark.parametrize("rounding", [0.0, 0.05])
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("focal", ["shared", "frame", "fixed"])
def test_gradients_are_those_of_finite_differences(along, rounding, coarse, focal):
    given, truth = exact_groups(3, LOOP, noise=0.1, along=along, rounding=rounding, coarse=coarse)
    state = shaken(truth, 0.1, 4)
    free = all_but_gauge(given, focal)
    parameters = Parameters(given, state, free, slowness=20.0)
    value = backward(given, parameters, TERMS)
    if focal != "shared":
        assert value == pytest.approx(objective(given, state, TERMS), rel=1e-12)
    assert len(parameters.free) == (6 if focal == "fixed" else 7)
    rng = np.random.default_rng(5)
    # Along a random direction of each kind of parameter.
    gradients = [
        parameter.grad.clone() for parameter in parameters.free if parameter.grad is not None
    ]
    for parameter, gradient in zip(parameters.free, gradients, strict=True):
        way = torch.from_numpy(rng.normal(size=tuple(parameter.shape)))
        before = parameter.detach().clone()
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter.copy_(before + step * way)
            values.append(backward(given, parameters, TERMS))
        with torch.no_grad():
            parameter.copy_(before)
        slope = (values[0] - values[1]) / 2e-6 * given.terms
        assert float((gradient * way).sum()) == pytest.approx(slope, rel=2e-5, abs=1e-4)


@pytest.mark.parametrize("along", [None, 1.0, 0.2])
@pytest.mark.parametrize("rounding", [0.0, 0.05])
def test_the_linearised_problem_has_the_gradient_of_the_objective(along, rounding):
    given, truth = exact_groups(3, LOOP, noise=0.1, along=along, rounding=rounding)
    state = shaken(truth, 0.1, 4)
    free = all_but_gauge(given, "frame")
    lin = linearised(given, state, free, TERMS)
    assert lin.between is not None and state.log_change is not None
    pose = torch.zeros(given.frame_count, 6).double()
    pose.index_add_(0, given.frame, lin.gradient[:, :6])
    pose[:-1] += lin.between.gradient[:, :6]
    pose[1:] += lin.between.gradient[:, 6:]
    group = torch.zeros(given.group_count, 7).double()
    group.index_add_(0, given.group, lin.gradient[:, 6:13])
    expected = 0.0
    rng = np.random.default_rng(0)
    by_pose, by_group = (torch.from_numpy(rng.normal(size=tuple(g.shape))) for g in (pose, group))
    by_own = torch.from_numpy(rng.normal(size=tuple(lin.local_gradient.shape)))
    expected = float(
        (pose * by_pose).sum() + (group * by_group).sum() + (lin.local_gradient * by_own).sum()
    )

    def moved(step: float) -> float:
        poses, groups = state.world_from_camera.clone(), state.world_from_group.clone()
        for matrix, by in ((poses, step * by_pose), (groups, step * by_group)):
            matrix[:, :3, :3] = turned(by[:, :3]) @ matrix[:, :3, :3]
            matrix[:, :3, 3] += by[:, 3:6]
        candidate = replace(
            state,
            world_from_camera=poses,
            world_from_group=groups,
            scale=state.scale * (step * by_group[:, 6]).exp(),
            log_change=state.log_change + step * by_own[:, :-1],
            focal=state.focal * (step * by_own[:, -1]).exp(),
        )
        return objective(given, candidate, TERMS)

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    assert expected == pytest.approx(slope, rel=1e-5)


def turned(vector: torch.Tensor) -> torch.Tensor:
    zero = torch.zeros(len(vector)).double()
    x, y, z = vector.T
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    return torch.linalg.matrix_exp(cross)


@pytest.mark.parametrize("along", [None, 1.0, 0.2])
@pytest.mark.parametrize("focal", ["fixed", "shared", "frame"])
@pytest.mark.parametrize("rounding", [0.0, 0.02])
def test_a_shaken_state_comes_back_to_the_truth(along, focal, rounding):
    given, truth = exact_groups(1, LOOP, along=along, rounding=rounding)
    start = shaken(truth, 0.03, 2)
    found, convergence = newton(given, start, all_but_gauge(given, focal), Terms(), SHARP)
    assert max(differences(start, truth)[:3]) > 0.02
    assert max(differences(found, truth)) < 1e-7
    loss = np.array(convergence.loss)
    assert (np.diff(loss) < 0).all() and loss[-1] < 1e-9 and loss[0] > 1e-2
    assert convergence.best == convergence.iterations and not convergence.start_was_best


def test_both_optimisers_find_the_same_minimum():
    given, truth = exact_groups(1, LOOP, noise=0.05, rounding=0.02, along=1.0)
    start, free = shaken(truth, 0.03, 2), all_but_gauge(given)
    sharp, by_newton = newton(given, start, free, TERMS, SHARP)
    slow, by_adam = adam(
        given, start, free, TERMS, AdamPlan(iterations=300, final_learning_rate=1e-5)
    )
    assert by_newton.loss[0] == pytest.approx(by_adam.loss[0], rel=1e-12)
    assert by_newton.loss[-1] <= min(by_adam.loss) < by_newton.loss[-1] + 1e-5
    assert max(differences(sharp, slow)) < 0.02 < 0.1 * max(differences(start, slow))


@pytest.mark.parametrize("coarse", [False, True])
def test_what_is_held_stays_to_the_last_bit(coarse):
    given, truth = exact_groups(1, CHAIN, noise=0.02, rounding=0.02, coarse=coarse)
    start = shaken(truth, 0.01, 2)
    everything = all_but_gauge(given)
    frames, groups = torch.arange(10) >= 4, torch.arange(4) >= 2
    free = Freedom(poses=frames, depths=frames, groups=groups, scales=groups, focal="fixed")
    assert not torch.equal(everything.poses, free.poses)
    ways = [adam(given, start, free, TERMS, AdamPlan(iterations=5))]
    if coarse:
        ways.append(newton(given, start, free, TERMS, NewtonPlan(iterations=5)))
    for found, convergence in ways:
        assert not convergence.start_was_best
        for new, old, may in (
            (found.world_from_camera, start.world_from_camera, frames),
            (found.log_change, start.log_change, frames)
            if coarse
            else (found.depth, start.depth, frames),
            (found.world_from_group, start.world_from_group, groups),
            (found.scale, start.scale, groups),
        ):
            assert new is not None and old is not None
            assert torch.equal(new[~may], old[~may])
            assert (new[may] != old[may]).flatten(1).any(dim=1).all() if new.ndim > 1 else True
        assert torch.equal(found.focal, start.focal)


def test_exact_maps_are_not_made_worse():
    given, truth = exact_groups(7, CHAIN, rounding=0.02)
    for found, convergence in (
        newton(given, truth, all_but_gauge(given), Terms(depth_cost=0.1), NewtonPlan()),
        adam(given, truth, all_but_gauge(given), Terms(), AdamPlan(iterations=5)),
    ):
        assert convergence.loss[0] < 1e-12
        assert max(differences(found, truth)) < 1e-9


def test_relative_distances_do_not_know_the_unit_and_the_worlds_do():
    for along in (0.3, None):
        given, truth = exact_groups(2, LOOP, noise=0.1, along=along)
        poses, groups = truth.world_from_camera.clone(), truth.world_from_group.clone()
        poses[:, :3, 3] *= 3
        groups[:, :3, 3] *= 3
        larger = replace(
            truth, world_from_camera=poses, world_from_group=groups,
            depth=3 * truth.depth, scale=3 * truth.scale,
        )  # fmt: skip
        ratio = objective(given, larger, Terms()) / objective(given, truth, Terms())
        assert ratio == pytest.approx(3.0 if along is None else 1.0)


def test_parts_change_rounding_only_and_answers_repeat():
    given, truth = exact_groups(2, LOOP, noise=0.1, rounding=0.02)
    start, free = shaken(truth, 0.02, 3), all_but_gauge(given)
    few = replace(TERMS, pixels_at_once=1)
    assert objective(given, start, few) == pytest.approx(objective(given, start, TERMS), rel=1e-12)
    one, other = (newton(given, start, free, TERMS, NewtonPlan(iterations=4)) for _ in range(2))
    assert one[1].loss == other[1].loss and max(differences(one[0], other[0])) == 0.0


def test_a_frame_that_nothing_is_known_of_stays_finite():
    given, truth = exact_groups(2, CHAIN, noise=0.05, rounding=0.02)
    given.weight[given.frame == 5] = 0.0
    found, _ = newton(
        given, shaken(truth, 0.02, 3), all_but_gauge(given, "frame"), Terms(), NewtonPlan()
    )
    assert found.world_from_camera.isfinite().all() and found.scale.isfinite().all()


def test_coarse_changes_are_bilinear_between_control_points():
    rng = np.random.default_rng(0)
    field = torch.from_numpy(rng.normal(size=(2, 3, 4)))
    x, y = np.meshgrid((np.arange(COLUMNS) + 0.5) / COLUMNS, (np.arange(ROWS) + 0.5) / ROWS)
    uv = torch.from_numpy(np.stack([x.ravel(), y.ravel()]))
    coarse = coarse_depth(uv, 3, 4)
    expected = torch.nn.functional.interpolate(
        field[:, None], (ROWS, COLUMNS), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(field.flatten(1) @ coarse.basis, expected.flatten(1))
    # A constant costs a tenth of its square, a slope more.
    flat = torch.ones(12).double()
    assert float(flat @ coarse.cost @ flat) == pytest.approx(0.1)
    assert torch.linalg.eigvalsh(coarse.cost).min() > 0
    assert float(coarse_depth(uv, 1, 1).basis.min()) == 1.0
