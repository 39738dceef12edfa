"""HTML in headless Chromium: what a page shows, and that it asks no other machine for anything."""

import numpy as np
import pytest
from PIL import Image

from browser import canvas, change, chromium, drawn, opened, wait_until
from dynapoint.exports.catalog import export
from exported_scenes import coloured_images, gray_images, scene

pytestmark = pytest.mark.browser
FRAMES = 4


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """Pages of a coloured and of a gray scene, as addresses."""
    folder = tmp_path_factory.mktemp("pages")
    return {
        # Frames that were fused have one colour for a place of the wall if cameras do not roll.
        name: export(
            scene(shape, frames=FRAMES, images=images, roll_step_rad=0.0), "html", folder / name
        ).as_uri()
        for name, shape, images in (
            ("coloured", "landscape", coloured_images),
            ("portrait", "portrait", coloured_images),
            ("gray", "landscape", gray_images),
        )
    }


@pytest.fixture
def show(browser, addresses):
    """Open pages with everything loaded; at the end, none may have complained or asked for more."""
    entered = []

    def open_page(name, **window):
        context = opened(browser, addresses[name], **({"width": 800, "height": 480} | window))
        watched = context.__enter__()
        entered.append((context, watched, addresses[name]))
        watched.page.evaluate("window.dynapoint.loaded")
        return watched

    yield open_page
    for context, watched, address in entered:
        error = watched.page.evaluate("canvas.getContext('webgl2').getError()")
        context.__exit__(None, None, None)
        assert watched.complaints == [] and watched.requests == [address] and error == 0


def test_a_page_opens_with_a_picture_and_controls(show):
    page = show("coloured")
    assert 0.1 < drawn(canvas(page)).mean() < 0.95
    assert page.page.locator("h1").inner_text() != ""
    for control in ("#play", "#time", "#screenshot", "#reset", "#least", "#size", "#trail"):
        assert page.page.locator(control).is_visible()
    page.page.locator("summary").click()
    assert "16 bits" in page.page.locator("#about").inner_text()


def test_the_slider_changes_the_frame(show):
    page = show("coloured")
    before = canvas(page)
    page.page.locator("#time").fill("2")
    wait_until(page, "document.getElementById('time-value').innerText.includes('3 / 4')")
    after = canvas(page)
    assert (np.abs(after - before).max(axis=-1) > 15).mean() > 0.02
    # The frame's own blue (40 and 20 more for each frame) is what its points show.
    assert np.median(after[drawn(after)][:, 2]) == pytest.approx(80, abs=3)


def test_space_plays_through_all_times_and_stops(show):
    page = show("coloured")
    seen = page.page.evaluate(
        """() => new Promise((done) => {
          const times = new Set();
          window.dispatchEvent(new Event("focus"));
          document.dispatchEvent(new KeyboardEvent("keydown", { key: " ", bubbles: true }));
          const look = setInterval(() => {
            times.add(dynapoint.state.time);
            if (times.size === 4) { clearInterval(look); done([...times].sort()); }
          }, 5);
        })"""
    )
    assert seen == [0, 1, 2, 3]
    page.page.keyboard.press("Space")
    assert page.page.evaluate("dynapoint.state.playing") is False
    page.page.evaluate("dynapoint.setTime(1)")
    page.page.keyboard.press("ArrowRight")
    assert page.page.evaluate("dynapoint.state.time") == 2


@pytest.mark.parametrize("cloud", ["frame", "fused"])
@pytest.mark.parametrize("surfaces", [True, False])
def test_middle_gray_is_middle_gray(show, cloud, surfaces):
    page = show("gray")
    change(page, cloud=cloud, surfaces=surfaces, cameras="off")
    picture = canvas(page)
    shown = drawn(picture)
    assert shown.mean() > 0.1
    # Within, where no edge is smoothed into the background.
    within = shown.copy()
    for axis in (0, 1):
        for step in (-3, 3):
            within &= np.roll(shown, step, axis)
    # But for edges of the box, which are smoothed into gaps between it and the wall.
    assert (picture[within] == 128).all(axis=-1).mean() > 0.97


def test_freeze_time_shows_more_than_one_frame_saw(show):
    page = show("coloured")
    change(page, cameras="off", surfaces=False)
    one = canvas(page)
    page.page.get_by_role("button", name="Freeze time").click()
    all_of_them = canvas(page)
    assert drawn(all_of_them).sum() > 1.03 * drawn(one).sum()
    # What moves is at its place of the time: the box goes on, the wall stays.
    page.page.evaluate("dynapoint.setTime(3)")
    later = canvas(page)
    moved = np.abs(later - all_of_them).max(axis=-1) > 15
    assert 0.005 < moved.mean() < 0.3


