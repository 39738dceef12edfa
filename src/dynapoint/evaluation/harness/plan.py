"""What a protocol asks of the data sets that are here."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dynapoint.datasets.registry import dataset_card, open_dataset
from dynapoint.datasets.sequence import TruthSequence
from dynapoint.errors import ConfigError, InputError
from dynapoint.evaluation.protocols.protocol import Protocol, ProtocolSet
from dynapoint.evaluation.protocols.task import Task

_NAMED = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedSequence:
    """The tasks of a sequence."""

    truth: TruthSequence
    tasks: tuple[Task, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedSet:
    """A set of a protocol.

    Attributes:
        which: As the protocol has it.
        sequences: Those that are here.
        missing: What is missing of the set, in a line; "" where all is here.
    """

    which: ProtocolSet
    sequences: tuple[PlannedSequence, ...] = ()
    missing: str = ""

    @property
    def task_count(self) -> int:
        """How many tasks its sequences have."""
        return sum(len(sequence.tasks) for sequence in self.sequences)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """All tasks of a protocol."""

    protocol: Protocol
    sets: tuple[PlannedSet, ...]

    def questions(self) -> Iterator[tuple[PlannedSet, TruthSequence, Task]]:
        """Every task with its sequence and set."""
        for each in self.sets:
            for sequence in each.sequences:
                for task in sequence.tasks:
                    yield each, sequence.truth, task


class Opened:
    """Sets that were opened, each once for all protocols of a run.

    Attributes:
        data: Their folders by key, as they were given.
    """

    def __init__(self, data: Mapping[str, Path]) -> None:
        self.data = data
        self._found: dict[tuple[str, str], list[TruthSequence]] = {}

    def is_given(self, which: ProtocolSet) -> bool:
        """Whether the folder of a set was given, and has any of the sequences wanted.

        What is wrong with it is said by `plan_of`.
        """
        try:
            there = self.sequences(which) or []
        except InputError:
            return True
        return any(which.sequences is None or each.name in which.sequences for each in there)

    def sequences(self, which: ProtocolSet) -> list[TruthSequence] | None:
        """All sequences of a set's split; None where its folder was not given.

        Raises:
            InputError: The folder is not what the set's layout says.
        """
        root = self.data.get(which.dataset)
        if root is None:
            return None
        place = which.dataset, which.split
        if place not in self._found:
            self._found[place] = open_dataset(which.dataset, root, which.split)
        return self._found[place]


def plan_of(protocol: Protocol, opened: Opened) -> Plan:
    """The tasks of a protocol on the sets that are here.

    Raises:
        ConfigError: None of its sets is here.
        InputError: The folder of a set is not what it should be (of a set that the protocol asks
            for several splits of, none can be opened), or a file that the choice of the tasks needs
            is missing or damaged.
    """
    absent = _absent(protocol, opened)
    sets = tuple(
        PlannedSet(which=which, missing=f"{which.title}: {absent[which.dataset, which.split]}")
        if (which.dataset, which.split) in absent
        else _planned(which, opened)
        for which in protocol.sets
    )
    if not any(each.sequences for each in sets):
        lacking = "; ".join(each.missing for each in sets)
        raise ConfigError(f"no data for {protocol.key}: {lacking}")
    return Plan(protocol=protocol, sets=sets)


def what_is_missing(which: ProtocolSet) -> str:
    """How to give a set whose folder was not given."""
    card = dataset_card(which.dataset)
    return f"{which.title} is not given (--data {which.dataset}=PATH, {card.layout})"


def _absent(protocol: Protocol, opened: Opened) -> dict[tuple[str, str], InputError]:
    """Splits that cannot be opened, of sets of which another one can: people download one alone."""
    errors: dict[tuple[str, str], InputError] = {}
    there = set()
    for which in protocol.sets:
        try:
            if opened.sequences(which) is not None:
                there.add(which.dataset)
        except InputError as error:
            errors[which.dataset, which.split] = error
    for (dataset, _), reason in errors.items():
        if dataset not in there:
            raise reason
    return errors


def _planned(which: ProtocolSet, opened: Opened) -> PlannedSet:
    there = opened.sequences(which)
    if there is None:
        return PlannedSet(which=which, missing=what_is_missing(which))
    by_name = {sequence.name: sequence for sequence in there}
    names = list(by_name) if which.sequences is None else list(which.sequences)
    lacking = [name for name in names if name not in by_name]
    chosen = [by_name[name] for name in names if name in by_name]
    sequences = tuple(PlannedSequence(truth=each, tasks=_tasks_of(each, which)) for each in chosen)
    missing = ""
    if lacking:
        named = ", ".join(lacking[:_NAMED]) + (", …" if len(lacking) > _NAMED else "")
        missing = f"{which.title} lacks {len(lacking)} of {len(names)} sequences ({named})"
    elif not any(each.tasks for each in sequences):
        missing = f"{which.title} has no sequence that the protocol can ask about"
    return PlannedSet(which=which, sequences=sequences, missing=missing)


def _tasks_of(sequence: TruthSequence, which: ProtocolSet) -> tuple[Task, ...]:
    tasks = tuple(which.sampling(sequence))
    repeated = [name for name, count in Counter(task.name for task in tasks).items() if count > 1]
    assert not repeated, f"two tasks of {sequence.name} are called {repeated[0]}"
    return tasks
