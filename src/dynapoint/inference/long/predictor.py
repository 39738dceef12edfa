"""Predicting one window: as a clip of its own, through the one lens of the whole clip."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from dynapoint.data.between import Between
from dynapoint.data.frames import Frames
from dynapoint.inference.known_cameras import known_cameras
from dynapoint.inference.lens import LensRule
from dynapoint.inference.predict import predict, settings_of
from dynapoint.inference.prepare import Preparation
from dynapoint.models.layers.compute import is_small
from dynapoint.models.protocol import ModelInfo, PointMapModel
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.threads import chosen_threads, computing


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowPredictor:
    """A network, and how it is asked about every window.

    Attributes:
        model: The network.
        info: What it says of itself.
        prepare: How frames are brought to its size.
        reference: The frame of each window in whose camera it works, where it leaves a choice.
        intrinsics: Known cameras, as `pipeline.reconstruct` takes them.
        lens: Whether all frames have one lens, where it is not known.
        refine: Whether answers are refined by the pictures.
    """

    model: PointMapModel
    info: ModelInfo
    prepare: Preparation = "default"
    reference: int = 0
    intrinsics: ArrayLike | Mapping[str, Any] | Path | str | None = None
    lens: LensRule = "shared"
    refine: bool = False

    @property
    def finds_lens(self) -> bool:
        """Whether one lens is to be found for all windows together."""
        return self.intrinsics is None and self.lens == "shared"

    def settings(self) -> dict[str, str | int]:
        """What the manifest of a scene says of how it was made."""
        return {
            **settings_of(self.model, self.info, self.intrinsics, self.prepare, self.lens),
            "reference": self.reference,
        }

    def predict(
        self,
        frames: Frames,
        *,
        focal_px: float | None = None,
        poses: Float64[np.ndarray, "frame 4 4"] | None = None,
        between: Callable[[], Between] | None = None,
    ) -> Reconstruction:
        """What the network says of some frames, as a clip of its own.

        Args:
            frames: The frames.
            focal_px: Of their lens, in pixels of the pictures, where it was found before.
            poses: Of their cameras, where other windows told them; for refinement.
            between: Gives the pictures between the frames.

        Raises:
            ConfigError, InputError, ModelError: As `pipeline.reconstruct_frames`.
        """
        known = None if self.intrinsics is None else known_cameras(self.intrinsics, frames)
        # With one thread, as in processes of their own, so that their number changes no bit.
        with computing(1 if is_small(self.model) else chosen_threads(small=False)):
            return predict(
                frames,
                self.model,
                info=self.info,
                prepare=self.prepare,
                reference=min(self.reference, frames.count - 1),
                known=known,
                lens=self.lens,
                focal_px=focal_px,
                poses=poses,
                refine=self.refine,
                between=between,
            )
