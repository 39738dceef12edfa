"""What BlendedMVS and MegaDepth have in common after DUSt3R's scripts: NAME.jpg and NAME.exr."""

import numpy as np
import OpenEXR
from PIL import Image


def write_exr(path, channels):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))


def write_view(folder, name, picture, z):
    """OpenCV, which the scripts write with, calls the only channel Y."""
    Image.fromarray(picture).save(folder / f"{name}.jpg", quality=100, subsampling=0)
    write_exr(folder / f"{name}.exr", {"Y": np.nan_to_num(z).astype(np.float32)})


def centres_at_integers(lens):
    """The lens as it is written where the first pixel's centre is (0, 0)."""
    return lens - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
