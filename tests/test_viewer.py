"""What the viewer shows and sends, without a browser."""

import socket
from types import SimpleNamespace

import numpy as np
import pytest

import dynapoint
from dynapoint.cli import main
from dynapoint.errors import ConfigError, InputError, OutputError
from dynapoint.results import store
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.viewer import clouds
from dynapoint.viewer.cameras import frustum_lines, picture_plane, vertical_view_rad
from dynapoint.viewer.motion import tinted
from dynapoint.viewer.selecting import picture_rectangle
from dynapoint.viewer.space import ViewSpace, packed
from dynapoint.viewer.stage import Choices, Stage, changes, framed
from dynapoint.viewer.tracks import WHOLE
from exported_scenes import scene
from fake_model import VELOCITY, FakeModel, picture_array

FRAMES = 4
STEP_BYTES = 2e6


@pytest.fixture(scope="module")
def rec() -> Reconstruction:
    return scene(frames=FRAMES)


@pytest.fixture
def stage(rec) -> Stage:
    return Stage(rec)


def done(stage: Stage, **chosen) -> Choices:
    """Choices for which everything has been worked out."""
    choices = Choices(**chosen)
    for work in stage.missing(choices):
        stage.do(work, lambda share: None)
    assert not stage.missing(choices)
    return choices


def shown(points: np.ndarray) -> np.ndarray:
    """Which points do not lie aside."""
    return np.abs(points.astype(np.float32)).max(axis=-1) < 1e4


def test_a_frames_cloud_is_its_own_points_in_units_of_median_depth(stage, rec):
    parts = stage.step(Choices(time=2))
    unit = np.median(rec.own_time_points[0, ..., 2])
    expected = rec.own_time_points[2].reshape(-1, 3)[stage.own.pixel] / unit
    assert stage.space.unit == pytest.approx(unit)
    # Half floats round to 11 bits.
    np.testing.assert_allclose(parts["cloud.points"], expected, rtol=2**-11, atol=1e-4)
    assert parts["cloud.points"].dtype == np.float16
    picture = rec.images[2].reshape(-1, 3)[stage.own.pixel]
    if rec.map_hw == rec.images.shape[1:3]:
        np.testing.assert_array_equal(parts["cloud.colors"], picture)


def test_unusable_and_hidden_points_lie_aside_and_clouds_keep_their_length(rec):
    broken = dynapoint.reconstruct(picture_array(3, 48, 64), FakeModel(broken=True))
    stage = Stage(broken)
    parts = stage.step(Choices())
    usable = (broken.own_time_confidence[0] > 0).reshape(-1)[stage.own.pixel]
    np.testing.assert_array_equal(shown(parts["cloud.points"]), usable)
    assert np.isfinite(parts["cloud.points"]).all()
    half = stage.step(Choices(confidence_percentile=95.0))
    assert len(half["cloud.points"]) == len(parts["cloud.points"])
    # The box is nearer and so more confident than the wall.
    left = half["cloud.points"][shown(half["cloud.points"])]
    assert 0 < len(left) < 0.3 * usable.sum()


@pytest.mark.parametrize(("background", "value"), [("black", 5), ("white", 250)])
def test_a_background_is_hidden(background, value):
    images = np.full((2, 48, 64, 3), value, dtype=np.uint8)
    images[:, :, :32] = 120
    stage = Stage(dynapoint.reconstruct(images, FakeModel()))
    everything = shown(stage.step(Choices())["cloud.points"])
    some = shown(stage.step(Choices(background=background))["cloud.points"])
    plain = stage.own.colors(0).max(axis=1) == 120
    assert everything.all()
    np.testing.assert_array_equal(some[plain], True)
    assert not some[stage.own.colors(0)[:, 0] == value].any()


def test_only_what_changes_is_sent(stage):
    choices = done(stage, tracks=True, frozen=True, only_moving=False)
    first = stage.step(choices)
    assert changes({}, first).keys() == first.keys()
    assert not changes(first, stage.step(choices))
    later = stage.step(done(stage, time=1, tracks=True, frozen=True, only_moving=False))
    sent = changes(first, later)
    # Frozen points and tracks keep their colours.
    assert sent.keys() == {
        *("cloud.points", "frustum.points", "picture.image", "heads.points", "trails.points"),
    }


