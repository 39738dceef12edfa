"""Dynamic Replica (Karaev et al., DynamicStereo, CVPR 2023) as it is downloaded.

Layout: `{train,valid,test}/frame_annotations_{split}.jgz`, a gzipped JSON list with an entry for
each frame of each camera, and folders `SEQUENCE_source_{left,right}/` that its paths lead to from
the split's folder: `images/*.png`, `depths/*.geometric.png`, `masks/`, `instance_id_maps/`,
`flow_forward/`, `flow_backward/` (these are not read) and, of the left camera, `trajectories/
000000.pth`: for each frame the same mesh vertices, `traj_3d_world` (track, xyz), `traj_2d`,
`verts_inds_vis` (track), `instances`, `img`. Only the left camera is read.

Known from the authors' code (`facebookresearch/dynamic_stereo`: `datasets/
dynamic_stereo_datasets.py` and the notebook) and from PyTorch3D's documentation of cameras:

- Viewpoints are PyTorch3D's: a row vector X of the world is at X R + T in a camera whose x points
  left and y up. `ndc_isotropic` counts lengths in the picture in half its shorter side,
  `ndc_norm_image_bounds` in half of each side, both from the centre to the left and up. The picture
  ends at ±1 (of that side), so pixel centres are at half-integers.
- Depth is z along the camera's axis (the code divides focal length times baseline by it): float16
  whose bits are a uint16 PNG. What is not above 0 and finite is no surface: NaN here.
- Pictures have four channels; the fourth is dropped, as the code does.

UNCONFIRMED: that depth is to be multiplied by `scale_adjustment`, which is 1 in all entries that
readers tell of (it is multiplied here, as in CO3D, whose format this is); that lengths are metres
(Replica's rooms are); that the order of vertices is the same in all frames of a sequence (the
code stacks them; another number of them is refused). That what `masks` calls foreground moves is
not said, so what moves is not known here. Issue 20 of the repository shows a scene whose depth
does not fit its cameras in the background.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import (
    damaged,
    decoded_picture,
    need_file,
    need_folder,
    read_png16,
    stamp,
)
from dynapoint.datasets.poses import inverted_poses
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.datasets.tracked import TrackedSequence

LAYOUT = "{test,valid,train}/{frame_annotations_{split}.jgz,SEQUENCE_source_left}"
# PyTorch3D's cameras look along z with x to the left and y up.
OPENCV_FROM_PYTORCH3D = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Frame:
    """An entry of the annotations.

    Attributes:
        image, depth, trajectories: Files; None where the frame has no trajectories.
        depth_scale: What depth is multiplied by.
        image_hw: Height and width in pixels.
        intrinsics, camera_from_world: In the axes of OpenCV.
    """

    number: int
    image: Path
    depth: Path
    trajectories: Path | None
    depth_scale: float
    image_hw: tuple[int, int]
    intrinsics: Float64[np.ndarray, "3 3"]
    camera_from_world: Float64[np.ndarray, "4 4"]


class DynamicReplicaSequence(TrackedSequence):
    """What the left camera of a sequence saw."""

    dataset = "dynamic-replica"

    def __init__(self, name: str, frames: Sequence[_Frame], annotations: Path) -> None:
        self.name, self.annotations = name, annotations
        self.frames = sorted(frames, key=lambda frame: frame.number)
        self.frame_count, self.image_hw = len(frames), self.frames[0].image_hw
        followed = all(frame.trajectories is not None for frame in frames)
        self.holds = Holds(
            lens=True,
            poses=True,
            depth=True,
            motion="sparse" if followed else "own_time",
            visible=followed,
            tracks=followed,
            metric=True,
        )

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture in sRGB."""
        path = need_file(self.frames[frame].image)
        picture = decoded_picture(path.read_bytes(), path)
        if picture.shape[:2] != self.image_hw:
            raise damaged(path, f"it is {picture.shape[:2]}, not {self.image_hw}")
        return picture

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the picture, pixel centres at half-integers."""
        return self.frames[frame].intrinsics

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose."""
        return inverted_poses(self.frames[frame].camera_from_world, self.annotations)

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Give z along the camera's axis; NaN where there is no surface."""
        path = self.frames[frame].depth
        bits = read_png16(path)
        if bits.shape != self.image_hw:
            raise damaged(path, f"it is {bits.shape}, not {self.image_hw}")
        values = bits.view(np.float16).astype(np.float32)
        scaled = values * np.float32(self.frames[frame].depth_scale)
        return np.where(np.isfinite(values) & (values > 0), scaled, np.float32(np.nan))

    def track_xyz(self, frame: int) -> Float32[np.ndarray, "track xyz=3"]:
        """Where all followed points are at the time of a frame."""
        return self._vertices(frame)[0]

    def track_visible(self, frame: int) -> Bool[np.ndarray, " track"]:
        """Which followed points the camera of a frame sees."""
        return self._vertices(frame)[1]

    def _vertices(
        self, frame: int
    ) -> tuple[Float32[np.ndarray, "track xyz=3"], Bool[np.ndarray, " track"]]:
        paths = [self.frames[k].trajectories for k in (0, frame)]
        if paths[0] is None or paths[1] is None:
            raise self.lacks("tracks")
        first, wanted = _trajectories(*stamp(paths[0])), _trajectories(*stamp(paths[1]))
        if len(first[0]) != len(wanted[0]):
            raise damaged(paths[1], f"it has {len(wanted[0])} points, not {len(first[0])}")
        return wanted


