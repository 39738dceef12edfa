"""Following points through pictures between used frames, against motions known in closed form."""

import cv2
import numpy as np
import pytest

from dynapoint.data.between import load_between
from dynapoint.data.frames import load_frames
from dynapoint.data.selection import FrameSelection
from dynapoint.errors import ShapeError
from dynapoint.inference.prepare import prepare_images
from dynapoint.inference.refining import followed_flow
from dynapoint.refinement.flow import FlowField
from dynapoint.refinement.following import (
    Followed,
    Following,
    follow,
    pictures_kept,
    texture_weight,
)
from dynapoint.refinement.paths import at_places, paths

HW = (120, 160)


def texture(seed):
    """A smooth random function of the plane with structure of all sizes from 6 to 60 pixels."""
    rng = np.random.default_rng(seed)
    size = 6 * 10 ** rng.random(60)
    angle, phase = rng.random((2, 60)) * 2 * np.pi
    k = 2 * np.pi / size * np.stack([np.cos(angle), np.sin(angle)])

    def value(x, y):
        waves = np.cos(x[..., None] * k[0] + y[..., None] * k[1] + phase)
        return 128 + 6 * waves @ np.sqrt(size / 6)

    return value


def pixel_grid(hw=HW):
    return np.meshgrid(np.arange(hw[1]) + 0.5, np.arange(hw[0]) + 0.5)


def grey(values):
    return np.round(np.clip(values, 0, 255)).astype(np.uint8)


def affine_clip(step, count, seed=0, hw=HW):
    """Pictures of a plane that moves by a (2, 3) matrix about the picture's centre at each step,

    and the flow from the first to the last one.
    """
    look = texture(seed)
    x, y = pixel_grid(hw)
    centre = np.array([hw[1] / 2, hw[0] / 2])
    once = np.vstack([step, [0, 0, 1]])
    pictures = []
    for number in range(count):
        way = np.linalg.matrix_power(once, number)
        back = np.linalg.inv(way)
        place = np.stack([x, y], -1) - centre
        source = place @ back[:2, :2].T + back[:2, 2] + centre
        pictures.append(grey(look(source[..., 0], source[..., 1])))
    flow = place @ way[:2, :2].T + way[:2, 2] - place
    return np.stack(pictures), flow


def turn(degrees, zoom=1.0, shift=(0.0, 0.0)):
    c, s = np.cos(np.radians(degrees)) * zoom, np.sin(np.radians(degrees)) * zoom
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def inside(flow, margin=8):
    x, y = pixel_grid(flow.shape[:2])
    height, width = flow.shape[:2]
    ends = np.stack([x, y], -1) + flow
    low = (ends > margin).all(-1) & (x > margin) & (y > margin)
    high = (ends < [width - margin, height - margin]).all(-1)
    return low & high & (x < width - margin) & (y < height - margin)


def errors(field, flow):
    return np.linalg.norm(field.flow - flow, axis=-1)


MOTIONS = {
    "shift": turn(0, 1, (3.5, -1.5)),
    "rotation": turn(3),
    "zoom": turn(0, 1.035),
    "all": turn(-2, 0.98, (2, 1.5)),
    "shear": np.array([[1, 0.03, 0], [0.01, 1.01, 0]]),
}


@pytest.mark.parametrize("name", MOTIONS)
def test_large_motion_is_followed_by_small_steps(name):
    pictures, flow = affine_clip(MOTIONS[name], 13)
    used = np.array([0, 12])
    found = follow(pictures, used, threads=1)
    here = inside(flow)
    error = errors(found.forward[0], flow)[here]
    assert np.median(error) < 0.35 and np.quantile(error, 0.95) < 0.8
    assert (found.forward[0].weight[here] > 0.3).mean() > 0.9
    # Back again is the inverse motion.
    way = np.linalg.matrix_power(np.vstack([MOTIONS[name], [0, 0, 1]]), 12)
    centre = np.array([HW[1] / 2, HW[0] / 2])
    place = np.stack(pixel_grid(), -1) - centre
    back = (place - way[:2, 2]) @ np.linalg.inv(way[:2, :2]).T - place
    assert np.median(errors(found.backward[0], back)[inside(back)]) < 0.35
    assert found.steps[0] > 3


