"""The rows of a paper's table as data."""

from collections.abc import Iterable

from dynapoint.evaluation.protocols.protocol import PaperValue


def printed(
    columns: tuple[tuple[str, str], ...],
    rows: Iterable[tuple[str, tuple[float | None, ...]]],
) -> tuple[PaperValue, ...]:
    """Values of a table, row by row.

    Args:
        columns: Title of the set and key of the metric, of each column.
        rows: A method and its numbers, None where the table has a dash.

    Raises:
        ValueError: A row has more or fewer numbers than there are columns.
    """
    return tuple(
        PaperValue(method=method, set_title=title, metric=metric, value=value)
        for method, values in rows
        for (title, metric), value in zip(columns, values, strict=True)
        if value is not None
    )
