"""What all networks of the package have in common."""

from typing import Protocol, TypeVar, runtime_checkable

from torch import nn

from dynapoint.models.layers.compute import ComputeOptions
from dynapoint.models.protocol import ModelInfo
from dynapoint.models.source import ModelSource

Own = TypeVar("Own", bound="Network")


class Network(nn.Module):
    """A network that knows which file it was read from, and says what it is."""

    source: ModelSource | None = None
    """What `load_model` read; None for a network that it did not make."""

    @property
    def info(self) -> ModelInfo:
        """What it is and what it heeds."""
        raise NotImplementedError

    @property
    def time_decoder(self) -> nn.Module | None:
        """The decoder that moves tokens to a time, which may keep its weights in fewer bits."""
        return None

    def read_from(self: Own, source: ModelSource) -> Own:
        """Remember where the weights came from; returns the network itself."""
        self.source = source
        return self


@runtime_checkable
class ComputesByOptions(Protocol):
    """A network that lets its precision and its use of memory be chosen."""

    def use(self, options: ComputeOptions) -> object:
        """Compute with these options from now on."""
        ...