def test_direct_flow_alone_would_not_do():
    """What shows that the steps between are needed for the motions above."""
    pictures, flow = affine_clip(MOTIONS["rotation"], 13)
    alone = follow(pictures[[0, 12]], np.array([0, 1]), threads=1)
    assert alone.steps.tolist() == [1]
    assert np.median(errors(alone.forward[0], flow)[inside(flow)]) > 2


def test_points_that_leave_the_picture_have_no_weight():
    pictures, flow = affine_clip(turn(0, 1, (2, 0)), 7)
    field = follow(pictures, np.array([0, 6]), threads=1).forward[0]
    x, _ = pixel_grid()
    gone = field.weight[x + 12 > HW[1] + 1]
    assert np.mean(gone > 0) < 0.02 and gone.mean() < 0.01
    assert (field.weight[inside(flow)] > 0.3).mean() > 0.9


def square_clip(count, step=3.0, side=44):
    """A textured square that slides over a textured ground which stands still."""
    ground, square = texture(1), texture(2)
    x, y = pixel_grid()
    pictures, covers = [], []
    for number in range(count):
        left = 25 + step * number
        cover = (x > left) & (x < left + side) & (y > 40) & (y < 40 + side)
        pictures.append(grey(np.where(cover, square(x - step * number, y), ground(x, y))))
        covers.append(cover)
    return np.stack(pictures), covers


def core(mask, side):
    """What is left of a mask without a margin of half of `side`."""
    return cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


@pytest.mark.parametrize("count", [5, 9])
def test_what_becomes_hidden_has_no_weight(count):
    pictures, covers = square_clip(count)
    used = np.array([0, count - 1])
    found = follow(pictures, used, threads=1)
    shift = 3.0 * (count - 1)
    for field, own, other, sign in (
        (found.forward[0], covers[0], covers[-1], 1),
        (found.backward[0], covers[-1], covers[0], -1),
    ):
        # Flow is smooth, so that a few points near an edge come along with what is visible.
        for side, most in ((5, 0.06), (9, 0.06)):
            hidden = field.weight[core(other & ~own, side)]
            assert len(hidden) > 100 or count == 5
            assert (hidden > 0.3).sum() <= most * len(hidden)
        assert (field.weight[core(other & ~own, 17)] == 0).all()
        moved = core(own, 9)
        error = errors(field, np.array([sign * shift, 0.0]))
        assert np.median(error[moved]) < 0.3 and (field.weight[moved] > 0.3).mean() > 0.75
        still = cv2.dilate((own | other).astype(np.uint8), np.ones((25, 25))) == 0
        assert errors(field, np.zeros(2))[still].max() < 0.1 and field.weight[still].min() > 0.5


def test_still_pictures_give_no_flow_at_all():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, HW, dtype=np.uint8)
    found = follow(np.stack([picture] * 9), np.array([0, 4, 8]))
    assert found.steps.tolist() == [1, 1]  # four pictures make one step where nothing moves
    for settings in (None, Following(longest_step=1)):
        found = follow(np.stack([picture] * 9), np.array([0, 4, 8]), settings=settings)
        for field in (*found.forward, *found.backward):
            assert (field.flow == 0).all() and (field.weight > 0.99).all()


def test_thinning_changes_little():
    pictures, flow = affine_clip(turn(0.2, 1.002, (0.3, 0.1)), 17)
    used = np.array([0, 16])
    every = follow(pictures, used, settings=Following(longest_step=1))
    some = follow(pictures, used)
    assert every.steps[0] == 16 and 4 <= some.steps[0] < 8
    here = inside(flow)
    assert np.quantile(errors(some.forward[0], every.forward[0].flow)[here], 0.99) < 0.3
    assert np.quantile(errors(some.forward[0], flow)[here], 0.99) < 0.3


def test_pictures_are_kept_by_motion():
    slow, _ = affine_clip(turn(0, 1, (0.1, 0)), 18)
    fast, _ = affine_clip(turn(0, 1, (5, 0)), 8)
    settings = Following(step_px=4.0, longest_step=4)
    assert pictures_kept(slow, settings) == [0, 4, 8, 12, 16, 17]
    assert pictures_kept(fast, settings) == list(range(8))
    changing = np.concatenate([slow[:9], fast])
    kept = pictures_kept(changing, settings)
    assert kept[:3] == [0, 4, 8] and set(range(9, 16)) <= set(kept) and kept[-1] == 16


