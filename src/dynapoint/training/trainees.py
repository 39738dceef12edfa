"""What a run can train: nano's family from nothing, and the published networks from weights."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from dynapoint.errors import ConfigError
from dynapoint.models.compute import default_options
from dynapoint.models.config import NetworkConfig
from dynapoint.models.network import VideoPointMapNetwork
from dynapoint.models.published import PublishedNetwork
from dynapoint.models.published_config import PublishedConfig
from dynapoint.models.published_start import FRESH_PARTS, read_start
from dynapoint.models.published_weights import save_published
from dynapoint.models.query_network import QueryPointMapNetwork
from dynapoint.models.small_networks import build_network
from dynapoint.models.weights import load_network, save_network
from dynapoint.training.distributed import Processes
from dynapoint.training.hardware import autocast_dtype
from dynapoint.training.losses import LossParts, LossWeights, PublishedLoss, PublishedLossParts
from dynapoint.training.objective import choose_pairs, sample_loss
from dynapoint.training.published_objective import choose_targets, published_loss
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.types import TruthSample

TrainedNetwork = VideoPointMapNetwork | PublishedNetwork
INTRINSICS_KNOWN = 0.5
"""Share of samples whose intrinsics a small network of DePT3R's kind is given (UNCONFIRMED)."""

Parts = LossParts | PublishedLossParts


@runtime_checkable
class Trainee(Protocol):
    """A network with its loss and its files.

    `fresh_parts` are beginnings of names that weights to start from may lack.
    """

    fresh_parts: tuple[str, ...]

    def build(self) -> Any:
        """A new network on the run's device."""
        ...

    def loss(
        self, network: Any, sample: TruthSample, phase: Phase, generator: torch.Generator
    ) -> Parts:
        """The loss of a sample; what is left to chance comes from `generator`."""
        ...

    def read_start(self, path: Path) -> dict[str, Tensor]:
        """Weights to start from; raises ModelError where the file cannot be used."""
        ...

    def save(self, network: Any, path: Path, record: dict[str, str]) -> None:
        """Write weights that `dynapoint reconstruct` reads."""
        ...


class NanoTrainee:
    """Networks of nano's family: pairs of frames, nano's loss, files of the package's own."""

    fresh_parts: tuple[str, ...] = ()

    def __init__(
        self, network: NetworkConfig, loss: LossWeights, config: TrainConfig, device: str
    ) -> None:
        self.network_config, self.weights, self.device = network, loss, device
        self._autocast = autocast_dtype(config.precision, device)

    def build(self) -> VideoPointMapNetwork:
        """A new network on the run's device."""
        return build_network(self.network_config).to(self.device)

    def loss(
        self,
        network: VideoPointMapNetwork,
        sample: TruthSample,
        phase: Phase,
        generator: torch.Generator,
    ) -> LossParts:
        """Nano's loss over some ordered pairs of frames.

        A network that is told the time beforehand (DePT3R's kind) gets one time for a sample, and
        the intrinsics of half the samples.
        """
        sources, targets = choose_pairs(phase.frames, phase.pairs, generator)
        told: dict[str, Any] = {}
        if isinstance(network, QueryPointMapNetwork):
            query = targets[0]
            sources = [frame for frame in range(phase.frames) if frame != query]
            targets = [query] * len(sources)
            known = bool(torch.rand(1, generator=generator) < INTRINSICS_KNOWN)
            told = {"query": query}
            if known and network.intrinsics_embedding is not None:
                told["intrinsics"] = sample.intrinsics
        autocast = (
            torch.autocast(self.device.split(":")[0], dtype=self._autocast)
            if self._autocast is not None
            else nullcontext()
        )
        with autocast:
            encoded = network.encode(sample.images, **told)
            return sample_loss(
                network, encoded, sample, self.weights, sources=sources, targets=targets
            )

    def read_start(self, path: Path) -> dict[str, Tensor]:
        """The weights of a file of the package's own format."""
        return load_network(path).state_dict()

    def save(self, network: VideoPointMapNetwork, path: Path, record: dict[str, str]) -> None:
        """Write the package's own format."""
        save_network(network, path, record=record)


class PublishedTrainee:
    """V-DPM: P at every frame, Q at chosen times, published files."""

    fresh_parts: tuple[str, ...] = FRESH_PARTS

    def __init__(
        self,
        network: PublishedConfig,
        loss: PublishedLoss,
        config: TrainConfig,
        device: str,
        processes: Processes,
    ) -> None:
        self.network_config, self.loss_config = network, loss
        self.device, self.processes = device, processes
        # As in the public code, half precision is for aggregator and decoder, not for the heads.
        half = autocast_dtype(config.precision, device) is not None
        self._options = replace(
            default_options(device),
            precision="bfloat16" if half else "float32",
            head_precision="float32",
            checkpoint_blocks=config.checkpoint_blocks,
        )

    def build(self) -> PublishedNetwork:
        """A new network on the run's device; weights to start from replace nearly all of it."""
        network = PublishedNetwork(self.network_config)
        # From nothing, fields of view would start at 0, where their ReLU has no gradient. Each
        # iteration adds the bias: together an unturned camera that sees one radian.
        with torch.no_grad():
            network.camera_head.pose_branch.fc2.bias[6:] = 1 / self.network_config.camera.iterations
        return network.to(self.device).use(self._options)

    def loss(
        self,
        network: PublishedNetwork,
        sample: TruthSample,
        phase: Phase,
        generator: torch.Generator,
    ) -> PublishedLossParts:
        """V-DPM's loss with target times of this process's own."""
        batch, frames = sample.images.shape[:2]
        processes = self.processes
        targets = choose_targets(batch * processes.count, frames, self.loss_config, generator)
        own = targets[batch * processes.rank : batch * (processes.rank + 1)]
        return published_loss(network, sample, self.loss_config, own)

    def read_start(self, path: Path) -> dict[str, Tensor]:
        """The weights of a published VGGT or V-DPM."""
        return read_start(self.network_config, path)

    def save(self, network: PublishedNetwork, path: Path, record: dict[str, str]) -> None:
        """Write the published format."""
        save_published(network, path, record=record)


def trainee_of(config: TrainConfig, device: str, processes: Processes) -> Trainee:
    """What a configuration trains; raises ConfigError where network and loss do not belong."""
    network, loss = config.network, config.loss
    if isinstance(network, PublishedConfig) and isinstance(loss, PublishedLoss):
        if network.decoder is None:
            raise ConfigError(f"{network.name} has no decoder to train; train vdpm instead")
        return PublishedTrainee(network, loss, config, device, processes)
    if isinstance(network, NetworkConfig) and isinstance(loss, LossWeights):
        return NanoTrainee(network, loss, config, device)
    raise ConfigError(
        f"{type(loss).__name__} is no loss for {network.name}: give networks of nano's family "
        "LossWeights and the published ones PublishedLoss"
    )
