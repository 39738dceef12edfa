"""What a run can train: nano's family from nothing, the published networks and DPM from weights."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from dynapoint.errors import ConfigError
from dynapoint.models.dust3r.config import Dust3rConfig
from dynapoint.models.dust3r.network import DpmNetwork
from dynapoint.models.nano.config import NetworkConfig
from dynapoint.models.nano.encoder_weights import encoder_file, read_encoder
from dynapoint.models.nano.network import VideoPointMapNetwork
from dynapoint.models.nano.query_network import QueryPointMapNetwork
from dynapoint.models.nano.small_networks import build_network
from dynapoint.models.nano.stem import EncoderStem
from dynapoint.models.nano.weights import load_network, save_network
from dynapoint.models.protocol import PLAIN, EncodeRequest
from dynapoint.models.vggt.config import PublishedConfig
from dynapoint.models.vggt.dept3r import Dept3rNetwork
from dynapoint.models.vggt.dept3r_config import Dept3rConfig
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.start import FRESH_PARTS, read_start
from dynapoint.models.vggt.weights import save_published
from dynapoint.training.dept3r_objective import Dept3rLoss, Dept3rLossParts
from dynapoint.training.dept3r_trainee import Dept3rTrainee
from dynapoint.training.distributed import Share
from dynapoint.training.dpm_objective import DpmLoss, DpmLossParts
from dynapoint.training.dpm_trainee import DpmTrainee
from dynapoint.training.hardware import autocast_dtype
from dynapoint.training.large_networks import open_cameras, training_options
from dynapoint.training.losses import LossParts, LossWeights, PublishedLoss, PublishedLossParts
from dynapoint.training.objective import choose_pairs, sample_loss
from dynapoint.training.published_objective import choose_targets, published_loss
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.types import TruthSample

TrainedNetwork = VideoPointMapNetwork | PublishedNetwork | DpmNetwork | Dept3rNetwork
INTRINSICS_KNOWN = 0.5
"""Share of samples whose intrinsics a small network of DePT3R's kind is given (UNCONFIRMED)."""

Parts = LossParts | PublishedLossParts | DpmLossParts | Dept3rLossParts


@runtime_checkable
class Trainee(Protocol):
    """A network with its loss and its files.

    `fresh_parts` are beginnings of names that weights to start from may lack.
    """

    fresh_parts: tuple[str, ...]

    def build(self) -> Any:
        """A new network on the run's device."""
        ...

    def begin(self, network: Any, images: Tensor) -> None:
        """What a run from nothing takes from elsewhere; `images` are some to calibrate on.

        Raises:
            ModelError: The weights cannot be found or loaded.
        """
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
        network = build_network(self.network_config).to(self.device)
        if self.device.startswith("cuda"):
            # What convolutions on a GPU want; they hand it on to their results.
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def begin(self, network: VideoPointMapNetwork, images: Tensor) -> None:
        """Put the trained weights into an image encoder, where the network has one.

        Raises:
            ModelError: They are not installed, or damaged.
        """
        if isinstance(network.stem, EncoderStem):
            network.stem.encoder.load_state_dict(read_encoder(encoder_file()))
            network.stem.calibrate(images.flatten(0, 1))

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
        request = PLAIN
        if isinstance(network, QueryPointMapNetwork):
            query = int(torch.randint(phase.frames, (1,), generator=generator))
            sources = [frame for frame in range(phase.frames) if frame != query]
            targets = [query] * len(sources)
            known = bool(torch.rand(1, generator=generator) < INTRINSICS_KNOWN)
            request = EncodeRequest(
                queries=torch.full((len(sample.images),), query if phase.motion else -1),
                intrinsics=(sample.intrinsics if known and network.info.takes_intrinsics else None),
            )
        if not phase.motion:
            sources, targets = [], []
        autocast = (
            torch.autocast(self.device.split(":")[0], dtype=self._autocast)
            if self._autocast is not None
            else nullcontext()
        )
        with autocast:
            encoded = network.encode(sample.images, request)
            return sample_loss(
                network,
                encoded,
                sample,
                self.weights,
                sources=sources,
                targets=targets,
                generator=generator,
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
        share: Share,
    ) -> None:
        self.network_config, self.loss_config = network, loss
        self.device, self.share = device, share
        self._options = training_options(config, device)

    def build(self) -> PublishedNetwork:
        """A new network on the run's device; weights to start from replace nearly all of it."""
        network = PublishedNetwork(self.network_config)
        open_cameras(network.camera_head)
        return network.to(self.device).use(self._options)

    def begin(self, network: PublishedNetwork, images: Tensor) -> None:
        """Nothing: what these networks take comes with the weights to start from."""

    def loss(
        self,
        network: PublishedNetwork,
        sample: TruthSample,
        phase: Phase,
        generator: torch.Generator,
    ) -> PublishedLossParts:
        """V-DPM's loss with target times of this share's own."""
        batch, frames = sample.images.shape[:2]
        share = self.share
        targets = choose_targets(batch * share.count, frames, self.loss_config, generator)
        own = targets[batch * share.rank : batch * (share.rank + 1)]
        return published_loss(network, sample, self.loss_config, own)

    def read_start(self, path: Path) -> dict[str, Tensor]:
        """The weights of a published VGGT or V-DPM."""
        return read_start(self.network_config, path)

    def save(self, network: PublishedNetwork, path: Path, record: dict[str, str]) -> None:
        """Write the published format."""
        save_published(network, path, record=record)


def trainee_of(config: TrainConfig, device: str, share: Share) -> Trainee:
    """What a configuration trains, on one of the shares of each step's samples.

    Raises:
        ConfigError: Network and loss do not belong together.
    """
    network, loss = config.network, config.loss
    if isinstance(network, PublishedConfig) and isinstance(loss, PublishedLoss):
        if network.decoder is None:
            raise ConfigError(f"{network.name} has no decoder to train; train vdpm instead")
        return PublishedTrainee(network, loss, config, device, share)
    if isinstance(network, Dust3rConfig) and isinstance(loss, DpmLoss):
        if network.heads_per_image < 2:
            raise ConfigError(f"{network.name} has no heads for other times; train dpm instead")
        return DpmTrainee(network, loss, config, device)
    if isinstance(network, Dept3rConfig) and isinstance(loss, Dept3rLoss):
        return Dept3rTrainee(network, loss, config, device, share)
    if isinstance(network, NetworkConfig) and isinstance(loss, LossWeights):
        return NanoTrainee(network, loss, config, device)
    raise ConfigError(
        f"{type(loss).__name__} is no loss for {network.name}: give networks of nano's family "
        "LossWeights, the published ones PublishedLoss, DPM's DpmLoss and "
        "DePT3R's Dept3rLoss"
    )
