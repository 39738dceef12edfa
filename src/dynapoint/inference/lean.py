"""Scenes that keep what they show and nothing of the network: for thousands of clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from dynapoint.results.manifest import MANIFEST_FILE, read_manifest
from dynapoint.results.reconstruction import PointDecoder, Reconstruction

LEFT_OUT = "left out"
"""What the settings of a lean scene say of the network."""

# Good to look at; splats and textures want the usual ones.
_JPEG = {"quality": 85, "subsampling": "4:2:0"}


class WithoutNetwork:
    """Answers as a reconstruction's decoder does, and leaves nothing of the network in a scene."""

    def __init__(self, decoder: PointDecoder) -> None:
        self.decode = decoder.decode


def lean(rec: Reconstruction) -> Reconstruction:
    """A reconstruction whose scene holds what it shows, and neither the network nor its tokens.

    Stored, it answers for frame 0 at all times and for all frames at their own. Where points are
    seen follows from the maps alone, since the pictures in which it is measured are left out too.
    """
    settings = {**rec.settings, "network": LEFT_OUT}
    return replace(rec, decoder=WithoutNetwork(rec.decoder), pictures=None, settings=settings)


def shrink(folder: Path) -> None:
    """Halve the maps of a scene just written, and its pictures' bytes, in place.

    Maps of single precision become of half: coordinates to a two-thousandth of themselves, which is
    a hundredth of how far they are off.

    Raises:
        OSError: The folder cannot be written to.
    """
    manifest = read_manifest(folder)
    arrays = dict(manifest.arrays)
    for name, entry in manifest.arrays.items():
        if entry.dtype == "float32":
            path = folder / f"{name}.npy"
            values = np.load(path, allow_pickle=False)
            largest = np.finfo(np.float16).max
            # Nothing becomes infinite by it.
            np.save(path, np.clip(values, -largest, largest).astype(np.float16))
            arrays[name] = replace(entry, dtype="float16")
    for picture in folder.glob("frames/*.jpg"):
        with Image.open(picture) as image:
            pixels = image.convert("RGB")
        pixels.save(picture, "JPEG", **_JPEG)
    text = replace(manifest, arrays=arrays).to_json()
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
