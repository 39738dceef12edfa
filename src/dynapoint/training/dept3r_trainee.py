"""What a run of DePT3R trains: VGGT with a query and intrinsics, its loss and its files."""

from pathlib import Path

import torch
from torch import Tensor

from dynapoint.models.vggt.dept3r import Dept3rNetwork
from dynapoint.models.vggt.dept3r_config import Dept3rConfig
from dynapoint.models.vggt.dept3r_weights import FRESH_PARTS, read_dept3r_start
from dynapoint.models.vggt.weights import save_published
from dynapoint.training.dept3r_objective import Dept3rLoss, Dept3rLossParts, dept3r_loss
from dynapoint.training.distributed import Share
from dynapoint.training.large_networks import open_cameras, training_options
from dynapoint.training.train_config import Phase, TrainConfig
from dynapoint.types import TruthSample


class Dept3rTrainee:
    """DePT3R: all terms but motion in its first phase, motion towards a drawn frame in its second.

    Which examples are given their intrinsics is drawn for each.
    """

    fresh_parts: tuple[str, ...] = FRESH_PARTS

    def __init__(
        self,
        network: Dept3rConfig,
        loss: Dept3rLoss,
        config: TrainConfig,
        device: str,
        share: Share,
    ) -> None:
        self.network_config, self.loss_config = network, loss
        self.device, self.share = device, share
        self._options = training_options(config, device)

    def build(self) -> Dept3rNetwork:
        """A new network on the run's device; weights to start from replace nearly all of it."""
        network = Dept3rNetwork(self.network_config)
        open_cameras(network.camera_head)
        return network.to(self.device).use(self._options)

    def begin(self, network: Dept3rNetwork, images: Tensor) -> None:
        """Nothing: what this network takes comes with the weights to start from."""

    def loss(
        self,
        network: Dept3rNetwork,
        sample: TruthSample,
        phase: Phase,
        generator: torch.Generator,
    ) -> Dept3rLossParts:
        """DePT3R's loss with queries and known intrinsics of this share's own."""
        batch, frames = sample.images.shape[:2]
        count, rank = self.share.count, self.share.rank
        own = slice(batch * rank, batch * (rank + 1))
        chance = torch.rand(batch * count, generator=generator)[own]
        queries = torch.randint(frames, (batch * count,), generator=generator)[own]
        return dept3r_loss(
            network,
            sample,
            self.loss_config,
            known=chance < self.loss_config.intrinsics_known,
            queries=queries if phase.motion else None,
        )

    def read_start(self, path: Path) -> dict[str, Tensor]:
        """The weights of a VGGT or a DePT3R."""
        return read_dept3r_start(self.network_config, path)

    def save(self, network: Dept3rNetwork, path: Path, record: dict[str, str]) -> None:
        """Write VGGT's published names and those of what DePT3R adds."""
        save_published(network, path, record=record)