def test_a_step_of_a_large_scene_sends_less_than_two_megabytes(rec, monkeypatch):
    """100 frames of 518 x 294 without the network: sizes do not depend on what maps hold."""
    images = np.random.default_rng(0).integers(0, 255, (4, 294, 518, 3), dtype=np.uint8)
    model = FakeModel(518)
    model.patch_size = 14
    large = dynapoint.reconstruct(images, model)
    assert large.map_hw == (294, 518)
    stage = Stage(large)
    chosen = dict(tracks=True, only_moving=False, tint=True, trail=30)
    before = stage.step(done(stage, time=0, **chosen))
    after = stage.step(done(stage, time=1, **chosen))
    assert {"cloud.points", "detail.colors", "trails.points"} <= changes(before, after).keys()
    assert sum(array.nbytes for array in changes(before, after).values()) < STEP_BYTES
    # While time moves, much less.
    moving = stage.step(Choices(time=1, tracks=True, only_moving=False, detail=False, trail=10))
    cloud = sum(array.nbytes for name, array in moving.items() if name.startswith("cloud."))
    assert "detail.points" not in moving
    assert cloud == clouds.COARSE_POINTS * 9


def test_freezing_time_moves_what_moves_and_keeps_the_rest(stage):
    choices = done(stage, frozen=True, tint=True)
    first, last = stage.step(choices), stage.step(done(stage, time=FRAMES - 1, frozen=True))
    before, after = (p["cloud.points"].astype(np.float64) for p in (first, last))
    moved = (after - before) * stage.space.unit
    expected = VELOCITY.numpy() * (FRAMES - 1)
    boxes = np.linalg.norm(moved, axis=1) > 0.5 * np.linalg.norm(expected)
    assert 0.02 < boxes.mean() < 0.5
    np.testing.assert_allclose(moved[boxes], expected[None].repeat(boxes.sum(), 0), atol=0.01)
    np.testing.assert_allclose(moved[~boxes], 0, atol=0.01)
    # Tint: what moves, and nothing else.
    plain = stage.step(done(stage, frozen=True))["cloud.colors"]
    tinted_points = (first["cloud.colors"] != plain).any(axis=1)
    np.testing.assert_array_equal(tinted_points, boxes)


def test_what_was_worked_out_is_read_from_the_scene_again(rec, tmp_path):
    store.save(rec, tmp_path / "s.4d")
    stored = dynapoint.open(tmp_path / "s.4d")
    held = dict(vars(rec))
    again = Reconstruction(
        **{**{k: held[k] for k in rec.__dataclass_fields__}, "folder": stored.folder}
    )
    first = Stage(again)
    done(first, frozen=True, tint=True)
    done(first, tint=True)
    # The stored scene has no network: only the cache can answer.
    second = Stage(stored)
    done(second, frozen=True)
    done(second, tint=True)
    np.testing.assert_array_equal(first.frozen.paths, second.frozen.paths)
    np.testing.assert_array_equal(first.moving, second.moving)
    # A damaged cache, or one of another scene, is no answer; the scene stays whole.
    (stored.folder / "cache/view_frozen.npz").write_bytes(b"damaged")
    manifest = stored.folder / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    for chosen in ({"frozen": True}, {"tint": True}):
        with pytest.raises(dynapoint.errors.SceneError, match="holds no network"):
            done(Stage(stored), **chosen)


