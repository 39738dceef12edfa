"""Motion of a still world's maps against a box whose every point is known at every time."""

from dataclasses import replace

import numpy as np
import pytest

from dynapoint.models.kept.correction import MOVING, STILL, UNKNOWN
from dynapoint.models.kept.still_motion import CARRIED, CONFIDENCE, GUESSED, SEEN
from dynapoint.refinement.setting import Answer
from dynapoint.refinement.still_world.along import course
from dynapoint.refinement.still_world.motion import motion_of_still_world
from moving_box import BOX, HW, box_scene


class Found:
    """What was found of a scene."""

    def __init__(self, scene, *, noise=0.0, evidence=None, paths=None, seed=0):
        rng = np.random.default_rng(seed)
        own, what = zip(*(scene.own(k) for k in range(scene.frames)), strict=True)
        # A map errs by a factor of its own, as maps of networks do.
        factor = np.exp(noise * rng.normal(size=(scene.frames, 1, 1, 1)))
        centre = scene.poses[:, None, None, :3, 3]
        self.scene, self.box = scene, np.stack(what) == BOX
        self.own = (centre + (np.stack(own) - centre) * factor).astype(np.float32)
        self.ratio = np.broadcast_to(1 / factor[..., 0], self.box.shape).astype(np.float32)
        told = np.where(self.box, MOVING, STILL) if evidence is None else evidence
        answer = Answer(
            world_from_camera=scene.poses,
            intrinsics=np.tile(scene.lens, (scene.frames, 1, 1)),
            points=self.own,
            confidence=np.ones(self.box.shape, dtype=np.float32),
        )
        self.motion = motion_of_still_world(
            answer, told.astype(np.uint8), self.ratio, paths or scene.paths()
        )

    def at(self, frame, time):
        """Displacement, and how much confidence is left."""
        pose = np.linalg.inv(self.scene.poses[frame])
        return self.motion.moved(self.own[frame], pose, frame=frame, time=time)

    def known(self, frame, time):
        """How displacements are known; 0 where nothing moves."""
        start, end = (int(each) for each in self.motion.first[frame : frame + 2])
        known = np.zeros(HW, dtype=np.uint8)
        known.reshape(-1)[self.motion.pixel[start:end].numpy()] = self.motion.known[
            time, start:end
        ].numpy()
        return known

    def off(self, frame, time):
        """Error and length of the box's pixels' displacements."""
        true = self.scene.at(frame, time) - self.scene.own(frame)[0]
        error = np.linalg.norm(self.at(frame, time)[0] - true, axis=-1)
        return error, np.linalg.norm(true, axis=-1)


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.02, 0.05, -0.03)], ids=["goes", "goes and turns"])
def test_a_rigid_box_is_where_it_is_and_the_wall_stays(turn):
    found = Found(box_scene(turn=turn))
    for frame, time in [(0, 1), (0, 5), (3, 1), (5, 2)]:
        error, length = found.off(frame, time)
        box, known = found.box[frame], found.known(frame, time)
        assert (known[box] > 0).mean() > 0.9
        assert np.quantile(error[box & (known == SEEN)], 0.95) < 0.06 * length[box].mean()
        assert np.median(error[box & (known > 0)]) < 0.04 * length[box].mean()
        moved, left = found.at(frame, time)
        assert not moved[~box].any() and (left[~box] == 1).all()


def test_a_box_half_hidden_goes_on_as_a_whole_and_confidence_says_so():
    """A pillar covers a part of it at every time, another one each time."""
    found = Found(box_scene(frames=5, pillar=(-0.12, 0.12), step=(0.2, 0.0, 0.0)))
    lost_errors = []
    for time in range(1, 5):
        error, length = found.off(0, time)
        known, seen = found.known(0, time), found.scene.places(0, time)[1]
        box = found.box[0] & (known > 0)
        lost = box & ~seen
        lost_errors.append(error[lost] / length[box].mean())
        assert np.median(error[box & seen]) < 0.05 * length[box].mean()
        # Paths of pixels at edges are mixed of two.
        assert (known[lost] == CARRIED).mean() > 0.8
        left = found.at(0, time)[1]
        assert (left[known == SEEN] == 1).all()
        assert (left[known == CARRIED] == CONFIDENCE[CARRIED]).all()
    assert len(np.concatenate(lost_errors)) > 200
    assert np.mean(np.concatenate(lost_errors)) < 0.05


def test_a_box_all_hidden_is_guessed_with_the_least_confidence():
    """Behind the pillar for two frames, nothing of it is seen; before and after it goes evenly."""
    scene = box_scene(frames=8, pillar=(-0.3, 0.75), step=(0.55, 0.0, 0.0), start=(-2.1, 0.0, 4.0))
    found = Found(scene)
    shown = found.box.reshape(scene.frames, -1).sum(axis=1)
    away = np.flatnonzero(shown == 0)
    assert len(away) > 0 and shown[0] > 30 and shown[-1] > 30
    time = int(away[0])
    known = found.known(0, time)
    assert (known[known > 0] == GUESSED).all() and (known > 0).sum() > 30
    error, length = found.off(0, time)
    box = found.box[0] & (known > 0)
    # It goes on, so that the guess is nearer than where it was.
    assert np.median(error[box]) < 0.6 * np.median(length[box])
    assert (found.at(0, time)[1][known > 0] == CONFIDENCE[GUESSED]).all()


