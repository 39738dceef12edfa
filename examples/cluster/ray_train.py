"""Training on the GPUs of a Ray cluster by Ray Train; a run goes on where it stopped.

    python examples/cluster/ray_train.py vdpm SHARED_FOLDER/vdpm --workers 16 --start-from model.pt

Every node has to see the folder. Run with two CPU workers on one machine only, not on a cluster.
"""

import argparse
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from dynapoint.training.checkpoints import FILE_NAME
from dynapoint.training.run import train


def work(run: dict[str, Any]) -> None:
    """What every worker does; Ray has joined them in a process group."""
    output = Path(run["output"])
    resume = (output / FILE_NAME).is_file()
    start = None if resume or run["start_from"] is None else Path(run["start_from"])
    # Streams say what a step sees: with them a run may go on with another number of workers.
    train(
        run["recipe"],
        output,
        changes=run["changes"] if not resume else {},
        resume=resume,
        start_from=start,
        device=run["device"],
        shard=run["shard"],
    )


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("output", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--start-from", type=Path)
    parser.add_argument("--shard", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="one core for each worker, no GPUs")
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    changes = {"streams": given.workers}
    if given.steps is not None:
        changes["steps"] = given.steps
    run = {
        "recipe": given.recipe,
        "output": str(given.output.resolve()),
        "start_from": given.start_from and str(given.start_from.resolve()),
        "changes": changes,
        "device": "cpu" if given.cpu else "cuda",
        "shard": given.shard,
    }
    TorchTrainer(
        work,
        train_loop_config=run,
        scaling_config=ScalingConfig(num_workers=given.workers, use_gpu=not given.cpu),
        # A worker or node that dies ends all of them, and all take up the newest checkpoint.
        run_config=RunConfig(failure_config=FailureConfig(max_failures=10)),
    ).fit()


if __name__ == "__main__":
    main()
