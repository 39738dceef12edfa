"""A web server for this machine's own browsers: requests in, answers out."""

import json
import logging
import re
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import SEEK_END, BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from dynapoint.errors import ConfigError, DynapointError
from dynapoint.viewer.jobs import Working

_LOG = logging.getLogger("dynapoint")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
JSON, HTML, BYTES = "application/json", "text/html; charset=utf-8", "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a browser asks for: the parts of the path, the query, and a body of so many bytes."""

    method: str
    path: tuple[str, ...]
    query: dict[str, str]
    body: BufferedIOBase
    length: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What it gets: bytes, or a file to save under a name; `location` sends it elsewhere."""

    content: bytes | Path = b""
    kind: str = BYTES
    status: int = 200
    save_as: str | None = None
    location: str | None = None


NOT_FOUND = Answer(
    status=404, kind=JSON, content=b'{"error": "there is nothing here; reload the page"}'
)


def json_answer(content: Any, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(content=json.dumps(content).encode(), kind=JSON, status=status)


def working_answer(working: Working) -> Answer:
    """The answer to ask again, and how far the work is."""
    return json_answer({"share": working.share, "words": working.words}, status=202)


class Server:
    """Answers requests in threads until it is closed.

    Nobody but this machine reaches it unless `host` says otherwise. What pages of others bring a
    browser to send is refused: by the names of hosts, where only this machine is answered, and by
    what browsers say of where a request comes from.

    Args:
        answer: What is called for each request; what it raises is said to the browser.
        host: The address to listen at.
        port: The port; 0 takes any that is free.

    Raises:
        ConfigError: The port or the address is not available.
    """

    def __init__(self, answer: Callable[[Request], Answer], host: str, port: int) -> None:
        if not 0 <= port < 65536:
            raise ConfigError(
                f"port is {port}; give one from 1 to 65535, or 0 for any that is free"
            )
        handler = type("Handler", (_Handler,), {"answer": staticmethod(answer), "host": host})
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            kind = type("HttpServer", (_HttpServer,), {"address_family": family})
            self._http = kind((host, port), handler)
        except OSError as error:
            raise ConfigError(
                f"port {port} on {host} is not available ({error.strerror or error}); give another "
                "one with --port, or 0 for any that is free"
            ) from error
        name = f"[{host}]" if ":" in host else host
        self.address = f"http://{name}:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=5)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers close connections as they like; that is nobody's error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Small answers would otherwise wait for the acknowledgement of their headers.
    wbufsize = -1
    disable_nagle_algorithm = True
    # A browser that has gone without a word does not keep a thread for ever.
    timeout = 120
    answer: Callable[[Request], Answer]
    host: str

    def do_GET(self) -> None:
        """Answer a question."""
        self._respond("GET")

    def do_POST(self) -> None:
        """Answer what changes something."""
        self._respond("POST")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal belongs to the command."""

    def _respond(self, method: str) -> None:
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch("[0-9]{1,18}", length) or "Transfer-Encoding" in self.headers:
            self._send(json_answer({"error": "the request has no length"}, status=411), close=True)
            return
        if not self._allowed(method):
            refused = json_answer({"error": "this viewer answers its own pages only"}, status=403)
            self._send(refused, close=True)
            return
        path, _, query = self.path.partition("?")
        request = Request(
            method=method,
            path=tuple(unquote(part) for part in path.split("/") if part),
            query=dict(parse_qsl(query)),
            body=self.rfile,
            length=int(length),
        )
        # A body may be left unread, and would be taken for the next request.
        self._send(self._guarded(request), close=int(length) > 0)

    def _allowed(self, method: str) -> bool:
        """Whether the request comes from a page of ours, as far as headers tell."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        # "[::1]:8080" is ::1, "localhost:8080" localhost.
        named = re.sub(r":\d*$", "", host).strip("[]").lower()
        if self.host in _LOOPBACK and named not in _LOOPBACK:
            return False
        if method != "GET" and origin is not None and origin.partition("://")[2] != host:
            return False
        # Others may link to our pages, but not use pictures or have things worked out.
        site, mode = self.headers.get("Sec-Fetch-Site"), self.headers.get("Sec-Fetch-Mode")
        return site in (None, "same-origin", "none") or (method == "GET" and mode == "navigate")

    def _guarded(self, request: Request) -> Answer:
        """What goes wrong is said in the browser, and the server goes on."""
        try:
            return type(self).answer(request)
        except (DynapointError, OSError) as error:
            return json_answer({"error": str(error)}, status=400)
        except Exception as error:
            _LOG.exception("the viewer failed at %s", "/".join(request.path))
            return json_answer({"error": f"{type(error).__name__}: {error}"}, status=500)

    def _send(self, answer: Answer, *, close: bool) -> None:
        content = answer.content
        try:
            file = content.open("rb") if isinstance(content, Path) else BytesIO(content)
        except OSError:
            answer, file = NOT_FOUND, BytesIO(bytes(NOT_FOUND.content))
        with suppress(ConnectionError), file:
            size = file.seek(0, SEEK_END)
            file.seek(0)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(size))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            if answer.save_as is not None:
                name = quote(answer.save_as, errors="replace")
                self.send_header("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
            if answer.location is not None:
                self.send_header("Location", answer.location)
            if close:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            shutil.copyfileobj(file, self.wfile, 1 << 20)
