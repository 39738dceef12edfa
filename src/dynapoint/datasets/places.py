"""Where data sets lie, as command lines say it (`KEY=PATH`), and what is trained on."""

from collections.abc import Sequence
from pathlib import Path

from dynapoint.datasets.registry import READERS, dataset_card
from dynapoint.errors import ConfigError


def data_places(words: Sequence[str]) -> dict[str, Path]:
    """Folders by the keys of their sets.

    Raises:
        ConfigError: A word is not KEY=PATH, names no set, or names one again.
    """
    places: dict[str, Path] = {}
    for word in words:
        key, equals, path = word.partition("=")
        if not equals or not path:
            raise ConfigError(f"--data is {word!r}; give KEY=PATH, e.g. sintel=FOLDER")
        if key not in READERS:
            raise ConfigError(
                f"--data {word}: there is no data set {key!r}; there are {', '.join(READERS)}"
            )
        if key in places:
            raise ConfigError(f"--data names {key} twice; give one folder for it")
        places[key] = Path(path)
    return places


def training_split(key: str) -> str:
    """The split of a set that is trained on: the one named so, or else its first one."""
    splits = dataset_card(key).splits
    return next((name for name in ("train", "training") if name in splits), splits[0])
