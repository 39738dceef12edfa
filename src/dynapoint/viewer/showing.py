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
    """A viewer page that is served until `close()`.

    Attributes:
        address: The page's URL, for browsers on this machine.
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
        """Stop the server."""
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
    """Serve a scene to browsers on this machine, beside the running program.

        with dynapoint.view(rec) as page:
            print(page.address)

    Args:
        rec: The scene.
        port: The port to listen on; 0 takes any free port.
        open_browser: Also open the page in the default browser, if there is one.

    Returns:
        The page: `address` is its URL, `close()` stops the server. A notebook shows it in the cell.

    Raises:
        ConfigError: The port is not available.
    """
    shown = Shown(rec, port)
    if open_browser:
        webbrowser.open(shown.address)
    return shown
