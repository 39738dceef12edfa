"""Samples drawn from rendered clips: reference, mirror, photometry, and the endless stream."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from dynapoint.errors import ConfigError
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene
from dynapoint.training.data_stream import (
    HELD_OUT_SEEDS,
    SampleStream,
    image_size,
)
from dynapoint.training.mixture import V_DPM_SETS, DataSet, held_still, shares
from dynapoint.training.recipes.small import nano, smoke
from dynapoint.training.recipes.vdpm import vdpm
from dynapoint.training.samples import (
    SamplingConfig,
    choose_frames,
    draw_sample,
    mirror,
    mirror_some,
)
from dynapoint.training.train_config import Phase
from dynapoint.types import TruthSample

HEIGHT, WIDTH, FRAMES = 32, 48, 6


@pytest.fixture(scope="module")
def clips():
    """Three clips with moving cameras and bodies."""
    config = SceneConfig(frames=FRAMES, difficulty=0.7)
    scenes = [
        random_scene(HELD_OUT_SEEDS + k, config, aspect=WIDTH / HEIGHT) for k in (213, 216, 208)
    ]
    return render_clips(scenes, image_hw=(HEIGHT, WIDTH), seed=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(**changes) -> SamplingConfig:
    """No mirror and no photometry unless asked for."""
    return dataclasses.replace(
        SamplingConfig(frames=3, largest_span=5, mirror=False, photometric=0.0), **changes
    )


def reprojection_errors(sample: TruthSample, *, time: int, frame: int) -> torch.Tensor:
    """Pixels between points[time, frame] seen by camera `time` and the pixels of `frame`."""
    pose = invert_rigid(sample.world_from_camera[:, time].double())[:, None, None]
    points = sample.points[:, time, frame].double()
    camera = (pose[..., :3, :3] @ points[..., None]).squeeze(-1) + pose[..., :3, 3]
    image = (sample.intrinsics[:, time].double()[:, None, None] @ camera[..., None]).squeeze(-1)
    xy = image[..., :2] / image[..., 2:]
    height, width = points.shape[1:3]
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return (xy - centres).norm(dim=-1)[sample.valid[:, frame]]


def assert_same(a: TruthSample, b: TruthSample) -> None:
    for field in dataclasses.fields(a):
        assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name


def test_chosen_frames_are_distinct_and_within_the_span():
    config = SamplingConfig(frames=4, smallest_span=3, largest_span=6)
    chosen = choose_frames(500, 10, config, generator())
    assert chosen.shape == (500, 4)
    ordered = chosen.sort(dim=1).values
    assert (ordered.diff(dim=1) > 0).all()
    span = ordered[:, -1] - ordered[:, 0]
    assert set(span.tolist()) == {3, 4, 5, 6}
    assert set(chosen.flatten().tolist()) == set(range(10))
    # The reference is any of them, not always the earliest.
    assert 0.15 < (chosen[:, 0] == ordered[:, 0]).float().mean() < 0.4


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_any_number_of_frames_can_be_chosen(frames):
    chosen = choose_frames(20, 5, SamplingConfig(frames=frames, largest_span=8), generator())
    assert chosen.shape == (20, frames)
    assert all(len(set(row)) == frames for row in chosen.tolist())


def test_frames_are_drawn_as_often_as_they_should():
    # Exactly: the span evenly, then the start among those that fit, then what lies in between,
    # then the order. Every ordered choice of frames has its number of draws, by a χ² test.
    available, draws = 6, 200_000
    config = SamplingConfig(frames=3, smallest_span=1, largest_span=4)
    expected: dict[tuple[int, ...], float] = {}
    for span in (2, 3, 4):
        for start in range(available - span):
            for middle in range(start + 1, start + span):
                share = 1 / 3 / (available - span) / (span - 1) / 6
                for order in itertools.permutations((start, middle, start + span)):
                    expected[order] = draws * share
    assert sum(expected.values()) == pytest.approx(draws)
    found = Counter(map(tuple, choose_frames(draws, available, config, generator()).tolist()))
    assert found.keys() == expected.keys()
    chi_squared = sum((found[key] - value) ** 2 / value for key, value in expected.items())
    freedom = len(expected) - 1
    assert abs(chi_squared - freedom) < 4 * (2 * freedom) ** 0.5


def test_too_short_clips_are_refused():
    with pytest.raises(ConfigError, match="do not fit into clips of 3"):
        choose_frames(2, 3, SamplingConfig(frames=4), generator())


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8])
def test_central_reference_comes_first_and_the_others_follow_in_time(frames):
    config = SamplingConfig(frames=frames, largest_span=9, reference="central")
    chosen = choose_frames(50, 10, config, generator())
    ordered = chosen.sort(dim=1).values
    assert torch.equal(chosen[:, 0], ordered[:, frames // 2])
    assert (chosen[:, 1:].diff(dim=1) > 0).all()
    assert (ordered.diff(dim=1) > 0).all()


def test_world_is_the_first_chosen_frame(clips):
    sample = draw_sample(clips, plain(), generator(1))
    identity = torch.eye(4).expand(3, 4, 4)
    assert torch.allclose(sample.world_from_camera[:, 0], identity, atol=1e-5)
    for frame in range(3):
        errors = reprojection_errors(sample, time=frame, frame=frame)
        assert errors.median() < 1e-3 and errors.max() < 0.05


def test_re_reference_moves_points_and_cameras_alike(clips):
    # Distances between cameras and points are those of the clip, whatever the world.
    sample = draw_sample(clips, plain(), generator(1))
    frames = choose_frames(3, FRAMES, plain(), generator(1))
    rows = torch.arange(3)[:, None]
    truth = clips.truth(frames, frames)
    centres = clips.world_from_camera[rows, frames][..., :3, 3]
    before = (truth.points - centres[:, :, None, None, None]).norm(dim=-1)
    after = (sample.points - sample.world_from_camera[:, :, None, None, None, :3, 3]).norm(dim=-1)
    valid = sample.valid[:, None].expand_as(before)
    assert torch.allclose(after[valid], before[valid], rtol=1e-4, atol=1e-4)
    assert torch.equal(sample.visible, truth.visible)
    assert torch.equal(sample.moving, truth.moving)
    # Still points are where they are at every time.
    still = (sample.valid & ~sample.moving)[:, None].expand_as(valid)
    shift = (sample.points - sample.points[:, :1]).norm(dim=-1)
    assert shift[still].max() < 1e-4
    assert shift[(sample.valid & sample.moving)[:, None].expand_as(valid)].max() > 0.05


def test_sky_holds_zeros_and_everything_is_supervised(clips):
    sample = draw_sample(clips, plain(), generator(2))
    assert not sample.valid.all()
    sky = ~sample.valid[:, None].expand(-1, 3, -1, -1, -1)
    assert (sample.points[sky] == 0).all()
    assert not sample.visible[sky].any()
    assert torch.isfinite(sample.points).all()
    assert sample.supervised.all()


def test_own_time_points_are_visible(clips):
    sample = draw_sample(clips, plain(), generator(2))
    own = torch.stack([sample.visible[:, i, i] for i in range(3)], dim=1)
    assert own[sample.valid].float().mean() > 0.999


def test_images_are_those_of_the_chosen_frames(clips):
    sample = draw_sample(clips, plain(), generator(3))
    frames = choose_frames(3, FRAMES, plain(), generator(3))
    for clip in range(3):
        for k in range(3):
            image = clips.images[clip, frames[clip, k]].permute(2, 0, 1).float() / 255
            assert torch.equal(sample.images[clip, k], image)


def test_mirror_twice_is_identity(clips):
    sample = draw_sample(clips, plain(), generator(4))
    assert_same(mirror(mirror(sample)), sample)


def test_some_clips_are_mirrored_and_the_others_are_not(clips):
    sample = draw_sample(clips, plain(), generator(3))
    chosen = torch.tensor([False, True, False])
    mixed, mirrored = mirror_some(sample, chosen), mirror(sample)
    for index in range(3):
        whole = mirrored if chosen[index] else sample
        for name, value in vars(mixed).items():
            assert torch.equal(value[index], getattr(whole, name)[index]), name


def test_mirrored_geometry_fits_its_mirrored_images(clips):
    sample = draw_sample(clips, plain(), generator(4))
    mirrored = mirror(sample)
    assert not torch.equal(mirrored.images, sample.images)
    determinant = torch.linalg.det(mirrored.world_from_camera[..., :3, :3])
    assert torch.allclose(determinant, torch.ones_like(determinant), atol=1e-5)
    for frame in range(3):
        errors = reprojection_errors(mirrored, time=frame, frame=frame)
        assert errors.median() < 1e-3 and errors.max() < 0.05
    for name in ("images", "valid", "visible", "moving"):
        assert torch.equal(getattr(mirrored, name), getattr(sample, name).flip(-1)), name
    # What moves to the right moves to the left in the mirror.
    shift = (sample.points[:, 1, 0] - sample.points[:, 0, 0]).flip(-2)
    mirrored_shift = mirrored.points[:, 1, 0] - mirrored.points[:, 0, 0]
    assert torch.allclose(mirrored_shift, shift * torch.tensor([-1.0, 1, 1]), atol=1e-5)


def test_mirror_is_drawn_for_each_clip_half_of_the_time(clips):
    flipped = []
    for seed in range(20):
        straight = draw_sample(clips, plain(), generator(seed))
        drawn = draw_sample(clips, plain(mirror=True), generator(seed))
        chosen = (drawn.images != straight.images).flatten(1).any(dim=1)
        assert_same(drawn, mirror_some(straight, chosen))
        flipped.append(chosen)
    share = torch.stack(flipped)
    assert ((share.sum(dim=0) >= 3) & (share.sum(dim=0) <= 17)).all()
    assert (share.any(dim=1) & ~share.all(dim=1)).any()


def test_photometry_changes_colours_only(clips):
    changed = draw_sample(clips, plain(photometric=1.0), generator(5))
    straight = draw_sample(clips, plain(), generator(5))
    assert_same(dataclasses.replace(changed, images=straight.images), straight)
    difference = (changed.images - straight.images).abs().mean()
    assert 0.005 < difference < 0.4
    assert changed.images.min() >= 0 and changed.images.max() <= 1


def cropped(clips, seed: int = 6, least: float = 0.5, **changes) -> TruthSample:
    return draw_sample(clips, plain(centre_crop=least, **changes), generator(seed))


def shares_of(sample: TruthSample, straight: TruthSample) -> torch.Tensor:
    return straight.intrinsics[..., 0, 0] / sample.intrinsics[..., 0, 0]


def test_truth_of_a_crop_projects_to_its_pixel_centres(clips):
    for mirrored in (False, True):
        sample = cropped(clips, mirror=mirrored)
        for frame in range(3):
            errors = reprojection_errors(sample, time=frame, frame=frame)
            assert errors.median() < 1e-3 and errors.max() < 0.05


def test_crops_vary_the_intrinsics_about_the_images_centre(clips):
    straight = draw_sample(clips, plain(), generator(6))
    sample = cropped(clips)
    share = shares_of(sample, straight)
    # A clip has one share for all of its frames, each clip its own, between the least and 1.
    assert torch.allclose(share, share[:, :1].expand_as(share))
    assert len({round(float(value), 4) for value in share[:, 0]}) == 3
    assert (share > 0.5).all() and (share < 1).all()
    # The pixel at x of the crop is the pixel at centre + share · (x − centre) of the image.
    centre = torch.tensor([WIDTH / 2, HEIGHT / 2])
    point = torch.rand(3, 3, 7, 3, generator=generator()) + torch.tensor([-0.5, -0.5, 2.0])

    def pixels(intrinsics):
        image = point @ intrinsics.transpose(-1, -2)
        return image[..., :2] / image[..., 2:]

    back = centre + share[..., None, None] * (pixels(sample.intrinsics) - centre)
    assert torch.allclose(back, pixels(straight.intrinsics), atol=1e-3)
    assert torch.equal(sample.world_from_camera, straight.world_from_camera)


def test_crops_keep_points_and_colours_of_the_middle(clips):
    straight = draw_sample(clips, plain(), generator(6))
    sample = cropped(clips)
    share = shares_of(sample, straight)[:, 0]
    for clip in range(3):
        row = (torch.arange(HEIGHT) + 0.5 - HEIGHT / 2) * share[clip] + HEIGHT / 2
        column = (torch.arange(WIDTH) + 0.5 - WIDTH / 2) * share[clip] + WIDTH / 2
        near = (slice(None), row.long()[:, None], column.long())
        before, after = straight.points[clip, 1][near], sample.points[clip, 1]
        both = straight.valid[clip][near] & sample.valid[clip]
        # What the engine drew and what the crop adds are half a pixel apart at most.
        assert both.float().mean() > 0.6
        assert (straight.valid[clip][near] != sample.valid[clip]).float().mean() < 0.02
        distance = (after - before).norm(dim=-1)[both] / before.norm(dim=-1)[both]
        assert distance.median() < 0.02 and distance.quantile(0.98) < 0.2
        colours = straight.images[clip][:, :, row.long()[:, None], column.long()]
        assert (colours - sample.images[clip]).abs().median() < 0.02
        assert not torch.equal(straight.images[clip], sample.images[clip])
    own = torch.stack([sample.visible[:, i, i] for i in range(3)], dim=1)
    assert own[sample.valid].float().mean() > 0.99


def test_a_crop_of_everything_is_the_clip(clips):
    frames = choose_frames(3, FRAMES, plain(), generator(1))
    whole = clips.centre_cropped(frames, torch.ones(3))
    every = torch.arange(3).expand(3, -1)
    rows = torch.arange(3)[:, None]
    assert torch.equal(whole.images, clips.images[rows, frames])
    assert torch.equal(whole.intrinsics, clips.intrinsics[rows, frames])
    truth, found = clips.truth(frames, frames), whole.truth(every, every)
    for name in ("points", "visible", "valid", "moving"):
        assert torch.equal(getattr(found, name).nan_to_num(), getattr(truth, name).nan_to_num()), (
            name
        )


@pytest.mark.parametrize("least", [0.0, 1.5])
def test_shares_of_a_crop_are_shares(least):
    with pytest.raises(ConfigError, match="at most 1"):
        plain(centre_crop=least)


def test_stream_crops_where_the_recipe_says_so():
    phases = (Phase(pixels=1024, batch=2),)
    straight = SampleStream(config_for_stream(phases=phases)).sample(3)
    sample = SampleStream(config_for_stream(phases=phases, centre_crop=0.6)).sample(3)
    share = shares_of(sample, straight)
    assert (share >= 0.6).all() and (share < 1).all()


def config_for_stream(**changes):
    changes = {"phases": (Phase(until_samples=10**6, pixels=1024, batch=2),)} | changes
    return dataclasses.replace(smoke(), **changes)


def test_stream_is_a_function_of_seed_rank_and_step():
    config = config_for_stream()
    running = SampleStream(config)
    samples = [running.sample(step) for step in range(10)]
    for step in (9, 3, 0):
        assert_same(SampleStream(config).sample(step), samples[step])
    # Steps, ranks and seeds give different images.
    others = [
        running.sample(4),
        running.sample(5),
        SampleStream(config, rank=1, world_size=2).sample(4),
        SampleStream(dataclasses.replace(config, seed=1)).sample(4),
    ]
    for k, a in enumerate(others):
        for b in others[:k]:
            assert a.images.shape != b.images.shape or not torch.equal(a.images, b.images)


def test_streams_of_a_step_have_images_of_one_size_and_other_scenes():
    phase = Phase(until_samples=10**6, pixels=1024, largest_pixels=4096, batch=1)
    config = config_for_stream(phases=(phase,), draws_per_clip=1, groups_held=1, clip_frames=3)
    streams = [SampleStream(config, rank=rank, world_size=3) for rank in range(3)]
    areas = []
    for step in range(12):
        first, *others = (stream.sample(step).images for stream in streams)
        for other in others:
            assert other.shape == first.shape
            assert not torch.equal(other, first)
        areas.append(first.shape[-1] * first.shape[-2])
    # Every factor as often: half of the areas lie below twice the smallest.
    assert max(areas) <= 4096
    assert max(areas) > 2500
    assert min(areas) < 1500


def test_largest_images_are_not_smaller_than_the_smallest():
    with pytest.raises(ConfigError, match="largest_pixels"):
        Phase(pixels=2048, largest_pixels=1024)


def test_stream_follows_the_curriculum():
    easy = Phase(until_samples=16, pixels=1024, batch=2)
    later = Phase(until_samples=10**6, frames=3, pixels=2048, batch=1, largest_span=4)
    config = config_for_stream(phases=(easy, later))
    stream = SampleStream(config)
    first, last = stream.sample(0), stream.sample(40)
    assert first.points.shape[:3] == (2, 2, 2)
    assert last.points.shape[:3] == (1, 3, 3)
    assert last.images.shape[-1] * last.images.shape[-2] > 1024


def test_lengths_in_turn_are_those_of_the_groups():
    phases = tuple(
        Phase(frames=frames, batch=batch, pixels=1024, largest_span=5)
        for frames, batch in ((5, 1), (3, 2), (2, 4))
    )
    config = config_for_stream(phases=phases, phases_in_turn=True, groups_held=2, draws_per_clip=2)
    stream = SampleStream(config)
    drawn = [stream.group_of(step) for step in range(12)]
    # Two steps a group, of the newest group and the one before: 0 0, 1 0, 2 1, 3 2, 4 3, 5 4.
    assert drawn == [0, 0, 1, 0, 2, 1, 3, 2, 4, 3, 5, 4]
    for step in range(8):
        phase = phases[drawn[step] % 3]
        assert stream.phase_of(step) is phase
        assert stream.sample(step).points.shape[:3] == (phase.batch, phase.frames, phase.frames)
    # Over a whole run all lengths take the same number of steps.
    published = SampleStream(vdpm())
    lengths = [published.phase_of(step).frames for step in range(1600)]
    counts = [lengths.count(frames) for frames in (5, 9, 13, 19)]
    assert sum(counts) == 1600 and max(counts) - min(counts) <= 12


def test_an_epoch_of_the_paper():
    # 5000 + 5000 + 15000 + 2500 + 2500 + 2500 = 32,500.
    assert sum(each.samples for each in V_DPM_SETS) == 32_500
    assert shares(V_DPM_SETS) == pytest.approx([2 / 13, 2 / 13, 6 / 13, 1 / 13, 1 / 13, 1 / 13])
    assert {each.name for each in V_DPM_SETS if each.still} == {"ScanNet++", "BlendedMVS"}
    (own_time,) = (each for each in V_DPM_SETS if each.supervises == "own_time")
    assert own_time.name == "PointOdyssey"
    assert torch.equal(own_time.supervised(3), torch.eye(3, dtype=torch.bool))
    assert V_DPM_SETS[0].supervised(3).all()


def test_samples_stand_for_sets_by_their_shares():
    # What is supervised and what moves tells which set a sample stands for.
    config = config_for_stream(
        phases=(Phase(pixels=256, batch=60, largest_span=3),),
        sets=(
            DataSet(name="own", samples=2000, supervises="own_time"),
            DataSet(name="still", samples=1000, still=True),
            DataSet(name="all", samples=1000),
        ),
        draws_per_clip=1,
        groups_held=1,
        clip_frames=4,
    )
    stream = SampleStream(config)
    found = {"own": 0, "still": 0, "all": 0}
    for step in range(2):
        sample = stream.sample(step)
        for known, moving in zip(sample.supervised, sample.moving, strict=True):
            if not known.all():
                assert torch.equal(known, torch.eye(2, dtype=torch.bool))
                found["own"] += 1
            else:
                found["all" if moving.any() else "still"] += 1
    # Of 120 samples 60, 30 and 30 are expected, each within four standard deviations.
    assert sum(found.values()) == 120
    assert 38 < found["own"] < 82
    assert 11 < found["still"] < 49
    assert 11 < found["all"] < 49
    again = SampleStream(config).sample(1)
    assert torch.equal(again.supervised, sample.supervised)


def test_held_still_moves_nothing_but_the_camera():
    config = SceneConfig(frames=5, difficulty=0.7, still_camera=0.0)
    scene = random_scene(HELD_OUT_SEEDS + 11, config, aspect=1.5)
    assert scene.face_moving.any()
    still = held_still(scene)
    assert still.vertices.shape == scene.vertices.shape
    assert np.array_equal(still.vertices[0], scene.vertices[0])
    assert (still.vertices == still.vertices[:1]).all()
    clips = render_clips([scene, still], image_hw=(32, 48), seed=0)
    frames = torch.arange(5).expand(2, 5)
    truth = clips.truth(frames, frames)
    shift = (truth.points[:, 1:] - truth.points[:, :1]).norm(dim=-1).nan_to_num()
    assert shift[0].max() > 0.05 and shift[1].max() == 0
    assert truth.moving[0].any() and not truth.moving[1].any()
    # The first frames show the same, the later ones do not; the camera moves in both.
    assert torch.equal(clips.face[0, 0], clips.face[1, 0])
    assert not torch.equal(clips.face[0, 4], clips.face[1, 4])
    assert torch.equal(clips.world_from_camera[0], clips.world_from_camera[1])
    assert not torch.equal(clips.world_from_camera[1, 0], clips.world_from_camera[1, 4])


def test_scenes_of_training_are_never_held_out(monkeypatch):
    seeds = []

    def spy(seed, config, *, aspect):
        seeds.append(seed)
        return random_scene(seed, config, aspect=aspect)

    monkeypatch.setattr("dynapoint.training.data_stream.random_scene", spy)
    for rank in range(2):
        for seed in (0, 17, 10**6):
            stream = SampleStream(config_for_stream(seed=seed), rank=rank, world_size=2)
            stream.sample(0)
            stream.sample(5000)
    assert len(set(seeds)) == len(seeds) == 2 * 3 * 2 * 2
    assert max(seeds) < HELD_OUT_SEEDS


@pytest.mark.parametrize("aspect", [16 / 9, 4 / 3, 1, 3 / 4, 9 / 16])
@pytest.mark.parametrize("pixels", [1024, 5632, 12_288, 24_576])
def test_image_sizes(aspect, pixels):
    height, width = image_size(float(aspect), pixels)
    assert height % 8 == width % 8 == 0
    assert 0.6 * pixels < height * width <= pixels
    assert min(height, width) >= 16
    assert abs(np.log(width / height / aspect)) < 0.35


@pytest.mark.parametrize("aspect", [16 / 9, 4 / 3, 1, 3 / 4, 9 / 16])
def test_image_sizes_for_patches_of_the_published_networks(aspect):
    height, width = image_size(float(aspect), 518 * 294, 14)
    assert height % 14 == width % 14 == 0
    assert 0.9 * 518 * 294 < height * width <= 518 * 294
    assert max(height, width) <= 518
    config = config_for_stream(network=vdpm().network, loss=vdpm().loss)
    sides = SampleStream(config).sample(0).images.shape[-2:]
    assert all(side % 14 == 0 for side in sides)


def test_phases_of_the_recipe_can_be_drawn():
    for phase in nano().phases:
        assert phase.frames - 1 <= phase.largest_span
        assert phase.largest_span < nano().clip_frames
        assert phase.pairs <= phase.frames * (phase.frames - 1)
