"""Put a run's averaged weights into the package: bf16 safetensors and a record beside them.

    python scripts/ship_weights.py RUN --name nano-2 --hardware "2 cores, AVX2, float32"

RUN is a folder that `dynapoint train` wrote, or a weights file, such as those that come back from a
lent GPU (docs/notes/gpu.md). The record holds the hash, the licence and how the weights came about;
`tests/models/test_shipped_weights.py` checks both against each other. The next step is
scripts/calibrate.py, which adds what confidence means and the scores of 16 clips.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from dynapoint.errors import DynapointError, ModelError
from dynapoint.models.cards import ASSETS, CARDS
from dynapoint.models.nano.config import NetworkConfig, comparison_dept3r, comparison_dpm, nano_2
from dynapoint.models.nano.network import VideoPointMapNetwork
from dynapoint.models.nano.small_networks import build_network
from dynapoint.models.nano.weights import load_network, save_network
from dynapoint.training.checkpoints import load_state
from dynapoint.training.run import data_of
from dynapoint.whole_file import sha256_of, whole_file

NETWORKS: dict[str, Callable[[], NetworkConfig]] = {
    "nano-2": nano_2,
    "dpm-nano-1": lambda: comparison_dpm("dpm-nano-1"),
    "dept3r-nano-1": lambda: comparison_dept3r("dept3r-nano-1"),
}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Weights, and what is known of how they came about."""

    weights: dict[str, Tensor]
    samples: str
    steps: str
    seconds: str
    config_json: str


def read_trained(path: Path, network: NetworkConfig) -> Trained:
    """The averaged weights of a run's folder, or those of a weights file.

    Raises:
        ModelError: there are none, they are damaged, of another network or without a record.
    """
    if path.is_dir():
        state = load_state(path)
        return Trained(
            weights=state.ema,
            samples=str(state.samples),
            steps=str(state.step),
            seconds=f"{state.seconds:.0f}",
            config_json=state.config_json,
        )
    loaded = load_of(path, network, advice="ship them under the name of their own")
    with safe_open(path, framework="pt") as file:
        said = file.metadata()
    lacking = sorted({"samples", "steps", "seconds", "config"} - said.keys())
    if lacking:
        raise ModelError(
            f"{path} does not say how its weights came about (no {', '.join(lacking)}); ship a "
            "file that a training run wrote"
        )
    return Trained(
        weights=loaded.state_dict(),
        samples=said["samples"],
        steps=said["steps"],
        seconds=said["seconds"],
        config_json=said["config"],
    )


def read_weights(path: Path, network: NetworkConfig) -> dict[str, Tensor]:
    """The weights alone, of a run's folder or a file, such as a shipped one, that says no more.

    Raises:
        ModelError: there are none, they are damaged or of another network.
    """
    if path.is_dir():
        return load_state(path).ema
    loaded = load_of(path, network, advice="blend weights of one network")
    weights: dict[str, Tensor] = loaded.state_dict()
    return weights


def load_of(path: Path, network: NetworkConfig, *, advice: str) -> VideoPointMapNetwork:
    """The network of a file; raises ModelError, with advice, where it is another one."""
    loaded = load_network(path)
    if loaded.config != network:
        raise ModelError(
            f"{path} holds weights of the network {loaded.config.name}, which differs from "
            f"{network.name}; {advice}"
        )
    return loaded


def ship(options: argparse.Namespace) -> Path:
    """Write the weights and their record; returns the path of the weights."""
    config = NETWORKS[options.name]()
    trained = read_trained(options.run, config)
    weights, blend = trained.weights, "none"
    if options.blend is not None:
        blend = f"{options.share:g} of this run's averaged weights, the rest of an earlier one's"
        other = read_weights(options.blend, config)
        weights = {
            k: torch.lerp(other[k], v, options.share) if v.is_floating_point() else v
            for k, v in weights.items()
        }
    network = build_network(config)
    network.load_state_dict(weights)
    card = CARDS[options.name]
    record = {
        "name": options.name,
        "licence": card.licence,
        "data": data_of(config),
        "samples": str(int(trained.samples) + options.before),
        "steps": trained.steps,
        "seconds": trained.seconds,
        "hardware": options.hardware,
        "blend": blend,
    }
    assert card.weights_file is not None
    path: Path = options.assets / card.weights_file
    path.parent.mkdir(exist_ok=True)
    save_network(network, path, record=record)
    described = {
        **record,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "parameters": sum(p.numel() for p in network.parameters()),
        "training": json.loads(trained.config_json),
    }
    with whole_file(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(described, indent=1) + "\n")
    print(f"{path}: {record['samples']} samples, {path.stat().st_size / 1e6:.1f} MB")
    print(f"next: python scripts/calibrate.py {path} --name {options.name}")
    return path


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run's folder or a weights file")
    parser.add_argument("--name", choices=sorted(NETWORKS), default="nano-2")
    parser.add_argument("--hardware", required=True)
    parser.add_argument(
        "--before", type=int, default=0, help="samples that the weights it began from had seen"
    )
    parser.add_argument(
        "--blend", type=Path, help="a run or weights file that joins in, e.g. the shipped one"
    )
    parser.add_argument("--share", type=float, default=1.0, help="RUN's share of the blend")
    parser.add_argument("--assets", type=Path, default=ASSETS, help="where to; the package")
    try:
        ship(parser.parse_args(words))
    except DynapointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
