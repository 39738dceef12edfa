"""Global alignment on exact, on noisy and on degenerate maps of pairs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dynapoint.alignment.objective import data_term, frame_points, smoothness
from dynapoint.errors import ConfigError, ModelError
from dynapoint.models.pairwise.alignment import AlignmentConfig, align, as_groups, refine
from dynapoint.models.pairwise.graph import PairGraphConfig, frame_pairs
from dynapoint.models.pairwise.observations import PairCollector, PairObservations, pixel_weight
from dynapoint.models.pairwise.start import AlignmentState, spanning_tree_start
from dynapoint.models.protocol import PairMaps
from exact_pairs import ExactPairs, exact_clip, turn_between_deg

# Float32 vertices and poses of the renderer limit what can be recovered.
EXACT = 2e-6
FRAMES = 5
# Ends so finely that what is left is not Adam's step.
SHARP = AlignmentConfig(iterations=200, final_learning_rate=1e-5, smoothness=0.0)


@pytest.fixture(scope="module")
def clip():
    """A camera that turns by 25° and moves, bodies that move by themselves, and sky."""
    return exact_clip(46, frames=FRAMES, image_hw=(24, 32))


def gathered(
    model: ExactPairs, *, stride: int = 1, graph: PairGraphConfig | None = None
) -> PairObservations:
    pairs = frame_pairs(model.frames, graph or PairGraphConfig())
    collector = PairCollector(pairs, model.frames, stride=stride)
    encoded: Any = None
    for first, second in pairs:
        collector.add(model.decode_frame_pairs(encoded, firsts=[first], seconds=[second]))
    return collector.observations()


class Errors:
    """How far a state is from the truth, after one scale for the whole clip."""

    def __init__(self, state: AlignmentState, model: ExactPairs, stride: int = 1) -> None:
        grid = (slice(None), *(slice(stride // 2, None, stride),) * 2)
        valid, depth = model.valid[grid], model.depth[grid]
        ratio = state.depth.double()[valid] / depth[valid]
        self.scale = ratio.median()
        self.depth = (ratio / self.scale - 1).abs()
        shift = state.world_from_camera[:, :3, 3].double() / self.scale - model.poses[:, :3, 3]
        self.position = float(shift.norm(dim=1).max() / depth[valid].median())
        self.turn_deg = float(
            turn_between_deg(state.world_from_camera[:, :3, :3], model.poses[:, :3, :3]).max()
        )
        self.focal = float((state.focal_px.double() / model.intrinsics[:, 0, 0] - 1).abs().max())


def shaken(state: AlignmentState, by: float, seed: int) -> AlignmentState:
    """A state with noise on everything but camera 0 and the mean of the pairs' scales."""
    rng = np.random.default_rng(seed)

    def poses(rigid: torch.Tensor, first: int) -> torch.Tensor:
        moved = rigid.clone()
        count = len(rigid) - first
        turns = Rotation.from_rotvec(by * rng.normal(size=(count, 3))).as_matrix()
        moved[first:, :3, :3] = torch.from_numpy(turns) @ rigid[first:, :3, :3].double()
        moved[first:, :3, 3] += by * torch.from_numpy(rng.normal(size=(count, 3)))
        return moved

    def times(values: torch.Tensor) -> torch.Tensor:
        noise = torch.from_numpy(rng.normal(size=tuple(values.shape)))
        return values * (by * (noise - noise.mean())).exp()

    return AlignmentState(
        world_from_camera=poses(state.world_from_camera, 1),
        focal_px=state.focal_px * 1.02,
        depth=times(state.depth),
        pair_scale=times(state.pair_scale),
        world_from_pair=poses(state.world_from_pair, 0),
    )


