"""`dynapoint view`."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dynapoint.cli.common import UsageError


@dataclass(frozen=True, kw_only=True)
class View:
    """Look at a stored scene in a browser, or without one give a page to upload a video to."""

    scene: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[SCENE]", help_behavior_hint="(optional)"),
    ] = ()
    """Folder that `dynapoint reconstruct` wrote."""
    port: Annotated[int, tyro.conf.arg(metavar="PORT")] = 8080
    """Where the page is served; 0 takes any free port."""
    host: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = "127.0.0.1"
    """The address to listen at; by default nobody but this machine reaches the page."""
    weights: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The network's weights file, where it is neither in the scene nor found by name."""
    device: Annotated[str | None, tyro.conf.arg(metavar="DEVICE")] = None
    """Where to compute, e.g. cpu or cuda; the default is a GPU where there is one."""

    def run(self) -> int:
        """Serve until interrupted."""
        if len(self.scene) > 1:
            raise UsageError(f"{len(self.scene)} scenes were given; give one, or none to upload")
        from dynapoint.viewer.serving import Server  # noqa: PLC0415 - quick help needs none of it.
        from dynapoint.viewer.site import Site  # noqa: PLC0415

        if not self.scene:
            site, what = Site(device=self.device), "upload a video or images"
        else:
            from dynapoint.inference.opening import open_scene  # noqa: PLC0415

            rec = open_scene(self.scene[0], weights=self.weights, device=self.device)
            site, what = Site(rec, device=self.device), f"look at {self.scene[0]}"
        try:
            server = Server(site.answer, self.host, self.port)
            # What was uploaded is deleted however the viewer is ended.
            for ending in {"SIGTERM", "SIGHUP"} & set(signal.Signals.__members__):
                if signal.getsignal(signal.Signals[ending]) == signal.SIG_DFL:
                    signal.signal(signal.Signals[ending], signal.default_int_handler)
            print(f"{what} at {server.address} (Ctrl-C ends)", flush=True)
            while True:
                time.sleep(3600)
        finally:
            site.close()
