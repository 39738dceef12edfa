"""Serving the page."""

import io
import socket
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from dynapoint.errors import ConfigError
from dynapoint.exports.outputs import require

if TYPE_CHECKING:
    import viser

LOCALHOST = "127.0.0.1"


def start_server(host: str = LOCALHOST, port: int = 8080) -> "viser.ViserServer":
    """Serve an empty page; nobody but this machine reaches it unless `host` says otherwise.

    Args:
        host: The address to listen at.
        port: The port; 0 takes any that is free (`server.get_port()`).

    Raises:
        ConfigError: The port or the address cannot be had.
        OutputError: viser is not installed.
    """
    viser = require("viser", extra="view", format_name="the viewer")
    check_port(host, port)
    # It prints a frame of its own about what we say in one line.
    with redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=host, port=port, label="dynapoint", verbose=False)
    server.gui.configure_theme(
        dark_mode=True, show_logo=False, show_share_button=False, brand_color=(235, 120, 40)
    )
    return server


def check_port(host: str, port: int) -> None:
    """Refuse a port that cannot be had: viser would silently take another one.

    Raises:
        ConfigError: It is taken, needs rights, or is no port.
    """
    if not 0 <= port < 65536:
        raise ConfigError(f"port is {port}; give one from 1 to 65535, or 0 for any that is free")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ConfigError(
            f"port {port} of {host} cannot be had ({error.strerror or error}); give another one "
            "with --port, or 0 for any that is free"
        ) from error
