"""What is given beside a source, checked before anything that takes long is begun.

Torch is loaded only where there is something to check that needs it.
"""

import os
from pathlib import Path
from typing import Any

from dynapoint.data.frames import Frames
from dynapoint.data.masks import mask_files
from dynapoint.data.times import read_times
from dynapoint.errors import ConfigError, ModelError
from dynapoint.results.checked import checked_index


def check_given(
    *,
    times_s: Any = None,
    ignore_masks: Path | str | None = None,
    intrinsics: Any = None,
    poses: Any = None,
    scale_from: tuple[str, Any] | None = None,
    weights: Path | str | None = None,
) -> None:
    """Refuse what cannot be used whatever the frames are; before these are read.

    Raises:
        ConfigError, InputError: What is given cannot be read or makes no sense.
        ModelError: There is no such weights file, or none that tells metres.
    """
    if isinstance(times_s, str | os.PathLike):
        read_times(Path(times_s))
    if ignore_masks is not None:
        mask_files(Path(ignore_masks))
    if intrinsics is not None:
        from dynapoint.inference.camera_files import read_cameras  # noqa: PLC0415

        read_cameras(intrinsics)
    if poses is not None:
        from dynapoint.inference.known_poses import read_poses  # noqa: PLC0415

        if intrinsics is None:
            raise ConfigError("poses need intrinsics; give both, or leave the poses out")
        read_poses(poses)
    if scale_from is not None:
        from dynapoint.inference.scale import read_scale  # noqa: PLC0415

        read_scale(*scale_from)
    if weights is not None and not Path(weights).is_file():
        raise ModelError(f"no weights file at {weights}; give the path of one")


def check_with_frames(
    frames: Frames,
    *,
    reference: int = 0,
    intrinsics: Any = None,
    poses: Any = None,
    scale_from: tuple[str, Any] | None = None,
) -> None:
    """Refuse what does not fit the frames; before the network is loaded.

    Raises:
        InputError: It speaks of other frames, places or sizes.
    """
    checked_index(reference, "reference", frames.count)
    if intrinsics is not None:
        from dynapoint.inference.known_cameras import known_cameras  # noqa: PLC0415

        known_cameras(intrinsics, frames)
    if poses is not None:
        from dynapoint.inference.known_poses import known_poses  # noqa: PLC0415

        known_poses(poses, frames)
    if scale_from is not None:
        from dynapoint.inference.scale import check_scale  # noqa: PLC0415

        check_scale(frames, *scale_from)


def refuse_poses(poses: object) -> None:
    """Refuse known poses of a clip that is predicted in windows, which find their own places.

    Raises:
        ConfigError: There are any.
    """
    if poses is not None:
        raise ConfigError(
            "known poses are for clips that the network sees at once; use fewer frames (--frames, "
            "frames=), or leave the poses out"
        )
