"""What a run of DPM trains: a pair network, its loss and its files."""

from pathlib import Path

import torch
from torch import Tensor

from dynapoint.models.dust3r.config import Dust3rConfig
from dynapoint.models.dust3r.network import DpmNetwork
from dynapoint.models.dust3r.weights import read_dpm, save_dpm
from dynapoint.training.dpm_objective import DpmLoss, DpmLossParts, dpm_loss
from dynapoint.training.large_networks import training_options
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.types import TruthSample


class DpmTrainee:
    """DPM: four maps of pairs, files in DUSt3R's format or our own of DPM."""

    fresh_parts: tuple[str, ...] = ()

    def __init__(
        self, network: Dust3rConfig, loss: DpmLoss, config: TrainConfig, device: str
    ) -> None:
        self.network_config, self.loss_config, self.device = network, loss, device
        self._options = training_options(config, device)

    def build(self) -> DpmNetwork:
        """A new network on the run's device; weights to start from replace all of it."""
        return DpmNetwork(self.network_config).to(self.device).use(self._options)

    def begin(self, network: DpmNetwork, images: Tensor) -> None:
        """Nothing: what this network takes comes with the weights to start from."""

    def loss(
        self,
        network: DpmNetwork,
        sample: TruthSample,
        phase: Phase,
        generator: torch.Generator,
    ) -> DpmLossParts:
        """DPM's loss, which leaves nothing to chance."""
        return dpm_loss(network(sample.images), sample, self.loss_config)

    def read_start(self, path: Path) -> dict[str, Tensor]:
        """The weights of a DUSt3R, a MonST3R or a DPM."""
        return read_dpm(self.network_config, path)

    def save(self, network: DpmNetwork, path: Path, record: dict[str, str]) -> None:
        """Write our own format of DPM."""
        save_dpm(network, path, record=record)
