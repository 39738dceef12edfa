"""Importing the package and asking for help are quick, and load nothing heavy."""

import subprocess
import sys
import time

HEAVY = ("torch", "av", "PIL", "scipy", "numpy", "tqdm", "tyro")


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def best_of(count: int, *command: str) -> float:
    """Least wall-clock seconds of a command, which other processes disturb least."""
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True, timeout=60)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def test_importing_loads_nothing_heavy():
    loaded = run_python("import sys, dynapoint; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


def test_the_command_line_loads_no_torch_for_help():
    code = (
        "import sys; from dynapoint.cli import main\n"
        "try: main(['reconstruct', '--help'])\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    loaded = run_python(code).split("LOADED")[1].split()
    assert not {"torch", "av", "PIL", "scipy"} & set(loaded)


def test_import_takes_less_than_300_ms():
    nothing = best_of(3, "-c", "pass")
    assert best_of(3, "-c", "import dynapoint") - nothing < 0.3


def test_help_takes_less_than_a_second():
    assert best_of(3, "-m", "dynapoint", "--help") < 1.0


def test_public_names_are_there_when_asked_for():
    code = (
        "import dynapoint; print(dynapoint.reconstruct.__name__, dynapoint.Reconstruction.__name__)"
    )
    assert run_python(code).split() == ["reconstruct", "Reconstruction"]
