"""Cameras by structure from motion on SIFT features (COLMAP's incremental mapper by pycolmap).

Schönberger and Frahm, Structure-from-Motion Revisited (CVPR 2016). It answers cameras only. A frame
that it could not place has the pose of the nearest one that it could; a clip in which it placed
less than half of the frames counts as not solved, and has no answer.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from dynapoint.errors import ConfigError
from dynapoint.evaluation.methods.method import Method, MethodInfo, Question
from dynapoint.evaluation.protocols.task import Answer

_MOST_EXHAUSTIVE = 40
_OVERLAP = 10


class StructureFromMotion:
    """Answers cameras only, and only where it solves."""

    info = MethodInfo(
        name="SIFT structure from motion", options="pycolmap, one camera, at least half placed"
    )

    def answer(self, question: Question) -> Answer:
        """Solve the clip.

        Raises:
            ConfigError: pycolmap is not installed.
        """
        if not question.task.cameras:
            return Answer()
        lens = question.intrinsics
        with tempfile.TemporaryDirectory() as folder:
            solved = solve(question.images, None if lens is None else lens[0], Path(folder))
        if solved is None:
            return Answer()
        poses, intrinsics = solved
        return Answer(
            world_from_camera=np.linalg.inv(poses[0]) @ poses,
            intrinsics=np.tile(intrinsics, (len(poses), 1, 1)),
        )


def make_method() -> Method:
    """The method."""
    return StructureFromMotion()


def solve(
    images: UInt8[np.ndarray, "frame height width rgb=3"],
    intrinsics: Float64[np.ndarray, "3 3"] | None,
    folder: Path,
) -> tuple[Float64[np.ndarray, "frame 4 4"], Float64[np.ndarray, "3 3"]] | None:
    """Poses of all frames (world_from_camera in a world of its own) and the lens, or None.

    Args:
        images: One camera's pictures.
        intrinsics: In pixels, pixel centres at half-integers (as COLMAP's); None to solve for a
            focal length.
        folder: For its files.

    Raises:
        ConfigError: pycolmap is not installed.
    """
    pycolmap = _pycolmap()
    pictures = folder / "images"
    pictures.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(pictures / f"{index:05d}.png")
    database = folder / "database.db"
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = "SIMPLE_PINHOLE" if intrinsics is None else "PINHOLE"
    if intrinsics is not None:
        values = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
        reader.camera_params = ",".join(f"{value:.9g}" for value in values)
    pycolmap.set_random_seed(0)
    extraction, matching = pycolmap.FeatureExtractionOptions(), pycolmap.FeatureMatchingOptions()
    mapping = pycolmap.IncrementalPipelineOptions()
    for options in (extraction, matching, mapping):
        # More threads give other answers at each run.
        options.num_threads = 1
    pycolmap.extract_features(
        database,
        pictures,
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=reader,
        extraction_options=extraction,
    )
    if len(images) <= _MOST_EXHAUSTIVE:
        pycolmap.match_exhaustive(database, matching_options=matching)
    else:
        pairing = pycolmap.SequentialPairingOptions()
        pairing.overlap = _OVERLAP
        pycolmap.match_sequential(database, matching_options=matching, pairing_options=pairing)
    mapping.ba_refine_focal_length = intrinsics is None
    mapping.random_seed = 0
    models = pycolmap.incremental_mapping(database, pictures, folder, options=mapping)
    return _poses(models, len(images))


def _poses(
    models: dict[int, Any], frames: int
) -> tuple[Float64[np.ndarray, "frame 4 4"], Float64[np.ndarray, "3 3"]] | None:
    """What the largest model says of all frames."""
    if not models:
        return None
    largest = max(models.values(), key=lambda model: model.num_reg_images())
    placed = {}
    for image in largest.images.values():
        if image.has_pose:
            camera_from_world = np.eye(4)
            camera_from_world[:3] = image.cam_from_world().matrix()
            placed[int(Path(image.name).stem)] = np.linalg.inv(camera_from_world)
    if 2 * len(placed) < frames:
        return None
    there = np.array(sorted(placed))
    nearest = [int(there[np.abs(there - frame).argmin()]) for frame in range(frames)]
    camera = next(iter(largest.cameras.values()))
    return np.stack([placed[frame] for frame in nearest]), camera.calibration_matrix()


def _pycolmap() -> Any:
    try:
        import pycolmap  # noqa: PLC0415 - an extra.
    except ImportError as error:
        raise ConfigError(
            'structure from motion needs pycolmap; pip install "dynapoint[baselines]"'
        ) from error
    pycolmap.logging.minloglevel = 3
    return pycolmap
