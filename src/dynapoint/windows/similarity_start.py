"""Where the fit of a similarity between two windows starts, from any pose."""

import numpy as np
import torch
from jaxtyping import Float64

from dynapoint.geometry.sim3 import invert_similarity
from dynapoint.geometry.similarity import fit_similarity, fit_similarity_robustly
from dynapoint.windows.shared_pixels import SharedPixels

# Three pixels at a time: of 128 draws, 16 have none wrong where half of the pixels are.
_DRAWS, _DRAWN = 128, 3
_JUDGES, _FITTED = 500, 800
# What counts as agreement: rays (radians) and logarithms of distance.
_RAY_SIGMA, _DISTANCE_SIGMA = 0.02, 0.1


def closed_form_start(pixels: SharedPixels) -> Float64[np.ndarray, "4 4"]:
    """Of many similarities in closed form the one with which most pixels agree.

    They are: what each shared frame's two cameras say, with the median ratio of distances; robust
    Procrustes on all pixels, distances relative to that from the camera; and Procrustes on three
    pixels drawn at random, many times, always the same ones.
    """
    guesses = _from_cameras(pixels)
    if len(pixels.frame) >= _DRAWN:
        guesses = np.concatenate([guesses, _from_points(pixels)])
        judges = np.arange(0, len(pixels.frame), max(1, len(pixels.frame) // _JUDGES))
    else:
        judges = np.arange(len(pixels.frame))
    return guesses[np.argmax(_agreement(pixels, guesses, judges))]


def _from_cameras(pixels: SharedPixels) -> Float64[np.ndarray, "frame 4 4"]:
    ratio = np.linalg.norm(pixels.first, axis=-1) / np.linalg.norm(pixels.second, axis=-1)
    zoomed = np.tile(np.eye(4), (len(pixels.first_camera), 1, 1))
    for frame, matrix in enumerate(zoomed):
        ours = ratio[pixels.frame == frame]
        matrix[:3, :3] *= np.median(ours) if len(ours) else _ratio_of_paths(pixels)
    return np.asarray(pixels.first_camera @ zoomed @ invert_similarity(pixels.second_camera))


def _ratio_of_paths(pixels: SharedPixels) -> float:
    """The ratio of how far the cameras spread; 1 where they stand still."""
    spread = [
        float(np.linalg.norm(camera[:, :3, 3] - camera[:, :3, 3].mean(axis=0)))
        for camera in (pixels.first_camera, pixels.second_camera)
    ]
    return spread[0] / spread[1] if min(spread) > 1e-9 else 1.0


def _from_points(pixels: SharedPixels) -> Float64[np.ndarray, "guess 4 4"]:
    worlds = [
        torch.from_numpy(_moved(camera[pixels.frame], points))
        for camera, points in (
            (pixels.second_camera, pixels.second),
            (pixels.first_camera, pixels.first),
        )
    ]
    chance = pixels.weight / pixels.weight.sum()
    rng = np.random.default_rng(0)
    draws = torch.from_numpy(rng.choice(len(chance), size=(_DRAWS, _DRAWN), p=chance))
    source, target = (world[draws] for world in worlds)
    drawn = fit_similarity(source, target, torch.ones_like(source[..., 0]))
    some = slice(None, None, max(1, len(chance) // _FITTED))
    relative = pixels.weight / np.linalg.norm(pixels.first, axis=-1)
    source, target = (world[some][None] for world in worlds)
    fitted = fit_similarity_robustly(source, target, torch.from_numpy(relative[some])[None])
    return np.asarray(torch.cat([drawn, fitted]).numpy())


def _agreement(
    pixels: SharedPixels, guesses: Float64[np.ndarray, "guess 4 4"], judges: np.ndarray
) -> Float64[np.ndarray, " guess"]:
    frame = pixels.frame[judges]
    there = _moved(pixels.second_camera[frame], pixels.second[judges])
    camera = pixels.first_camera[frame]
    moved = there @ guesses[:, :3, :3].transpose(0, 2, 1) + guesses[:, None, :3, 3]
    moved -= camera[:, :3, 3]
    wanted = (camera[:, :3, :3] @ pixels.first[judges][..., None])[..., 0]
    length, distance = np.linalg.norm(moved, axis=-1), np.linalg.norm(wanted, axis=-1)
    length = np.maximum(length, 1e-12)
    cosine = np.einsum("gpk,pk->gp", moved, wanted) / (length * distance)
    square = 2 * np.maximum(1 - cosine, 0) / _RAY_SIGMA**2
    square += (np.log(length / distance) / _DISTANCE_SIGMA) ** 2
    found = (pixels.weight[judges] / (1 + square) ** 2).sum(axis=1)
    return np.asarray(found) if len(judges) else np.zeros(len(guesses))


def _moved(
    world_from_camera: Float64[np.ndarray, "pixel 4 4"], points: Float64[np.ndarray, "pixel xyz=3"]
) -> Float64[np.ndarray, "pixel xyz=3"]:
    turned = (world_from_camera[:, :3, :3] @ points[..., None])[..., 0]
    return np.asarray(turned + world_from_camera[:, :3, 3])
