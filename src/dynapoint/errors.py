"""The errors that dynapoint raises on purpose; the command line prints them and exits 1."""


class DynapointError(Exception):
    """Root of all expected errors: what was found, what was wanted and what to do."""


class InputError(DynapointError, ValueError):
    """A video, image, folder, array or query cannot be used as input."""


class OutputError(DynapointError):
    """A result cannot be written where it was asked for."""


class ModelError(DynapointError):
    """A model name is unknown or its weights cannot be found or loaded."""


class ShapeError(DynapointError, ValueError):
    """A tensor or array has another shape than the function needs."""


class ConfigError(DynapointError, ValueError):
    """A configuration holds values that cannot work together."""


class SceneError(DynapointError):
    """A stored scene or clip is missing parts, damaged, or of an unknown version."""
