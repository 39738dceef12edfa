"""The small networks by their configurations."""

from dynapoint.models.nano.config import NetworkConfig
from dynapoint.models.nano.network import VideoPointMapNetwork
from dynapoint.models.nano.pair_network import PairPointMapNetwork
from dynapoint.models.nano.query_network import QueryPointMapNetwork

_NETWORKS: dict[str, type[VideoPointMapNetwork]] = {
    "vdpm": VideoPointMapNetwork,
    "dpm": PairPointMapNetwork,
    "dept3r": QueryPointMapNetwork,
}


def build_network(config: NetworkConfig) -> VideoPointMapNetwork:
    """A network with fresh weights, of the system that its configuration describes."""
    return _NETWORKS[config.system](config)
