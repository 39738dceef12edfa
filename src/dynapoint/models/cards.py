"""What is known of models by their names, without loading any of them (or torch)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dynapoint.errors import ModelError

ASSETS = Path(__file__).parent.parent / "assets"

CANNOT = {
    "reference": "leaves no choice of the reference frame; leave it at 0, or use vdpm or vggt",
    "poses": "takes no known poses; leave them out, or use da3-small or da3-base",
    "decoder_weights": "has no time decoder; leave decoder_weights out",
    "precision": "computes in float32, uncompiled; leave precision and compile_blocks out",
}
"""What to say of networks that do not heed an option."""


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file in a repository of the Hugging Face hub."""

    repository: str
    name: str


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What is known of a model by its name.

    Attributes:
        parameters: Of the network as it is built here.
        weights_file: Name of the file in the package's assets, or in the folder of weights; None
            where no such weights exist.
        hub: Where a published file comes from; None for what is not downloaded.
        bytes: Size of a published file, as the parameters in it make it in float32.
        free: Whether it may be used for any purpose; what may not be needs consent to be fetched.
        remark: What else one should know before using it.
        instead: Where no weights exist, what to do.
        other_use: What its network is for, where that is not to reconstruct clips.
        cannot: Those of `CANNOT` that are true of its network.
        still_world: Whether its network knows a still world only, so that scenes answer from what
            it kept and need no weights (`kept.own_time`).
        refine: Whether what it says is refined by what the pictures say, unless told otherwise.
        at_once: How many frames it sees in one pass at most; longer clips are cut into windows.
        window: How many frames these have.
        overlap: How many frames of a window the next one sees again.
        loader: Makes the network of a `models.source.ModelSource`; "module:function" where that is
            not to be imported before it is needed.
        kinds: Names, for ever, of the dataclasses in what its `encode` gives, so that scenes can
            keep it; "module:class" or the class. Those of the package are in `kept.kept_kinds`.
    """

    name: str
    parameters: int
    licence: str
    source: str
    weights_file: str | None
    loader: str | Callable[[Any], Any]
    kinds: Mapping[str, str | type] = field(default_factory=dict)
    hub: HubFile | None = None
    bytes: int | None = None
    free: bool = True
    remark: str | None = None
    instead: str | None = None
    other_use: str | None = None
    cannot: frozenset[str] = frozenset()
    still_world: bool = False
    refine: bool = False
    at_once: int = 24
    window: int = 24
    overlap: int = 8

    def passes(self, frames: int) -> tuple[int, int]:
        """In how many passes its network sees so many frames, and how many frames each has."""
        if frames <= self.at_once:
            return 1, frames
        return -(-(frames - self.overlap) // (self.window - self.overlap)), self.window


NANO_2 = ModelCard(
    name="nano-2",
    parameters=6_367_813,
    licence="Apache-2.0",
    source=(
        "trained by the dynapoint authors on the package's own data engine; its image encoder is "
        "EfficientNet-Lite0, trained on ImageNet (Apache-2.0, see NOTICE)"
    ),
    weights_file="nano-2.safetensors",
    loader="dynapoint.models.nano.weights:load",
    cannot=frozenset({"reference", "precision", "poses"}),
    refine=True,
)
DPM_NANO_1 = ModelCard(
    name="dpm-nano-1",
    parameters=1_631_652,
    licence="Apache-2.0",
    source="trained by the dynapoint authors on the package's own data engine",
    weights_file="dpm-nano-1.safetensors",
    loader="dynapoint.models.nano.weights:load",
    cannot=frozenset(CANNOT),
    refine=True,
)
DEPT3R_NANO_1 = ModelCard(
    name="dept3r-nano-1",
    window=10,
    overlap=5,
    parameters=1_520_580,
    licence="Apache-2.0",
    source="trained by the dynapoint authors on the package's own data engine",
    weights_file="dept3r-nano-1.safetensors",
    loader="dynapoint.models.nano.weights:load",
    cannot=frozenset(CANNOT),
    refine=True,
)
VDPM = ModelCard(
    name="vdpm",
    at_once=50,
    window=20,
    overlap=10,
    parameters=1_661_508_918,
    # The code beside them is MIT, with parts under VGGT's licence, which covers derived works.
    licence=(
        "unstated for these weights; non-commercial is assumed, since they derive from VGGT-1B"
    ),
    source="the authors of V-DPM (arXiv 2601.09499): huggingface.co/edgarsucar/vdpm, model.pt",
    weights_file="vdpm.pt",
    loader="dynapoint.models.vggt.weights:load_vdpm",
    cannot=frozenset({"poses"}),
    hub=HubFile(repository="edgarsucar/vdpm", name="model.pt"),
    bytes=4 * 1_661_508_918,
    free=False,
)
VGGT = ModelCard(
    name="vggt",
    at_once=50,
    window=20,
    overlap=10,
    parameters=1_190_596_120,
    licence=(
        "non-commercial; of these authors' checkpoints only VGGT-1B-Commercial allows other use"
    ),
    source="Meta and VGG (CVPR 2025): huggingface.co/facebook/VGGT-1B, model.pt",
    weights_file="vggt.pt",
    loader="dynapoint.models.vggt.weights:load_vggt",
    cannot=frozenset({"decoder_weights", "poses"}),
    hub=HubFile(repository="facebook/VGGT-1B", name="model.pt"),
    # The file also holds the track head's 65,941,396 parameters.
    bytes=4 * 1_256_537_516,
    free=False,
    remark="the 2D track head is not built; its tensors in the file are left out",
    still_world=True,
)
DPM = ModelCard(
    name="dpm",
    at_once=64,
    parameters=606_853_136,
    licence=(
        "that of the weights which are given: DUSt3R's, and with them MonST3R's and all that is "
        "trained from them, are CC BY-NC-SA 4.0 (non-commercial)"
    ),
    source="DPM (arXiv 2503.16318): two more heads on the network of DUSt3R (arXiv 2312.14132)",
    weights_file=None,
    loader="dynapoint.models.dust3r.weights:load",
    cannot=frozenset({"reference", "decoder_weights", "poses"}),
    bytes=4 * 606_853_136,
    free=False,
    remark=(
        "a file of DUSt3R or MonST3R (512, DPT heads) has one head for each image, of which both "
        "times get a copy: with it nothing moves until it is trained"
    ),
    instead=(
        "no code or weights of DPM are public; give --weights with a file in DUSt3R's, MonST3R's "
        "or our own DPM format"
    ),
)
DEPT3R = ModelCard(
    name="dept3r",
    at_once=64,
    window=10,
    overlap=5,
    parameters=1_223_255_835,
    licence=(
        "that of the weights which are given: what is trained from VGGT-1B is non-commercial, as "
        "VGGT-1B is"
    ),
    source="DePT3R (arXiv 2512.13122): a motion head and a query on VGGT (arXiv 2503.11651)",
    weights_file=None,
    loader="dynapoint.models.vggt.dept3r_weights:load",
    cannot=frozenset({"reference", "decoder_weights", "poses"}),
    bytes=4 * 1_223_255_835,
    free=False,
    instead=(
        "no code or weights of DePT3R are public; give --weights with a file that `dynapoint train "
        "dept3r` wrote, which starts from VGGT-1B"
    ),
)
DA3_SMALL = ModelCard(
    name="da3-small",
    # How many frames suit it, and its windows, are chosen and not measured.
    at_once=50,
    window=32,
    overlap=8,
    parameters=33_993_874,
    licence="Apache-2.0",
    source=(
        "ByteDance Seed (Depth Anything 3, arXiv 2511.10647): "
        "huggingface.co/depth-anything/DA3-SMALL, model.safetensors"
    ),
    weights_file="da3-small.safetensors",
    loader="dynapoint.models.da3.weights:load_small",
    cannot=frozenset({"reference", "decoder_weights"}),
    hub=HubFile(repository="depth-anything/DA3-SMALL", name="model.safetensors"),
    # The file also holds what has no effect of its ray head: 305,589 parameters.
    bytes=4 * 34_299_463,
    remark="knows a still world; known poses and intrinsics go in together",
    still_world=True,
    refine=True,
)
DA3_BASE = replace(
    DA3_SMALL,
    name="da3-base",
    parameters=134_203_250,
    source=DA3_SMALL.source.replace("DA3-SMALL", "DA3-BASE"),
    weights_file="da3-base.safetensors",
    loader="dynapoint.models.da3.weights:load_base",
    hub=HubFile(repository="depth-anything/DA3-BASE", name="model.safetensors"),
    bytes=4 * 135_366_599,
)
DA3_METRIC = replace(
    DA3_SMALL,
    name="da3-metric",
    parameters=334_171_394,
    source=DA3_SMALL.source.replace("DA3-SMALL", "DA3METRIC-LARGE"),
    weights_file="da3-metric.safetensors",
    loader="dynapoint.models.da3.weights:load_metric",
    hub=HubFile(repository="depth-anything/DA3METRIC-LARGE", name="model.safetensors"),
    bytes=4 * 334_171_394,
    cannot=DA3_SMALL.cannot | {"poses"},
    remark=None,
    refine=False,
    other_use="tells depth in metres of single pictures, no cameras",
)

CARDS = {
    card.name: card
    for card in (
        NANO_2,
        DPM_NANO_1,
        DEPT3R_NANO_1,
        DA3_SMALL,
        DA3_BASE,
        DA3_METRIC,
        VDPM,
        VGGT,
        DPM,
        DEPT3R,
    )
}
NEWEST = {"nano": "nano-2", "dpm-nano": "dpm-nano-1", "dept3r-nano": "dept3r-nano-1"}
"""Short names stand for the newest version of a model."""

METRIC_NETWORK = DA3_METRIC.name
"""The network that tells depth in metres of single pictures."""

RETIRED: dict[str, str] = {"nano-1": "nano-2"}
"""Names of versions that are no longer shipped, and their successors."""


def register(card: ModelCard) -> None:
    """Make a model known by name, for this process.

    Raises:
        ModelError: The name, or that of one of its kinds, is taken.
    """
    kinds = [kind for other in CARDS.values() for kind in other.kinds]
    taken = [card.name] if card.name in {*known_models(), *RETIRED} else []
    taken += [kind for kind in card.kinds if kind in kinds]
    if taken:
        raise ModelError(f"the name {taken[0]!r} is taken; give model {card.name!r} another")
    CARDS[card.name] = card


def known_models() -> tuple[str, ...]:
    """All names that `find_card` answers to."""
    return (*NEWEST, *CARDS)


def find_card(name: str) -> ModelCard:
    """The card of a model; raises ModelError where the name is unknown or retired."""
    if name in RETIRED:
        raise ModelError(f"model {name!r} has been replaced; use its successor {RETIRED[name]!r}")
    version = NEWEST.get(name, name)
    if version not in CARDS:
        raise ModelError(f"unknown model {name!r}; known models are {', '.join(known_models())}")
    return CARDS[version]


def knows_still_world(name: str) -> bool:
    """Whether the network of that name is known to know a still world only."""
    card = CARDS.get(NEWEST.get(name, name))
    return card is not None and card.still_world


def will_refine(name: str, refine: bool | None) -> bool:
    """Whether the answer of the network of that name is refined: as asked, or as its card says.

    Raises:
        ModelError: The name is unknown or retired.
    """
    return find_card(name).refine if refine is None else refine


def check_reconstructs(name: str) -> None:
    """Refuse a network that is not for clips.

    Raises:
        ModelError: The name is unknown or retired, or its network is for something else.
    """
    card = find_card(name)
    if card.other_use:
        others = [other.name for other in CARDS.values() if other.free and not other.other_use]
        raise ModelError(
            f"model {name} {card.other_use}, and cannot reconstruct a clip; use {', '.join(others)}"
        )


def check_asked(
    name: str,
    weights: Path | str | None = None,
    *,
    reference: int = 0,
    poses: bool = False,
    decoder_weights: str = "float32",
    precision: str | None = None,
    compile_blocks: bool = False,
) -> None:
    """Refuse what the network of that name is known not to heed, before it is loaded.

    Args:
        name: Of the model.
        weights: A file to use in place of its own. Those of the small networks tell themselves
            whether theirs has a time decoder.
        reference: The frame in whose camera it is to work.
        poses: Whether it is to take known poses.
        decoder_weights: How its time decoder is to be kept.
        precision: Of its large parts.
        compile_blocks: Whether these are to be compiled.

    Raises:
        ModelError: The name is unknown or retired, or one of these is refused.
    """
    card = find_card(name)
    told_by_file = weights is not None and card.weights_file is not None and card.hub is None
    asked = {
        "reference": reference != 0,
        "poses": poses,
        "decoder_weights": decoder_weights != "float32" and not told_by_file,
        "precision": compile_blocks or precision not in (None, "float32"),
    }
    for option, wanted in asked.items():
        if wanted and option in card.cannot:
            raise ModelError(f"model {name} {CANNOT[option]}")
