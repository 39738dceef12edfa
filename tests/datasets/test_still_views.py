"""ScanNet++, BlendedMVS and MegaDepth: what is the same for sets of still scenes with pairs."""

import shutil

import numpy as np
import pytest
from PIL import Image

from dynapoint.datasets.registry import open_dataset
from dynapoint.datasets.still_views import rows_of_each
from dynapoint.errors import ConfigError, InputError
from miniatures import blended_mvs, mega_depth, scannetpp
from miniatures.damage import cut_off, emptied, garbled, missing, refused
from miniatures.exr_views import write_view
from miniatures.other_cameras import clip_from_elsewhere

WRITERS = {"scannetpp": scannetpp, "blendedmvs": blended_mvs, "megadepth": mega_depth}
# Depth in millimetres is cut off after the last whole one.
DEPTH_STEP = {"scannetpp": 1e-3, "blendedmvs": 0, "megadepth": 0}
JPEG_ERROR = 6


def part_seen(key, frame):
    """Which rows and columns of the clip's picture the miniature has."""
    height, width = clip_from_elsewhere().image_hw
    if key == "scannetpp":
        return (height - 2, width - 4) if frame % 2 else (height, width)
    if key == "megadepth":
        return height - frame % 2, height - 6 if frame % 3 == 0 else width
    return height, width


