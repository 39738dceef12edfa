"""Whether what was found is to be believed: poses, lens and depth, each judged apart.

Thresholds are from 78 clips (72 of the data engine, the bench) with one network and from 49 with
another (`benchmarks/refinement_gate.py`, docs/notes/refinement.md). What tells best is how far
cameras may be turned before matches complain, and whether they explain more than the network's do
when depths are the network's: depths that are free explain nearly anything. But a network whose
cameras agree with its own wrong depths explains much by them; where matches hold cameras firmly and
nearly all agree, that is no objection. Nor is it where matches as exact as these are hold them to
next to nothing (240 questions about 60 more clips of the engine, two or ten frames each).
"""

from dataclasses import dataclass

from dynapoint.refinement.findings import Findings
from dynapoint.refinement.solution import STILL_CAMERA, TURNING_CAMERA

# A camera that stands still has nothing that could be wrong but that.
_STILL_EXPLAINED = 0.4
_LEAST_EXPLAINED, _LEAST_PLAINLY, _LEAST_COVERAGE = 0.5, 0.3, 0.05
MOST_LENS_SIGMA = 0.2
"""A lens whose logarithm may be off by more stays the network's."""

# What cameras explain that nearly all matches agree on, and how firmly these hold them.
_AGREED, _AGREED_TURN_DEG, _AGREED_COVERAGE = 0.95, 0.1, 0.25

# How far cameras may be turned before matches that err by what these do complain, and what they
# must explain: where matches tell the lens too; and where they do not, with what they must explain
# beyond what the network's do.
_EXACT_COVERAGE = 0.1
_EXACT_TURN_DEG, _EXACT_EXPLAINED = 0.15, 0.88
_GAINED = ((0.06, 0.6, 0.2), (0.12, 0.85, 0.3))

# The share of pixels whose matches have to tell their depth. Where there are fewer, what errors of
# cameras and lens look like is all that depths would follow.
LEAST_PARALLAX = 0.02

# What cameras that are known have to explain.
_KNOWN_EXPLAINED = 0.3

# How far cameras may be turned before matches complain, and what they must explain beyond what the
# network's do; the second and third where the network's explain less than `_NEED`.
_TURN_DEG, _GAIN = (0.2, 0.32, 0.6), (0.01, 0.1, 0.4)
_NEED = 0.2
# What a network's cameras explain that may as well be wrong: next to nothing, or such a share of
# what others explain with its depths; or little, where others explain so much so and matches hold
# them firmly.
_NEXT_TO_NOTHING, _OF_PLAINLY, _LITTLE, _MUCH_PLAINLY = 0.14, 0.4, 0.25, 0.5


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
    rules = zip(_TURN_DEG, _GAIN, strict=True)
    firm, *needed = (found.turn_sigma_deg <= turn and gain >= least for turn, least in rules)
    sound = (
        found.explained >= _LEAST_EXPLAINED
        and found.explained_plainly >= _LEAST_PLAINLY
        and found.coverage >= _LEAST_COVERAGE
    )
    agreed = found.explained >= _AGREED
    held = found.turn_sigma_deg <= _AGREED_TURN_DEG and found.coverage >= _AGREED_COVERAGE
    believed = (sound and (firm or (found.explained_before <= _NEED and any(needed)))) or (
        agreed and held
    )
    # Matches that do not tell the lens tell turning from going sideways badly: cameras that explain
    # something stay.
    told = found.lens_sigma <= MOST_LENS_SIGMA
    most = max(_NEXT_TO_NOTHING, _OF_PLAINLY * found.explained_plainly)
    if firm and found.explained_plainly >= _MUCH_PLAINLY:
        most = max(most, _LITTLE)
    believed = believed and (told or agreed or found.explained_before <= most)
    believed = believed or _held_exactly(found, gain)
    # Of a given lens the deviation is 0.
    lens = believed and told and found.lens_sigma > 0
    # Turning in one place tells nothing of depth.
    return Verdict(poses=believed, lens=lens, depth=believed and found.start != TURNING_CAMERA)


def _held_exactly(found: Findings, gain: float) -> bool:
    """Whether cameras may turn by next to nothing before matches as exact as these complain."""
    turn_deg = found.turn_sigma_deg * found.noise_px
    told = (
        found.lens_sigma <= MOST_LENS_SIGMA
        and turn_deg <= _EXACT_TURN_DEG
        and found.explained >= _EXACT_EXPLAINED
    )
    gained = any(
        turn_deg <= turn and found.explained >= explained and gain >= least
        for turn, explained, least in _GAINED
    )
    return found.coverage >= _EXACT_COVERAGE and (told or gained)


def judge_depth(found: Findings) -> Verdict:
    """Judge the depths of a solution whose cameras were known to be right.

    Movers that fill the picture are no objection to such cameras, but tell nothing of depth.
    """
    told = found.explained >= _KNOWN_EXPLAINED and found.coverage >= _LEAST_COVERAGE
    return Verdict(poses=True, lens=False, depth=told)
