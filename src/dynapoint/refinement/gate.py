"""Whether what was found is to be believed: poses, lens and depth, each judged apart."""

from dataclasses import dataclass

from dynapoint.refinement.findings import Findings

_LEAST_EXPLAINED = 0.5
_LEAST_COVERAGE = 0.05


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is taken from the refinement; the network's answer stands for the rest."""

    poses: bool
    lens: bool
    depth: bool


def judge(found: Findings) -> Verdict:
    """Judge a solution by how it explains the matches."""
    poses = (
        found.explained >= max(_LEAST_EXPLAINED, found.explained_before)
        and found.coverage >= _LEAST_COVERAGE
    )
    return Verdict(poses=poses, lens=poses, depth=poses)
