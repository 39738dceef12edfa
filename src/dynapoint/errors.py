"""The errors that dynapoint raises on purpose; the command line prints them and exits with 1."""


class DynapointError(Exception):
    """Base of all expected errors; each message says what was found, wanted, and what to do."""


class InputError(DynapointError, ValueError):
    """A video, image, folder, array or query cannot be used as input."""


class OutputError(DynapointError):
    """A result cannot be written to the given path."""


class ModelError(DynapointError):
    """A model's name is unknown, or its weights cannot be found or loaded."""


class ShapeError(DynapointError, ValueError):
    """A tensor or array has the wrong shape."""


class ConfigError(DynapointError, ValueError):
    """An option has a value out of range, or two options contradict each other."""


class SceneError(DynapointError):
    """A saved scene or clip lacks parts, is damaged, or has an unknown version."""