def test_the_start_of_exact_maps_is_exact_and_stays(clip):
    model = ExactPairs(clip)
    given = gathered(model)
    assert model.moving.double().mean() > 0.05 and model.valid.double().mean() < 0.95
    assert turn_between_deg(model.poses[0, :3, :3], model.poses[-1, :3, :3]) > 15
    start = Errors(spanning_tree_start(given, share_focal=True), model)
    aligned = align(given, AlignmentConfig(iterations=5))
    for errors in (start, Errors(aligned, model)):
        assert errors.depth.max() < EXACT and errors.position < EXACT
        assert errors.turn_deg < 1e-4 and errors.focal < EXACT
    # Each pair's scale undoes the one that was drawn for it.
    drawn = torch.stack(
        [
            model.pair(a, b)[0][0, 0][model.valid[a]][:, 2].median()
            / model.depth[a][model.valid[a]].median()
            for a, b in zip(given.firsts, given.seconds, strict=True)
        ]
    )
    assert drawn.max() / drawn.min() > 3
    world = aligned.pair_scale * drawn
    torch.testing.assert_close(world, world.mean().expand_as(world), rtol=1e-5, atol=0)
    for k, first in enumerate(given.firsts):
        torch.testing.assert_close(
            aligned.world_from_pair[k], aligned.world_from_camera[first], rtol=1e-5, atol=1e-5
        )
    assert float(aligned.pair_scale.log().mean()) == pytest.approx(0, abs=1e-9)
    assert torch.equal(aligned.world_from_camera[0], torch.eye(4).double())


def test_a_shaken_start_comes_back_to_the_truth_and_the_loss_descends(clip):
    model = ExactPairs(clip)
    given = gathered(model)
    state = shaken(spanning_tree_start(given, share_focal=True), 0.05, seed=1)
    before = Errors(state, model)
    aligned = refine(given, state, SHARP)
    after = Errors(aligned, model)
    assert before.turn_deg > 4 and before.position > 0.05 and before.depth.mean() > 0.03
    assert after.turn_deg < 0.02 and after.position < 5e-4
    assert after.depth.mean() < 5e-4 and after.focal < 5e-4
    loss = np.array(aligned.loss)
    assert len(loss) == SHARP.iterations + 1
    assert loss[-1] < 5e-3 * loss[0]
    # Adam overshoots: by no more than a hundredth of where it began, averaged over ten steps.
    smooth = np.convolve(loss, np.ones(10) / 10, mode="valid")
    assert (np.diff(smooth) < 0.01 * loss[0]).all()
    assert smooth[60] < 0.2 * loss[0] and smooth[120] < smooth[60]


def test_smoothness_is_part_of_the_loss_and_draws_cameras_together(clip):
    given = gathered(ExactPairs(clip))
    start = spanning_tree_start(given, share_focal=True)
    rotations, positions = start.world_from_camera[:, :3, :3], start.world_from_camera[:, :3, 3]
    free, bound = (
        align(given, AlignmentConfig(iterations=40, smoothness=w, smoothness_of_translation=0.5))
        for w in (0.0, 3.0)
    )
    rough = smoothness(rotations, positions, translation_weight=0.5)
    assert free.loss[0] < 1e-6
    assert bound.loss[0] == pytest.approx(3 * float(rough), rel=1e-4)

    def travelled(aligned):
        turns = aligned.world_from_camera[:, :3, :3]
        return float(turn_between_deg(turns[:-1], turns[1:]).sum())

    # As strong as this it outweighs the maps, which are in full agreement.
    assert travelled(bound) < 0.5 * travelled(free)


@pytest.mark.parametrize("noise", [0.05, pytest.param(0.01, marks=pytest.mark.slow)])
def test_noise_is_averaged_over_pairs(clip, noise):
    model = ExactPairs(clip, noise=noise, dtype=torch.float32)
    given = gathered(model)
    start = Errors(spanning_tree_start(given, share_focal=True), model)
    aligned = align(given, AlignmentConfig(iterations=120, smoothness=0.0))
    errors = Errors(aligned, model)
    # Mean size of normal noise is 0.8 of its deviation; eight maps show every frame.
    assert 0.7 * noise < start.depth.mean() < 0.9 * noise
    assert errors.depth.mean() < 0.45 * noise
    assert errors.position < 0.1 * noise and errors.turn_deg < 10 * noise
    assert errors.focal < 0.05 * noise
    assert min(aligned.loss) < 0.9 * aligned.loss[0]
    smooth = Errors(align(given, AlignmentConfig(iterations=120)), model)
    # What the papers' smoothness costs: cameras lag behind.
    assert smooth.depth.mean() < 0.5 * noise
    assert smooth.position < noise and smooth.turn_deg < 20 * noise


def test_every_frame_may_have_a_focal_length_of_its_own(clip):
    model = ExactPairs(clip)
    given = gathered(model)
    # As if frame 2 had been enlarged: its pixels lie farther from the middle.
    factors = torch.tensor([1.0, 1.0, 1.3, 1.0, 1.0]).double()
    own = given.own_points.clone()
    own[:, :2] *= factors[:, None, None, None]
    state = spanning_tree_start(replace(given, own_points=own), share_focal=False)
    torch.testing.assert_close(
        state.focal_px / model.intrinsics[:, 0, 0], 1 / factors, rtol=1e-4, atol=0
    )
    aligned = align(given, AlignmentConfig(iterations=5, share_focal=False))
    assert Errors(aligned, model).focal < EXACT


