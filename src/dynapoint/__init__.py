"""Turn any video into a 4D scene: cameras, depth, and where every pixel's point is at every time.

Importing the package loads neither torch nor any extra; the names below load what they need when
they are first used.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dynapoint.cluster.clip_list import Clip as Clip
    from dynapoint.cluster.many import reconstruct_many as reconstruct_many
    from dynapoint.data.selection import FrameSelection as FrameSelection
    from dynapoint.errors import DynapointError as DynapointError
    from dynapoint.exports.one_call import export_scene as export
    from dynapoint.inference.opening import open_scene as open
    from dynapoint.inference.pipeline import reconstruct as reconstruct
    from dynapoint.inference.streaming import stream as stream
    from dynapoint.models.catalog import load_model as load_model
    from dynapoint.results.reconstruction import Reconstruction as Reconstruction
    from dynapoint.types import Cameras as Cameras
    from dynapoint.types import PointMaps as PointMaps
    from dynapoint.viewer.showing import show as view

_LAZY = {
    "Clip": ("dynapoint.cluster.clip_list", "Clip"),
    "DynapointError": ("dynapoint.errors", "DynapointError"),
    "FrameSelection": ("dynapoint.data.selection", "FrameSelection"),
    "Cameras": ("dynapoint.types", "Cameras"),
    "PointMaps": ("dynapoint.types", "PointMaps"),
    "reconstruct": ("dynapoint.inference.pipeline", "reconstruct"),
    "reconstruct_many": ("dynapoint.cluster.many", "reconstruct_many"),
    "stream": ("dynapoint.inference.streaming", "stream"),
    "open": ("dynapoint.inference.opening", "open_scene"),
    "export": ("dynapoint.exports.one_call", "export_scene"),
    "load_model": ("dynapoint.models.catalog", "load_model"),
    "Reconstruction": ("dynapoint.results.reconstruction", "Reconstruction"),
    "view": ("dynapoint.viewer.showing", "show"),
}

__all__ = [
    "Cameras",
    "Clip",
    "DynapointError",
    "FrameSelection",
    "PointMaps",
    "Reconstruction",
    "__version__",
    "export",
    "load_model",
    "open",
    "reconstruct",
    "reconstruct_many",
    "stream",
    "view",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562), so that `import dynapoint` stays quick."""
    if name in _LAZY:
        from importlib import import_module  # noqa: PLC0415 - no name of the package.

        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'dynapoint' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
