"""What protocols there are, what each needs, and what of it is here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dynapoint.datasets.registry import dataset_card
from dynapoint.errors import DynapointError
from dynapoint.evaluation.harness.plan import Opened
from dynapoint.evaluation.protocols.protocol import Protocol, ProtocolSet

_EXTRA_MODULES = {"datasets": ("pyarrow", "h5py", "OpenEXR")}


@dataclass(frozen=True, kw_only=True)
class SetStatus:
    """A set of a protocol and whether it is here.

    Attributes:
        here: How many of the wanted sequences are here; 0 for none.
        status: The same in words, or why not.
    """

    title: str
    dataset: str
    split: str
    layout: str
    extra: str
    proven: str
    here: int
    status: str


def status_of(protocol: Protocol, opened: Opened) -> list[SetStatus]:
    """The sets of a protocol."""
    return [_status(which, opened) for which in protocol.sets]


def listing(protocols: Sequence[Protocol], data: Mapping[str, Path]) -> str:
    """All protocols for people: what each measures, and what it needs."""
    opened, lines = Opened(data), list[str]()
    layouts: dict[str, str] = {}
    for protocol in protocols:
        lines += [f"{protocol.key}: {protocol.title}", f"  source: {protocol.source}"]
        for each in status_of(protocol, opened):
            lines.append(f"  {each.title} ({each.dataset}, {each.split}): {each.status}")
            extra = f"dynapoint[{each.extra}] and " if each.extra else ""
            layouts[each.dataset] = extra + each.layout
    lines += ["", "Folders to give with --data SET=PATH:"]
    lines += [f"  {key}: {needs}" for key, needs in sorted(layouts.items())]
    return "\n".join(lines)


def listing_plain(protocols: Sequence[Protocol], data: Mapping[str, Path]) -> list[dict[str, Any]]:
    """The same as JSON has it."""
    opened = Opened(data)
    return [
        {
            "protocol": protocol.key,
            "title": protocol.title,
            "source": protocol.source,
            "alignment": protocol.alignment,
            "choices": list(protocol.choices),
            "columns": [column.metric for column in protocol.columns],
            "sets": [
                {
                    "title": each.title,
                    "dataset": each.dataset,
                    "split": each.split,
                    "layout": each.layout,
                    "extra": each.extra,
                    "proven": each.proven,
                    "here": each.here,
                    "status": each.status,
                }
                for each in status_of(protocol, opened)
            ],
        }
        for protocol in protocols
    ]


def _status(which: ProtocolSet, opened: Opened) -> SetStatus:
    card = dataset_card(which.dataset)
    here, said = 0, "not given"
    lacking = [name for name in _EXTRA_MODULES.get(card.extra, ()) if find_spec(name) is None]
    try:
        there = opened.sequences(which)
        if there is not None:
            names = {sequence.name for sequence in there}
            wanted = names if which.sequences is None else set(which.sequences)
            here = len(names & wanted)
            said = f"{here} of {len(wanted)} sequences are here"
    except DynapointError as error:
        said = str(error)
    if lacking and here == 0:
        said = f"{said}; install dynapoint[{card.extra}]"
    return SetStatus(
        title=which.title,
        dataset=which.dataset,
        split=which.split,
        layout=card.layout,
        extra=card.extra,
        proven=card.proven,
        here=here,
        status=said,
    )
