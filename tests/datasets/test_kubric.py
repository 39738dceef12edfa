import dataclasses

import numpy as np
import pytest

from dynapoint.datasets.kubric import CARD, sample_place
from dynapoint.datasets.registry import open_dataset
from dynapoint.datasets.tfrecord import Example
from dynapoint.errors import InputError
from miniatures.engine_clip import engine_clip
from miniatures.kubric import example, features_of, png, record, write_clip, write_miniature
from miniatures.rigid_boxes import box_clip

FRAMES, IMAGE_HW = 6, (24, 32)


@pytest.fixture(scope="module")
def boxes():
    return box_clip(FRAMES, IMAGE_HW)


@pytest.fixture
def root(tmp_path, boxes):
    write_clip(tmp_path, boxes, sequences=3)
    return tmp_path


def shard(root):
    return sorted(root.glob("movi_f/*/*/movi_f-*"))[0]


def rewritten(root, boxes, **changes):
    """The first clip, after a change of its record."""
    features = features_of(boxes) | {key.replace("__", "/"): new for key, new in changes.items()}
    features = {key: value for key, value in features.items() if value is not None}
    shard(root).write_bytes(record(example(features)))
    return open_dataset("kubric-f", root)[0]


def test_the_clip_of_the_engine_gives_size_and_length(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip)

    (sequence,) = open_dataset("kubric-f", tmp_path)

    assert (sequence.frame_count, sequence.image_hw) == (clip.frame_count, clip.image_hw)


def test_clips_of_all_shards_are_listed_from_any_folder_above(root):
    names = ["validation-00000/0", "validation-00000/1", "validation-00001/0"]
    for folder in (root, root / "movi_f", root / "movi_f" / "32x24", shard(root).parent):
        sequences = open_dataset("kubric-f", folder)
        assert [sequence.name for sequence in sequences] == names
    assert {sequence.dataset for sequence in sequences} == {"kubric-f"}


def test_pictures_lens_and_poses_are_the_truth(root, boxes):
    sequence = open_dataset("kubric-f", root)[2]

    assert (sequence.frame_count, sequence.image_hw) == (FRAMES, IMAGE_HW)
    for frame in range(FRAMES):
        np.testing.assert_array_equal(sequence.image(frame), boxes.images[frame])
        np.testing.assert_allclose(sequence.intrinsics(frame), boxes.intrinsics, atol=1e-6)
        np.testing.assert_allclose(
            sequence.world_from_camera(frame), boxes.world_from_camera[frame], atol=2e-6
        )


def test_depth_is_z(root, boxes):
    sequence = open_dataset("kubric-f", root)[0]
    step = (boxes.distance.max() - boxes.distance.min()) / 65535

    depth = np.array([sequence.depth(frame) for frame in range(FRAMES)])

    assert np.abs(depth - boxes.depth).max() < step / 2 + 1e-5
    # Else distance would pass for z.
    assert np.abs(boxes.distance - boxes.depth).max() > 100 * step


def test_objects_and_what_moves(root, boxes):
    sequence = open_dataset("kubric-f", root)[0]

    poses = sequence.object_poses()

    for box in range(3):
        for frame in range(FRAMES):
            pose = boxes.scene.world_from_box(box, frame)
            np.testing.assert_allclose(poses[box, frame], pose, atol=2e-6)
    for frame in range(FRAMES):
        np.testing.assert_array_equal(sequence.instances(frame), boxes.instance[frame] + 1)
        np.testing.assert_array_equal(sequence.moving(frame), boxes.moving[frame])
    assert (boxes.instance == 2).any()


def test_points_at_all_times(root, boxes):
    sequence = open_dataset("kubric-f", root)[0]
    # A depth's step, or that of three coordinates in a box of less than two along each axis.
    tolerance = max((boxes.distance.max() - boxes.distance.min()) / 65535, 2 * 3**0.5 / 65535)

    for frame in range(FRAMES):
        for time in range(FRAMES):
            points = sequence.points(frame, time)
            assert np.abs(points - boxes.points[time, frame]).max() < tolerance
    still = boxes.points[0, 0] - boxes.points[FRAMES - 1, 0]
    assert np.linalg.norm(still, axis=-1)[boxes.moving[0]].min() > 100 * tolerance


