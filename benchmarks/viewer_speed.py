"""How soon the viewer shows what is asked for, in headless Chromium without a graphics card.

    python benchmarks/viewer_speed.py [--frames 100] [--steps 15]

A scene of 518 x 294 maps in closed form is served, and a person presses the arrow key: the time
from the key's event to the end of drawing (a pixel is read back), for frames that were not asked
for before (jumps) and for the next one, with clouds alone and with tracks. Needs Chromium and
playwright. Times are of the machine as it is; nothing else should run.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))

from playwright.sync_api import sync_playwright

import dynapoint
from browser import _ARGUMENTS
from dynapoint.results.reconstruction import FrameTracks
from dynapoint.viewer.serving import Server
from dynapoint.viewer.site import Site
from fake_model import FakeModel

HEIGHT, WIDTH = 294, 518
# Event to the end of drawing: polled after each frame of the browser, when `shown` has changed.
STEP = """(time) => new Promise((done) => {
  const canvas = document.getElementById("canvas"), gl = canvas.getContext("webgl2");
  addEventListener("keydown", () => {
    const start = performance.now();
    const look = () => {
      if (dynapoint.shown() !== time) { requestAnimationFrame(look); return; }
      // The page's own callback of this frame has drawn by now, or draws in the next one.
      requestAnimationFrame(() => {
        gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
        done(performance.now() - start);
      });
    };
    requestAnimationFrame(look);
  }, { once: true, capture: true });
})"""
FIRST = """() => new Promise((done) => {
  const look = () => {
    if (!window.dynapoint || !document.getElementById("count").innerText) {
      requestAnimationFrame(look);
      return;
    }
    requestAnimationFrame(() => {
      const gl = document.getElementById("canvas").getContext("webgl2");
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
      done(performance.now());
    });
  };
  look();
})"""


def stored_scene(frames: int, folder: Path) -> Path:
    """A scene as `dynapoint reconstruct` would store it, with the tracks of frame 0."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    base = (127.5 * (1 + np.sin(x[..., None] / 17 + y[..., None] / 23 + np.arange(3)))).astype(
        np.uint8
    )
    images = np.stack([np.roll(base, 3 * frame, axis=1) for frame in range(frames)])
    model = FakeModel(WIDTH)
    model.patch_size = 14
    rec = dynapoint.reconstruct(images, model, frames=frames)
    points = np.stack([rec.maps(frame=0, time=time)[0] for time in range(frames)])
    ones = np.ones(points.shape[:3], dtype=np.float32)
    rec = replace(rec, kept_tracks=FrameTracks(points=points, visible=ones, confidence=ones))
    rec.save(folder / "scene.4d")
    return folder / "scene.4d"


def measure(address: str, options: argparse.Namespace) -> None:
    """Open the page and press keys."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=_ARGUMENTS
        )
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        received: list[int] = []
        page.on(
            "response", lambda answer: received.append(int(answer.headers.get("content-length", 0)))
        )
        page.goto(address, wait_until="commit")
        print(f"first paint {page.evaluate(FIRST):.0f} ms after navigation")
        page.evaluate("window.dynapoint.loaded")
        for name, setting in (
            ("clouds", "0"),
            ("clouds and tracks", "dynapoint.change('tracks', 'all')"),
            ("moving tracks", "dynapoint.change('tracks', 'moving')"),
            ("points", "(dynapoint.change('tracks', 'off'), dynapoint.change('surfaces', false))"),
        ):
            page.evaluate(setting)
            page.wait_for_timeout(2000)
            for kind in ("next", "jump"):
                report(page, kind, name, options, received)
        browser.close()


def report(page, kind: str, name: str, options: argparse.Namespace, received: list[int]) -> None:
    """Times of single steps, a second and a half apart, as one line."""
    random = np.random.default_rng(0)
    times, sizes = [], []
    for _ in range(options.steps):
        now = page.evaluate("dynapoint.state.time")
        if kind == "jump" or now == options.frames - 1:
            # The key's step then ends at a frame that nothing has asked for.
            page.evaluate(f"dynapoint.state.time = {random.integers(0, options.frames - 1)}")
            page.evaluate("loaded.grids.clear(); loaded.pictures.clear()")
            now = page.evaluate("dynapoint.state.time")
        received.clear()
        pending = page.evaluate_handle(f"({{ step: ({STEP})({now + 1}) }})")
        page.keyboard.press("ArrowRight")
        times.append(page.evaluate("(pending) => pending.step", pending))
        if kind == "jump":
            sizes.append(sum(received[:2]))
        page.wait_for_timeout(1500)
    sent = f", {statistics.median(sizes) / 1e6:.2f} MB a step" if sizes else ""
    print(
        f"{name}, {kind}: median {statistics.median(times):.0f} ms, "
        f"largest {max(times):.0f} ms{sent}"
    )


def main() -> None:
    """Serve and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--steps", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        rec = dynapoint.open(stored_scene(options.frames, Path(folder)))
        site = Site(rec)
        server = Server(site.answer, "127.0.0.1", 0)
        print(f"scene ready after {time.perf_counter() - started:.1f} s")
        measure(server.address, options)
        server.close()
        site.close()


if __name__ == "__main__":
    main()
