"""Whether what was found is to be believed: poses, lens and depth, each judged apart.

Thresholds are from 78 clips (72 of the data engine, the bench), and were tried on others
(`benchmarks/refinement_gate.py`, docs/refinement.md). What tells best is how far the cameras may be
turned before matches complain, and whether they explain more than the network's do when depths are
the network's: depths that are free explain nearly anything.
"""

from dataclasses import dataclass

from dynapoint.refinement.findings import Findings
from dynapoint.refinement.solution import STILL_CAMERA

# A camera that stands still has nothing that could be wrong but that.
_STILL_EXPLAINED = 0.4
_LEAST_EXPLAINED, _LEAST_PLAINLY, _LEAST_COVERAGE = 0.5, 0.3, 0.05
# Turns by this much at most are left open, by more where the network's cameras explain next to
# nothing and the refined ones much more.
_TURN_DEG, _TURN_IN_NEED_DEG = 0.2, 0.32
_NEED, _GAIN_IN_NEED, _GAIN = 0.2, 0.1, 0.01


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is taken from the refinement; the network's answer stands for the rest."""

    poses: bool
    lens: bool
    depth: bool


def judge(found: Findings) -> Verdict:
    """Judge a solution by what it explains and how firmly."""
    if found.start == STILL_CAMERA:
        return Verdict(poses=found.explained >= _STILL_EXPLAINED, lens=False, depth=False)
    gain = found.explained_plainly - found.explained_before
    firm = found.turn_sigma_deg <= _TURN_DEG and gain >= _GAIN
    needed = (
        found.explained_before <= _NEED
        and found.turn_sigma_deg <= _TURN_IN_NEED_DEG
        and gain >= _GAIN_IN_NEED
    )
    believed = (
        (firm or needed)
        and found.explained >= _LEAST_EXPLAINED
        and found.explained_plainly >= _LEAST_PLAINLY
        and found.coverage >= _LEAST_COVERAGE
    )
    return Verdict(poses=believed, lens=believed, depth=believed)
