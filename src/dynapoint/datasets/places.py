"""Where data sets lie, as command lines say it (`KEY=PATH`), and what is trained on."""

from collections.abc import Collection, Sequence
from pathlib import Path

from dynapoint.datasets import registry
from dynapoint.datasets.registry import dataset_card
from dynapoint.errors import ConfigError


def data_places(words: Sequence[str]) -> dict[str, Path]:
    """Folders by the keys of their sets, from words such as "sintel=FOLDER".

    Raises:
        ConfigError: A word is not KEY=PATH, names no set, or names one again.
    """
    return named_paths(words, "--data", "KEY", registry.READERS)


def named_paths(
    words: Sequence[str], option: str, kind: str, known: Collection[str] | None = None
) -> dict[str, Path]:
    """Paths by their names, from words such as "NAME=PATH".

    Args:
        words: What was given.
        option: Where, for what is said of mistakes.
        kind: What the name is of.
        known: The data sets that there are, where names are of such; None for any name.

    Raises:
        ConfigError: A word is none such, or has an unknown name or one that was given already.
    """
    found: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise ConfigError(f"{option} is {word!r}; give {kind}=PATH")
        if known is not None and name not in known:
            raise ConfigError(
                f"{option} {word}: there is no data set {name!r}; there are {', '.join(known)}"
            )
        if name in found:
            raise ConfigError(f"{option} names {name} twice; give each once")
        # The shell does not expand ~ behind an equals sign.
        found[name] = Path(path).expanduser()
    return found


def training_split(key: str) -> str:
    """The split of a set that is trained on: the one named so, or else its first one."""
    splits = dataset_card(key).splits
    return next((name for name in ("train", "training") if name in splits), splits[0])
