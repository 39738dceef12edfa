"""Solutions at the scale of their matches' own errors, on exact problems with known errors."""

from dataclasses import replace

import numpy as np
import pytest

from dynapoint.refinement.adjustment import Freedom, Plan, Problem, adjust
from dynapoint.refinement.lens import LENS_SIGMA
from dynapoint.refinement.matches import Matches
from dynapoint.refinement.sharpened import noise_of, robust_scale_px, sharpen
from dynapoint.refinement.solution import Solution
from dynapoint.refinement.views import Views
from refinement_cases import angle_deg, exact_problem

_LENS = 0.12


def _noisy(problem: Problem, noise_px: float, *, wrong: float, seed: int = 0) -> Problem:
    """The same with normal errors of matches, and a share that all lie the same way off."""
    rng = np.random.default_rng(seed)
    off = noise_px * rng.normal(size=problem.place_px.shape)
    chosen = rng.random(problem.weight.shape) < wrong
    # Movers agree with each other: no mean over them is zero.
    off[chosen] += np.array([4.0, 1.0]) * (1 + rng.random((chosen.sum(), 1)))
    return replace(problem, place_px=problem.place_px + off)


def _solution(problem: Problem, views: Views) -> Solution:
    matches = Matches(
        target=problem.target,
        place_px=problem.place_px.astype(np.float32),
        weight=problem.weight.astype(np.float32),
    )
    return Solution(views=views, matches=matches)


def _case(noise_px: float, wrong: float, seed: int) -> tuple[Views, Problem, Views]:
    """The truth, a problem with errors, and what a solution at a scale of a pixel is."""
    truth, exact = exact_problem(5, 300, seed=seed, log_lens=_LENS)
    problem = _noisy(replace(exact, depth_sigma=0.4), noise_px, wrong=wrong, seed=seed)
    start = replace(truth, log_lens=0.0)
    plan = Plan(iterations=12, first_px=4.0, last_px=1.0, robust="cauchy")
    return truth, problem, adjust(problem, start, plan, Freedom())


@pytest.mark.parametrize("wrong", [0.0, 0.15, 0.3])
@pytest.mark.parametrize("noise_px", [0.1, 0.3])
def test_what_right_matches_err_by_is_read_off_whatever_the_others_do(
    noise_px: float, wrong: float
) -> None:
    truth, exact = exact_problem(4, 400)
    found = noise_of(_noisy(exact, noise_px, wrong=wrong), truth, free_depths=False)
    assert found == pytest.approx(noise_px, rel=0.3)


@pytest.mark.parametrize("frames", [2, 3, 6])
def test_depths_that_follow_their_matches_do_not_make_these_look_exact(frames: int) -> None:
    truth, exact = exact_problem(frames, 400)
    problem = replace(_noisy(exact, 0.2, wrong=0.3), depth_sigma=4.0)
    plan = Plan(iterations=15, first_px=1.0, last_px=0.5, robust="cauchy")
    fitted = adjust(problem, truth, plan, Freedom(poses=False))
    assert noise_of(problem, fitted, free_depths=True) == pytest.approx(0.2, rel=0.3)


def test_errors_of_matches_have_bounds() -> None:
    truth, exact = exact_problem(4, 400)
    assert noise_of(exact, truth, free_depths=True) == 0.06
    assert noise_of(_noisy(exact, 9.0, wrong=0.0), truth, free_depths=True) == 1.0
    few = replace(exact, weight=np.where(np.arange(400) < 10, exact.weight, 0.0))
    assert noise_of(few, truth, free_depths=True) == 1.0


def test_lens_and_cameras_come_from_right_matches_and_not_from_movers() -> None:
    plan = Plan(iterations=30, first_px=1.0, last_px=1.0, robust="cauchy")
    errors = []
    for seed in range(5):
        truth, problem, start = _case(0.1, 0.3, seed)
        sharp = sharpen(_solution(problem, start), problem, start, explained=1.0, free_lens=True)
        blunt = adjust(problem, start, plan, Freedom(lens=True))
        assert sharp.lens_freed and sharp.lens_sigma < 0.1
        assert sharp.noise_px == pytest.approx(0.1, rel=0.4)
        errors.append(
            [
                (
                    abs(views.log_lens - _LENS),
                    angle_deg(views.camera_from_world, truth.camera_from_world).max(),
                )
                for views in (sharp.solution.views, blunt)
            ]
        )
    sharp_errors, blunt_errors = np.sqrt((np.array(errors) ** 2).mean(axis=0))
    assert (sharp_errors < 0.5 * blunt_errors).all()
    assert robust_scale_px(0.1) == pytest.approx(0.2385)


def test_a_lens_stays_where_it_is_known_or_little_is_explained() -> None:
    _, problem, start = _case(0.1, 0.1, 0)
    start = replace(start, log_lens=0.05)
    for explained, free_lens in ((1.0, False), (0.6, True), (0.4, True)):
        sharp = sharpen(
            _solution(problem, start), problem, start, explained=explained, free_lens=free_lens
        )
        assert sharp.solution.views.log_lens == 0.05
        assert not sharp.lens_freed and sharp.lens_sigma == LENS_SIGMA
    sure, doubtful = (
        sharpen(_solution(problem, start), problem, start, explained=share, free_lens=True)
        for share in (1.0, 0.62)
    )
    assert sure.lens_sigma < doubtful.lens_sigma < LENS_SIGMA


def test_less_exact_matches_tell_less_of_a_lens() -> None:
    sigmas = []
    for noise_px in (0.1, 0.3, 0.9):
        _, problem, start = _case(noise_px, 0.1, 3)
        sigmas.append(
            sharpen(
                _solution(problem, start), problem, start, explained=1.0, free_lens=True
            ).lens_sigma
        )
    assert sigmas[0] < sigmas[1] < sigmas[2] < LENS_SIGMA
