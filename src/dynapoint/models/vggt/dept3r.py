"""DePT3R (arXiv 2512.13122): VGGT, asked for one time, and a head for motion towards it.

    images ─ patch tokens ─(+ query, intrinsics)─ aggregator ─ four levels ─┬─ point head ── P
                                                        │                   ├─ depth head ── depth
                                                        │                   └─ motion head ─ M
                                                        └─ camera tokens ─ camera head ─ cameras

No code or weights are public, and the paper was read through notes on it: docs/notes/dept3r.md
lists what is unstated and what was chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dynapoint.errors import ShapeError
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.layers.compute import autocast
from dynapoint.models.layers.dpt_head import DptHead, inverse_log
from dynapoint.models.layers.pose_encoding import intrinsics_px
from dynapoint.models.layers.query_embedding import QueryEmbedding
from dynapoint.models.layers.tokens import check_sides
from dynapoint.models.protocol import PLAIN, EncodeRequest, ModelInfo
from dynapoint.models.vggt.dept3r_config import Dept3rConfig
from dynapoint.models.vggt.parts import DepthMaps, VggtParts, point_maps, poses
from dynapoint.types import Cameras, PointMaps

MOTION_OUTPUTS = 3

Levels = tuple[Float[Tensor, "batch frame token double_width"], ...]


@dataclass(frozen=True, kw_only=True)
class BackbonePass:
    """The levels that the heads read; `time` is the query frame, None where examples differ."""

    time: int | None
    levels: Levels


@dataclass(frozen=True, kw_only=True)
class Dept3rEncoding:
    """What a pass of the backbone gives, and what passes for other times start from.

    `passes` holds the pass of `encode` and, behind it, the last one that another time took.
    `encodings` are the camera head's answers of all iterations.
    """

    own_time: PointMaps
    cameras: Cameras
    encodings: Float[Tensor, "iteration batch frame 9"]
    depth: DepthMaps
    patches: Float[Tensor, "batch frame patch channel"]
    of_intrinsics: Float[Tensor, "batch frame channel"] | None
    passes: list[BackbonePass]
    image_hw: tuple[int, int]

    def to_keep(self) -> "Dept3rEncoding":
        """What a stored scene keeps: other times' passes are run again when they are needed."""
        return replace(self, passes=self.passes[:1])


