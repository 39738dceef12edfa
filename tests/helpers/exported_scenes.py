"""Small scenes to export, in closed form: coloured so that up, right and frames can be told."""

import numpy as np

import dynapoint
from dynapoint.results.reconstruction import Reconstruction
from fake_model import ROLL_STEP_RAD, SquareFake

SHAPES = {"landscape": (36, 64), "portrait": (64, 36)}


def coloured_images(frames: int, height: int, width: int) -> np.ndarray:
    """Redder to the right, greener upwards, and with a blue that tells the frame."""
    images = np.empty((frames, height, width, 3), dtype=np.uint8)
    images[..., 0] = np.linspace(30, 220, width).round()[None, None]
    images[..., 1] = np.linspace(220, 30, height).round()[None, :, None]
    images[..., 2] = (40 + 20 * np.arange(frames))[:, None, None]
    return images


def gray_images(frames: int, height: int, width: int) -> np.ndarray:
    return np.full((frames, height, width, 3), 128, dtype=np.uint8)


def scene(
    shape: str = "landscape",
    frames: int = 3,
    images=coloured_images,
    *,
    roll_step_rad: float = ROLL_STEP_RAD,
) -> Reconstruction:
    """A reconstruction whose maps have the images' own resolution or nearly.

    The wall has the same colours in all frames only if the cameras do not roll.
    """
    model = SquareFake(roll_step_rad=roll_step_rad)
    return dynapoint.reconstruct(images(frames, *SHAPES[shape]), model, frames=frames)
