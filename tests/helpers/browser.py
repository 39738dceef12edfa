"""Headless Chromium for tests of pages; they skip, loudly, where it or playwright is missing."""

import io
import os
import shutil
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from PIL import Image

# The backdrop of our own pages.
DARK = np.array([24, 24, 30])
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--force-color-profile=srgb",
]


@dataclass(kw_only=True)
class Watched:
    """A page, and what it complained of and asked for since it was opened."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def picture(self, selector: str | None = None) -> np.ndarray:
        """What is on the screen, or one element of it, uint8 (height, width, 3)."""
        shown = self.page if selector is None else self.page.locator(selector)
        return np.asarray(Image.open(io.BytesIO(shown.screenshot())).convert("RGB"))


def chromium_path() -> str:
    """Where Chromium is; skips the test where there is none."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("CHROMIUM IS MISSING: pages are not tested; install the package chromium")
    return path


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of playwright's that draws in software and reaches no network by itself."""
    executable = chromium_path()
    api = pytest.importorskip(
        "playwright.sync_api", reason="PLAYWRIGHT IS MISSING: pages are not tested"
    )
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Any, address: str, *, width: int = 1280, height: int = 720, phone: bool = False
) -> Iterator[Watched]:
    """A page in a window of that size, with its complaints and requests noted from the start."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, has_touch=phone, accept_downloads=True
    )
    watched = Watched(page=context.new_page())
    watched.page.on(
        "console",
        lambda message: watched.complaints.extend(
            [message.text] if message.type in ("error", "warning") else []
        ),
    )
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    watched.page.on("request", lambda request: watched.requests.append(request.url))
    try:
        watched.page.goto(address)
        yield watched
    finally:
        context.close()


def change(watched, **values):
    """Set parts of the page's state and let it draw."""
    for name, value in values.items():
        watched.page.evaluate("([name, value]) => dynapoint.change(name, value)", [name, value])
    watched.page.evaluate(
        "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))"
    )


def canvas(watched):
    """The drawn scene alone, without what lies over it."""
    text = watched.page.evaluate(
        "(dynapoint.draw(), document.getElementById('canvas').toDataURL('image/png'))"
    )
    content = b64decode(text.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def drawn(picture, background=DARK):
    return (np.abs(picture - background) > 6).any(axis=-1)


def wait_until(watched: Watched, condition: str, seconds: float = 120.0) -> None:
    """Wait until a condition holds; the page's security policy refuses playwright's own way."""
    end = time.monotonic() + seconds
    while not watched.page.evaluate(condition):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {condition}"
        time.sleep(0.05)