@pytest.mark.parametrize("cloud", ["frame", "fused"])
def test_motion_tint_marks_what_moves(show, cloud):
    page = show("gray")
    change(page, cloud=cloud, cameras="off", follow=True, tint=True)
    picture = canvas(page)
    red = picture[..., 0] - picture[..., 2]
    shown = drawn(picture)
    # The box's share of the picture, and nearly all else without colour.
    assert 0.08 < (red[shown] > 60).mean() < 0.25
    assert (np.abs(red[shown]) < 8).mean() > 0.7


@pytest.mark.parametrize("name", ["coloured", "portrait"])
@pytest.mark.parametrize("cloud", ["frame", "fused"])
def test_seen_through_the_camera_the_scene_is_its_picture(show, name, cloud):
    page = show(name)
    change(page, cloud=cloud, follow=True, surfaces=cloud == "frame")
    picture = canvas(page)
    height, width = picture.shape[:2]
    # Half the picture's sides at a distance of 1, which is fitted into the window about its middle.
    wide, high = page.page.evaluate("manifest.cameras[0].corners.slice(4, 6)")
    scale = min(height / 2 / high, width / 2 / wide)
    for x, y in ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9), (0.75, 0.5)):
        column = round(width / 2 + (x - 0.5) * 2 * wide * scale)
        row = round(height / 2 + (y - 0.5) * 2 * high * scale)
        red, green = 30 + 190 * x, 220 - 190 * y
        found = picture[row - 2 : row + 3, column - 2 : column + 3].mean(axis=(0, 1))
        # Red tells columns of each frame; those of frames farther right see the wall up to 14 less.
        aside = 7 if cloud == "fused" else 0
        assert found[0] == pytest.approx(red - aside, abs=9)
        assert found[1] == pytest.approx(green, abs=9)


def test_tracks_cameras_and_the_background_are_drawn(show):
    page = show("gray")
    change(page, cameras="off")
    page.page.evaluate("dynapoint.setTime(3)")
    bare = canvas(page)
    change(page, tracks="moving")
    moving = (np.abs(canvas(page) - bare).max(axis=-1) > 30).mean()
    change(page, tracks="all")
    every = (np.abs(canvas(page) - bare).max(axis=-1) > 30).mean()
    assert 0.002 < moving < every
    change(page, tracks="off", cameras="current")
    current = (np.abs(canvas(page) - bare).max(axis=-1) > 30).mean()
    change(page, cameras="all")
    cameras = (np.abs(canvas(page) - bare).max(axis=-1) > 30).mean()
    assert 0.001 < current < cameras
    change(page, light=True)
    assert (canvas(page)[2, 2] == [246, 246, 248]).all()


def test_the_confidence_slider_hides_points(show):
    page = show("coloured")
    change(page, cameras="off")
    page.page.locator("#least").fill("0")
    every = drawn(canvas(page)).sum()
    page.page.locator("#least").fill("90")
    assert drawn(canvas(page)).sum() < 0.5 * every


def test_dragging_turns_and_the_button_resets(show):
    page = show("coloured")
    before = canvas(page)
    page.page.mouse.move(400, 300)
    page.page.mouse.down()
    page.page.mouse.move(520, 330, steps=3)
    page.page.mouse.up()
    page.page.mouse.wheel(0, 300)
    wait_until(page, "dynapoint.view.distance > 0 && dynapoint.view.yaw > 0.5")
    assert (np.abs(canvas(page) - before).max(axis=-1) > 15).mean() > 0.05
    page.page.locator("#reset").click()
    assert (canvas(page) == before).all()


def test_a_screenshot_is_what_is_shown(show, tmp_path):
    page = show("gray")
    change(page, follow=True)
    with page.page.expect_download() as download:
        page.page.locator("#screenshot").click()
    assert download.value.suggested_filename.endswith("-0000.png")
    download.value.save_as(tmp_path / "shot.png")
    saved = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB"))
    assert saved.shape[0] > 300
    assert (saved[saved.shape[0] // 2, saved.shape[1] // 2] == 128).all()
    assert (saved == canvas(page)).all()


def test_a_phone_held_upright(show):
    page = show("portrait", width=390, height=844, phone=True)
    assert drawn(canvas(page)).mean() > 0.1
    assert not page.page.locator("#panel").is_visible()
    page.page.locator("#panel-toggle").click()
    panel, bar = (page.page.locator(name).bounding_box() for name in ("#panel", "footer"))
    for box in (panel, bar):
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["y"] > 0
        assert box["y"] + box["height"] <= 844
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_browser_without_webgl_is_told_so(browser, addresses):
    with opened(browser, "about:blank") as watched:
        watched.page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null;")
        watched.page.goto(addresses["gray"])
        wait_until(watched, "!document.getElementById('message').hidden")
        assert "WebGL 2" in watched.page.locator("#message").inner_text()
