"""The viewer's page in Chromium: it comes up, shows points, and follows its controls."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from browser import chromium, opened
from dynapoint.viewer.page import ScenePage
from dynapoint.viewer.server import start_server
from dynapoint.viewer.stage import Stage
from exported_scenes import scene

pytestmark = pytest.mark.browser

# In software on a busy machine, a frame may take seconds.
WAIT_S = 60.0
# Left of the panel, below viser's notice that there is no graphics card.
CANVAS = (slice(160, 720), slice(0, 940))


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def shown():
    server = start_server(port=0)
    page = ScenePage(server, Stage(scene(frames=6)))
    yield page, f"http://127.0.0.1:{server.get_port()}"
    page.close()
    server.stop()


def until(condition, what: str):
    """The first true answer."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        answer = condition()
        if answer is not None and answer is not False:
            return answer
        time.sleep(0.3)
    raise AssertionError(f"not within {WAIT_S:.0f} s: {what}")


def canvas(watched) -> np.ndarray:
    return watched.picture()[CANVAS].astype(int)


def settled(watched, first=lambda picture: True) -> np.ndarray:
    """What is shown once it stays as it is."""
    before = canvas(watched)
    while True:
        watched.page.wait_for_timeout(1500)
        after = canvas(watched)
        if (np.abs(after - before).max(axis=-1) > 8).mean() < 1e-4 and first(after):
            return after
        before = after


def coloured(picture: np.ndarray) -> float:
    """The share of the canvas that is neither its backdrop nor grey."""
    return float((picture.max(axis=-1) - picture.min(axis=-1) > 30).mean())


def test_the_page_shows_points_and_follows_its_controls(browser, shown):
    page, address = shown
    with opened(browser, address) as watched:
        watched.page.wait_for_selector("canvas", timeout=1000 * WAIT_S)
        until(lambda: coloured(canvas(watched)) > 0.05, "a canvas with points")
        assert watched.page.get_by_text("Freeze time").is_visible()
        first = settled(watched)

        # A key on the time slider, as a person would press it.
        watched.page.get_by_role("slider").first.focus()
        for _ in range(5):
            watched.page.keyboard.press("ArrowRight")
        until(lambda: page._controls.time.value == 5, "the slider's value at the server")
        moved = settled(watched)
        assert (np.abs(moved - first).max(axis=-1) > 30).mean() > 0.02
        assert (
            watched.page.get_by_text("Time 5.00 s").count()
            or watched.page.get_by_text("Frame").count()
        )

        # All frames together fill more than one alone.
        watched.page.get_by_label("Freeze time").check()
        until(lambda: page._stage.frozen is not None, "the fused cloud")
        frozen = settled(watched)
        assert coloured(frozen) > 1.05 * coloured(moved)

        # Hiding points darkens the canvas.
        page._controls.percentile.value = 95
        hidden = settled(watched)
        assert coloured(hidden) < 0.9 * coloured(frozen)

        with watched.page.expect_download(timeout=1000 * WAIT_S) as download:
            watched.page.get_by_text("Screenshot", exact=True).click()
        picture = Image.open(io.BytesIO(download.value.path().read_bytes())).convert("RGB")
        assert coloured(np.asarray(picture).astype(int)) > 0.05
        assert not [line for line in watched.complaints if "Error" in line]


def test_following_the_camera_shows_the_frame(browser, shown):
    page, address = shown
    with opened(browser, address) as watched:
        watched.page.wait_for_selector("canvas", timeout=1000 * WAIT_S)
        until(lambda: coloured(canvas(watched)) > 0.05, "a canvas with points")
        page._controls.follow.value = True
        settled(watched)
        # The window is wider than the picture: as high as it, and in its middle.
        picture = watched.picture().astype(int)
        page._controls.follow.value = False
        lit = coloured(picture[300:420, 560:720])
        assert lit > 0.9
        # Redder to the right and greener upwards, as the frame.
        right, left = picture[300:420, 700:800, 0].mean(), picture[300:420, 400:500, 0].mean()
        upper, lower = picture[150:250, 560:720, 1].mean(), picture[500:600, 560:720, 1].mean()
        assert right > left + 20 and upper > lower + 20
