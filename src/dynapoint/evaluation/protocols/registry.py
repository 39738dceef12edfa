"""All protocols by key. Their modules are loaded when a protocol is asked for."""

from difflib import get_close_matches
from importlib import import_module

from dynapoint.errors import ConfigError
from dynapoint.evaluation.protocols.protocol import Protocol

MODULES = (
    "vdpm_points",
    "dpm_points",
    "own",
    "synthetic",
    "vdpm_cameras",
    "dpm_depth",
    "dept3r",
    "more",
)
"""Modules of this part, each with `PROTOCOLS`, in the order in which they are listed."""


def all_protocols() -> dict[str, Protocol]:
    """Every protocol by its key."""
    found: dict[str, Protocol] = {}
    for module in MODULES:
        protocols: tuple[Protocol, ...] = import_module(f"{__package__}.{module}").PROTOCOLS
        for protocol in protocols:
            assert protocol.key not in found, f"two protocols are called {protocol.key}"
            found[protocol.key] = protocol
    return found


def protocol_of(key: str) -> Protocol:
    """The protocol of a key.

    Raises:
        ConfigError: There is none.
    """
    known = all_protocols()
    if key in known:
        return known[key]
    close = get_close_matches(key, known, n=1)
    advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    raise ConfigError(f"there is no protocol {key!r}; {advice} (`--protocol list` explains them)")
