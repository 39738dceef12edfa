"""Displacements along followed paths, against the exact flow and motion of rendered clips."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dynapoint.geometry.pinhole import project
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.inference.refining import kept_paths
from dynapoint.models.kept.correction import MOVING, STILL, UNKNOWN, Correction
from dynapoint.models.kept.encoded_files import read_encoded, write_encoded
from dynapoint.models.kept.followed_paths import FollowedPaths
from dynapoint.models.kept.placed_encoding import PlacedEncoding
from dynapoint.refinement.flow import FlowField
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

FRAMES, HW = 4, (96, 128)


def centres(hw=HW):
    return np.stack(np.meshgrid(np.arange(hw[1]) + 0.5, np.arange(hw[0]) + 0.5), axis=-1)


class Clip:
    """A rendered clip: points, where they are seen, and a correction that knows its true flow."""

    def __init__(self, seed=1_000_600_031):
        config = SceneConfig(frames=FRAMES, difficulty=1.0, still_camera=0.0)
        scene = random_scene(seed, config, aspect=HW[1] / HW[0])
        clip = render_clips([scene], image_hw=HW, seed=seed)
        every = torch.arange(FRAMES)[None]
        truth = clip.truth(every, every)
        self.points = truth.points[0].double().numpy()  # by time and frame
        known = np.isfinite(self.points).all(axis=-1).all(axis=0)
        self.points = np.where(known[..., None], self.points, 0.0)
        self.visible = truth.visible[0].numpy() & known
        self.poses = clip.world_from_camera[0].double().numpy()
        self.lens = clip.intrinsics[0].double().numpy()
        self.moving = truth.moving[0].numpy() & known
        self.own = np.stack([self.points[k, k] for k in range(FRAMES)]).astype(np.float32)
        pairs = [(k, k + 1) for k in range(FRAMES - 1)]
        self.followed = FollowedPaths.of(
            [self.flow(a, b) for a, b in pairs], [self.flow(b, a) for a, b in pairs]
        )
        self.correction = Correction.between(
            network_poses=self.poses,
            network_intrinsics=self.lens,
            poses=self.poses,
            intrinsics=self.lens,
            depth_ratio=np.ones(self.moving.shape, dtype=np.float32),
            evidence=np.where(self.moving, MOVING, STILL).astype(np.uint8),
            followed=self.followed,
        )

    def seen(self, points, time):
        """Where points of the world fall in the picture of a time."""
        camera_from_world = invert_rigid(torch.from_numpy(self.poses[time]))
        camera = transform_points(camera_from_world, torch.from_numpy(points.reshape(-1, 3)))
        camera = torch.where(camera[:, 2:] > 0, camera, torch.tensor([0.0, 0.0, 1.0]).double())
        return project(camera, torch.from_numpy(self.lens[time])).numpy().reshape(*HW, 2)

    def flow(self, frame, time):
        flow = self.seen(self.points[time, frame], time) - centres()
        return np.clip(flow, -500, 500), self.visible[time, frame].astype(np.float32)

    def displacement(self, frame, time):
        """The true one."""
        return (self.points[time, frame] - self.own[frame]).astype(np.float32)


@pytest.fixture(scope="module")
def clip():
    return Clip()


def without_paths(correction):
    return replace(correction, followed=None)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.4])
def test_movers_are_seen_where_true_flow_leads_and_come_nearer_in_space(clip, share):
    """Whatever part of the motion, and whatever else, the network makes of it."""
    rng = np.random.default_rng(0)
    looked_at = 0
    for frame, time in [(0, 1), (1, 0), (2, 1), (2, 3)]:
        truth = clip.points[time, frame]
        said = clip.displacement(frame, time) * share
        said += 0.02 * rng.normal(size=said.shape).astype(np.float32)
        options = {"frame": frame, "time": time}
        drawn = clip.correction.placed(said, clip.own, **options).astype(np.float64)
        plain = without_paths(clip.correction).placed(said, clip.own, **options)
        sure = clip.moving[frame] & clip.visible[time, frame]
        off_px = np.linalg.norm(clip.seen(drawn, time) - clip.seen(truth, time), axis=-1)[sure]
        was_px = np.linalg.norm(
            clip.seen(plain.astype(np.float64), time) - clip.seen(truth, time), axis=-1
        )[sure]
        assert off_px.max() < 0.1 and np.median(was_px) > 0.5
        # The nearest place on a ray that holds the truth is no farther from the truth.
        off, was = (np.linalg.norm(each - truth, axis=-1)[sure] for each in (drawn, plain))
        depth = np.linalg.norm(truth - clip.poses[time, :3, 3], axis=-1)[sure]
        assert (off <= was + 1e-3 * depth).all() and off.mean() < 0.8 * was.mean()
        looked_at += sure.sum()
    assert looked_at > 500


def test_paths_over_several_frames_lead_to_where_points_are(clip):
    said = np.zeros((*HW, 3), dtype=np.float32)
    drawn = clip.correction.placed(said, clip.own, frame=0, time=3).astype(np.float64)
    sure = clip.moving[0] & clip.visible[:, 0].all(axis=0)
    weight = clip.followed.places(0, 3, np.ones(HW, dtype=bool))[1]
    sure &= weight > 0.99
    off = np.linalg.norm(clip.seen(drawn, 3) - clip.seen(clip.points[3, 0], 3), axis=-1)[sure]
    assert sure.sum() > 100 and np.median(off) < 0.1 and np.quantile(off, 0.9) < 1


def test_hidden_points_keep_the_networks_displacement_bit_for_bit(clip):
    said = np.random.default_rng(1).normal(size=(*HW, 3)).astype(np.float32)
    plain = without_paths(clip.correction).placed(said, clip.own, frame=1, time=2)
    found = clip.correction.placed(said, clip.own, frame=1, time=2)
    hidden = ~clip.visible[2, 1]
    assert hidden.sum() > 50 and np.array_equal(found[hidden], plain[hidden])
    assert not np.array_equal(found, plain)
    lost = replace(
        clip.followed,
        forward_weight=torch.zeros_like(clip.followed.forward_weight),
        backward_weight=torch.zeros_like(clip.followed.backward_weight),
    )
    nowhere = replace(clip.correction, followed=lost)
    assert np.array_equal(nowhere.placed(said, clip.own, frame=1, time=2), plain)


def test_still_pixels_stay_exactly_still_whatever_paths_say(clip):
    evidence = torch.full_like(clip.correction.evidence, STILL)
    still = replace(clip.correction, evidence=evidence)
    wrong = replace(clip.followed, forward=clip.followed.forward + 7)
    said = np.ones((*HW, 3), dtype=np.float32)
    found = replace(still, followed=wrong).placed(said, clip.own, frame=0, time=2)
    assert np.array_equal(found, clip.own[0])


def test_of_unknown_pixels_only_far_and_sure_paths_count(clip):
    evidence = torch.full_like(clip.correction.evidence, UNKNOWN)
    unknown = replace(clip.correction, evidence=evidence)
    said = np.zeros((*HW, 3), dtype=np.float32)
    seen = clip.visible[1, 0]
    rigid = clip.seen(clip.own[0].astype(np.float64), 1)
    off = np.linalg.norm(clip.seen(clip.points[1, 0], 1) - rigid, axis=-1) / max(HW)
    found = unknown.placed(said, clip.own, frame=0, time=1)
    changed = (found != clip.own[0]).any(axis=-1)
    near, far = off < 0.026, seen & (off > 0.03)
    assert not changed[near].any() and changed[far].all() and far.sum() > 50
    # Half as sure, they do not count.
    faint = replace(clip.followed, forward_weight=clip.followed.forward_weight * 0.55)
    found = replace(unknown, followed=faint).placed(said, clip.own, frame=0, time=1)
    assert np.array_equal(found, clip.own[0])


def test_answers_change_smoothly_with_weight(clip):
    said = np.zeros((*HW, 3), dtype=np.float32)
    moving = clip.moving[0] & clip.visible[1, 0]
    lengths = []
    for weight in np.linspace(0.1, 0.6, 51):
        faint = replace(clip.followed, forward_weight=clip.followed.forward_weight * weight)
        found = replace(clip.correction, followed=faint).placed(said, clip.own, frame=0, time=1)
        lengths.append(np.linalg.norm(found - clip.own[0], axis=-1)[moving].mean())
    steps = np.diff(lengths)
    assert lengths[0] == 0 and (steps >= -1e-6).all() and steps.max() < 0.08 * lengths[-1]


def test_all_grows_with_the_scene(clip):
    said = np.random.default_rng(2).normal(size=(*HW, 3)).astype(np.float32)
    once = clip.correction.placed(said, clip.own, frame=2, time=1)
    twice = clip.correction.scaled(3.0).placed(3 * said, 3 * clip.own, frame=2, time=1)
    np.testing.assert_allclose(twice, 3 * once, rtol=1e-4, atol=1e-4)


def test_paths_have_a_grid_of_their_own():
    forward = [(np.full((6, 8, 2), shift), np.ones((6, 8))) for shift in ([1, 0.5], [-2, 0.25])]
    backward = [(-flow, weight * 0.5) for flow, weight in forward]
    followed = FollowedPaths.of(forward, backward)
    hw = (12, 24)
    every = np.ones(hw, dtype=bool)
    xy, weight = followed.places(0, 2, every)
    inside = (centres(hw)[..., 0] > 4) & (centres(hw)[..., 0] < 18) & (centres(hw)[..., 1] < 10)
    np.testing.assert_allclose((xy - centres(hw))[inside], np.tile([-3, 1.5], (inside.sum(), 1)))
    assert (weight[inside] == 1).all()
    there, half = followed.places(1, 0, every)
    np.testing.assert_allclose(there - centres(hw), np.tile([-3, -1], (*hw, 1)))
    assert (half == 0.5).all()
    twice, quarter = followed.places(2, 0, every)
    np.testing.assert_allclose((twice - centres(hw))[inside], np.tile([3, -1.5], (inside.sum(), 1)))
    assert (quarter[inside] == 0.25).all()
    assert not followed.places(0, 2, ~every)[1].any()
    # At its own time a pixel is where it is.
    np.testing.assert_allclose(followed.places(1, 1, every)[0], centres(hw), rtol=1e-14)


def test_flow_of_pictures_is_kept_at_the_pixels_of_maps():
    rng = np.random.default_rng(4)
    shift = rng.uniform(-2, 2, size=2)
    field = FlowField(
        flow=np.full((48, 64, 2), shift, dtype=np.float32),
        weight=np.ones((48, 64), dtype=np.float32),
    )
    confidence = np.ones((2, 24, 32), dtype=np.float32)
    confidence[0, 4, 5] = confidence[1, 20, 20] = 0
    kept = kept_paths([(field, field)], confidence)
    np.testing.assert_allclose(kept.forward[0].numpy(), np.tile(shift / 2, (24, 32, 1)), atol=1e-3)
    # Nothing is known of what is to be ignored, nor of what would go there.
    end = np.floor(centres((24, 32)) + shift / 2).astype(int)
    ignored = (end == [20, 20]).all(axis=-1)
    ignored[4, 5] = True
    assert np.array_equal(kept.forward_weight[0].numpy() == 0, ignored)
    fine = kept_paths([(field, field)], np.ones((2, 96, 128), dtype=np.float32))
    assert fine.forward.shape == (1, 48, 64, 2)


def test_paths_are_stored_and_scenes_without_them_open(tmp_path, clip):
    placed = replace(
        PlacedEncoding.of(torch.zeros(2), FRAMES),
        correction=clip.correction,
    )
    write_encoded(placed, tmp_path / "new")
    read = read_encoded(tmp_path / "new")
    said = np.random.default_rng(5).normal(size=(*HW, 3)).astype(np.float32)
    for frame, time in [(0, 3), (2, 1)]:
        wanted = clip.correction.placed(said, clip.own, frame=frame, time=time)
        found = read.correction.placed(said, clip.own, frame=frame, time=time)
        assert np.array_equal(found, wanted)
    # As a scene was written before paths were kept.
    write_encoded(replace(placed, correction=without_paths(clip.correction)), tmp_path / "plain")
    with safe_open(tmp_path / "plain", framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    skeleton = json.loads(metadata["skeleton"])
    del skeleton["fields"]["correction"]["fields"]["followed"]
    metadata["skeleton"] = json.dumps(skeleton)
    save_file(tensors, tmp_path / "old", metadata=metadata)
    assert read_encoded(tmp_path / "old").correction.followed is None
