"""Random surface materials: palettes and the parameters of one procedural texture family."""

import math
from colorsys import hsv_to_rgb
from enum import IntEnum

import numpy as np
from jaxtyping import Float32, Float64

Row = Float32[np.ndarray, " parameter"]


class Column(IntEnum):
    """Where each parameter of the texture lies in a material's row.

    Colours are linear RGB. The pattern value is a weighted sum of four noise channels (cloud, leaf,
    second leaf, blotch), a sine stripe, a checker and the joints of tiles; its contrast maps it to
    a blend of `FIRST` and `SECOND`, over which `THIRD` is laid by the second leaf channel.
    """

    FIRST = 0
    SECOND = 3
    THIRD = 6
    STRIPE = 9  # cycles per texture unit along a direction
    CHECKER = 12  # cycles per texture unit along all three axes; two tiles to a cycle
    OFFSET = 13  # of the noise, in its periods
    NOISE_RATE = 16  # noise periods per texture unit
    WEIGHT_CLOUD = 17
    WEIGHT_LEAF = 18
    WEIGHT_BLOTCH = 19
    WEIGHT_STRIPE = 20
    WEIGHT_CHECKER = 21
    WARP = 22  # cycles by which the cloud noise shifts the stripes
    CONTRAST = 23
    BIAS = 24
    THIRD_AMOUNT = 25
    SPECULAR = 26
    SHININESS = 27
    GRAIN = 28  # relative brightness modulation by blotches
    WEIGHT_JOINT = 29
    MIRROR = 30  # share of light reflected as by a mirror when looked at straight
    PHOTO = 31  # 0, or the number of the photograph that takes the pattern's place, from 1
    PHOTO_RATE = 32  # photographs per texture unit
    PHOTO_GAIN = 33  # of the photograph's brightness
    COUNT = 34


def random_colour(rng: np.random.Generator, *, vivid: float = 0.5) -> Float64[np.ndarray, " rgb=3"]:
    """A linear RGB colour: saturated, pastel, earthy, grey, dark or white.

    `vivid` shifts towards saturation.
    """
    hue, kind, a, b = rng.random(4).tolist()
    if kind < 0.15 + 0.4 * vivid:
        saturation, value = 0.5 + 0.45 * a, 0.45 + 0.5 * b
    elif kind < 0.58:
        saturation, value = 0.12 + 0.38 * a, 0.35 + 0.6 * b
    elif kind < 0.72:
        saturation, value = 0.2 * a, 0.12 + 0.8 * b
    elif kind < 0.88:
        saturation, value = 0.5 * a, 0.04 + 0.26 * b
    else:
        saturation, value = 0.1 * a, 0.85 + 0.13 * b
    # Display values become linear light by a power of 2.2.
    return np.array([channel**2.2 for channel in hsv_to_rgb(hue, saturation, value)])


def random_material(
    rng: np.random.Generator, *, size: float, texture: float, vivid: float = 0.5
) -> Row:
    """One material for a surface of about `size` units; `texture` is the chance of a pattern.

    Kinds: plain, clouds, dead leaves, blotches or spots, stripes (straight or warped by noise),
    checkers, tiles, gradients, noise bands, and mixtures.
    """
    row = np.zeros(Column.COUNT, np.float32)
    first = random_colour(rng, vivid=vivid)
    row[Column.FIRST : Column.FIRST + 3] = first
    row[Column.OFFSET : Column.OFFSET + 3] = rng.random(3)
    row[Column.NOISE_RATE] = math.exp(rng.uniform(math.log(0.1), math.log(2.2))) / size
    row[Column.CONTRAST] = 0.5
    if rng.random() < 0.5:
        row[Column.SPECULAR] = rng.uniform(0.05, 0.5)
    row[Column.SHININESS] = math.exp(rng.uniform(math.log(6.0), math.log(80.0)))
    if rng.random() < 0.15:
        row[Column.MIRROR] = rng.uniform(0.03, 0.5)
    row[Column.GRAIN] = rng.uniform(0.0, 0.4) * (rng.random() < 0.6)
    if rng.random() >= texture:
        row[Column.BIAS] = -0.5
        return row
    if rng.random() < 0.35:
        second = first * rng.uniform(0.15, 0.7) + 0.02
    else:
        second = random_colour(rng, vivid=vivid)
    row[Column.SECOND : Column.SECOND + 3] = second
    _set_pattern(row, rng, size)
    if row[Column.THIRD_AMOUNT] > 0:
        row[Column.THIRD : Column.THIRD + 3] = random_colour(rng, vivid=vivid)
    return row


