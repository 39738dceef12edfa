"""Configurations of DePT3R (arXiv 2512.13122)."""

from dataclasses import dataclass, field, replace

from dynapoint.errors import ConfigError
from dynapoint.models.layers.config import QueryConfig
from dynapoint.models.vggt.config import PublishedConfig, vdpm_miniature, vggt


@dataclass(frozen=True, kw_only=True)
class Dept3rConfig:
    """All numbers of a DePT3R network: VGGT with its depth head, and what tells it the time."""

    vggt: PublishedConfig
    # Told to the camera token alone, the query is not learned under the small layer scale of this
    # network (docs/notes/dept3r.md).
    query: QueryConfig = field(default_factory=lambda: QueryConfig(into="frame"))

    def __post_init__(self) -> None:
        if self.vggt.decoder is not None or not self.vggt.depth_head:
            raise ConfigError(
                f"{self.name} is made of VGGT, without a decoder and with a depth head; give it "
                "such a configuration"
            )

    @property
    def name(self) -> str:
        """What the network is called."""
        return self.vggt.name

    @property
    def patch_size(self) -> int:
        """Sides of the network's images are multiples of this."""
        return self.vggt.patch_embed.patch_size


def dept3r() -> Dept3rConfig:
    """DePT3R on VGGT-1B, as far as its paper is known (docs/notes/dept3r.md)."""
    return Dept3rConfig(vggt=replace(vggt(), name="dept3r"))


def dept3r_miniature() -> Dept3rConfig:
    """DePT3R's layout in small, for tests and for trying a training run on a CPU."""
    base = vdpm_miniature()
    return Dept3rConfig(
        vggt=replace(
            base,
            name="dept3r-miniature",
            aggregator=replace(base.aggregator, time_token=False),
            decoder=None,
            depth_head=True,
        )
    )