def test_visibility_is_that_of_ray_casting_but_for_edges(tmp_path):
    boxes = box_clip(3, (96, 128))
    write_clip(tmp_path, boxes)
    sequence = open_dataset("kubric-f", tmp_path)[0]
    visible = np.array([[sequence.visible(frame, time) for frame in range(3)] for time in range(3)])

    assert visible[range(3), range(3)].all()
    assert (visible == boxes.visible).mean() > 0.99
    assert visible[boxes.visible].mean() > 0.999
    # Next to an edge, one of the four pixels around shows what lies behind.
    assert visible[~boxes.visible].mean() < 0.1


@pytest.mark.parametrize("nearer", [1, 0.985])
def test_visibility_follows_its_rule_at_every_pixel(root, boxes, nearer):
    distance = boxes.distance.copy()
    distance[1] *= nearer
    boxes = dataclasses.replace(boxes, distance=distance)
    sequence = rewritten(root, boxes)
    frame, time, (height, width) = 4, 1, IMAGE_HW
    points = sequence.points(frame, time).astype(float)
    camera = np.linalg.inv(boxes.world_from_camera[time])
    wanted, clear = np.zeros(IMAGE_HW, bool), np.ones(IMAGE_HW, bool)
    for row, column in np.ndindex(IMAGE_HW):
        local = camera[:3, :3] @ points[row, column] + camera[:3, 3]
        x, y, _ = boxes.intrinsics @ local / local[2]
        if not (0 <= x < width and 0 <= y < height and local[2] > 0):
            continue
        left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
        around = [
            (min(max(top + down, 0), height - 1), min(max(left + right, 0), width - 1))
            for down in (0, 1)
            for right in (0, 1)
        ]
        bound = 1.01 * max(boxes.distance[time][at] for at in around)
        shows = any(boxes.instance[time][at] == boxes.instance[frame, row, column] for at in around)
        wanted[row, column] = shows and np.linalg.norm(local) <= bound
        # Rounding of depth decides here.
        clear[row, column] = abs(np.linalg.norm(local) - bound) > 1e-3

    assert (sequence.visible(frame, time) == wanted)[clear].all()
    assert clear.mean() > 0.95
    assert 0.03 < wanted.mean() < 0.99


def test_points_are_hidden_where_another_object_is_shown(root, boxes):
    instance = boxes.instance.copy()
    instance[1] = np.where(instance[1] == 2, 0, instance[1])
    sequence = rewritten(root, dataclasses.replace(boxes, instance=instance))
    resting = boxes.instance[0] == 2

    assert sequence.visible(0, 0)[resting].all()
    assert not sequence.visible(0, 1)[resting].any()


def test_where_two_passes_show_different_surfaces_points_are_unknown(root, boxes):
    deep = np.array(
        [
            np.linalg.norm(p - c[:3, 3], axis=-1)
            for p, c in zip(
                boxes.points[range(FRAMES), range(FRAMES)], boxes.world_from_camera, strict=True
            )
        ]
    )
    low, high = deep.min(), deep.max()
    values = np.round((deep - low) / (high - low) * 65535).astype(np.uint16)
    row, column = np.argwhere(boxes.instance[0] == 0)[5]
    values[0, row, column] = 65535
    sequence = rewritten(root, boxes, depth=[png(one) for one in values])

    for time in (0, 3):
        unknown = np.isnan(sequence.points(0, time)).any(axis=-1)
        assert np.argwhere(unknown).tolist() == [[row, column]]
        assert not sequence.visible(0, time)[row, column]
    assert not np.isnan(sequence.points(1, 0)).any()


def test_a_scene_without_objects(root, boxes):
    empty = [png(np.zeros(IMAGE_HW, np.uint8)) for _ in range(FRAMES)]
    none = {f"instances__{key}": None for key in ("positions", "quaternions", "bboxes_3d")}
    sequence = rewritten(
        root, boxes, segmentations=empty, metadata__num_instances=np.array([0]), **none
    )

    assert sequence.object_poses().shape == (0, FRAMES, 4, 4)
    assert not sequence.moving(0).any()
    np.testing.assert_array_equal(sequence.points(0, 3), sequence.points(0, 0))