def mean_colour(row: Row) -> Float32[np.ndarray, " rgb=3"]:
    """The colour of a material from afar (linear RGB)."""
    share = np.clip(0.5 + row[Column.BIAS], 0.0, 1.0)
    first, second = row[Column.FIRST : Column.SECOND], row[Column.SECOND : Column.THIRD]
    third = row[Column.THIRD : Column.STRIPE]
    mixed = first + share * (second - first)
    return mixed + 0.5 * row[Column.THIRD_AMOUNT] * (third - mixed)


def _set_pattern(row: Row, rng: np.random.Generator, size: float) -> None:
    """Choose what the pattern value is made of."""
    kind = rng.integers(10)
    direction = rng.normal(size=3)
    direction /= math.sqrt(direction @ direction)
    if rng.random() < 0.4:
        direction = np.roll(np.array([1.0, 0.0, 0.0]), rng.integers(3))
    cycles = math.exp(rng.uniform(math.log(1.2), math.log(10.0))) / size
    sharp = (0.6, 1.5, 6.0)[rng.integers(3)]
    row[Column.BIAS] = rng.uniform(-0.25, 0.25)
    row[Column.STRIPE : Column.STRIPE + 3] = direction * cycles
    row[Column.CHECKER] = cycles * 0.5
    row[Column.CONTRAST] = sharp
    if kind in (0, 1):
        row[Column.WEIGHT_CLOUD] = 1.0
        row[Column.CONTRAST] = (0.7, 1.2, 4.0)[rng.integers(3)]
    elif kind == 2:
        row[Column.WEIGHT_LEAF] = 1.0
        row[Column.CONTRAST] = rng.uniform(0.5, 1.0)
        row[Column.THIRD_AMOUNT] = rng.uniform(0.0, 0.8)
    elif kind == 3:
        row[Column.WEIGHT_BLOTCH] = 1.0
        row[Column.BIAS] = rng.uniform(-0.6, 0.3)
    elif kind == 4:
        row[Column.WEIGHT_STRIPE] = 1.0
    elif kind == 5:
        row[Column.WEIGHT_STRIPE] = 1.0
        row[Column.WARP] = rng.uniform(0.3, 1.5)
    elif kind == 6:
        row[Column.WEIGHT_CHECKER] = 1.0
        row[Column.CONTRAST] = 8.0
    elif kind == 7:
        # A quarter of a cycle across the surface is a gradient.
        row[Column.STRIPE : Column.STRIPE + 3] = direction * 0.25 / size
        row[Column.WEIGHT_STRIPE] = 1.0
        row[Column.CONTRAST] = 0.5
        row[Column.WEIGHT_BLOTCH] = rng.uniform(0.0, 0.3)
    elif kind == 8:
        row[Column.WEIGHT_JOINT] = 1.0
        row[Column.WEIGHT_CLOUD] = rng.uniform(0.0, 0.4)
        row[Column.CONTRAST] = 1.0
        row[Column.BIAS] = -0.5
        row[Column.THIRD_AMOUNT] = rng.uniform(0.0, 0.3)
    else:
        weights = rng.dirichlet(np.full(4, 0.6))
        row[Column.WEIGHT_CLOUD], row[Column.WEIGHT_BLOTCH] = weights[:2]
        row[Column.WEIGHT_STRIPE], row[Column.WEIGHT_CHECKER] = weights[2:]
        row[Column.WARP] = rng.uniform(0.0, 1.0)
        row[Column.THIRD_AMOUNT] = rng.uniform(0.0, 0.6)
