import json

import numpy as np
import pytest
from PIL import Image

from dynapoint.datasets.registry import open_dataset
from dynapoint.errors import InputError
from miniatures.engine_clip import engine_clip
from miniatures.kubric import png
from miniatures.movi_folders import metadata, write_miniature, write_scene
from miniatures.rigid_boxes import box_clip

FRAMES, IMAGE_HW = 4, (20, 30)


@pytest.fixture(scope="module")
def boxes():
    return box_clip(FRAMES, IMAGE_HW)


@pytest.fixture
def root(tmp_path, boxes):
    write_scene(tmp_path / "scene", boxes)
    return tmp_path


def opened(root):
    (sequence,) = open_dataset("kubric-g", root)
    return sequence


def test_scenes_of_a_split_or_of_the_folder(tmp_path, root):
    assert opened(root).name == "scene"
    write_miniature(tmp_path / "both", engine_clip(), sequences=2)
    write_miniature(tmp_path / "both", engine_clip(), split="train")

    sequences = open_dataset("kubric-g", tmp_path / "both")

    assert [sequence.name for sequence in sequences] == ["0000", "0001"]
    assert sequences[0].frame_count == engine_clip().frame_count
    assert sequences[0].image_hw == engine_clip().image_hw
    assert len(open_dataset("kubric-g", tmp_path / "both", "train")) == 1


def test_all_is_the_truth(root, boxes):
    sequence = opened(root)

    assert (sequence.frame_count, sequence.image_hw) == (FRAMES, IMAGE_HW)
    for frame in range(FRAMES):
        np.testing.assert_array_equal(sequence.image(frame), boxes.images[frame])
        np.testing.assert_array_equal(sequence.instances(frame), boxes.instance[frame] + 1)
        np.testing.assert_array_equal(sequence.moving(frame), boxes.moving[frame])
        np.testing.assert_allclose(sequence.intrinsics(frame), boxes.intrinsics, atol=1e-12)
        np.testing.assert_allclose(sequence.depth(frame), boxes.depth[frame], rtol=3e-7)
        np.testing.assert_allclose(
            sequence.world_from_camera(frame), boxes.world_from_camera[frame], atol=1e-12
        )
        for time in range(FRAMES):
            error = np.abs(sequence.points(frame, time) - boxes.points[time, frame])
            assert error.max() < 2 * 3**0.5 / 65535
    for box in range(3):
        np.testing.assert_allclose(
            sequence.object_poses()[box, 2], boxes.scene.world_from_box(box, 2), atol=1e-12
        )


def test_where_a_ray_meets_nothing_all_is_unknown(root, boxes):
    deep = boxes.distance[0].astype(np.float32)
    row, column = np.argwhere(boxes.instance[0] < 0)[0]
    deep[row, column] = 1.1e10
    Image.fromarray(deep).save(root / "scene" / "depth_00000.tiff")
    sequence = opened(root)

    for values in (sequence.depth(0)[..., None], sequence.points(0, 0), sequence.points(0, 2)):
        assert np.argwhere(np.isnan(values).any(axis=-1)).tolist() == [[row, column]]
    assert not sequence.visible(0, 0)[row, column]
    assert sequence.visible(0, 0).sum() == deep.size - 1


def test_width_and_height_of_older_scripts(root, boxes):
    said = metadata(boxes)
    said["metadata"] |= dict(
        zip(("width", "height"), said["metadata"].pop("resolution"), strict=True)
    )
    (root / "scene" / "metadata.json").write_text(json.dumps(said))

    assert opened(root).image_hw == IMAGE_HW


@pytest.mark.parametrize(
    "name", ["rgba_00001.png", "depth_00001.tiff", "segmentation_00001.png",
             "object_coordinates_00001.png", "metadata.json"],
)  # fmt: skip
def test_each_file_missing_or_cut_off_is_named(root, name):
    path = root / "scene" / name

    def read():
        sequence = opened(root)
        sequence.image(1)
        sequence.points(1, 0)

    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=f"{name}: damaged"):
        read()
    path.write_bytes(b"")
    with pytest.raises(InputError, match=f"{name}: damaged .it is empty"):
        read()
    path.unlink()
    with pytest.raises(InputError, match=f"{name}: no such file"):
        read()
    opened(root)


def test_what_is_bad_in_a_frame_leaves_the_others(root):
    (root / "scene" / "depth_00001.tiff").unlink()
    sequence = opened(root)

    sequence.points(0, 3)
    sequence.image(1)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda said: said.pop("camera"), "no 'camera'"),
        (lambda said: said["metadata"].pop("num_frames"), "no 'num_frames'"),
        (lambda said: said["camera"].update(sensor_width=0), "sensor width of 0"),
        (lambda said: said["camera"]["positions"].pop(), r"shape \(3, 3\), not \(4, 3\)"),
        (lambda said: said["camera"].update(quaternions=[[0] * 4] * FRAMES), "zero norm"),
        (lambda said: said["instances"][1]["bboxes_3d"].pop(), r"shape \(3, 8, 3\)"),
        (lambda said: said.update(metadata=[]), "list indices"),
    ],
)
def test_each_fault_of_the_metadata_is_one_line(root, boxes, change, fault):
    said = metadata(boxes)
    change(said)
    (root / "scene" / "metadata.json").write_text(json.dumps(said))

    with pytest.raises(InputError, match=rf"metadata\.json: damaged .*{fault}"):
        opened(root).intrinsics(0)


def test_pictures_of_another_size_or_kind_are_refused(root):
    folder = root / "scene"
    (folder / "rgba_00000.png").write_bytes(png(np.zeros((*IMAGE_HW, 3), np.uint16)))
    with pytest.raises(InputError, match=r"rgba_00000.png: damaged .*uint16"):
        opened(root).image(0)
    (folder / "depth_00000.tiff").write_bytes((folder / "depth_00001.tiff").read_bytes())
    Image.fromarray(np.zeros(IMAGE_HW, np.uint8)).save(folder / "depth_00000.tiff")
    with pytest.raises(InputError, match=r"depth_00000.tiff: damaged .*uint8"):
        opened(root).depth(0)


def test_a_folder_without_scenes_is_refused(tmp_path):
    with pytest.raises(InputError, match="no scenes in it; wanted"):
        open_dataset("kubric-g", tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="test: no such folder; wanted"):
        open_dataset("kubric-g", tmp_path)
