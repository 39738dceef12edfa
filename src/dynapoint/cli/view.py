"""`dynapoint view`."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dynapoint.cli.common import UsageError, optional
from dynapoint.errors import ConfigError

if TYPE_CHECKING:
    from dynapoint.viewer.serving import Server
    from dynapoint.viewer.site import Site

_USUAL_PORT = 8080


@dataclass(frozen=True, kw_only=True)
class View:
    """Show a saved scene in a browser; without a scene, serve a page to upload a video to."""

    scene: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[SCENE]", help_behavior_hint="(optional)"),
    ] = ()
    """Folder that `dynapoint reconstruct` wrote."""
    port: Annotated[int | None, optional("PORT")] = None
    """Port to listen on; 0 takes any free port. The default is 8080, or any free port if that is
    taken."""
    host: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = "127.0.0.1"
    """Address to listen on. By default only this machine reaches the page."""
    weights: Annotated[Path | None, optional("FILE")] = None
    """The network's weights file, if the scene does not hold it and its name does not find it."""
    device: Annotated[str | None, optional("DEVICE")] = None
    """Where to compute, e.g. cpu or cuda. The default is a GPU if there is one."""

    def run(self) -> int:
        """Serve until interrupted."""
        if len(self.scene) > 1:
            raise UsageError(f"{len(self.scene)} scenes were given; give one, or none to upload")
        from dynapoint.viewer.site import Site  # noqa: PLC0415 - quick help needs none of it.

        if not self.scene:
            site, what = Site(device=self.device), "upload a video or images"
        else:
            from dynapoint.inference.opening import open_scene  # noqa: PLC0415

            rec = open_scene(self.scene[0], weights=self.weights, device=self.device)
            site, what = Site(rec, device=self.device), f"look at {self.scene[0]}"
        try:
            server = self._server(site)
            # What was uploaded is deleted however the viewer is ended.
            for ending in {"SIGTERM", "SIGHUP"} & set(signal.Signals.__members__):
                if signal.getsignal(signal.Signals[ending]) == signal.SIG_DFL:
                    signal.signal(signal.Signals[ending], signal.default_int_handler)
            print(f"{what} at {server.address} (Ctrl-C ends)", flush=True)
            while True:
                time.sleep(3600)
        finally:
            site.close()

    def _server(self, site: "Site") -> "Server":
        """The site at the port asked for, or else at the usual one or any other."""
        from dynapoint.viewer.serving import Server  # noqa: PLC0415

        if self.port is not None:
            return Server(site.answer, self.host, self.port)
        try:
            return Server(site.answer, self.host, _USUAL_PORT)
        except ConfigError:
            return Server(site.answer, self.host, 0)
