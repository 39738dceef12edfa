"""Samples of data sets on disk, as a pure function of (seed, process, step).

Every set is gone through in passes: in each, every first frame of every sequence has its turn once
at most, in a drawn order, of which each process takes a part of its own.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from dynapoint.datasets.places import training_split
from dynapoint.datasets.registry import open_dataset
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.errors import InputError
from dynapoint.progress import complain
from dynapoint.training.samples import SamplingConfig, choose_frames
from dynapoint.training.truth_samples import KNOWN_SHARE, Supervises, truth_sample
from dynapoint.types import TruthSample

MOST_FAILURES = 50
"""Samples of a set in a row that cannot be read; then the run ends."""


@dataclass(kw_only=True, eq=False)
class _OpenSet:
    """The sequences of a set that can be trained on, and those that turned out damaged."""

    key: str
    sequences: list[TruthSequence]
    lengths: Int64[np.ndarray, " sequence"]
    complained: set[str] = field(default_factory=set)

    def leave_out(self, name: str, why: str) -> None:
        """Say once of each sequence why samples of it are left out."""
        if name not in self.complained:
            self.complained.add(name)
            complain(f"{self.key}: {name} is left out ({len(self.complained)} so far): {why}")


class DataSets:
    """Draws samples from the sets of some folders.

    Attributes:
        skipped: How many samples of each set could not be read, and were replaced, so far.

    Raises:
        InputError: A folder is not what its set's layout says, or nothing in it can be trained on.
    """

    def __init__(
        self, places: Mapping[str, str], *, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self._sets = {key: _open(key, Path(place)) for key, place in places.items()}
        self.skipped = dict.fromkeys(places, 0)

    def losses(self) -> dict[str, float]:
        """Per set: sequences in use and left out so far, and samples replaced, in this process."""
        told: dict[str, float] = {}
        for key, each in self._sets.items():
            told[f"{key} sequences"] = float(len(each.sequences))
            told[f"{key} sequences left out"] = float(len(each.complained))
            told[f"{key} samples replaced"] = float(self.skipped[key])
        return told

    def sample(
        self,
        key: str,
        number: int,
        sampling: SamplingConfig,
        *,
        image_hw: tuple[int, int],
        supervises: Supervises,
        step_numbers: int,
    ) -> TruthSample:
        """One sample of a set, drawn by a number that no other sample of this process has.

        Of what cannot be read another number has the turn, which is `step_numbers` farther on.

        Raises:
            InputError: Too many samples in a row cannot be read, or all sequences are too short.
        """
        chosen = self._sets[key]
        for attempt in range(MOST_FAILURES):
            turn = (number + attempt * step_numbers) * self.world_size + self.rank
            sequence, frames, generator = self._draw(chosen, turn, sampling)
            share, coin = torch.rand(2, generator=generator).tolist()
            try:
                return truth_sample(
                    sequence,
                    frames,
                    image_hw=image_hw,
                    supervises=supervises,
                    # Sparse motion leaves few pixels: half the samples have all, at own times.
                    least_known=KNOWN_SHARE if coin < 0.5 else 0.0,
                    kept=sampling.centre_crop + (1 - sampling.centre_crop) * share,
                )
            except InputError as error:
                self.skipped[key] += 1
                chosen.leave_out(sequence.name, str(error))
                last = error
        raise InputError(
            f"{key}: {MOST_FAILURES} samples in a row cannot be read ({last}); repair the set or "
            "leave it out of --data"
        )

    def _draw(
        self, chosen: _OpenSet, turn: int, sampling: SamplingConfig
    ) -> tuple[TruthSequence, list[int], torch.Generator]:
        """Sequence, frames (the reference first), and what draws the rest of the sample."""
        least = max(sampling.frames - 1, sampling.smallest_span)
        ends = np.cumsum(np.maximum(chosen.lengths - least, 0))
        starts = int(ends[-1])
        if starts == 0:
            raise InputError(
                f"{chosen.key}: no sequence has the {least + 1} frames that a sample needs; use a "
                "recipe of fewer frames or leave the set out of --data"
            )
        # A pass is a multiple of the processes, so that all of a step are in the same one.
        each_pass = max(starts // self.world_size * self.world_size, 1)
        name = zlib.crc32(chosen.key.encode())
        place = _order((self.seed, 3, name, least, turn // each_pass), starts)[turn % each_pass]
        index = int(np.searchsorted(ends, place, side="right"))
        first = int(place - (ends[index - 1] if index else 0))
        available = min(sampling.largest_span, int(chosen.lengths[index]) - 1 - first) + 1
        state = np.random.SeedSequence([self.seed, 2, name, turn]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(state))
        offsets = choose_frames(1, available, sampling, generator)[0]
        frames = (offsets - offsets.min() + first).tolist()
        return chosen.sequences[index], frames, generator


# Some sets of a mixture in turn, and the passes before and after a border.
@lru_cache(maxsize=32)
def _order(seed: tuple[int, ...], count: int) -> Int64[np.ndarray, " place"]:
    """A drawn order of so many places."""
    return np.random.Generator(np.random.PCG64(list(seed))).permutation(count)


def _open(key: str, root: Path) -> _OpenSet:
    """A set whose sequences can be listed; says which ones cannot."""
    opened = _OpenSet(key=key, sequences=[], lengths=np.zeros(0, np.int64))
    lengths = []
    for sequence in open_dataset(key, root, training_split(key)):
        try:
            holds, count = sequence.holds, sequence.frame_count
        except InputError as error:
            opened.leave_out(sequence.name, str(error))
            continue
        if not (holds.lens and holds.poses and holds.depth):
            opened.leave_out(sequence.name, "it has no depth, poses and lens to train on")
            continue
        opened.sequences.append(sequence)
        lengths.append(count)
    if not opened.sequences:
        raise InputError(
            f"{root}: none of the {len(opened.complained)} sequences of {key} can be trained on; "
            "leave the set out of --data"
        )
    opened.lengths = np.array(lengths, np.int64)
    return opened
