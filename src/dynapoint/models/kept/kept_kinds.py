"""Names of the dataclasses that scenes keep, so that scenes do not depend on where code lies.

The cards of models that `cards.register` was given name further ones (`ModelCard.kinds`).

A name is for ever: a class may move to another module or be renamed here and nowhere else. Scenes
of format `dynapoint-encoded-1` named module and class themselves; `_BEFORE` reads those.
"""

from dataclasses import is_dataclass
from importlib import import_module

from dynapoint.models.cards import CARDS

_PLACES = {
    "point-maps": "dynapoint.types:PointMaps",
    "cameras": "dynapoint.types:Cameras",
    "placed": "dynapoint.models.kept.placed_encoding:PlacedEncoding",
    "correction": "dynapoint.models.kept.correction:Correction",
    "followed-paths": "dynapoint.models.kept.followed_paths:FollowedPaths",
    "still-world-motion": "dynapoint.models.kept.still_motion:StillWorldMotion",
    "finer-maps": "dynapoint.models.kept.finer_maps:FinerMaps",
    "mix": "dynapoint.models.kept.finer_maps:Mix",
    "rotary-positions": "dynapoint.models.layers.attention:RotaryPositions",
    "nano": "dynapoint.models.nano.network:VideoEncoding",
    "nano-stem": "dynapoint.models.nano.stem:StemFeatures",
    "nano-query": "dynapoint.models.nano.query_network:QueryEncoding",
    "nano-pair-frames": "dynapoint.models.nano.pair_network:EncodedFrames",
    "vggt": "dynapoint.models.vggt.published:PublishedEncoding",
    "vggt-depth": "dynapoint.models.vggt.parts:DepthMaps",
    "da3": "dynapoint.models.da3.network:Da3Encoding",
    "dept3r": "dynapoint.models.vggt.dept3r:Dept3rEncoding",
    "dept3r-pass": "dynapoint.models.vggt.dept3r:BackbonePass",
    "dust3r-frames": "dynapoint.models.dust3r.network:EncodedFrames",
    "twin-frames": "dynapoint.models.nano.twin_backbone:FrameTokens",
    "pairwise": "dynapoint.models.pairwise.video:PairwiseEncoding",
    "pair-maps": "dynapoint.models.protocol:PairMaps",
}

# Where classes lay when scenes named that: nothing is ever added to or taken from this table.
_BEFORE = {
    "dynapoint.types:PointMaps": "point-maps",
    "dynapoint.types:Cameras": "cameras",
    "dynapoint.models.placed_encoding:PlacedEncoding": "placed",
    "dynapoint.models.correction:Correction": "correction",
    "dynapoint.models.followed_paths:FollowedPaths": "followed-paths",
    "dynapoint.models.attention:RotaryPositions": "rotary-positions",
    "dynapoint.models.network:VideoEncoding": "nano",
    "dynapoint.models.stem:StemFeatures": "nano-stem",
    "dynapoint.models.query_network:QueryEncoding": "nano-query",
    "dynapoint.models.pair_network:EncodedFrames": "nano-pair-frames",
    "dynapoint.models.published:PublishedEncoding": "vggt",
    "dynapoint.models.vggt_parts:DepthMaps": "vggt-depth",
    "dynapoint.models.dept3r:Dept3rEncoding": "dept3r",
    "dynapoint.models.dept3r:BackbonePass": "dept3r-pass",
    "dynapoint.models.dust3r:EncodedFrames": "dust3r-frames",
    "dynapoint.models.twin_backbone:FrameTokens": "twin-frames",
    "dynapoint.models.pairwise.video:PairwiseEncoding": "pairwise",
    "dynapoint.models.protocol:PairMaps": "pair-maps",
}


def name_of_kind(kind: type) -> str:
    """The name of a dataclass; raises TypeError for one that has none."""
    place = f"{kind.__module__}:{kind.__qualname__}"
    for name, known in _known_kinds().items():
        if known in (place, kind):
            return name
    raise TypeError(
        f"{place} is no dataclass that scenes keep (models/kept/kept_kinds.py, ModelCard.kinds)"
    )


def kind_of_name(name: str) -> type:
    """The dataclass of a name, present or of an earlier format; raises TypeError for others."""
    place = _known_kinds().get(_BEFORE.get(name, name))
    if place is None:
        raise TypeError(f"{name} is no dataclass that scenes keep")
    found = place if isinstance(place, type) else _imported(place)
    if not is_dataclass(found):
        raise TypeError(f"{name} is no dataclass")
    return found


def _known_kinds() -> dict[str, str | type]:
    """The package's kinds, and those of all cards, which may not rename the former."""
    of_cards = {name: kind for card in CARDS.values() for name, kind in card.kinds.items()}
    return {**of_cards, **_PLACES}


def _imported(place: str) -> type:
    module, _, qualified = place.partition(":")
    found: type = vars(import_module(module))[qualified]
    return found