def test_the_result_is_the_same_for_any_number_of_threads():
    pictures, _ = affine_clip(MOTIONS["all"], 13)
    used = np.array([0, 4, 8, 12])
    one, other = (follow(pictures, used, threads=threads) for threads in (1, 3))
    for a, b in zip(one.forward + one.backward, other.forward + other.backward, strict=True):
        np.testing.assert_array_equal(a.flow, b.flow)
        np.testing.assert_array_equal(a.weight, b.weight)


def test_one_frame_and_wrong_frames():
    pictures, _ = affine_clip(MOTIONS["shift"], 3)
    alone = follow(pictures, np.array([1]))
    assert alone.forward == alone.backward == () and alone.steps.shape == (0,)
    for used in ([], [0, 3], [-1, 2], [2, 1], [1, 1]):
        with pytest.raises(ShapeError, match="strictly increasing"):
            follow(pictures, np.array(used, dtype=np.int64))


@pytest.mark.parametrize("hw", [(1, 1), (5, 7), (12, 40), (40, 3), (96, 31), (160, 90)])
def test_tiny_and_portrait_pictures(hw):
    pictures, flow = affine_clip(turn(0, 1, (0.5, 0.25)), 5, hw=hw)
    found = follow(pictures, np.array([0, 2, 4]))
    for field in (*found.forward, *found.backward):
        assert field.flow.shape == (*hw, 2) and field.weight.shape == hw
        assert np.isfinite(field.flow).all() and (field.weight >= 0).all()
        assert (field.weight <= 1).all() and field.flow.dtype == field.weight.dtype == np.float32
    if min(hw) > 80:
        here = inside(flow)
        assert np.median(errors(found.forward[0], flow / 2)[here]) < 0.1


def test_texture_weight_by_its_formula():
    """Against the structure tensor of a plane wave and of two crossed ones."""
    x, y = pixel_grid()
    amplitude, k = 20.0, 2 * np.pi / 16
    stripes = grey(128 + amplitude * np.cos(k * x))
    assert texture_weight(stripes, 0.5).max() < 0.2
    crossed = grey(128 + amplitude * (np.cos(k * x) + np.cos(k * y)))
    found = texture_weight(crossed, 1e4) * 1e4
    # Differences over two pixels of a wave are its slope with sin(k) for k; averages over a
    # Gaussian of sigma 3 of a wave of q per pixel are that wave times exp(-9 q² / 2).
    slope = (amplitude * np.sin(k)) ** 2
    xx, yy = (
        slope / 2 * (1 - np.exp(-9 * (2 * k) ** 2 / 2) * np.cos(2 * k * each)) for each in (x, y)
    )
    xy = slope * np.exp(-9 * k**2) * np.sin(k * x) * np.sin(k * y)
    expected = np.linalg.eigvalsh(np.stack([xx, xy, xy, yy], -1).reshape(*HW, 2, 2))[..., 0]
    assert np.abs(found - expected)[15:-15, 15:-15].max() < 0.05 * expected.mean()
    assert (texture_weight(np.full(HW, 99, np.uint8), 0.5) == 0).all()
    assert (texture_weight(stripes, 0.0) == 1).all()


def linear_fields(rng, count, hw=(40, 50)):
    """Flow fields that are linear in the place, which sampling between pixels keeps exactly."""
    x, y = pixel_grid(hw)
    ways = [rng.normal(0, 0.01, (2, 3)) for _ in range(count)]
    one = np.stack([x, y, np.ones_like(x)], -1)
    weight = rng.random((count, *hw)).astype(np.float32)
    return ways, tuple(
        FlowField(flow=(one @ way.T).astype(np.float32), weight=each)
        for way, each in zip(ways, weight, strict=True)
    )