@pytest.mark.parametrize("evidence", [UNKNOWN, MOVING])
def test_a_still_scene_stands_exactly_still_whatever_is_thought_of_it(evidence):
    found = Found(box_scene(step=(0, 0, 0)), evidence=np.full((6, *HW), evidence, dtype=np.uint8))
    assert len(found.motion.pixel) == 0
    for time in (1, 3, 5):
        moved, left = found.at(2, time)
        assert not moved.any() and (left == 1).all()


def test_wrong_flow_on_a_still_wall_moves_nothing():
    """A corner of the picture is thought to move, and flow says so, but maps show it in place."""
    scene = box_scene(step=(0, 0, 0), start=(0.6, 0.0, 3.0))
    paths = scene.paths()
    flow = paths.forward.clone()
    flow[:, 10:40, 25:50, 0] += 3.0
    back = paths.backward.clone()
    back[:, 10:40, 25:50, 0] -= 3.0
    evidence = np.full((6, *HW), STILL)
    evidence[:, 10:40, 25:50] = MOVING
    found = Found(scene, evidence=evidence, paths=replace(paths, forward=flow, backward=back))
    lengths = [np.linalg.norm(found.at(0, time)[0], axis=-1).mean() for time in range(1, 6)]
    assert max(lengths) == 0


def test_without_evidence_paths_alone_tell_what_moves():
    found = Found(box_scene(), evidence=np.full((6, *HW), UNKNOWN))
    error, length = found.off(0, 5)
    box = found.box[0]
    assert error[box].mean() < 0.35 * length[box].mean()
    assert not found.at(0, 5)[0][~box].any()


def ratio_of(found, pairs):
    """Motion ratio of the box's pixels."""
    errors = [(*found.off(*pair), found.box[pair[0]]) for pair in pairs]
    lengths = sum(length[box].sum() for _, length, box in errors)
    return sum(error[box].sum() for error, _, box in errors) / lengths


def test_with_noise_it_is_never_worse_than_nothing_moved():
    ratios = [
        ratio_of(Found(box_scene(step=(0.12, 0.0, 0.06)), noise=noise), [(0, 3), (5, 2)])
        for noise in (0.0, 0.03)
    ]
    assert ratios[0] < 0.05 and ratios[1] < 0.6
    # From some noise on nothing is said to move at all.
    assert len(Found(box_scene(), noise=0.4).motion.pixel) == 0


def test_what_comes_nearer_is_seen_to_unless_errors_of_depth_are_larger():
    """Straight at the camera: only maps tell by how much."""
    there = [(0, 5), (5, 0), (2, 4)]
    scene = box_scene(step=(0.0, 0.0, -0.12), start=(0.0, 0.0, 4.5))
    assert ratio_of(Found(scene), there) < 0.1
    for seed in range(2):
        assert ratio_of(Found(scene, noise=0.5, seed=seed), there) < 1.1


def test_a_course_that_noise_explains_is_none():
    rng = np.random.default_rng(0)
    times = np.arange(24)
    every = np.ones(24, dtype=bool)
    moved = [course(0.05 * rng.normal(size=24), every, 3, scatter=0.05).moves for _ in range(100)]
    assert np.mean(moved) < 0.05
    for slope in (0.01, -0.02):
        measured = slope * times + 0.03 * rng.normal(size=24)
        found = course(measured, every, 3, scatter=0.03)
        assert found.moves and found.value[3] == 0
        # The errors of the fit, not of what was measured.
        assert np.abs(found.value - slope * (times - 3)).max() < 0.06
        raw = np.abs(measured - measured[3] - slope * (times - 3)).max()
        assert np.abs(found.value - slope * (times - 3)).max() < raw


def test_an_exact_course_is_kept_and_gaps_are_bridged():
    times = np.arange(12)
    truth = 0.02 * times + 0.01 * np.sin(times / 2)
    known = (times < 4) | (times > 6)
    found = course(truth, known, 0, scatter=0.0)
    assert np.abs(found.value - truth)[known].max() < 3e-3
    assert np.abs(found.value - truth).max() < 5e-3


def test_few_times_count_as_far_as_they_exceed_errors():
    known = np.array([True, True, False])
    for size, share in ((0.01, 0.0), (0.05, 0.0), (0.4, 1 - (2 * 0.05 / 0.4) ** 2)):
        found = course(np.array([0.0, size, 9.0]), known, 0, scatter=0.05)
        assert found.value[1] == pytest.approx(size * share)
