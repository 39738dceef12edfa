"""The viewer from Python: a page that is served beside whatever else goes on."""

import html
import webbrowser
from types import TracebackType

from dynapoint.results.reconstruction import Reconstruction
from dynapoint.viewer.serving import Server
from dynapoint.viewer.site import Site

_HOST = "127.0.0.1"
_CELL_HEIGHT_PX = 640


class Shown:
    """A page that is served until it is closed.

    Attributes:
        address: Where browsers of this machine find it.
    """

    def __init__(self, rec: Reconstruction, port: int) -> None:
        self._site = Site(rec)
        try:
            self._server = Server(self._site.answer, _HOST, port)
        except BaseException:
            self._site.close()
            raise
        self.address = self._server.address

    def close(self) -> None:
        """Serve it no longer."""
        self._server.close()
        self._site.close()

    def __enter__(self) -> "Shown":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"look at {self.address} (close() ends it)"

    def _repr_html_(self) -> str:
        """The viewer itself, in a notebook's cell."""
        address = html.escape(self.address, quote=True)
        return f'<iframe src="{address}" width="100%" height="{_CELL_HEIGHT_PX}"></iframe>'


def show(rec: Reconstruction, *, port: int = 0, open_browser: bool = True) -> Shown:
    """Serve a scene to this machine's browsers.

    Args:
        rec: The scene.
        port: The port; 0 takes any that is free.
        open_browser: Also open the page in the usual browser, where there is one.

    Raises:
        ConfigError: The port cannot be had.
    """
    shown = Shown(rec, port)
    if open_browser:
        webbrowser.open(shown.address)
    return shown