class Dept3rNetwork(VggtParts):
    """DePT3R, built from a `Dept3rConfig`.

    State names are VGGT's published ones (models/vggt/key_maps.py) and those of `motion_head` and
    `query_embedding`. The motion head is the point head without its confidence, which the paper
    trains no motion with; its activation is the point head's (UNCONFIRMED).
    """

    def __init__(self, config: Dept3rConfig) -> None:
        super().__init__(config.vggt)
        self.query_config = config.query
        width = config.vggt.aggregator.width
        self.query_embedding = QueryEmbedding(config.query, width)
        self.motion_head = DptHead(config.vggt.head, token_width=2 * width, outputs=MOTION_OUTPUTS)
        self.motion_head.load_state_dict(as_motion_head(self.point_head.state_dict()))

    @property
    def info(self) -> ModelInfo:
        """What it is; it heeds queries, and intrinsics if it was built to."""
        return replace(
            super().info,
            takes_queries=True,
            takes_intrinsics=self.query_embedding.intrinsics is not None,
        )

    def encode(
        self,
        images: Float[Tensor, "batch frame rgb=3 height width"],
        request: EncodeRequest = PLAIN,
    ) -> Dept3rEncoding:
        """Encode frames, RGB in [0, 1], in any order, by one pass of the backbone.

        Raises:
            ModelError: More is asked than the network takes.
            ShapeError: Sides do not fit the patches, or there is no such frame.
        """
        request.check(self.info, images.shape[1])
        batch, frames, _, height, width = images.shape
        image_hw = (height, width)
        check_sides((height, width), self.patch_size)
        queries = request.queries
        time = 0 if queries is None else None
        if queries is None:
            queries = torch.zeros(batch, dtype=torch.long)
        elif not ((queries >= -1) & (queries < frames)).all():
            raise ShapeError(
                f"query frames are {queries.tolist()}; give some from 0 to {frames - 1}, or -1"
            )
        of_intrinsics = None
        if request.intrinsics is not None:
            of_intrinsics = self.query_embedding.of_intrinsics(
                request.intrinsics, request.known, image_hw
            )
        with autocast(images.device, self.options.precision):
            patches = self._patches(images)
        levels = self._pass(patches, of_intrinsics, queries, image_hw)
        encodings = self._encodings(levels[-1][:, :, self.aggregator.layout.camera])
        depth = self._depth_maps(levels, image_hw)
        assert depth is not None
        return Dept3rEncoding(
            own_time=point_maps(self._head(self.point_head, levels, range(frames), image_hw)),
            cameras=Cameras(
                world_from_camera=invert_rigid(poses(encodings[-1], 0)),
                intrinsics=intrinsics_px(encodings[-1], image_hw, clamped=False),
            ),
            encodings=encodings,
            depth=depth,
            patches=patches,
            of_intrinsics=of_intrinsics,
            passes=[BackbonePass(time=time, levels=levels)],
            image_hw=image_hw,
        )

    def decode(self, encoded: Dept3rEncoding, *, time: int, frames: Sequence[int]) -> PointMaps:
        """Place the pixels of `frames` where they are at `time`, in the camera of frame 0.

        That is P + M, by one pass of the backbone for a time that the last decoded ones were not
        at; confidence is P's. For the target frame itself the result is its own-time map P.

        Raises:
            ShapeError: There are no such frames or times.
        """
        wanted, count = list(frames), encoded.patches.shape[1]
        if not wanted or min(*wanted, time) < 0 or max(*wanted, time) >= count:
            raise ShapeError(
                f"frames {wanted} at time {time}: give at least one frame and a time from 0 to "
                f"{count - 1}"
            )
        points = encoded.own_time.points[:, wanted]
        others = [k for k, frame in enumerate(wanted) if frame != time]
        if others:
            levels = self._pass_for(encoded, time).levels
            points[:, others] += self._motion(levels, [wanted[k] for k in others], encoded.image_hw)
        return PointMaps(points=points, confidence=encoded.own_time.confidence[:, wanted])

    def motion_maps(
        self, encoded: Dept3rEncoding
    ) -> Float[Tensor, "batch frame height width xyz=3"]:
        """M: where all pixels move from their own time to that of `encode`'s query frame."""
        frames = range(encoded.patches.shape[1])
        return self._motion(encoded.passes[0].levels, frames, encoded.image_hw)

    def _motion(
        self, levels: Levels, frames: Sequence[int], image_hw: tuple[int, int]
    ) -> Float[Tensor, "batch wanted height width xyz=3"]:
        raw = self._head(self.motion_head, levels, frames, image_hw)
        return inverse_log(raw).permute(0, 1, 3, 4, 2)

    def _pass_for(self, encoded: Dept3rEncoding, time: int) -> BackbonePass:
        """The pass whose query is `time`, kept from before or new."""
        for done in encoded.passes:
            if done.time == time:
                return done
        # Dropped beforehand, so that two are never held besides the first.
        del encoded.passes[1:]
        queries = torch.full((len(encoded.patches),), time)
        levels = self._pass(encoded.patches, encoded.of_intrinsics, queries, encoded.image_hw)
        encoded.passes.append(BackbonePass(time=time, levels=levels))
        return encoded.passes[-1]

    def _pass(
        self,
        patches: Float[Tensor, "batch frame patch channel"],
        of_intrinsics: Float[Tensor, "batch frame channel"] | None,
        queries: Int[Tensor, " batch"],
        image_hw: tuple[int, int],
    ) -> Levels:
        """The backbone behind the patch tokens."""
        added = self.query_embedding(
            queries,
            of_intrinsics,
            frames=patches.shape[1],
            patches=patches.shape[2],
            layout=self.aggregator.layout,
        )
        with autocast(patches.device, self.options.precision):
            return self._levels(patches, self._grid(image_hw), added=added)


def as_motion_head(point_head: dict[str, Tensor]) -> dict[str, Tensor]:
    """The motion head that a point head, by its tensors' names, starts as: all but confidence."""
    last = "scratch.output_conv2.2."
    return {
        name: value[:MOTION_OUTPUTS] if name.startswith(last) else value
        for name, value in point_head.items()
    }