def test_a_grid_of_pixels_gives_the_same_cameras(clip):
    model = ExactPairs(clip)
    given = gathered(model, stride=3)
    assert given.points.shape[-2:] == (8, 11)
    errors = Errors(align(given, AlignmentConfig(iterations=10)), model, stride=3)
    assert errors.depth.max() < EXACT and errors.position < EXACT and errors.focal < EXACT


def test_the_data_term_and_its_gradient(clip):
    given = gathered(ExactPairs(clip, noise=0.1))
    generator = torch.Generator().manual_seed(0)
    pixels, pairs = given.centred_xy[0].numel(), len(given.firsts)
    points = torch.randn(FRAMES, 3, pixels, generator=generator, dtype=torch.float64)
    matrices = torch.randn(pairs, 3, 4, generator=generator, dtype=torch.float64)
    points.requires_grad_()
    matrices.requires_grad_()
    expected = torch.zeros((), dtype=torch.float64)
    for k, frames in enumerate(zip(given.firsts, given.seconds, strict=True)):
        for view, frame in enumerate(frames):
            seen = given.points[k, view].flatten(1)
            mapped = matrices[k, :, :3] @ seen + matrices[k, :, 3:]
            distance = (points[frame] - mapped).square().sum(0).sqrt()
            expected = expected + (given.weight[k, view].flatten() * distance).sum()
    by_points, by_matrices = torch.autograd.grad(expected, [points, matrices])
    for pixels_at_once in (1, 3 * pixels, 10**9):
        found = data_term(as_groups(given), points, matrices, pixels_at_once=pixels_at_once)
        for got, want in (
            (found.total, expected),
            (found.by_points, by_points),
            (found.by_matrices, by_matrices),
        ):
            torch.testing.assert_close(got, want.detach(), rtol=1e-10, atol=1e-10)


def test_pairs_are_groups_without_a_copy(clip):
    given = gathered(ExactPairs(clip))
    groups, pairs = as_groups(given), len(given.firsts)
    assert groups.points.untyped_storage().data_ptr() == given.points.untyped_storage().data_ptr()
    assert groups.weight.untyped_storage().data_ptr() == given.weight.untyped_storage().data_ptr()
    for member in range(2 * pairs):
        view, pair = divmod(member, pairs)
        assert int(groups.group[member]) == pair
        assert int(groups.frame[member]) == (given.firsts, given.seconds)[view][pair]
        assert torch.equal(groups.points[member], given.points[pair, view].flatten(1))
        assert torch.equal(groups.weight[member], given.weight[pair, view].flatten())


def test_points_that_meet_exactly_have_no_gradient(clip):
    given = gathered(ExactPairs(clip))
    still = torch.zeros(FRAMES, 3, given.centred_xy[0].numel(), dtype=torch.float64)
    nowhere = torch.zeros(len(given.firsts), 3, 4, dtype=torch.float64)
    found = data_term(as_groups(given), still, nowhere, pixels_at_once=10**6)
    for each in (found.total, found.by_points, found.by_matrices):
        assert torch.equal(each, torch.zeros_like(each))


def test_smoothness_measures_turns_and_steps():
    rng = np.random.default_rng(0)
    turns, positions = Rotation.random(5, rng=rng), rng.normal(size=(5, 3))
    step = turns[:-1].inv() * turns[1:]
    # ‖R - I‖_F = 2√2 |sin(angle / 2)|.
    turned = 2 * np.sqrt(2) * np.sin(step.magnitude() / 2)
    moved = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    rotations = torch.from_numpy(turns.as_matrix())
    found = smoothness(rotations, torch.from_numpy(positions), translation_weight=0.7)
    assert float(found) == pytest.approx(float((turned + 0.7 * moved).sum()))
    still = rotations[:1].repeat(4, 1, 1).requires_grad_()
    smoothness(still, torch.zeros(4, 3).double(), translation_weight=1.0).backward()
    assert still.grad is not None and still.grad.isfinite().all()