@pytest.mark.parametrize("source", [0, 2])
def test_tracks_start_in_the_region_and_draw_where_they_were(stage, rec, source):
    region = (0.25, 0.75, 0.25, 0.75)
    choices = done(stage, time=3, tracks=True, source=source, region=region, trail=2)
    trails = stage.trails[source]
    parts = stage.step(choices)
    chosen = stage._chosen(source, region, True)
    assert len(chosen) and ((trails.place[chosen] >= 0.25) & (trails.place[chosen] <= 0.75)).all()
    assert (trails.moving[chosen] > 0.5).all()
    # In closed form: the box moves with one velocity.
    steps = parts["trails.points"].reshape(len(chosen), 2, 2, 3) * stage.space.unit
    np.testing.assert_allclose(
        steps[:, :, 1] - steps[:, :, 0], np.broadcast_to(VELOCITY, steps[:, :, 0].shape), atol=1e-5
    )
    np.testing.assert_allclose(steps[:, -1, 1], parts["heads.points"] * stage.space.unit, atol=0.01)
    assert parts["trails.colors"].shape == parts["trails.points"].shape
    # The trail of the first time has no length, yet as many segments.
    at_start = stage.step(done(stage, time=0, tracks=True, source=source, region=region, trail=2))
    assert at_start["trails.points"].shape == parts["trails.points"].shape
    np.testing.assert_array_equal(at_start["trails.points"][:, 0], at_start["trails.points"][:, 1])


def test_tracks_of_a_region_without_motion_are_all_of_it(stage):
    corner = (0.0, 0.1, 0.0, 0.1)
    parts = stage.step(done(stage, tracks=True, region=corner))
    assert len(parts["heads.points"])
    empty = stage.step(done(stage, tracks=True, region=(0.5, 0.5001, 0.5, 0.5001)))
    assert empty["trails.points"].shape == (0, 2, 3)


def test_frusta_end_where_pixels_look(rec):
    space = ViewSpace.of(rec)
    lines = frustum_lines(rec, space, 1, depth=0.5)
    corners = lines[:4, 0].astype(np.float64) * space.unit
    camera = (corners - rec.world_from_camera[1, :3, 3]) @ rec.world_from_camera[1, :3, :3]
    pixels = camera @ rec.intrinsics[1].T
    height, width = rec.images.shape[1:3]
    np.testing.assert_allclose(
        pixels[:, :2] / pixels[:, 2:],
        [[0, 0], [width, 0], [width, height], [0, height]],
        atol=1e-3,
    )
    plane = picture_plane(rec, space, 1, depth=0.5)
    np.testing.assert_allclose(plane.middle, lines[:4, 0].mean(axis=0), atol=1e-5)
    assert plane.width == pytest.approx(np.linalg.norm(lines[0, 1] - lines[0, 0]), rel=1e-4)
    # A wide window is as high as the picture, a narrow one as wide.
    wide, narrow = vertical_view_rad(rec, 1, 10.0), vertical_view_rad(rec, 1, 0.1)
    focal = rec.intrinsics[1, 1, 1]
    assert wide == pytest.approx(2 * np.arctan(height / 2 / focal))
    across = width / 2 / rec.intrinsics[1, 0, 0]
    assert narrow == pytest.approx(2 * np.arctan(across / 0.1))


def test_a_dragged_rectangle_is_a_region_of_the_picture(stage, rec):
    pose = stage.space.pose(rec.world_from_camera[2])
    height, width = rec.images.shape[1:3]
    camera = SimpleNamespace(
        wxyz=(1.0, 0.0, 0.0, 0.0),
        position=pose[:3, 3],
        fov=vertical_view_rad(rec, 2, width / height),
        aspect=width / height,
    )
    region = picture_rectangle(stage, 2, camera, (0.25, 0.5), (0.75, 1.0))
    np.testing.assert_allclose(region, (0.25, 0.75, 0.5, 1.0), atol=0.05)
    behind = SimpleNamespace(**{**vars(camera), "wxyz": (0.0, 0.0, 1.0, 0.0)})
    assert picture_rectangle(stage, 2, behind, (0.0, 0.0), (1.0, 1.0)) is None


def test_packing_keeps_eleven_bits_and_refuses_what_does_not_fit():
    points = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32) * 3
    np.testing.assert_allclose(packed(points, np.ones(1000, bool)), points, rtol=2**-11, atol=1e-6)
    odd = np.array([[1e9, 0, 0], [np.nan, 0, 0], [np.inf, 0, 0], [1, 2, 3]], dtype=np.float32)
    assert shown(packed(odd, np.ones(4, bool))).tolist() == [False, False, False, True]


