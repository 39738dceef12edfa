"""The viewer's addresses: a scene's page and what it asks for, and the page for uploads."""

import re
import secrets
import tempfile
import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from dynapoint.data.selection import DEFAULT_FRAMES
from dynapoint.errors import DynapointError, InputError
from dynapoint.exports.catalog import FORMATS
from dynapoint.exports.web_page import asset, filled, filled_page
from dynapoint.inference.opening import open_scene
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.subscene import main_segment, worlds
from dynapoint.results.summary import segment_lines
from dynapoint.viewer.jobs import Jobs, Report, Working
from dynapoint.viewer.serving import (
    HTML,
    NOT_FOUND,
    Answer,
    Request,
    json_answer,
    working_answer,
)
from dynapoint.viewer.shown import ShownScene
from dynapoint.viewer.upload import MOST_FRAMES, Upload, make_scene

_MOST_POINTS = 1_000_000
# Between the key of a scene and the number of one of its worlds.
_PART = "-"


class Site:
    """All that the viewer serves; scenes made of uploads live as long as it does.

    Args:
        rec: The scene to show first; without one, a page to upload to.
        device: Where to compute.
    """

    def __init__(self, rec: Reconstruction | None = None, *, device: str | None = None) -> None:
        self._device = device
        self._jobs = Jobs()
        self._scenes: dict[str, ShownScene] = {}
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()
        # Work that goes on while the viewer ends may still write there.
        self._folder = tempfile.TemporaryDirectory(
            prefix="dynapoint-view-", ignore_cleanup_errors=True
        )
        self._takes_uploads = rec is None
        if rec is not None:
            self._add_scene(rec)

    def close(self) -> None:
        """Delete what was uploaded and exported."""
        self._folder.cleanup()

    def _add_scene(self, rec: Reconstruction) -> str:
        """Serve every world of a scene under a key of its own; returns that of the longest."""
        main = main_segment(rec)
        with self._lock:
            key = str(1 + sum(_PART not in known for known in self._scenes))
            for number in range(len(worlds(rec))):
                self._scenes[_key(key, number, main)] = ShownScene(rec, number)
        return key

    def answer(self, request: Request) -> Answer:
        """The answer to a request.

        Raises:
            DynapointError: It cannot be answered; the message says why.
        """
        match (request.method, *request.path):
            case (method, "scene", key, *rest) if key in self._scenes:
                return self._about_scene(method, key, rest, request.query)
            case ("GET",) if self._takes_uploads:
                return Answer(kind=HTML, content=self._upload_page().encode())
            case ("GET",) | ("GET", "scene", _):
                # Scenes of a viewer that has ended are asked for again by those who saw them.
                return Answer(status=302, location="/" if self._takes_uploads else "/scene/1/")
            case ("POST", "uploads") if self._takes_uploads:
                return self._new_upload()
            case ("POST", "uploads", key, what) if key in self._uploads:
                return self._about_upload(key, what, request)
        return NOT_FOUND

    def _about_scene(self, method: str, key: str, rest: list[str], query: dict[str, str]) -> Answer:
        """What a scene's page asks for."""
        scene = self._scenes[key]
        if method == "GET" and not rest:
            return Answer(kind=HTML, content=self._scene_page(key).encode())
        return (
            _piece(scene, method, rest, query)
            or self._work(key, method, rest, query)
            or self._file(key, method, rest)
            or NOT_FOUND
        )

    def _work(self, key: str, method: str, rest: list[str], query: dict[str, str]) -> Answer | None:
        """What takes a while."""
        scene = self._scenes[key]
        match (method, *rest):
            case ("GET", "motion"):
                return self._job((key, "motion"), "Finding what moves", scene.find_motion)
            case ("GET", "fused"):
                return self._job((key, "fused"), "Fusing frames", scene.fuse)
            case ("GET", "tracks", text):
                frame, part = _frame(scene, text), _part(query.get("box", "0,0,1,1"))
                words = f"Following points of frame {frame + 1}"
                job = (key, "tracks", frame, part)
                return self._job(job, words, lambda report: scene.tracks(frame, part, report))
            case ("POST", "export", name) if name == "4d" or name in FORMATS:
                return self._export(key, name)
        return None

    def _file(self, key: str, method: str, rest: list[str]) -> Answer | None:
        """A file that was exported."""
        if method != "GET" or len(rest) != 3 or rest[0] != "file":
            return None
        path = self._exports(key) / rest[1] / rest[2]
        # Nothing else, whatever dots a name has.
        folders = self._exports(key).iterdir() if self._exports(key).is_dir() else ()
        known = path.parent in folders and path in path.parent.iterdir()
        return Answer(content=path, save_as=path.name) if known else None

    def _job(self, key: Any, words: str, work: Callable[[Report], Any]) -> Answer:
        """The bytes of a piece of work, or how far it is."""
        found = self._jobs.ask(key, words, work)
        if isinstance(found, Working):
            return working_answer(found)
        return json_answer({}) if found is None else Answer(content=found)

    def _scene_page(self, key: str) -> str:
        scene = self._scenes[key]
        live = {
            "formats": scene.formats(),
            "uploads": self._takes_uploads,
            "segments": _segments(key, scene),
        }
        return filled_page(
            {**scene.page_facts, "live": live},
            source=_asset("ask.js") + _asset("live.js"),
            segments=_asset("segments.html"),
            tracking=_asset("tracking.html"),
            downloads=_asset("downloads.html"),
            connect="'self'",
        )

    def _upload_page(self) -> str:
        made = " · ".join(
            f'<a href="/scene/{key}/">{escape(scene.rec.frames.name)}</a>'
            for key, scene in list(self._scenes.items())
            if _PART not in key
        )
        parts = {
            "style": asset("web.css") + _asset("upload.css"),
            "most": str(MOST_FRAMES),
            "usual": str(DEFAULT_FRAMES),
            "made": f'<p class="note">Made before: {made}</p>' if made else "",
            "script": _asset("ask.js") + _asset("upload.js"),
        }
        return filled(_asset("upload.html"), parts)

    def _exports(self, key: str) -> Path:
        return Path(self._folder.name) / "exports" / key

    def _export(self, key: str, name: str) -> Answer:
        """Write an export once, and say where it can be had."""

        def write(report: Report) -> Path:
            folder = self._exports(key) / name
            folder.mkdir(parents=True, exist_ok=True)
            return self._scenes[key].write(name, folder)

        found = self._jobs.ask((key, "export", name), f"Writing {name}", write)
        if isinstance(found, Working):
            return working_answer(found)
        return json_answer({"href": f"file/{name}/{found.name}", "name": found.name})

    def _new_upload(self) -> Answer:
        # Not a number: pages that outlive a viewer must not find another's upload in the next one.
        key = secrets.token_hex(8)
        self._uploads[key] = Upload(Path(self._folder.name) / "uploads" / key)
        return json_answer({"upload": key})

    def _about_upload(self, key: str, what: str, request: Request) -> Answer:
        upload = self._uploads[key]
        if what == "files":
            name = request.query.get("name", "upload")
            return json_answer({"words": upload.add(name, request.body, request.length)})
        if what != "reconstruct":
            return NOT_FOUND
        frames = _number(request.query.get("frames", str(DEFAULT_FRAMES)), 1, MOST_FRAMES, "frames")
        source, count = upload.source(), upload.count

        def work(report: Report) -> str:
            # Not in the place of an earlier one, whose page may be open.
            folder = upload.folder / f"{count}-{frames}.4d"
            make_scene(source, folder, frames=frames, device=self._device, say=report)
            return self._add_scene(open_scene(folder, device=self._device))

        try:
            found = self._jobs.ask((key, count, frames), "Reconstructing", work)
        except DynapointError as error:
            # Where the file lies here means nothing to who has sent it.
            words = re.sub(rf"{re.escape(str(upload.folder))}/files/\d+/[^/]+/", "", str(error))
            raise type(error)(words) from error
        if isinstance(found, Working):
            return working_answer(found)
        return json_answer({"scene": f"/scene/{found}/"})


