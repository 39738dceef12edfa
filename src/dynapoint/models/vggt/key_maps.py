"""The names of tensors in the published checkpoints and in our networks, both ways."""

import re

from dynapoint.models.vggt.config import PublishedConfig

_PATCH_EMBED = "patch_embed."
_PUBLISHED_PATCH_EMBED = "aggregator.patch_embed."
_BLOCK = re.compile(r"decoder\.(frame|global)_blocks\.(\d+)\.")
# The published decoder keeps its blocks in a list of lists whose outer list has one entry.
_PUBLISHED_BLOCK = re.compile(r"decoder\.(frame|global)_blocks\.0\.(\d+)\.")


def published_from_ours(name: str) -> str:
    """The published name of one of our tensors; names that are the same in both are returned."""
    if name.startswith(_PATCH_EMBED):
        return f"aggregator.{name}"
    return _BLOCK.sub(r"decoder.\1_blocks.0.\2.", name, count=1)


def ours_from_published(name: str) -> str:
    """Our name of a published tensor; names that are the same in both are returned."""
    if name.startswith(_PUBLISHED_PATCH_EMBED):
        return name.removeprefix("aggregator.")
    return _PUBLISHED_BLOCK.sub(r"decoder.\1_blocks.\2.", name, count=1)


def known_but_not_built(config: PublishedConfig) -> tuple[str, ...]:
    """Beginnings of published names whose parts `config` has no use for.

    VGGT's 2D track head is not built here. V-DPM has no depth head either, and its public loader
    leaves both out where a checkpoint made from VGGT still holds them.
    """
    return ("track_head.",) if config.depth_head else ("depth_head.", "track_head.")


_DUST3R_HEAD = re.compile(r"(downstream_head\w+)\.(?!dpt\.|proj\.)")
_DUST3R_DPT = re.compile(r"(downstream_head\w+)\.dpt\.")
_DUST3R_ALIAS = re.compile(r"\.scratch\.layer_rn\.(\d)\.")
_DUST3R_UNUSED = re.compile(r"mask_token$|.*\.refinenet4\.resConfUnit1\.")


def dust3r_from_ours(name: str) -> str:
    """The name of one of our tensors in files of DUSt3R's format, DPM's further heads included."""
    return _DUST3R_HEAD.sub(r"\1.dpt.", name, count=1)


def ours_from_dust3r(name: str) -> str | None:
    """Our name of a tensor in a file of DUSt3R's format; None for what is there but not used.

    Unused are `mask_token`, left over from CroCo's pretraining, and the unit of the coarsest fusion
    block that would refine a map finer still. The public files hold the convolutions
    `scratch.layer<i + 1>_rn` a second time as `scratch.layer_rn.<i>`, which has the same name here.
    """
    if _DUST3R_UNUSED.match(name):
        return None
    once = _DUST3R_ALIAS.sub(lambda found: f".scratch.layer{int(found[1]) + 1}_rn.", name)
    return _DUST3R_DPT.sub(r"\1.", once, count=1)
