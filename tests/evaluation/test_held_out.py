"""The engine's held-out clips: what their names say they show."""

import json
from pathlib import Path

import numpy as np
import pytest

from dynapoint.errors import InputError, OutputError
from dynapoint.evaluation import held_out
from dynapoint.evaluation.held_out import CLIP_STRIDE, clip_names, make_held_out
from dynapoint.synthetic.clip_files import write_clip
from dynapoint.synthetic.held_out import FIRST_SEED, SUBSETS, held_out_clip, held_out_scene
from engine_sequence import rigid_fit

HW, FRAMES = (36, 48), 5


@pytest.fixture(scope="module")
def clips():
    return {kind: held_out_clip(kind, 0, frames=FRAMES, image_hw=HW) for kind in SUBSETS}


def moving_bodies(clip):
    """Vertices (time, vertex, xyz) of every body that the engine says moves."""
    vertices = clip.vertices[0].double().numpy()
    for body in np.unique(clip.face_instance[0].numpy()):
        of_body = clip.face_instance[0].numpy() == body
        if clip.face_moving[0].numpy()[of_body].all() and of_body.any():
            yield vertices[:, np.unique(clip.faces[0].numpy()[of_body])]


def size_and_residual(track):
    size = np.ptp(track[0], axis=0).max()
    return size, max(rigid_fit(track[0], there)[1] for there in track[1:])


def test_rigid_things_keep_their_shape_and_others_do_not(clips):
    for body in moving_bodies(clips["rigid"]):
        size, residual = size_and_residual(body)
        assert residual < 1e-4 * size
    assert any(
        residual > 0.02 * size
        for size, residual in map(size_and_residual, moving_bodies(clips["deforming"]))
    )


def test_articulated_things_are_of_rigid_parts_that_turn_against_each_other(clips):
    bodies = list(moving_bodies(clips["articulated"]))
    assert len(bodies) >= 4
    turns = []
    for body in bodies:
        size, residual = size_and_residual(body)
        assert residual < 1e-4 * size
        turns.append(rigid_fit(body[0], body[-1])[0][:3, :3])
    apart = [np.linalg.norm(a.T @ b - np.eye(3)) for a in turns for b in turns]
    assert max(apart) > 0.1


def test_what_stands_still_does_and_cameras_move_where_they_should(clips):
    assert not clips["still"].face_moving.any()
    for kind, clip in clips.items():
        poses = clip.world_from_camera[0].numpy()
        stands = np.allclose(poses, np.eye(4), atol=1e-5)
        assert stands == (kind == "static camera")
        assert (kind == "still") != bool(clip.face_moving.any())


def test_fast_things_go_farther(clips):
    def way(kind):
        ways = []
        for seed in range(FIRST_SEED, FIRST_SEED + 6):
            scene = held_out_scene(kind, seed, frames=3, aspect=4 / 3)
            moved = np.linalg.norm(scene.vertices[-1] - scene.vertices[0], axis=-1)
            ways.append(np.median(moved[moved > 1e-3]))
        return np.median(ways)

    assert way("fast") > 1.5 * way("static camera")


def test_a_clip_is_the_same_at_every_call_and_its_own(clips):
    again = held_out_clip("rigid", 0, frames=FRAMES, image_hw=HW)
    np.testing.assert_array_equal(again.images.numpy(), clips["rigid"].images.numpy())
    other = held_out_clip("rigid", 1, frames=FRAMES, image_hw=HW)
    assert not np.array_equal(other.images.numpy(), clips["rigid"].images.numpy())


def test_truth_on_a_grid_is_that_of_its_pixels(clips, tmp_path):
    write_clip(clips["rigid"], tmp_path / "every", float32_points=True)
    write_clip(clips["rigid"], tmp_path / "grid", float32_points=True, stride=CLIP_STRIDE)
    grid = slice(CLIP_STRIDE // 2, None, CLIP_STRIDE)
    with np.load(tmp_path / "every" / "gt.npz") as a, np.load(tmp_path / "grid" / "gt.npz") as b:
        for name in ("points", "visible"):
            np.testing.assert_array_equal(b[name], a[name][:, :, grid, grid])
        np.testing.assert_array_equal(b["instance"], a["instance"][:, grid, grid])
        assert b["stride"] == CLIP_STRIDE


def test_clips_are_made_once(tmp_path, monkeypatch):
    made = []

    def make(subset, index, path):
        made.append(path.name)
        path.mkdir()

    monkeypatch.setattr(held_out, "_make", make)
    assert tuple(clip_names()) == (*SUBSETS, "long") and held_out._KINDS == SUBSETS
    folder = make_held_out(tmp_path)
    assert folder == tmp_path / "clips"
    assert made == [name for names in clip_names().values() for name in names]
    (folder / "still_1").rmdir()
    made.clear()
    make_held_out(tmp_path)
    assert made == ["still_1"]
    (folder / "split.json").write_text(json.dumps({"version": 0}))
    with pytest.raises(InputError, match="delete it"):
        make_held_out(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        make_held_out(tmp_path / "file")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "clips" / "holiday").mkdir(parents=True)
    with pytest.raises(InputError, match="does not hold version"):
        make_held_out(tmp_path)
    assert [path.name for path in Path(tmp_path / "clips").iterdir()] == ["holiday"]