def test_tint_leaves_still_points_alone():
    colors = np.random.default_rng(0).integers(0, 255, (50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(tinted(colors, np.zeros(50)), colors)
    assert (tinted(colors, np.ones(50)) != colors).any(axis=1).all()


def test_a_region_is_drawn_on_the_picture_and_all_of_it_is_not():
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    assert framed(picture, WHOLE) is picture
    drawn = framed(picture, (0.5, 1.0, 0.0, 1.0))
    assert drawn[20, 30].any() and not drawn[20, 10].any() and not picture.any()


@pytest.mark.parametrize("frames", [1, 2])
def test_short_scenes_can_be_shown(frames):
    stage = Stage(scene(frames=frames))
    parts = stage.step(done(stage, frozen=True, tint=True, tracks=True, only_moving=False))
    assert shown(parts["cloud.points"]).any()
    assert shown(stage.step(done(stage, tint=True))["cloud.points"]).any()


def test_a_scene_without_any_point_is_an_empty_stage(rec):
    fields = {k: getattr(rec, k) for k in rec.__dataclass_fields__}
    fields["own_time_confidence"] = np.zeros_like(rec.own_time_confidence)
    stage = Stage(Reconstruction(**fields))
    parts = stage.step(done(stage, frozen=True, tracks=True))
    assert len(parts["cloud.points"]) == 0
    assert not shown(stage.step(Choices())["cloud.points"]).any()
    assert stage.spacing(Choices()) > 0


def test_a_taken_port_is_refused(rec, tmp_path):
    from dynapoint.viewer.server import check_port

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} .* --port"):
            check_port("127.0.0.1", port)
    for bad in (-1, 70000):
        with pytest.raises(ConfigError, match="65535"):
            check_port("127.0.0.1", bad)


def test_view_says_what_is_wrong(rec, tmp_path, capsys, monkeypatch):
    assert main(["view", str(tmp_path / "none.4d")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert main(["view", "a", "b"]) == 2
    store.save(rec, tmp_path / "s.4d")
    monkeypatch.setitem(__import__("sys").modules, "viser", None)
    assert main(["view", str(tmp_path / "s.4d")]) == 1
    assert "dynapoint[view]" in capsys.readouterr().err


def test_zipped_images_are_unpacked_in_natural_order_and_nowhere_else(tmp_path):
    import zipfile

    from PIL import Image

    from dynapoint.viewer.upload import unpack_images

    for index in (2, 10, 1):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / f"{index}.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for index in (10, 2, 1):
            archive.write(tmp_path / f"{index}.png", f"../../sub/{index}.png")
        archive.writestr("notes.txt", "no image")
    files = unpack_images(tmp_path / "a.zip", tmp_path / "out")
    assert [Image.open(file).getpixel((0, 0))[0] for file in files] == [1, 2, 10]
    assert all(file.parent == tmp_path / "out" for file in files)
    (tmp_path / "bad.zip").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match="ZIP"):
        unpack_images(tmp_path / "bad.zip", tmp_path / "out2")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("notes.txt", "no image")
    with pytest.raises(InputError, match="no images"):
        unpack_images(tmp_path / "none.zip", tmp_path / "out3")


def test_an_upload_becomes_a_scene(tmp_path):
    from PIL import Image

    from dynapoint.viewer.upload import make_scene

    files = []
    for index, picture in enumerate(picture_array(2, 48, 64)):
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(picture).save(files[-1])
    said = []
    make_scene(
        files,
        tmp_path / "s.4d",
        frames=2,
        device="cpu",
        say=lambda share, words: said.append(share),
    )
    assert dynapoint.open(tmp_path / "s.4d").frame_count == 2
    assert said == sorted(said) and said[-1] < 1


def test_the_viewers_library_is_an_extra_that_is_named():
    from dynapoint.exports.outputs import require

    with pytest.raises(OutputError, match=r"dynapoint\[view\]"):
        require("viser_is_not_here", extra="view", format_name="the viewer")


def test_names_from_elsewhere_are_shown_and_not_run():
    from dynapoint.viewer.words import plain

    shown = plain('<iframe srcdoc="x">a_b & [c](d)')
    assert "<" not in shown and "&lt;iframe" in shown and "&amp;" in shown
    assert r"a\_b" in shown and r"\[c\]\(d\)" in shown
