"""Rows of the papers' tables as `PaperValue`s."""

from collections.abc import Mapping, Sequence

from dynapoint.evaluation.protocols.protocol import PaperValue


def paper_rows(
    set_title: str, metrics: Sequence[str], rows: Mapping[str, Sequence[float | None]]
) -> tuple[PaperValue, ...]:
    """The numbers that a table prints for one set.

    Args:
        set_title: The set, as the protocol calls it.
        metrics: Keys of the columns that the numbers stand in.
        rows: The numbers of each method; None where the table has none.
    """
    return tuple(
        PaperValue(method=method, set_title=set_title, metric=metric, value=value)
        for method, values in rows.items()
        for metric, value in zip(metrics, values, strict=True)
        if value is not None
    )