# Half a megabyte each; a sequence of the test split has 300.
@lru_cache(maxsize=300)
def _trajectories(
    path: Path, _changed: int, _size: int
) -> tuple[Float32[np.ndarray, "track xyz=3"], Bool[np.ndarray, " track"]]:
    """Places and visibility of the vertices in one frame; the arguments are of `stamp`."""
    # Data sets without tensors must not wait for torch.
    import torch  # noqa: PLC0415

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        places = content["traj_3d_world"].numpy().astype(np.float32)
        seen = content["verts_inds_vis"].numpy().astype(bool)
    # Damaged bytes make torch, zip and pickle raise nearly every kind of exception.
    except Exception as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if places.shape != (len(seen), 3) or seen.shape != (len(seen),):
        raise damaged(path, f"it has points of {places.shape} and visibility of {seen.shape}")
    return places, seen & np.isfinite(places).all(axis=1)


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The sequences of a split, by the names of their folders.

    Raises:
        InputError: The folder or the annotations are missing or damaged.
    """
    folder = need_folder(root / split, LAYOUT)
    annotations = need_file(folder / f"frame_annotations_{split}.jgz")
    try:
        with gzip.open(annotations, "rt", encoding="utf-8") as stream:
            entries = json.load(stream)
        frames: dict[str, list[_Frame]] = defaultdict(list)
        for entry in entries:
            if entry["camera_name"] == "left":
                frames[Path(entry["image"]["path"]).parts[0]].append(_frame(folder, entry))
    # Damaged bytes make gzip and zlib raise several kinds of exceptions, wrong entries others.
    except Exception as error:
        raise damaged(annotations, f"{type(error).__name__}: {error}") from error
    if not frames:
        raise damaged(annotations, "it tells of no left camera")
    return [
        DynamicReplicaSequence(name, found, annotations) for name, found in sorted(frames.items())
    ]


def _frame(folder: Path, entry: Mapping[str, Any]) -> _Frame:
    """One entry; any exception says that it is not of the format."""
    view, (height, width) = entry["viewpoint"], entry["image"]["size"]
    half = np.array([width, height]) / 2
    units = {"ndc_isotropic": half.min(), "ndc_norm_image_bounds": half}
    unit = units[view["intrinsics_format"].lower()]
    intrinsics, camera_from_world = np.eye(3), np.eye(4)
    intrinsics[[0, 1], [0, 1]] = np.array(view["focal_length"], float) * unit
    intrinsics[:2, 2] = half - np.array(view["principal_point"], float) * unit
    rotation, shift = np.array(view["R"], float), np.array(view["T"], float)
    camera_from_world[:3, :3] = OPENCV_FROM_PYTORCH3D @ rotation.T
    camera_from_world[:3, 3] = OPENCV_FROM_PYTORCH3D @ shift
    trajectories = (entry.get("trajectories") or {}).get("path")
    return _Frame(
        number=int(entry["frame_number"]),
        image=folder / entry["image"]["path"],
        depth=folder / entry["depth"]["path"],
        trajectories=folder / trajectories if trajectories else None,
        depth_scale=float(entry["depth"].get("scale_adjustment") or 1.0),
        image_hw=(int(height), int(width)),
        intrinsics=intrinsics,
        camera_from_world=camera_from_world,
    )


CARD = DatasetCard(
    key="dynamic-replica",
    title="Dynamic Replica",
    source="Karaev et al., DynamicStereo, CVPR 2023; dynamic-stereo.github.io",
    licence="CC BY-NC",
    splits=("test", "valid", "train"),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
