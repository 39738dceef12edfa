"""All data sets by key. A reader is a module of this part with a `CARD`, loaded when asked for."""

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
    "worldtrack-ds": "world_track_ds",
    "panoptic": "world_track_panoptic",
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
    card: DatasetCard = import_module(f"dynapoint.datasets.{READERS[key]}").CARD
    return card


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
