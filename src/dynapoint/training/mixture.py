"""The data sets that the papers trained on, as shares of an epoch and as what each can teach."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from dynapoint.synthetic.scene import Scene


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One set of a mixture.

    `key` is that of its reader (`datasets.registry`). `samples` are drawn from it in an epoch.
    `still` sets show nothing that moves but the camera. `supervises` "all": the truth of every
    frame at every time is known; "own_time": of every frame at its own time only (DPM's paper has
    the table). What is `for_motion` false is left out where motion is trained (DePT3R's second
    phase).
    """

    name: str
    samples: int
    key: str = ""
    still: bool = False
    supervises: Literal["all", "own_time"] = "all"
    for_motion: bool = True

    def supervised(self, frames: int) -> Bool[Tensor, "time frame"]:
        """Which maps of a sample its truth covers."""
        if self.supervises == "own_time":
            return torch.eye(frames, dtype=torch.bool)
        return torch.ones(frames, frames, dtype=torch.bool)


V_DPM_SETS = (
    DataSet(name="Kubric-G", key="kubric-g", samples=5000),
    DataSet(name="Kubric-F", key="kubric-f", samples=5000),
    DataSet(name="PointOdyssey", key="pointodyssey", samples=15_000, supervises="own_time"),
    DataSet(name="Waymo", key="waymo", samples=2500),
    DataSet(name="ScanNet++", key="scannetpp", samples=2500, still=True),
    DataSet(name="BlendedMVS", key="blendedmvs", samples=2500, still=True),
)
"""An epoch of V-DPM's paper.

The data engine stands in for each set of which no folder is given (Kubric-G is not even public),
its truth masked in the same way, but dense where Waymo's is sparse.
"""

DPM_SETS = (
    DataSet(name="Kubric-G", key="kubric-g", samples=5000),
    DataSet(name="Kubric-F", key="kubric-f", samples=5000),
    DataSet(name="Waymo", key="waymo", samples=4000),
    DataSet(name="PointOdyssey", key="pointodyssey", samples=10_000, supervises="own_time"),
    DataSet(name="Spring", key="spring", samples=1000, supervises="own_time"),
    DataSet(name="ScanNet++", key="scannetpp", samples=2500, still=True),
    DataSet(name="BlendedMVS", key="blendedmvs", samples=2500, still=True),
    DataSet(name="MegaDepth", key="megadepth", samples=2500, still=True),
)
"""The sets of DPM's paper, with what each supervises.

UNCONFIRMED are the samples of an epoch, of which the paper says nothing: those of PointOdyssey,
Spring and Waymo are MonST3R's, the others V-DPM's, by the same authors, MegaDepth's as those of the
other still sets. The data engine stands in for each, as above.
"""


DEPT3R_SETS = (
    DataSet(name="PointOdyssey", key="pointodyssey", samples=2000),
    DataSet(name="DynamicReplica", key="dynamic-replica", samples=2000),
    DataSet(name="Kubric-F", key="kubric-f", samples=2000),
    DataSet(
        name="Virtual KITTI 2",
        key="virtual-kitti",
        samples=2000,
        supervises="own_time",
        for_motion=False,
    ),
    DataSet(
        name="TartanAir", key="tartanair", samples=2000, supervises="own_time", for_motion=False
    ),
)
"""DePT3R's sets; that all give as many samples is UNCONFIRMED. The engine stands in for each."""


def shares(sets: tuple[DataSet, ...]) -> list[float]:
    """The probability of each set for a sample of a mixture."""
    epoch = sum(each.samples for each in sets)
    return [each.samples / epoch for each in sets]


def held_still(scene: Scene) -> Scene:
    """The scene with all bodies as they are at its first time; the camera moves as before."""
    return replace(
        scene,
        vertices=np.repeat(scene.vertices[:1], len(scene.vertices), axis=0),
        face_moving=np.zeros_like(scene.face_moving),
    )