def clip_frames(key, sequence, scene):
    """Which frame of the clip each frame of the sequence shows."""
    count = clip_from_elsewhere().frame_count
    order = np.roll(np.arange(count), -scene)
    if key == "megadepth":
        # Names in MegaDepth are sorted as the list has them.
        assert [int(name.split("_")[0]) - 5978745 for name in sequence.views.names] == list(order)
    return order


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two scenes of each set (and one of the split "val", where there is one)."""
    roots = {}
    for key, writer in WRITERS.items():
        roots[key] = tmp_path_factory.mktemp(key)
        writer.write_miniature(roots[key], clip_from_elsewhere(), sequences=2)
    return roots


@pytest.fixture(params=WRITERS)
def key(request):
    return request.param


@pytest.fixture
def copied(key, written, tmp_path):
    """A set that may be damaged."""
    return shutil.copytree(written[key], tmp_path / "set")


def test_the_miniature_reads_back_as_the_clip(key, written):
    clip = clip_from_elsewhere()
    scenes = open_dataset(key, written[key])
    assert len(scenes) == 2
    assert len({scene.name for scene in scenes}) == 2
    for number, scene in enumerate(scenes):
        assert (scene.dataset, scene.frame_count) == (key, clip.frame_count)
        assert scene.image_hw == part_seen(key, clip_frames(key, scene, number)[0])
        for frame, shown in enumerate(clip_frames(key, scene, number)):
            rows, columns = part_seen(key, shown)
            error = scene.image(frame).astype(int) - clip.images[shown, :rows, :columns]
            assert abs(error).max() <= JPEG_ERROR
            z = clip.depth[shown, :rows, :columns]
            np.testing.assert_allclose(scene.depth(frame), z, rtol=1e-6, atol=DEPTH_STEP[key])
            np.testing.assert_allclose(scene.intrinsics(frame), clip.intrinsics[shown], rtol=1e-6)
            pose = scene.world_from_camera(frame)
            np.testing.assert_allclose(pose, clip.world_from_camera[shown], atol=1e-6)
            points = clip.points[shown, shown, :rows, :columns]
            # A step of depth moves a point along its ray, which is less than twice as long.
            atol = 2 * DEPTH_STEP[key] + 1e-5
            np.testing.assert_allclose(scene.points(frame, frame), points, rtol=1e-5, atol=atol)


def test_nothing_moves(key, written):
    scene = open_dataset(key, written[key])[0]
    assert scene.holds.motion == "still"
    np.testing.assert_array_equal(scene.points(1, 4), scene.points(1, 1))
    for asked in (scene.tracks, scene.object_poses, lambda: scene.visible(0, 1)):
        with pytest.raises(InputError, match=f"{key} has no"):
            asked()


def test_pairs_are_those_of_the_list(key, written):
    count = clip_from_elsewhere().frame_count
    if key == "scannetpp":
        wanted = {(i, (i + 2) % count) for i in range(count)}
    else:
        wanted = {(i, i + 1) for i in range(count - 1)}
    for scene in open_dataset(key, written[key]):
        assert scene.pairs.shape == (len(wanted), 2)
        assert {tuple(pair) for pair in scene.pairs.tolist()} == wanted


def test_without_a_list_the_folders_are_the_scenes(key, copied):
    listed = open_dataset(key, copied)
    for name in ("all_metadata.npz", "blendedmvs_pairs.npy"):
        (copied / name).unlink(missing_ok=True)
    found = open_dataset(key, copied)
    assert [scene.name for scene in found] == [scene.name for scene in listed]
    for scene, other in zip(found, listed, strict=True):
        assert sorted(scene.views.names) == sorted(other.views.names)
        # Each scene of ScanNet++ has a list of its own.
        same = key == "scannetpp"
        assert len(scene.pairs) == (len(other.pairs) if same else 0)
        frame = scene.views.names.index(other.views.names[3])
        np.testing.assert_array_equal(scene.depth(frame), other.depth(3))
        np.testing.assert_array_equal(scene.world_from_camera(frame), other.world_from_camera(3))


@pytest.mark.parametrize(("key", "name"), [("blendedmvs", "5a3ca9cb"), ("megadepth", "0022/0")])
def test_the_split_val(key, name, written):
    (scene,) = open_dataset(key, written[key], "val")
    assert scene.name.startswith(name)
    assert scene.name not in {other.name for other in open_dataset(key, written[key], "train")}
    if key == "blendedmvs":
        assert int(scene.name[8:], 16) % 10 == 0
    scene.image(0)


def read_all(scene):
    for frame in (0, 2):
        scene.image(frame)
        scene.points(frame, frame)


def files_of(scene, frame):
    """Picture, depth and what else the frame needs."""
    picture = scene.picture_path(frame)
    if scene.dataset == "scannetpp":
        return picture, scene.folder / "depth" / f"{picture.stem}.png"
    return picture, picture.with_suffix(".exr"), picture.with_suffix(".npz")


@pytest.mark.parametrize("damage", [cut_off, emptied, garbled, missing])
def test_a_bad_file_is_named_and_hides_no_other_scene(key, copied, damage):
    for path in files_of(open_dataset(key, copied)[0], 2):
        kept = path.read_bytes()
        damage(path)
        bad, good = open_dataset(key, copied)
        refused(lambda bad=bad: read_all(bad), path)
        read_all(good)
        path.write_bytes(kept)
    read_all(open_dataset(key, copied)[0])


@pytest.mark.parametrize("damage", [cut_off, emptied, garbled])
def test_a_bad_list_is_named(key, copied, damage):
    (path,) = copied.glob("*.np[yz]")
    damage(path)
    refused(lambda: open_dataset(key, copied), path)


def test_a_bad_list_of_one_scene_hides_no_other(written, tmp_path):
    root = shutil.copytree(written["scannetpp"], tmp_path / "set")
    (root / "all_metadata.npz").unlink()
    path = root / scannetpp.SCENES[0] / "scene_metadata.npz"
    cut_off(path)
    bad, good = open_dataset("scannetpp", root)
    refused(lambda: bad.frame_count, path)
    read_all(good)


def test_depth_of_another_size_is_refused(key, copied):
    scene = open_dataset(key, copied)[0]
    path = files_of(scene, 1)[1]
    if key == "scannetpp":
        Image.fromarray(np.ones((5, 7), np.uint16)).save(path)
    else:
        write_view(path.parent, path.stem, np.ones((5, 7, 3), np.uint8), np.ones((5, 7)))
        written_over = scene.picture_path(1)
        Image.fromarray(np.zeros((6, 7, 3), np.uint8)).save(written_over)
    assert "7 x 5" in refused(lambda: scene.depth(1), path)


def test_numbers_of_another_shape_are_refused(key, copied):
    path = copied / "all_metadata.npz"
    if key != "scannetpp":
        path = files_of(open_dataset(key, copied)[0], 1)[2]
    with np.load(path) as archive:
        told = dict(archive)
    told["intrinsics"] = told["intrinsics"][..., :2, :]
    np.savez(path, **told)
    scene = open_dataset(key, copied)[0]
    assert "(2, 3)" in refused(lambda: scene.intrinsics(1), path)
    told["intrinsics"] = np.full((*told["intrinsics"].shape[:-2], 3, 3), np.nan)
    np.savez(path, **told)
    scene = open_dataset(key, copied)[0]
    assert "not finite" in refused(lambda: scene.intrinsics(1), path)


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("scannetpp", {"sceneids": [0] * 11}, "long"),
        ("scannetpp", {"sceneids": [0] * 6 + [2] * 6}, "scene 2 of 2"),
        ("scannetpp", {"pairs": [[0, 6, 0.5]]}, "two scenes"),
        ("scannetpp", {"pairs": [[0, 12, 0.5]]}, "picture 12 of 12"),
        ("scannetpp", {"pairs": [0, 1]}, "two columns"),
        ("megadepth", {"pairs": [[0, 1, 2]]}, "fields"),
        ("megadepth", {"scenes": ["0001", "0002 0", "0022 0"]}, "two words"),
        ("megadepth", {"scenes": ["0001 0"]}, "scene 2 of 1"),
        ("megadepth", {"images": ["a.jpg"]}, "picture 16 of 1"),
    ],
)
def test_lists_that_do_not_fit_together_are_refused(key, change, said, copied):
    path = copied / "all_metadata.npz"
    with np.load(path) as archive:
        told = dict(archive)
    np.savez(path, **told | {name: np.array(values) for name, values in change.items()})
    assert said in refused(lambda: open_dataset(key, copied), path)


def test_a_list_of_pairs_without_their_names_is_refused(written, tmp_path):
    root = shutil.copytree(written["blendedmvs"], tmp_path / "set")
    np.save(root / "blendedmvs_pairs.npy", np.zeros((4, 5)))
    assert "seq_low" in refused(
        lambda: open_dataset("blendedmvs", root), root / "blendedmvs_pairs.npy"
    )


def test_a_picture_that_pairs_name_has_to_be_there(written, tmp_path):
    root = shutil.copytree(written["blendedmvs"], tmp_path / "set")
    scene = open_dataset("blendedmvs", root)[0]
    path = scene.folder / "00000005.npz"
    path.unlink()
    assert "pairs" in refused(lambda: scene.pairs, path)


@pytest.mark.parametrize("key", WRITERS)
def test_a_folder_that_is_not_the_set_is_refused(key, tmp_path):
    (tmp_path / "something").mkdir()
    said = refused(lambda: open_dataset(key, tmp_path), tmp_path)
    assert "wanted ROOT" in said
    refused(lambda: open_dataset(key, tmp_path / "nowhere"), tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no split 'test'"):
        open_dataset(key, tmp_path, "test")


def test_rows_of_each_group():
    rng = np.random.default_rng(5)
    for count in (1, 4, 30):
        group = rng.integers(0, count, 25)
        rows = rows_of_each(group, count)
        assert [each.tolist() for each in rows] == [
            [row for row in range(25) if group[row] == k] for k in range(count)
        ]
