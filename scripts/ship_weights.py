"""Put a run's averaged weights into the package: bf16 safetensors and a record beside them.

    python scripts/ship_weights.py RUN --name nano-1 --hardware "2 cores, AVX2, float32"

RUN is a folder that `dynapoint train` wrote. The record holds the hash, the licence and how the
weights came about; `tests/test_shipped_weights.py` checks both against each other.
"""

import argparse
import json
from pathlib import Path

import torch

from dynapoint.models.cards import ASSETS, CARDS
from dynapoint.models.config import NetworkConfig, comparison_dept3r, comparison_dpm, nano_1
from dynapoint.models.small_networks import build_network
from dynapoint.models.weights import save_network
from dynapoint.training.checkpoints import load_state
from dynapoint.whole_file import sha256_of

NETWORKS = {
    "nano-1": nano_1,
    "dpm-nano-1": lambda: comparison_dpm("dpm-nano-1"),
    "dept3r-nano-1": lambda: comparison_dept3r("dept3r-nano-1"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", choices=sorted(NETWORKS), default="nano-1")
    parser.add_argument("--hardware", required=True)
    parser.add_argument("--blend", type=Path, help="a run whose averaged weights join in")
    parser.add_argument("--share", type=float, default=1.0, help="RUN's share of the blend")
    options = parser.parse_args()
    state = load_state(options.run)
    weights, blend = state.ema, "none"
    if options.blend is not None:
        blend = f"{options.share:g} of this run's averaged weights, the rest of an earlier one's"
        other = load_state(options.blend).ema
        weights = {k: torch.lerp(other[k], v, options.share) for k, v in weights.items()}
    config: NetworkConfig = NETWORKS[options.name]()
    network = build_network(config)
    network.load_state_dict(weights)
    card = CARDS[options.name]
    record = {
        "name": options.name,
        "licence": card.licence,
        "data": "dynapoint.synthetic, procedural textures only",
        "samples": str(state.samples),
        "steps": str(state.step),
        "seconds": f"{state.seconds:.0f}",
        "hardware": options.hardware,
        "blend": blend,
    }
    assert card.weights_file is not None
    path = ASSETS / card.weights_file
    path.parent.mkdir(exist_ok=True)
    save_network(network, path, record=record)
    described = {
        **record,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "parameters": sum(p.numel() for p in network.parameters()),
        "training": json.loads(state.config_json),
    }
    path.with_suffix(".json").write_text(json.dumps(described, indent=1) + "\n")
    print(f"{path}: {state.samples} samples, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
