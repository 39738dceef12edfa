"""The public names and signatures are those of tests/api_surface.json, so that none changes unseen.

PYTHONPATH=src python tests/package/test_api_surface.py writes the file anew.
"""

import inspect
import json
import sys

import dynapoint
from dynapoint.results.reconstruction import Reconstruction
from folders import TESTS

FILE = TESTS / "api_surface.json"


def parameters(function):
    """Names of parameters as they are called, with defaults; `*` before those that need a name."""
    words, named = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not named:
            words.append("*")
            named = True
        given = parameter.default is not parameter.empty
        words.append(f"{parameter.name}={parameter.default!r}" if given else parameter.name)
    return ", ".join(words)


def called_as_method(function):
    """The same of a method, whose first parameter goes by `self` whatever its function calls it."""
    return ", ".join(["self", *parameters(function).split(", ")[1:]])


def surface():
    names = {}
    for name in dynapoint.__all__:
        found = getattr(dynapoint, name)
        names[name] = parameters(found) if inspect.isfunction(found) else type(found).__name__
    members = {}
    for name in dir(Reconstruction):
        if not name.startswith("_"):
            found = inspect.getattr_static(Reconstruction, name)
            members[name] = called_as_method(found) if inspect.isfunction(found) else "value"
    fields = {name: "value" for name in Reconstruction.__dataclass_fields__}
    return {"dynapoint": names, "Reconstruction": fields | members}


def test_public_names_and_signatures_are_as_written_down():
    assert surface() == json.loads(FILE.read_text())


def test_it_sees_a_change():
    def asked(self, *, frame, every=4):
        return frame

    assert parameters(asked) == "self, *, frame, every=4"


if __name__ == "__main__":
    FILE.write_text(json.dumps(surface(), indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{FILE}\n")
