"""V-DPM's official code, imported from where whoever runs a benchmark has put it.

Wanted are the official repository (github.com/eldar/vdpm), and of VGGT (github.com/
facebookresearch/vggt, commit 44b3afb as its requirements say) the package `vggt`; einops is
installed. Nothing of them is part of this repository, and they have licences of their own.
"""

import contextlib
import io
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from dynapoint.models.vggt.key_maps import published_from_ours
from dynapoint.models.vggt.published import PublishedNetwork

_PATCH_EMBEDS = {1024: "dinov2_vitl14_reg", 384: "dinov2_vits14_reg"}
"""What the official code calls the vision transformers of these widths."""


class Original:
    """The official network in evaluation mode, on the very weights of one of ours."""

    def __init__(self, folders: Sequence[Path], network: PublishedNetwork) -> None:
        config = network.config
        assert config.decoder is not None
        module, width = _module_of(folders), config.aggregator.width
        asked = SimpleNamespace(model=SimpleNamespace(decoder_depth=config.decoder.depth))
        module.Aggregator = partial(module.Aggregator, patch_embed=_PATCH_EMBEDS[width])
        # Its vision transformer reads numbers back that it has made, which meta tensors have not.
        on_cpu = partial(torch.linspace, device="cpu")
        with patch.object(torch, "linspace", on_cpu), torch.device("meta"):
            self.model = module.VDPM(asked, embed_dim=width)
        weights = {published_from_ours(name): value for name, value in network.state_dict().items()}
        self.model.load_state_dict(weights, strict=True, assign=True)
        self.model.eval().requires_grad_(False)
        meta = [name for name, value in self.model.named_buffers() if value.is_meta]
        if meta:
            raise SystemExit(f"the official network has buffers that no file holds: {meta}")

    def encode(self, images: torch.Tensor) -> Any:
        """Tokens of all layers, and the cameras, as `VDPM.inference` computes them."""
        with self._as_there():
            tokens, patch_start = self.model.aggregator(images)
            return images, tokens, patch_start, self.model.camera_head(tokens)

    def decode(self, encoded: Any, time: int) -> dict[str, torch.Tensor]:
        """All frames at one time, as `VDPM.inference` computes them."""
        images, tokens, patch_start, _ = encoded
        with self._as_there():
            target = torch.full((1, images.shape[1]), time, dtype=torch.int64)
            decoded = self.model.decoder(images, tokens, patch_start, target)
            levels = [None] * len(tokens)
            for place, layer in enumerate(self.model.point_head.intermediate_layer_idx):
                levels[layer] = decoded[place]
            points, confidence = self.model.point_head(levels, images, patch_start)
        return {"points": points, "confidence": confidence}

    @contextlib.contextmanager
    def _as_there(self) -> Any:
        """Autocast as in the official code, which does nothing where there is no GPU; no prints."""
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with torch.amp.autocast("cuda", enabled=True, dtype=torch.bfloat16):
                yield


def _module_of(folders: Sequence[Path]) -> Any:
    """`dpm.model` of these folders; ends the program in one line where they do not hold it."""
    for folder in folders:
        if not folder.is_dir():
            raise SystemExit(
                f"--original {folder} is no folder; give that of github.com/eldar/vdpm"
            )
    sys.path[:0] = [str(folder.absolute()) for folder in folders]
    try:
        from dpm import model  # noqa: PLC0415
    except ImportError as error:
        raise SystemExit(
            f"--original {' '.join(map(str, folders))}: {error}; give the folder of github.com/"
            "eldar/vdpm, and behind it, unless they are installed, those that hold the packages "
            "vggt (github.com/facebookresearch/vggt) and einops"
        ) from None
    return model
