"""What a data set is: where it comes from, what it holds, and how its folder looks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dynapoint.datasets.sequence import TruthSequence


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """One data set.

    Attributes:
        key: Its name on the command line (`--data KEY=PATH`).
        title: Its name in tables.
        source: Where it is described or had: a paper and a project's name, no promise of a link.
        licence: In a few words.
        splits: Names of its parts; the first is the default of protocols.
        layout: The folder that `open_folder` wants, in one line.
        proven: What the reader has run on: "miniature" (written by the tests from documentation)
            or the real files it has seen.
        open_folder: Lists the sequences of a split; reads names and small files only. Raises
            `InputError` in one line that names the file and its fault.
        extra: Which of the package's extras it needs ("datasets" for `dynapoint[datasets]`), or "".
    """

    key: str
    title: str
    source: str
    licence: str
    splits: tuple[str, ...]
    layout: str
    proven: str
    open_folder: Callable[[Path, str], list[TruthSequence]]
    extra: str = ""
