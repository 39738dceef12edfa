"""A pool of rendered clips on the training device, from which samples are drawn many times.

For runs that are bounded by time. What a step sees depends on how fast scenes are built, so such a
run cannot be repeated: `SampleStream` is the stream of runs that can be, those on CPUs.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dynapoint.errors import ConfigError
from dynapoint.synthetic.clip import ClipBatch
from dynapoint.training.data_stream import MOST_CLIPS, plan_group, sampling_of
from dynapoint.training.samples import draw_sample
from dynapoint.training.scene_workers import (
    GroupRequest,
    ScenesOnTheSpot,
    SceneSource,
    SceneWorkers,
)
from dynapoint.training.train_config import TrainConfig
from dynapoint.types import TruthSample

FIRST_SEED = 200_000_000
"""Scenes from here on are the pool's; those of a `SampleStream` do not get so far."""
SEEDS_A_RUN = 10_000_000
ENOUGH_OF_A_PHASE = 3
"""Groups of a phase, from which on those of the phases before are let go of."""


@dataclass(kw_only=True, eq=False)
class _Held:
    """A group of clips on the device, with the draws that it is still good for."""

    request: GroupRequest
    clips: ClipBatch
    draws_left: int


class ClipPool:
    """Holds up to `held` groups of clips and draws from each about `draws` times.

    `phase_now` tells the phase of the run, whose groups are asked for. With `workers` 0 scenes are
    built on the spot; `rendered_by_workers` leaves the device out of rendering. Runs with other
    `run` numbers see other scenes.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        device: str,
        workers: int,
        held: int,
        draws: int,
        phase_now: Callable[[], int],
        run: int = 0,
        rendered_by_workers: bool = False,
    ) -> None:
        if config.data:
            raise ConfigError(
                "a pool holds rendered clips only; train on folders of data sets by "
                "`dynapoint train --data`"
            )
        self.config, self.device = config, torch.device(device)
        self.held, self.draws, self.phase_now = held, draws, phase_now
        self.rendered_by_workers = rendered_by_workers
        self.rendered = 0
        self._first_seed = FIRST_SEED + SEEDS_A_RUN * run
        self._asked = 0
        self._rng = np.random.default_rng([config.seed, run])
        self._random = random.Random(config.seed + run)
        self._groups: list[_Held] = []
        self._source: SceneSource = SceneWorkers(workers) if workers else ScenesOnTheSpot()

    def __len__(self) -> int:
        return len(self._groups)

    def wants(self) -> bool:
        """Whether another group is worth the time of rendering it."""
        now = self.phase_now()
        present = [group for group in self._groups if group.request.phase == now]
        if sum(group.draws_left for group in present) >= self.draws * self.held // 2:
            return False
        if len(self._groups) < self.held:
            return True
        worst = self._worst()
        return worst.draws_left == 0 or worst.request.phase != now

    def refill(self, *, timeout: float = 0.0) -> bool:
        """Ask for groups, and take in one if there is one within the time; True if it did.

        Raises:
            WorkerError: a scene could not be built or a worker has died; the pool can be used on.
        """
        while self._source.room() > 0:
            self._ask()
        built = self._source.fetch(timeout)
        if built is None:
            return False
        clips = built.clips(self.device)
        self._groups.append(_Held(request=built.request, clips=clips, draws_left=self.draws))
        self.rendered += len(clips.images)
        while len(self._groups) > self.held:
            self._groups.remove(self._worst())
        return True

    def sample(self, step: int) -> tuple[TruthSample, int]:
        """One draw of every clip of a group, and the phase that the group is of.

        The pool must not be empty.
        """
        self._drop_old_phases()
        fresh = [group for group in self._groups if group.draws_left > 0]
        group = self._random.choice(fresh or self._groups)
        group.draws_left -= 1
        index = group.request.phase
        phase = self.config.phases[index]
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        sample = draw_sample(group.clips, sampling_of(self.config, phase), generator)
        return group.request.plan.mask(sample, phase.frames), index

    def shrink(self) -> None:
        """Hold half as many groups, for a device that ran out of memory."""
        self.held = max(1, self.held // 2)
        self._groups = self._groups[-self.held :]

    def close(self) -> None:
        """End the workers."""
        self._source.close()

    def _ask(self) -> None:
        index = self.phase_now()
        plan = plan_group(
            self.config,
            self.config.phases[index],
            rng=self._rng,
            first_seed=self._first_seed + self._asked * MOST_CLIPS,
        )
        self._source.ask(
            GroupRequest(
                number=self._asked, phase=index, plan=plan, rendered=self.rendered_by_workers
            )
        )
        self._asked += 1

    def _worst(self) -> _Held:
        """The group to do without: of the oldest phase the most used one."""
        return min(self._groups, key=lambda group: (group.request.phase, group.draws_left))

    def _drop_old_phases(self) -> None:
        newest = max(group.request.phase for group in self._groups)
        present = [group for group in self._groups if group.request.phase == newest]
        if len(present) >= ENOUGH_OF_A_PHASE:
            self._groups = present
