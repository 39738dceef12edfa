"""All data sets by key. A reader is a module of this part, loaded when asked for.

It has a `CARD`, or `CARDS` where several sets have one layout.
"""

from importlib import import_module
from pathlib import Path

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.errors import ConfigError

READERS = {
    "kubric-f": "kubric",
    "kubric-g": "movi_folders",
    "pointodyssey": "point_odyssey",
    "waymo": "waymo",
    "spring": "spring",
    "sintel": "sintel",
    "virtual-kitti": "virtual_kitti",
    "tartanair": "tartanair",
    "dynamic-replica": "dynamic_replica",
    "scannetpp": "scannetpp",
    "blendedmvs": "blended_mvs",
    "megadepth": "mega_depth",
    "kitti": "kitti",
    "bonn": "bonn",
    "tum-dynamics": "tum_dynamics",
    "tapvid3d": "tapvid3d",
    "worldtrack-po": "world_track",
    "worldtrack-adt": "world_track",
    "worldtrack-tum": "world_track",
    "worldtrack-ds": "world_track",
    "panoptic": "world_track",
    "davis": "davis",
    "real-folders": "real_folders",
    "clips": "own_clips",
}
"""The module of each set, by the set's key."""


def dataset_card(key: str) -> DatasetCard:
    """The card of a set.

    Raises:
        ConfigError: There is no such set.
    """
    if key not in READERS:
        raise ConfigError(f"there is no data set {key!r}; there are {', '.join(READERS)}")
    module = import_module(f"dynapoint.datasets.{READERS[key]}")
    cards: tuple[DatasetCard, ...] = getattr(module, "CARDS", ()) or (module.CARD,)
    return next(card for card in cards if card.key == key)


def open_dataset(key: str, root: Path, split: str | None = None) -> list[TruthSequence]:
    """The sequences of a split of a set (its first split by default).

    Raises:
        ConfigError: There is no such set or split.
        InputError: The folder is not there, or not what the set's layout says.
    """
    card = dataset_card(key)
    wanted = card.splits[0] if split is None else split
    if wanted not in card.splits:
        raise ConfigError(f"{key} has no split {wanted!r}; it has {', '.join(card.splits)}")
    return card.open_folder(root, wanted)
