"""Examples for clusters: what they call exists, and linters pass where they are installed."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from dynapoint.training.options import OPTIONS
from dynapoint.training.recipes import RECIPES
from folders import ROOT

CLUSTER = ROOT / "examples" / "cluster"
SLURM = CLUSTER / "slurm.sbatch"
DOCKERFILE = ROOT / "docker" / "Dockerfile"
RAY_JOB = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text("utf-8"))
TRAIN = {f"--{option.name.replace('_', '-')}" for option in OPTIONS if not option.positional}
# What `torchrun --help` names; underscores are hyphens there.
TORCHRUN = {"--nnodes", "--nproc-per-node", "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id"}


def options_in(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


def test_slurm_calls_torchrun_and_train_as_they_are():
    text = SLURM.read_text("utf-8").partition("set -euo")[2]
    launch, _, command = text.partition("-m dynapoint train ")
    assert command.split()[0] in RECIPES
    assert options_in(command.partition("\n\nif")[0]) <= TRAIN
    begin = re.findall(r"begin=\((.*)\)", launch)
    assert len(begin) == 2
    assert options_in(" ".join(begin)) == {"--start-from", "--streams", "--resume"} <= TRAIN
    torchrun = launch.partition("srun --kill-on-bad-exit=1 torchrun")[2]
    assert options_in(torchrun) == TORCHRUN


def test_torchrun_has_the_options_that_slurm_gives():
    from torch.distributed.run import get_args_parser

    known = {name for action in get_args_parser()._actions for name in action.option_strings}
    assert known >= TORCHRUN


def ray_train_options(monkeypatch, capsys):
    """What `ray_train.py --help` says, with Ray stood in for."""
    monkeypatch.setitem(sys.modules, "ray", type(sys)("ray"))
    train = type(sys)("ray.train")
    torch = type(sys)("ray.train.torch")
    train.FailureConfig = train.RunConfig = train.ScalingConfig = torch.TorchTrainer = object
    monkeypatch.setitem(sys.modules, "ray.train", train)
    monkeypatch.setitem(sys.modules, "ray.train.torch", torch)
    monkeypatch.setattr(sys, "argv", ["ray_train.py", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(CLUSTER / "ray_train.py"), run_name="__main__")
    return options_in(capsys.readouterr().out.partition("options:")[2])


def test_the_ray_job_runs_the_example_with_options_it_has(monkeypatch, capsys):
    spec = RAY_JOB["spec"]
    python, script, recipe, _, *options = shlex.split(spec["entrypoint"])
    assert python == "python" and recipe in RECIPES
    assert script == "/opt/dynapoint/examples/cluster/ray_train.py"
    assert options_in(" ".join(options)) <= ray_train_options(monkeypatch, capsys)
    # As many workers as there are GPUs.
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    gpus = group["replicas"] * int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert int(options[options.index("--workers") + 1]) == gpus


def test_the_ray_job_is_whole():
    assert (RAY_JOB["apiVersion"], RAY_JOB["kind"]) == ("ray.io/v1", "RayJob")
    cluster = RAY_JOB["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        # Gradients of one machine go through shared memory.
        assert "/dev/shm" in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert container["image"] == "dynapoint:cuda"
    said = (ROOT / "docs" / "notes" / "containers.md").read_text("utf-8")
    assert f"ray[train]=={cluster['rayVersion']}" in said
    assert "--target cuda -t dynapoint:cuda" in said


def test_what_the_image_copies_is_there():
    text = DOCKERFILE.read_text("utf-8")
    kept = (ROOT / "docker" / "Dockerfile.dockerignore").read_text("utf-8").split()
    copied = [
        line.split()[1:-1] for line in text.splitlines() if re.match(r"COPY (?!--from)", line)
    ]
    assert copied
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
        assert f"!{name}" in kept, name
    assert {"cpu", "cuda"} <= set(re.findall(r" AS (\w+)", text))
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text("utf-8"), re.M)


@pytest.mark.parametrize(("linter", "path"), [("shellcheck", SLURM), ("hadolint", DOCKERFILE)])
def test_linters_find_nothing(linter, path):
    program = shutil.which(linter)
    if program is None:
        pytest.skip(f"{linter} is not installed")
    found = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
