"""The viewer's pages in Chromium: they come up, follow their controls, and take uploads."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

import dynapoint
from browser import canvas, change, chromium, drawn, opened, wait_until
from dynapoint.viewer.serving import Server
from dynapoint.viewer.site import Site
from dynapoint.windows.spans import Segment
from exported_scenes import scene
from fake_model import picture_array
from long_scenes import long_scene

pytestmark = pytest.mark.browser
FRAMES = 5


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def show(browser):
    """Serve a scene, or without one the page for uploads, and open it; nothing may complain."""
    closing = []

    def open_page(rec=None, *, complains=False):
        site = Site(rec, device="cpu")
        server = Server(site.answer, "127.0.0.1", 0)
        context = opened(browser, server.address, width=1000, height=700)
        watched = context.__enter__()
        closing.append((context, server, site, watched, complains))
        if rec is not None:
            watched.page.evaluate("window.dynapoint.loaded")
        return watched

    yield open_page
    for context, server, site, watched, complains in closing:
        context.__exit__(None, None, None)
        server.close()
        site.close()
        assert complains or watched.complaints == []
        assert all(address.startswith((server.address, "blob:")) for address in watched.requests)


def shown_time(watched, time: int) -> None:
    """Wait until a frame is drawn."""
    wait_until(watched, f"dynapoint.shown() === {time}")
    change(watched)


def test_the_page_shows_points_and_steps_through_time(show):
    page = show(scene(frames=FRAMES))
    assert 0.1 < drawn(canvas(page)).mean() < 0.95
    assert "pixels of this frame" in page.page.locator("#count").inner_text()
    before = canvas(page)
    page.page.locator("#time").focus()
    for _ in range(2):
        page.page.keyboard.press("ArrowRight")
    shown_time(page, 2)
    after = canvas(page)
    assert (np.abs(after - before).max(axis=-1) > 15).mean() > 0.02
    # The frame's own blue, 20 more for each frame.
    assert np.median(after[drawn(after)][:, 2]) == pytest.approx(80, abs=3)
    page.page.locator("#play").click()
    wait_until(page, "dynapoint.shown() === 4")
    page.page.locator("#play").click()
    assert page.page.evaluate("dynapoint.state.playing") is False
    page.page.locator("#reset").click()


def test_dragging_the_slider_shows_where_it_stops(show):
    page = show(scene(frames=FRAMES))
    page.page.evaluate("for (const time of [1, 3, 0, 4, 2]) dynapoint.setTime(time)")
    shown_time(page, 2)
    picture = canvas(page)
    assert np.median(picture[drawn(picture)][:, 2]) == pytest.approx(80, abs=3)


def test_freezing_time_tint_and_backgrounds(show):
    page = show(scene(frames=FRAMES))
    change(page, cameras="off")
    one = canvas(page)
    page.page.get_by_role("button", name="Freeze time").click()
    wait_until(page, "document.getElementById('count').innerText.includes('up to 16')")
    change(page)
    frozen = canvas(page)
    assert drawn(frozen).sum() > 1.02 * drawn(one).sum()
    assert not page.page.locator("#working").is_visible()
    page.page.evaluate("dynapoint.setTime(4)")
    shown_time(page, 4)
    moved = np.abs(canvas(page) - frozen).max(axis=-1) > 15
    assert 0.003 < moved.mean() < 0.3
    page.page.evaluate("dynapoint.change('cloud', 'frame')")
    page.page.evaluate("dynapoint.change('tint', true)")
    tinted = canvas(page)
    red = (tinted[..., 0] - tinted[..., 2])[drawn(tinted)]
    assert 0.05 < (red > 60).mean() < 0.3 and (np.abs(red) < 8).mean() > 0.6


def test_a_white_background_is_hidden(show):
    def half_white(frames, height, width):
        images = np.full((frames, height, width, 3), 250, dtype=np.uint8)
        images[:, :, : width // 2] = (90, 120, 90)
        return images

    page = show(scene(frames=2, images=half_white))
    change(page, cameras="off", least=0)
    every = canvas(page)
    page.page.get_by_role("button", name="No white").click()
    change(page)
    rest = canvas(page)
    assert (every.min(axis=-1) > 240).mean() > 0.1 and not (rest.min(axis=-1) > 240).any()
    green = (every[..., 1] - every[..., 0]) > 20
    np.testing.assert_array_equal(green, (rest[..., 1] - rest[..., 0]) > 20)


def test_tracks_of_any_frame_and_of_a_rectangle_of_it(show):
    page = show(scene(frames=FRAMES))
    change(page, cameras="off")
    page.page.evaluate("dynapoint.setTime(4)")
    shown_time(page, 4)
    bare = canvas(page)

    def lines():
        change(page)
        return (np.abs(canvas(page) - bare).max(axis=-1) > 30).mean()

    page.page.evaluate("dynapoint.change('tracks', 'all')")
    every = lines()
    assert every > 0.01
    page.page.locator("#from").fill("2")
    wait_until(page, "document.getElementById('tracks-of').innerText === 'of frame 3'")
    picture = page.page.locator("#source")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    at = [(box["x"] + s * box["width"], box["y"] + s * box["height"]) for s in (0.05, 0.25)]
    page.page.mouse.move(*at[0])
    page.page.mouse.down()
    page.page.mouse.move(*at[1], steps=3)
    page.page.mouse.up()
    page.page.wait_for_timeout(1500)
    assert page.page.evaluate("dynapoint.state.box") == pytest.approx(
        [0.05, 0.05, 0.25, 0.25], abs=0.02
    )
    part = lines()
    assert 0 < part < 0.5 * every
    # A click takes all of it again.
    page.page.mouse.click(*at[0])
    page.page.wait_for_timeout(1500)
    assert lines() > 1.5 * part


def test_a_screenshot_and_downloads_arrive(show, tmp_path):
    scene(frames=3).save(tmp_path / "walk.4d")
    # Without a network: what needs it is refused in words.
    page = show(dynapoint.open(tmp_path / "walk.4d"), complains=True)
    with page.page.expect_download() as download:
        page.page.locator("#screenshot").click()
    download.value.save_as(tmp_path / "shot.png")
    assert Image.open(tmp_path / "shot.png").size[0] > 300
    with page.page.expect_download() as download:
        page.page.locator("#download").click()
    download.value.save_as(tmp_path / "scene.zip")
    assert any(
        name.endswith("manifest.json")
        for name in zipfile.ZipFile(tmp_path / "scene.zip").namelist()
    )
    page.page.locator("#format").select_option("html")
    assert "offline" in page.page.locator("#format-note").inner_text()
    page.page.locator("#download").click()
    page.page.wait_for_selector("#message:not([hidden])")
    assert "holds no network" in page.page.locator("#message").inner_text()
    page.page.locator("#message").click()
    assert not page.page.locator("#message").is_visible()
    page.page.locator("#format").select_option("tum")
    with page.page.expect_download() as download:
        page.page.locator("#download").click()
    download.value.save_as(tmp_path / "poses.txt")
    assert len((tmp_path / "poses.txt").read_text().strip().splitlines()) >= 3


def test_an_upload_is_reconstructed_shown_and_downloaded(show, tmp_path):
    page = show(complains=True)
    assert page.page.locator("#go").is_disabled()
    page.page.locator("#files").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no video"}
    )
    wait_until(page, "!document.getElementById('go').disabled")
    page.page.locator("#go").click()
    page.page.wait_for_selector("#message:not([hidden])", timeout=60_000)
    assert "notes" in page.page.locator("#message").inner_text()
    files = []
    for index, picture in enumerate(picture_array(3, 48, 64)):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        files.append({"name": f"f{index}.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.page.locator("#files").set_input_files(files)
    wait_until(page, "document.getElementById('listing').innerText.includes('3 images')")
    page.page.locator("#go").click()
    page.page.wait_for_url("**/scene/1/", timeout=120_000)
    page.page.evaluate("window.dynapoint.loaded")
    assert drawn(canvas(page)).mean() > 0.03
    page.page.locator("#format").select_option("html")
    with page.page.expect_download(timeout=120_000) as download:
        page.page.locator("#download").click()
    download.value.save_as(tmp_path / "scene.html")
    assert "class Source" in (tmp_path / "scene.html").read_text()
    page.page.get_by_text("Another video or images").click()
    page.page.wait_for_selector("#drop")
    assert page.page.locator("#go").is_disabled()


def test_a_reloaded_window_goes_on_waiting_and_several_videos_are_refused(show):
    page = show(complains=True)
    videos = [
        {"name": name, "mimeType": "video/mp4", "buffer": b"no video"}
        for name in ("a.mp4", "b.mp4")
    ]
    page.page.locator("#files").set_input_files(videos)
    page.page.wait_for_selector("#message:not([hidden])")
    assert "choose one video" in page.page.locator("#message").inner_text()
    assert page.page.locator("#go").is_disabled()
    file = io.BytesIO()
    Image.fromarray(picture_array(1, 48, 64)[0]).save(file, "PNG")
    picture = {"name": "f.png", "mimeType": "image/png", "buffer": file.getvalue()}
    page.page.locator("#files").set_input_files([picture])
    wait_until(page, "!document.getElementById('go').disabled")
    # The first answer is lost, as by reloading while it is waited for.
    page.page.route("**/reconstruct*", lambda route: None)
    page.page.locator("#go").click()
    wait_until(page, "sessionStorage.length === 1")
    page.page.unroute("**/reconstruct*")
    page.page.reload()
    page.page.wait_for_url("**/scene/1/", timeout=120_000)
    page.page.go_back()
    page.page.wait_for_selector("#drop")
    page.page.evaluate("sessionStorage.setItem('dynapoint-pending', '/uploads/0/reconstruct')")
    page.page.reload()
    page.page.wait_for_selector("#message:not([hidden])")
    assert "choose it again" in page.page.locator("#message").inner_text()
    assert page.page.evaluate("sessionStorage.length") == 0


def test_until_all_frames_are_fused_each_frame_is_shown(show):
    page = show(scene(frames=FRAMES))
    before = canvas(page)
    asked = []

    def hold_back(route):
        asked.append(route)

    page.page.route("**/fused", hold_back)
    for _ in range(2):
        page.page.evaluate("void dynapoint.change('cloud', 'fused')")
    page.page.evaluate("dynapoint.setTime(3)")
    shown_time(page, 3)
    during = canvas(page)
    assert drawn(during).sum() > 0.8 * drawn(before).sum()
    assert "of this frame" in page.page.locator("#count").inner_text()
    assert page.page.locator("#surfaces").is_disabled()
    # Asked for twice, sent once.
    (route,) = asked
    route.continue_()
    wait_until(page, "document.getElementById('count').innerText.includes('up to 16')")
    change(page, cloud="frame")
    assert "of this frame" in page.page.locator("#count").inner_text()


def test_what_cannot_be_had_springs_back_and_may_be_asked_for_again(show, tmp_path):
    scene(frames=FRAMES).save(tmp_path / "walk.4d")
    page = show(dynapoint.open(tmp_path / "walk.4d"), complains=True)
    page.page.evaluate("dynapoint.state.from = 2")
    for _ in range(2):
        for name, value, back in (
            *(("tracks", "all", "off"), ("cloud", "fused", "frame")),
            ("tint", True, False),
        ):
            page.page.evaluate("([name, value]) => dynapoint.change(name, value)", [name, value])
            assert page.page.evaluate(f"dynapoint.state.{name}") == back
            assert "holds no network" in page.page.locator("#message").inner_text()
            page.page.locator("#message").click()
    page.page.evaluate("dynapoint.setTime(4)")
    shown_time(page, 4)


def test_a_damaged_frame_is_named_when_it_comes_and_passed_over(show, tmp_path):
    scene(frames=FRAMES).save(tmp_path / "walk.4d")
    (tmp_path / "walk.4d/frames/000002.jpg").write_bytes(b"damaged")
    page = show(dynapoint.open(tmp_path / "walk.4d"), complains=True)
    assert not page.page.locator("#message").is_visible()
    page.page.locator("#play").click()
    page.page.wait_for_selector("#message:not([hidden])")
    assert "000002.jpg" in page.page.locator("#message").inner_text()
    assert page.page.evaluate("[dynapoint.state.playing, dynapoint.shown()]") == [False, 1]
    page.page.evaluate("dynapoint.setTime(3)")
    shown_time(page, 3)


def test_a_long_clip_is_not_loaded_again_and_again(show):
    frames = 215
    page = show(
        scene(
            frames=frames,
            images=lambda count, height, width: np.full(
                (count, height, width, 3), 128, dtype=np.uint8
            ),
        )
    )
    for time in (100, frames - 3):
        page.page.evaluate(f"dynapoint.setTime({time})")
        shown_time(page, time)
    for time in range(0, frames, 9):
        page.page.evaluate(f"dynapoint.setTime({time})")
        shown_time(page, time)
        page.page.wait_for_timeout(100)
    page.page.evaluate(f"dynapoint.setTime({frames - 4})")
    shown_time(page, frames - 4)
    page.page.wait_for_timeout(1500)
    before = len(page.requests)
    page.page.wait_for_timeout(500)
    assert len(page.requests) == before
    assert page.page.evaluate("loaded.grids.size") <= 200
    assert page.page.evaluate(f"[{frames - 4}, 0, 8].every((time) => loaded.grids.has(time))")
    change(page, cameras="all")
    wait_until(page, "drawnCameras.every((time) => loaded.pictures.has(time))")


def test_a_long_scene_opens_goes_to_any_frame_and_has_a_page_for_each_world(show):
    parts = (Segment(start=0, stop=40), Segment(start=40, stop=440, begins_with="cut"))
    page = show(long_scene(440, parts))
    assert page.page.evaluate("[manifest.times.length, manifest.sourceFrames[0]]") == [400, 40]
    assert 0.05 < drawn(canvas(page)).mean() < 0.95
    for time in (399, 123):
        page.page.evaluate(f"dynapoint.setTime({time})")
        shown_time(page, time)
    # Tracks are there at the times about their frame, and nowhere else.
    change(page, cameras="off")
    page.page.evaluate("state.from = 123")
    bare = canvas(page)
    change(page, tracks="all")
    wait_until(page, "loaded.tracks.all?.first === 63")
    assert (canvas(page) != bare).any()
    assert "at frames 64 to 183" in page.page.locator("#tracks-when").inner_text()
    page.page.evaluate("dynapoint.setTime(300)")
    shown_time(page, 300)
    far = canvas(page)
    change(page, tracks="off")
    assert (canvas(page) == far).all()
    change(page, cloud="fused")
    wait_until(page, "loaded.fused !== null && loaded.paths.has(300)")
    assert "the nearest of 120 times" in page.page.locator("#count").inner_text()
    page.page.select_option("#segment", index=0)
    page.page.wait_for_url("**/scene/1-0/")
    wait_until(page, "window.dynapoint !== undefined && manifest.times.length === 40")
    page.page.evaluate("window.dynapoint.loaded")
    assert 0.05 < drawn(canvas(page)).mean() < 0.95


def test_a_viewer_that_has_ended_is_named(browser):
    site = Site(scene(frames=FRAMES))
    server = Server(site.answer, "127.0.0.1", 0)
    with opened(browser, server.address, width=800, height=500) as watched:
        watched.page.evaluate("window.dynapoint.loaded")
        server.close()
        watched.page.context.set_offline(True)
        watched.page.evaluate("dynapoint.change('tracks', 'all')")
        watched.page.wait_for_selector("#message:not([hidden])")
        assert "still running" in watched.page.locator("#message").inner_text()
    site.close()


def test_the_tint_keeps_the_colours_until_its_answer_is_there(show):
    page = show(scene(frames=FRAMES))
    waiting = []
    # Not the method itself, to which Playwright would give an attribute.
    page.page.route("**/motion", lambda route: waiting.append(route), times=1)  # noqa: PLW0108
    change(page, cameras="off", tracks="off")
    before = canvas(page)
    page.page.evaluate("void dynapoint.change('tint', true)")
    wait_until(page, "!loaded.motion && state.tint")
    page.page.wait_for_timeout(300)
    page.page.evaluate("dynapoint.draw()")
    np.testing.assert_array_equal(canvas(page), before)
    assert len(waiting) == 1
    waiting[0].continue_()
    wait_until(page, "loaded.motion && loaded.grids.get(shownTime)?.motion === true")
    page.page.evaluate("dynapoint.draw()")
    assert np.abs(canvas(page).astype(int) - before).max() > 30


def test_a_notice_goes_away_and_what_ends_the_page_stays(show):
    page = show(scene(frames=2), complains=True)
    hidden = "document.getElementById('message').hidden"
    page.page.evaluate(
        "(() => { const wait = setTimeout; "
        "window.setTimeout = (then, ms) => wait(then, ms / 40); })()"
    )
    page.page.evaluate("fail(new Error('no such frame'))")
    assert page.page.locator("#message").inner_text() == "no such frame"
    wait_until(page, hidden)
    page.page.evaluate("fail(new Error('no WebGL'), true)")
    page.page.wait_for_timeout(400)
    assert not page.page.evaluate(hidden)
