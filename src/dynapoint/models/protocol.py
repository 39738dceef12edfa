"""What every system of the family offers: encode the frames once, decode any time.

The minimum is a `PointMapModel`: two properties, `encode(images)` and `decode`. A model that also
has `info` is an `InformedModel`: it says what it is and what it heeds, and its `encode` is given an
`EncodeRequest` beside the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from dynapoint.errors import ModelError
from dynapoint.models.calibration import Calibration
from dynapoint.models.cards import CANNOT
from dynapoint.models.source import ModelSource
from dynapoint.types import Cameras, PointMaps

PublishedImages = Literal["vggt", "da3"]
"""Whose public code prepares images as `--prepare published` asks for."""

POSES_ALONE = "known poses need known intrinsics; give both or neither"

MINIMUM = ("patch_size", "image_side", "encode", "decode")
"""The members that every model must have."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a model is, and what it heeds of an `EncodeRequest`.

    Attributes:
        name: With its version, e.g. `nano-2`; every result records it.
        precision: What its large parts compute in.
        weights_sha256: Hash of the file that its weights came from; that of `source` unless given.
        source: What `load_model` read. Scenes keep the network of a model that has one; others
            answer from their arrays alone.
        takes_reference: Whether it works in the camera of any frame that it is told.
        takes_intrinsics: Whether known intrinsics change its answers.
        takes_poses: Whether known poses and intrinsics, both together, change its answers.
        still_world: Whether it knows a still world only: its points are the same at all times.
        takes_queries: Whether it can be told whose time is asked for before it encodes.
        most_frames: How many frames it can encode together; None for any number.
        published_images: How its public code prepares images.
        calibration: What its confidence has meant; that of `source` unless given, None if unknown.
    """

    name: str
    precision: str = "float32"
    weights_sha256: str | None = None
    source: ModelSource | None = None
    takes_reference: bool = False
    takes_intrinsics: bool = False
    takes_poses: bool = False
    still_world: bool = False
    takes_queries: bool = False
    most_frames: int | None = None
    published_images: PublishedImages = "vggt"
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.weights_sha256 is None and self.source is not None:
            object.__setattr__(self, "weights_sha256", self.source.weights_sha256)
        if self.calibration is None and self.source is not None:
            object.__setattr__(self, "calibration", self.source.calibration)


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodeRequest:
    """What is asked of `encode` beside the images.

    `pixel_aspect` and `progress` are hints: a model without a use for them passes them over. What
    else is not at its default is refused by a model that does not take it (`check`).

    Attributes:
        reference: The frame in whose camera the network works. Answers are in the camera of frame
            0 all the same.
        intrinsics: Known intrinsics, in pixels of the images.
        world_from_camera: Known poses, in any world and unit of length; only beside intrinsics.
        known: The examples whose intrinsics are known; None for all of them.
        queries: For each example the frame whose time is asked for first, −1 for none; None for
            frame 0. Networks that move all tokens to one time (DePT3R) are trained with it.
        pixel_aspect: How far the pictures were stretched to become the images, across over along:
            a lens has one focal length in pixels of the pictures.
        progress: Whether to show a bar on standard error.
    """

    reference: int = 0
    intrinsics: Float[Tensor, "batch frame 3 3"] | None = None
    world_from_camera: Float[Tensor, "batch frame 4 4"] | None = None
    known: Bool[Tensor, " batch"] | None = None
    queries: Int[Tensor, " batch"] | None = None
    pixel_aspect: float = 1.0
    progress: bool = False

    def check(self, info: ModelInfo, frame_count: int) -> None:
        """Refuse what a model does not take.

        Raises:
            ModelError: There are more frames than it can encode together, the reference,
                intrinsics, poses or queries are given and it takes none, or poses are given
                without intrinsics.
        """
        if info.most_frames is not None and frame_count > info.most_frames:
            raise ModelError(
                f"model {info.name} takes {info.most_frames} frames at most and got {frame_count}; "
                "use fewer frames (--frames, frames=)"
            )
        if self.reference != 0 and not info.takes_reference:
            raise ModelError(f"model {info.name} {CANNOT['reference']}")
        posed = self.world_from_camera is not None
        if posed and not info.takes_poses:
            raise ModelError(f"model {info.name} {CANNOT['poses']}")
        if posed and self.intrinsics is None:
            raise ModelError(POSES_ALONE)
        if self.intrinsics is not None and not (posed or info.takes_intrinsics):
            beside = " without poses; give both or neither" if info.takes_poses else ""
            raise ModelError(f"model {info.name} takes no intrinsics{beside or '; leave them out'}")
        if self.queries is not None and not info.takes_queries:
            raise ModelError(f"model {info.name} takes no queries; leave them out")


PLAIN = EncodeRequest()
"""A request for nothing beside the images."""


@runtime_checkable
class Encoded(Protocol):
    """What is computed once for a clip.

    `own_time` holds P, i.e. `points[i, i]` for every frame i; `cameras` the cameras of all frames,
    intrinsics in pixels of the network's images.
    """

    @property
    def own_time(self) -> PointMaps:
        """The own-time maps P of all frames."""
        ...

    @property
    def cameras(self) -> Cameras:
        """The cameras of all frames."""
        ...


@runtime_checkable
class KeepsLess(Protocol):
    """Part of an encoding that knows what of it a stored scene is to keep."""

    def to_keep(self) -> Any:
        """What is worth keeping."""
        ...


@runtime_checkable
class PointMapDecoder(Protocol):
    """What is left of a model once a clip is encoded."""

    def decode(self, encoded: Any, *, time: int, frames: Sequence[int]) -> PointMaps:
        """As `PointMapModel.decode`."""
        ...


@runtime_checkable
class PointMapModel(Protocol):
    """The least that a model is: images have sides of multiples of `patch_size`, RGB in [0, 1].

    `image_side` is the length of the longer side that the network works best at. What the two
    verbs cost, for n frames, in each system:

    - V-DPM (`published`, `network`): `encode` runs the backbone over all frames once. `decode` runs
      the time decoder: the published one over all frames whatever is asked for, so that all frames
      at one time cost little more than one; `nano`'s over the frames asked for and the target.
    - DePT3R (`dept3r`, `query_network`): `encode` makes patch tokens and runs the backbone once,
      for the time of frame 0. `decode` at another time is one more run of the backbone over all
      frames, then a head for each frame asked for; the published size keeps its last run.
    - DPM (`pairwise`): `encode` looks at every frame alone, then at the pairs of a graph (about
      10 n; n (n − 1) up to five frames), and aligns them. `decode` looks at one pair for each frame
      asked for, in the graph or not.
    """

    @property
    def patch_size(self) -> int:
        """Sides of the images must be multiples of this."""
        ...

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        ...

    def encode(self, images: Float[Tensor, "batch frame rgb=3 height width"]) -> Any:
        """Compute all that does not depend on the target time; returns an `Encoded`."""
        ...

    def decode(self, encoded: Any, *, time: int, frames: Sequence[int]) -> PointMaps:
        """Place the pixels of `frames` where they are at `time`, in the camera of frame 0.

        For a frame that is the target itself the result is its own-time map P.
        """
        ...


@runtime_checkable
class InformedModel(PointMapModel, Protocol):
    """A model that says what it is and what it heeds; all networks of the package do."""

    @property
    def info(self) -> ModelInfo:
        """What it is and what it heeds."""
        ...

    def encode(
        self,
        images: Float[Tensor, "batch frame rgb=3 height width"],
        request: EncodeRequest = PLAIN,
    ) -> Any:
        """As `PointMapModel.encode`, with what is asked for beside the images."""
        ...


@runtime_checkable
class Informed(Protocol):
    """Anything that says what it is, e.g. a `PairModel` that does."""

    @property
    def info(self) -> ModelInfo:
        """What it is and what it heeds."""
        ...


def info_of(model: object, name: str | None = None) -> ModelInfo:
    """What a model says of itself; of one that says nothing its name, or else its class's.

    Raises:
        ModelError: Its `info` is no `ModelInfo`.
    """
    if not isinstance(model, Informed):
        return ModelInfo(name=name or type(model).__name__)
    if not isinstance(model.info, ModelInfo):
        raise ModelError(
            f"info of model {type(model).__name__} is a {type(model.info).__name__}; make it a "
            "models.protocol.ModelInfo, or leave it out"
        )
    return model.info


def check_model(model: object) -> None:
    """Refuse what is no model.

    Raises:
        ModelError: Something of the minimum is missing, which the message names, or `info` is no
            `ModelInfo`.
    """
    kind = type(model).__name__
    missing = [name for name in MINIMUM if not hasattr(model, name)]
    if len(missing) == len(MINIMUM):
        raise ModelError(
            f"model is a {kind}; give the name of a network, or a network such as "
            "dynapoint.load_model(weights=FILE) gives"
        )
    if missing and isinstance(model, PairModel):
        raise ModelError(
            f"model {kind} answers for pairs of frames; give models.pairwise.PairwiseVideo({kind})"
        )
    if missing:
        raise ModelError(
            f"model {kind} has no {', no '.join(missing)}; a model has {', '.join(MINIMUM)} "
            "(docs/extending.md)"
        )
    info_of(model)


def encode(
    model: PointMapModel,
    images: Float[Tensor, "batch frame rgb=3 height width"],
    request: EncodeRequest,
) -> Encoded:
    """Encode images by any model; one that says nothing of itself is given the images alone.

    Raises:
        ModelError: More is asked than the model takes, or it gave something else than own-time maps
            and cameras.
    """
    info = info_of(model)
    request.check(info, images.shape[1])
    if isinstance(model, InformedModel):
        encoded = model.encode(images, request)
    else:
        encoded = model.encode(images)
    if not isinstance(encoded, Encoded):
        raise ModelError(
            f"encode of model {info.name} gave a {type(encoded).__name__}; it must have own_time "
            "(PointMaps) and cameras (Cameras)"
        )
    for name, part, kind in (
        ("own_time", encoded.own_time, PointMaps),
        ("cameras", encoded.cameras, Cameras),
    ):
        if not isinstance(part, kind):
            raise ModelError(
                f"{name} of what model {info.name} encoded is a {type(part).__name__}; make it "
                f"dynapoint.{kind.__name__}"
            )
    return encoded


@dataclass(frozen=True, kw_only=True)
class PairMaps:
    """The four dynamic point maps of ordered pairs of frames, in the camera of each first frame.

    `points[p, t, i]` are the pixels of image i of pair p (0 first, 1 second) where they are at the
    time of image t, in units of the pair's own; `confidence` is positive, larger is better. With
    frames (a, b): `points[p, 0, 0]` is P_a(t_a), `points[p, 1, 0]` P_a(t_b), `points[p, 0, 1]`
    P_b(t_a) and `points[p, 1, 1]` P_b(t_b), all in the camera of a (DPM eq. 1).
    """

    points: Float[Tensor, "pair time=2 image=2 height width xyz=3"]
    confidence: Float[Tensor, "pair time=2 image=2 height width"]


@runtime_checkable
class PairModel(Protocol):
    """A network that answers for two frames at a time (DPM): each frame is encoded once."""

    @property
    def patch_size(self) -> int:
        """Sides of the images must be multiples of this."""
        ...

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        ...

    def encode_frames(self, images: Float[Tensor, "frame rgb=3 height width"]) -> Any:
        """What is computed once for each frame of one clip, RGB in [0, 1]."""
        ...

    def decode_frame_pairs(
        self, encoded: Any, *, firsts: Sequence[int], seconds: Sequence[int]
    ) -> PairMaps:
        """The maps of the pairs (firsts[k], seconds[k]); a frame may be paired with itself."""
        ...
