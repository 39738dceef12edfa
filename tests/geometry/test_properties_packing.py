"""What holds for every packed array, written file and rounded value."""

import base64
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from drawn import (
    clouds,
    examples,
    rigid_motions,
    scales,
    small_sizes,
    sources,
    tensors,
)
from dynapoint.exports.colmap import sparse_model
from dynapoint.exports.depth import write_depth, write_depth_exr
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.splat_training import still_scene
from dynapoint.exports.web_bytes import share_bytes
from dynapoint.exports.web_packing import (
    LARGEST_STEP,
    TextBuffer,
    box_around,
    deflated,
    differences,
    filled_gaps,
    ranks,
)
from dynapoint.exports.y_up import Y_UP_FROM_OPENCV, linear_from_srgb, y_up_cameras
from dynapoint.models.kept.followed_paths import FollowedPaths
from dynapoint.models.layers.compact import CompactLinear
from dynapoint.models.tensor_files import read_container, write_container
from dynapoint.results.on_disk.stored_frames import open_frames, write_frames
from exact_scenes import exact_scene

EPS = np.finfo(np.float64).eps


# --- packing


@examples(200)
@given(st.lists(clouds(0), min_size=1, max_size=4), scales(), st.sampled_from([16, 32, 64]))
def test_packed_positions_are_within_half_a_step(sizes, scale, bits):
    parts = [(cloud * scale).astype(f"float{bits}") for cloud in sizes]
    parts = [part[np.isfinite(part).all(axis=1)] for part in parts]
    box = box_around(parts)
    assert (box.size > 0).all()
    for part in parts:
        steps = box.quantised(part)
        back = box.low + steps / LARGEST_STEP * box.size
        exact = part.astype(np.float64)
        # Rounding of float64 itself comes on top.
        slack = 8 * EPS * (np.abs(box.low) + box.size)
        assert (np.abs(back - exact) <= box.error + slack).all()


@examples(200)
@given(small_sizes(), sources(), st.sampled_from([2, 300, 2**16]))
def test_differences_are_undone_by_running_sums(map_hw, rng, values):
    steps = rng.integers(values, size=(*map_hw, 3)).astype(np.uint16)
    packed = np.frombuffer(zlib.decompress(deflated(differences(steps))), np.uint8)
    low, high = packed.reshape(2, 3, *map_hw).astype(np.uint16)
    back = (low | high << 8).cumsum(axis=1, dtype=np.uint16).cumsum(axis=2, dtype=np.uint16)
    np.testing.assert_array_equal(np.moveaxis(back, 0, -1), steps)


@examples(150)
@given(small_sizes(), sources(), st.floats(0, 1))
def test_gaps_repeat_the_last_known_place_of_their_row(map_hw, rng, share):
    steps = rng.integers(2**16, size=(*map_hw, 3)).astype(np.uint16)
    known = rng.random(map_hw) < share
    filled = filled_gaps(steps, known)
    for row in range(map_hw[0]):
        last = steps[row, 0]
        for column in range(map_hw[1]):
            last = steps[row, column] if known[row, column] else last
            np.testing.assert_array_equal(filled[row, column], last)


@examples(150)
@given(st.lists(st.binary(max_size=50), max_size=6))
def test_chunks_of_text_give_back_their_bytes(contents):
    buffer = TextBuffer()
    assert [buffer.add(content) for content in contents] == list(range(len(contents)))
    text = "".join(buffer.pieces)
    assert buffer.length == len(text)
    assert [base64.b64decode(text[start:end]) for start, end in buffer.spans] == contents


@examples(150)
@given(sources(), st.integers(1, 600), st.integers(1, 9))
def test_hiding_a_rank_hides_at_most_its_share_and_the_least_sure_first(rng, count, kinds):
    confidence = rng.choice(rng.random(kinds) * (rng.random(kinds) < 0.8), size=count)
    rank = ranks(confidence, np.sort(confidence))
    np.testing.assert_array_equal(rank == 0, confidence <= 0)
    order = np.argsort(confidence, kind="stable")
    assert (np.diff(rank[order].astype(int)) >= 0).all()
    for least in range(2, 256, 23):
        assert ((rank < least) & (confidence > 0)).mean() <= (least - 1) / 254


@examples(100)
@given(st.lists(rigid_motions(), min_size=1, max_size=6))
def test_cameras_with_y_up_look_at_the_same_things(motions):
    poses = np.stack([np.eye(4), *motions])
    rec = replace(exact_scene(frames=len(poses)), world_from_camera=poses)
    positions, quaternions = y_up_cameras(rec, list(range(len(poses))))
    y_up = Rotation.from_quat(quaternions).as_matrix()
    # A point before the camera, in OpenCV's axes and in those that the camera of y up has.
    seen = np.array([0.3, -0.7, 2.0])
    wanted = (poses[:, :3, :3] @ seen + poses[:, :3, 3]) * [1, -1, -1]
    np.testing.assert_allclose(y_up @ (seen * [1, -1, -1]) + positions, wanted, atol=1e-10)
    assert ((quaternions[1:] * quaternions[:-1]).sum(axis=1) >= 0).all()
    np.testing.assert_array_equal(Y_UP_FROM_OPENCV @ Y_UP_FROM_OPENCV, np.eye(3))