def _key(scene: str, number: int, main: int) -> str:
    """Under which key a world of a scene is served."""
    return scene if number == main else f"{scene}{_PART}{number}"


def _segments(key: str, scene: ShownScene) -> list[dict[str, Any]]:
    """The worlds of a scene, to choose from: what each is and where its page is."""
    first, main = key.partition(_PART)[0], main_segment(scene.whole)
    return [
        {
            "words": words,
            "href": f"/scene/{_key(first, number, main)}/",
            "shows": scene.whole.segments[number].kind == "scene",
            "current": number == scene.segment,
        }
        for number, words in enumerate(segment_lines(scene.whole))
    ]


def _piece(scene: ShownScene, method: str, rest: list[str], query: dict[str, str]) -> Answer | None:
    """What is at hand of a frame."""
    match (method, *rest):
        case ("GET", "picture", text):
            return Answer(kind="image/jpeg", content=scene.picture(_frame(scene, text)))
        case ("GET", "cloud", text):
            most = _number(query.get("most", "60000"), 1, _MOST_POINTS, "most")
            motion = query.get("motion") == "1"
            return Answer(content=scene.cloud(_frame(scene, text), most=most, motion=motion))
        case ("GET", "path", text):
            places = scene.path(_frame(scene, text))
            return None if places is None else Answer(content=places)
    return None


def _frame(scene: ShownScene, text: str) -> int:
    return _number(text, 0, scene.frames - 1, "frame")


def _number(text: str, low: int, high: int, name: str) -> int:
    """A whole number of an address.

    Raises:
        InputError: It is none, or not between the bounds.
    """
    # Digits of other scripts would pass isdigit alone.
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise InputError(f"{name} is {text!r}; give a number from {low} to {high}")
    return int(text)


def _part(text: str) -> tuple[float, float, float, float]:
    """A part of a picture: left, top, right and bottom in shares of its sides.

    Raises:
        InputError: It is no such part.
    """
    try:
        left, top, right, bottom = (float(share) for share in text.split(","))
    except ValueError:
        left, top, right, bottom = (1.0, 1.0, 0.0, 0.0)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InputError(
            f"box is {text!r}; give left,top,right,bottom as shares of the picture from 0 to 1"
        )
    return left, top, right, bottom


def _asset(name: str) -> str:
    """A file of the viewer's page, which the package brings along."""
    return asset(name, of="dynapoint.viewer")