@pytest.mark.parametrize(("side", "place"), [(512, 0.5), (256, 0.25), (128, 0.375)])
def test_smaller_versions_show_one_ray_of_a_block(side, place):
    # Of 2 and 4 rows and columns the one in place 0 and 1.
    step = 512 // side
    assert sample_place((side, side)) == pytest.approx((max(0, (step - 1) // 2) + 0.5) / step)
    assert sample_place((side, side)) == place


def test_points_of_a_smaller_version_lie_on_its_rays(tmp_path):
    boxes = box_clip(1, (128, 128), sample_at=0.375)
    write_clip(tmp_path, boxes)
    sequence = open_dataset("kubric-f", tmp_path)[0]

    error = np.linalg.norm(sequence.points(0, 0) - boxes.points[0, 0], axis=-1)

    assert error.max() < 1e-3
    np.testing.assert_allclose(sequence.depth(0), boxes.depth[0], atol=1e-3)


def test_other_splits_and_folders_are_refused_in_one_line(root, tmp_path):
    with pytest.raises(InputError, match="no shards of the split 'test'"):
        open_dataset("kubric-f", root, "test")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none: no shards of MOVi-F in it; wanted"):
        open_dataset("kubric-f", tmp_path / "none")
    with pytest.raises(InputError, match="no such folder; wanted"):
        open_dataset("kubric-f", tmp_path / "nowhere")
    shard(root).parent.parent.joinpath("2.0.0").mkdir()
    shard(root).rename(shard(root).parent.parent / "2.0.0" / shard(root).name)
    with pytest.raises(InputError, match=r"several versions .*1.0.0, .*2.0.0"):
        open_dataset("kubric-f", root)


def test_a_missing_shard_does_not_hide_the_others(root):
    path = shard(root)
    path.unlink()

    missing, there = open_dataset("kubric-f", root)

    there.image(0)
    for ask in (missing.image, missing.depth, lambda _: missing.frame_count):
        with pytest.raises(InputError, match=f"{path.name}: no such file"):
            ask(0)


def test_a_shard_that_is_cut_off_keeps_its_first_clips(root):
    path = shard(root)
    path.write_bytes(path.read_bytes()[:-20])

    first, cut, _ = open_dataset("kubric-f", root)

    first.points(0, 1)
    with pytest.raises(InputError, match=f"{path.name}: damaged .it ends within a record"):
        cut.image(0)


def test_a_flipped_bit_is_found(root):
    path = shard(root)
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1
    path.write_bytes(data)

    first, second, _ = open_dataset("kubric-f", root)

    for ask in (first.image, first.depth, first.intrinsics):
        with pytest.raises(InputError, match=f"{path.name}: damaged"):
            ask(0)
    second.image(0)


def test_the_checksum_of_a_clip_is_looked_at_once(root, monkeypatch):
    looks = []
    monkeypatch.setattr(Example, "verify", lambda example: looks.append(example.path))
    first, second, _ = open_dataset("kubric-f", root)

    for frame in range(FRAMES):
        first.image(frame)
        second.points(frame, 0)

    assert looks == [shard(root)] * 2


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"video": None}, "no video"),
        ({"video": [b"x"] * FRAMES}, "no PNG"),
        ({"video": [png(np.zeros((3, 4, 3), np.uint8))] * FRAMES}, r"\(3, 4, 3\)"),
        ({"depth": [png(np.zeros((3, 4), np.uint16))] * FRAMES}, "depth, segments"),
        ({"depth": [png(np.zeros(IMAGE_HW, np.uint16))]}, "1 pictures for 6"),
        ({"segmentations": [png(np.full(IMAGE_HW, 4, np.uint8))] * FRAMES}, "object 4 of 3"),
        ({"object_coordinates": [png(np.zeros((*IMAGE_HW, 3), np.uint8))] * FRAMES}, "uint8"),
        ({"camera__quaternions": np.zeros((FRAMES, 4))}, "poses"),
        ({"camera__focal_length": np.array([0.0])}, "focal length of 0"),
        ({"camera__positions": np.zeros((FRAMES, 2))}, "camera/positions"),
        ({"instances__bboxes_3d": np.zeros((FRAMES, 8, 3))}, "bboxes_3d"),
        ({"metadata__depth_range": np.array([1, 1e10])}, "depth of a record"),
        ({"metadata__num_frames": np.array([0])}, "0 frames"),
    ],
)
def test_each_fault_of_a_record_is_one_line(root, boxes, changes, fault):
    sequence = rewritten(root, boxes, **changes)

    with pytest.raises(InputError, match=f"{shard(root).name}: damaged .*{fault}") as error:
        sequence.image(0)
        sequence.points(0, 0)
    assert "\n" not in str(error.value)


def test_the_card():
    assert CARD.key == "kubric-f"
    assert CARD.splits[0] == "validation"