@examples(25)
@given(st.lists(rigid_motions(reach=1), min_size=3, max_size=3))
def test_colmaps_quaternions_have_w_first_and_go_into_the_camera(motions):
    poses = np.stack([np.eye(4), *motions])
    rec = replace(exact_scene(moving="nothing"), world_from_camera=poses)
    model = sparse_model(rec, still_scene(rec, ExportOptions()))
    w, x, y, z = model.quaternion_wxyz.T
    camera_from_world = np.tile(np.eye(4), (4, 1, 1))
    camera_from_world[:, :3, 3] = model.translation
    camera_from_world[:, :3, :3] = np.moveaxis(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ],
        -1,
        0,
    )
    np.testing.assert_allclose(camera_from_world, np.linalg.inv(poses), atol=1e-12)


@examples(100)
@given(st.dictionaries(st.text("abc.0", min_size=1), tensors(), min_size=1, max_size=5))
def test_tensor_files_keep_every_bit(state):
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".pt", ".safetensors"):
            path = Path(folder, f"state{suffix}")
            write_container(state, path)
            found = read_container(path)
            assert found.keys() == state.keys()
            for name, value in state.items():
                assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
                assert _bits(found[name]) == _bits(value)


def _bits(value: torch.Tensor) -> bytes:
    flat = value.contiguous().reshape(-1)
    return (
        flat.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.itemsize]).numpy().tobytes()
    )


# --- rounded values


@examples(200)
@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=50))
def test_shares_as_bytes_are_within_half_a_step(shares):
    share = np.array(shares)
    assert (np.abs(share_bytes(share) / 255 - share.clip(0, 1)) <= 0.5 / 255 + EPS).all()


def test_light_of_srgb_is_the_inverse_of_its_transfer():
    values = np.arange(256, dtype=np.uint8)
    light = linear_from_srgb(values)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(coded, values / 255, atol=1e-7)


@examples(150)
@given(st.integers(1, 9), st.integers(1, 9), scales(), sources())
def test_compact_weights_are_within_half_a_step(rows, columns, scale, rng):
    layer = torch.nn.Linear(columns, rows).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(size=(rows, columns)) * scale))
        # A row without weights has no largest one to scale by.
        layer.weight[0] *= int(rng.integers(2))
    whole = layer.weight.detach()
    eight = CompactLinear(layer, "int8")
    step = whole.abs().amax(dim=1, keepdim=True) / 127
    unit = torch.eye(columns, dtype=torch.float64)
    used = (eight(unit) - eight.bias).T
    assert ((used - whole).abs() <= step * (0.5 + 1e-9)).all()
    sixteen = CompactLinear(layer, "bfloat16")
    used = (sixteen(unit) - sixteen.bias).T
    # Eight bits of mantissa: half a step is 2^-9 of the next power of two.
    assert ((used - whole).abs() <= whole.abs() * 2.0**-8 + 1e-12 * scale).all()


@examples(100)
@given(st.integers(1, 3), small_sizes(6), scales(), sources())
def test_followed_flow_is_kept_within_half_a_step(pairs, map_hw, scale, rng):
    ways = [
        [(rng.normal(size=(*map_hw, 2)) * scale, rng.random(map_hw)) for _ in range(pairs)]
        for _ in range(2)
    ]
    kept = FollowedPaths.of(*ways)
    for way, flow, weight in zip(
        ways,
        (kept.forward, kept.backward),
        (kept.forward_weight, kept.backward_weight),
        strict=True,
    ):
        for index, parts in enumerate(way):
            for exact, stored in zip(parts, (flow[index], weight[index]), strict=True):
                step = np.spacing(np.abs(stored.numpy())).astype(np.float64)
                # At a power of two the step below is half of that above.
                assert (np.abs(stored.double().numpy() - exact) <= step / 2).all()


@examples(25)
@given(scales(), sources())
def test_depth_in_pictures_is_within_half_a_step(scale, rng):
    import json

    import cv2

    exr = pytest.importorskip("OpenEXR")
    rec = exact_scene(frames=2, size=scale)
    far = rng.uniform(0.2, 5, size=rec.own_time_points.shape[1:3])[..., None].astype(np.float32)
    rec = replace(rec, own_time_points=rec.own_time_points * far)
    with tempfile.TemporaryDirectory() as folder:
        png, whole = Path(folder, "png"), Path(folder, "exr")
        write_depth(rec, png, ExportOptions())
        write_depth_exr(rec, whole, ExportOptions())
        step = json.loads((png / "depth.json").read_text())["scale"]
        for frame in range(2):
            value = cv2.imread(str(png / f"frame_{frame:04d}.png"), cv2.IMREAD_UNCHANGED)
            with exr.File(str(whole / f"frame_{frame:04d}.exr")) as file:
                exact = file.channels()["Z"].pixels.astype(np.float64)
            near = exact <= step * (2**16 - 0.5)
            assert near.mean() > 0.5
            assert ((value > 0) == ((exact > 0) & near)).all()
            assert (np.abs(value * step - exact)[near] <= step * (0.5 + 1e-9)).all()


@examples(15)
@given(sources(), st.integers(1, 3), st.floats(0, 1))
def test_stored_frames_keep_their_masks_and_nearly_their_pictures(rng, count, share):
    rec = exact_scene(frames=count)
    height, width = rec.frames.image_hw
    ignore = rng.random((count, height, width)) < share
    frames = replace(rec.frames, ignore=ignore)
    with tempfile.TemporaryDirectory() as folder:
        write_frames(frames, Path(folder))
        stored = open_frames(
            Path(folder),
            timestamps_s=frames.timestamps_s,
            source_frame_index=frames.source_frame_index,
            picture_hw=frames.picture_hw,
            canvas_hw=frames.image_hw,
            name=frames.name,
            note=None,
            source={"masked": True},
        )
        np.testing.assert_array_equal(stored.ignore, ignore)
        off = np.abs(stored.images.astype(int) - frames.images)
    assert off.max() <= 8 and off.mean() < 1.5