def test_points_of_frames_lie_on_their_rays_at_their_depths():
    generator = torch.Generator().manual_seed(3)
    rotations = torch.from_numpy(Rotation.random(2, rng=np.random.default_rng(3)).as_matrix())
    positions = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    depth = torch.rand(2, 9, generator=generator, dtype=torch.float64) + 1
    xy = torch.randn(2, 9, generator=generator, dtype=torch.float64) * 20
    focal = torch.tensor([30.0, 50.0]).double()
    points = frame_points(
        rotations=rotations, positions=positions, depth=depth, focal_px=focal, centred_xy=xy
    )
    camera = rotations.transpose(1, 2) @ (points - positions[:, :, None])
    torch.testing.assert_close(camera[:, 2], depth)
    torch.testing.assert_close(
        camera[:, :2] / camera[:, 2:] * focal[:, None, None], xy.repeat(2, 1, 1)
    )


def test_weights_are_logarithms_of_confidence():
    points = torch.zeros(6, 3)
    points[4, 1], points[5, 2] = torch.nan, torch.inf
    confidence = torch.tensor([1.0, 2.0, 0.5, torch.nan, 3.0, 3.0])
    expected = torch.tensor([0.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    expected[1] = np.log(2.0)
    torch.testing.assert_close(pixel_weight(points, confidence), expected)


def test_a_still_camera_and_identical_images():
    """All cameras in one place: only what moves differs, and at times nothing does."""
    still = ExactPairs(exact_clip(12, frames=4))
    assert turn_between_deg(still.poses[:, :3, :3], still.poses[:1, :3, :3]).max() < 1e-9
    assert still.moving.any()
    same = ExactPairs(exact_clip(12, frames=4))
    same.points = same.points[:1, :1].expand(4, 4, -1, -1, -1)
    same.valid = same.valid[:1].expand(4, -1, -1)
    for model in (still, same):
        errors = Errors(align(gathered(model), AlignmentConfig(iterations=5)), model)
        assert errors.position < EXACT and errors.turn_deg < 1e-4 and errors.depth.max() < EXACT


def test_a_camera_that_only_turns():
    poses = np.tile(np.eye(4, dtype=np.float32), (4, 1, 1))
    turns = np.radians([[0, 0, 0], [5, -8, 20], [-4, 12, -30], [9, 3, 70]])
    poses[:, :3, :3] = Rotation.from_rotvec(turns).as_matrix()
    model = ExactPairs(exact_clip(17, frames=4, poses=poses), noise=0.02)
    errors = Errors(align(gathered(model), AlignmentConfig(iterations=80)), model)
    assert errors.position < 0.01 and errors.turn_deg < 1.0 and errors.depth.mean() < 0.02
    exact = ExactPairs(exact_clip(17, frames=4, poses=poses))
    errors = Errors(align(gathered(exact), AlignmentConfig(iterations=3)), exact)
    assert errors.position < EXACT and errors.turn_deg < 1e-4


def test_a_network_that_is_sure_of_nothing_is_believed_evenly(clip):
    class Unsure(ExactPairs):
        def pair(self, a, b):
            points, confidence = super().pair(a, b)
            return points, torch.ones_like(confidence)

    model = Unsure(exact_clip(11, frames=4))
    assert model.valid.all()
    errors = Errors(align(gathered(model), AlignmentConfig(iterations=3)), model)
    assert errors.position < EXACT and errors.depth.max() < EXACT


def test_a_frame_without_confidence_gets_a_finite_answer(clip):
    class Blind(ExactPairs):
        def pair(self, a, b):
            points, confidence = super().pair(a, b)
            for view, frame in enumerate((a, b)):
                if frame == 2:
                    confidence[:, view] = 1.0
                    points[:, view] += torch.randn(points[:, view].shape).double()
            return points, confidence

    model = Blind(clip)
    aligned = align(gathered(model), AlignmentConfig(iterations=30))
    assert aligned.world_from_camera.isfinite().all() and aligned.depth.isfinite().all()
    assert (aligned.depth > 0).all()
    others = [0, 1, 3, 4]
    ratio = (aligned.depth / model.depth)[others][model.valid[others]]
    assert (ratio / ratio.median() - 1).abs().max() < 0.02


def collected(pairs: list[tuple[int, int]], frames: int, points: torch.Tensor) -> PairCollector:
    collector = PairCollector(pairs, frames, stride=1)
    maps = points.expand(len(pairs), 2, 2, 6, 8, 3).clone()
    collector.add(PairMaps(points=maps, confidence=torch.full(maps.shape[:-1], 2.0)))
    return collector


@pytest.mark.parametrize("at_once", [1, 5, 12])
def test_a_frames_own_map_is_of_the_surest_pair_and_its_confidence_of_all(at_once):
    generator = torch.Generator().manual_seed(0)
    pairs = frame_pairs(4, PairGraphConfig())
    points = torch.rand(12, 2, 2, 6, 8, 3, generator=generator) + 1
    confidence = 1 + torch.rand(12, 2, 2, 6, 8, generator=generator)
    collector = PairCollector(pairs, 4, stride=2)
    for part in torch.arange(12).split(at_once):
        collector.add(PairMaps(points=points[part], confidence=confidence[part]))
    given = collector.observations()
    for frame in range(4):
        own = [k for k, (first, _) in enumerate(pairs) if first == frame]
        sureness = confidence[own, 0, 0][:, 1::2, 1::2].log().mean(dim=(1, 2))
        surest = points[own[int(sureness.argmax())], 0, 0]
        assert torch.equal(collector.own_points[frame], surest)
        assert torch.equal(given.own_points[frame], surest[1::2, 1::2].movedim(-1, 0))
        assert torch.equal(collector.own_confidence[frame], confidence[own, 0, 0].amax(dim=0))
    assert torch.equal(given.points[:, 1], points[:, 1, 1, 1::2, 1::2].movedim(-1, 1))
    torch.testing.assert_close(given.weight[:, 1], confidence[:, 1, 1, 1::2, 1::2].log())
    # Pixel centres less the middle of the image, at columns 1, 3, … and rows 1, 3, 5.
    assert given.centred_xy[0, 0].tolist() == [-2.5, -0.5, 1.5, 3.5]
    assert given.centred_xy[1, :, 0].tolist() == [-1.5, 0.5, 2.5]


def test_maps_without_points_and_graphs_in_parts_are_refused():
    pairs = frame_pairs(3, PairGraphConfig())
    with pytest.raises(ModelError, match=r"frames \[0, 1, 2\]"):
        collected(pairs, 3, torch.tensor([1.0, torch.nan, 1.0])).observations()
    apart = [(0, 1), (1, 0), (2, 3), (3, 2)]
    with pytest.raises(ModelError, match="2 parts"):
        collected(apart, 4, torch.tensor([0.1, 0.1, 1.0])).observations()
    with pytest.raises(ModelError, match="never first"):
        collected([(0, 1), (1, 2)], 3, torch.tensor([0.1, 0.1, 1.0])).observations()


@pytest.mark.parametrize("z", [2.0, -2.0, 0.0])
def test_a_single_place_gives_a_finite_answer_be_it_behind_the_camera(z):
    pairs = frame_pairs(4, PairGraphConfig())
    given = collected(pairs, 4, torch.tensor([0.0, 0.0, z])).observations()
    aligned = align(given, AlignmentConfig(iterations=5))
    for value in (aligned.world_from_camera, aligned.focal_px, aligned.depth, aligned.pair_scale):
        assert value.isfinite().all()


def test_numbers_that_make_no_sense_are_refused():
    for wrong in (
        {"iterations": -1},
        {"pixel_stride": 0},
        {"pixels_at_once": 0},
        {"learning_rate": 0.0},
        {"final_learning_rate": -1.0},
        {"focal_slowness": 0.0},
    ):
        with pytest.raises(ConfigError):
            AlignmentConfig(**wrong)


def test_memory_goes_with_pixels_at_once_and_answers_do_not(clip):
    given = gathered(ExactPairs(clip, noise=0.05))
    small, large = (
        align(given, AlignmentConfig(iterations=3, pixels_at_once=count)) for count in (1, 10**9)
    )
    torch.testing.assert_close(small.depth, large.depth)
    torch.testing.assert_close(small.world_from_camera, large.world_from_camera)


def test_alignment_works_in_inference_mode_and_shows_a_bar(clip, capsys, monkeypatch):
    monkeypatch.setattr("dynapoint.progress._NEW_LEAST_S", 0.0)
    model = ExactPairs(clip, noise=0.05)
    plain = align(gathered(model), AlignmentConfig(iterations=3))
    assert not capsys.readouterr().err
    with torch.inference_mode():
        inside = align(gathered(model), AlignmentConfig(iterations=3), progress=True)
    assert "align" in capsys.readouterr().err
    assert torch.equal(plain.depth, inside.depth) and plain.loss == inside.loss