def test_paths_follow_the_flow_both_ways():
    rng = np.random.default_rng(3)
    onward, forward = linear_fields(rng, 3)
    homeward, backward = linear_fields(rng, 3)
    followed = Followed(forward=forward, backward=backward, steps=np.ones(3, dtype=np.int64))
    xy = rng.uniform(10, 30, (25, 2))
    found = paths(followed, 1, xy)
    expected = {1: xy}
    for start, end, way in ((1, 2, onward[1]), (2, 3, onward[2]), (1, 0, homeward[0])):
        expected[end] = expected[start] + expected[start] @ way[:, :2].T + way[:, 2]
    for frame in range(4):
        np.testing.assert_allclose(found.xy[frame], expected[frame], atol=1e-5)
    assert (found.weight[1] == 1).all()
    assert (found.weight[3] <= found.weight[2]).all() and (found.weight[2] <= 1).all()
    with pytest.raises(ShapeError, match="frame is 4"):
        paths(followed, 4, xy)


def test_places_between_pixels():
    rng = np.random.default_rng(4)
    _, (field, *_) = linear_fields(rng, 1)
    flow, weight = at_places(field, np.array([[7.5, 3.5], [0.2, 39.9], [-0.1, 5], [np.nan, 2]]))
    np.testing.assert_allclose(flow[0], field.flow[3, 7])
    assert weight[0] == field.weight[3, 7] and weight[2] == 0
    np.testing.assert_allclose(flow[1], field.flow[39, 0])
    # Half way between two pixels the weight is the mean of theirs.
    _, middle = at_places(field, np.array([[8.0, 3.5]]))
    assert middle[0] == pytest.approx((field.weight[3, 7] + field.weight[3, 8]) / 2)
    jump = field.flow.copy()
    jump[:, 20:] += 9
    edge = FlowField(flow=jump, weight=field.weight)
    near, _ = at_places(edge, np.array([[19.8, 10.5], [20.4, 10.5]]))
    np.testing.assert_allclose(near, [jump[10, 19], jump[10, 20]])
    tiny = FlowField(flow=np.ones((1, 1, 2), np.float32), weight=np.ones((1, 1), np.float32))
    assert at_places(tiny, np.array([[0.5, 0.5]]))[0].tolist() == [[1, 1]]


def test_a_hidden_point_stays_lost_on_its_path():
    pictures, covers = square_clip(17, step=2.0)
    followed = follow(pictures, np.array([0, 8, 16]))
    rows, columns = np.nonzero(core(covers[8] & ~covers[0], 9))
    found = paths(followed, 0, np.stack([columns, rows], -1) + 0.5)
    assert len(rows) > 20 and (found.weight[1] == 0).mean() > 0.8
    assert (found.weight[2][found.weight[1] == 0] == 0).all()
    rows, columns = np.nonzero(core(covers[0], 15))
    xy = np.stack([columns, rows], -1) + 0.5
    found = paths(followed, 0, xy)
    assert np.median(np.linalg.norm(found.xy[2] - xy - [32, 0], axis=1)) < 0.3
    assert np.median(found.weight[2]) > 0.5


def test_flow_between_used_frames_is_what_refinement_begins_with():
    """Of whole pictures in order it comes by way of those between; else there is none."""
    pictures, _ = affine_clip(turn(1, 1, (1, 0)), 9)
    array = np.repeat(pictures[..., None], 3, axis=-1)
    frames = load_frames(array, FrameSelection(max_frames=3))
    asked = []

    def between(source=array, frames=frames):
        asked.append(1)
        return load_between(source, frames)

    whole = prepare_images(frames, image_side=112, patch_size=8).pixel_map
    found = followed_flow(between, whole)
    assert len(found.neighbours) == 2 and len(asked) == 1 and found.far
    expected = follow(pictures, np.array([0, 4, 8]))
    for index, (there, back) in enumerate(found.neighbours):
        np.testing.assert_array_equal(there.flow, expected.forward[index].flow)
        np.testing.assert_array_equal(back.weight, expected.backward[index].weight)
    tall = load_frames(array[:, :, :80], FrameSelection(max_frames=3))
    cropped = prepare_images(tall, how="published", image_side=112, patch_size=8).pixel_map
    assert followed_flow(between, cropped) is None and len(asked) == 1
    alone = followed_flow(lambda: load_between(None, frames), whole)
    assert not alone.far and len(alone.neighbours) == 2
    together = load_frames(array, FrameSelection(max_frames=3), times_s=[0, 0, 1])
    assert followed_flow(lambda: load_between(array, together), whole) is None
