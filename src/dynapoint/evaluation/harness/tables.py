"""A result as a table in the form of the paper, with the paper's own rows, for people and LaTeX."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dynapoint.evaluation.harness.result import Result
from dynapoint.evaluation.protocols.protocol import Column

DASH = "-"
PARTIAL = "*"
_PRINTED = " (paper)"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "δ": r"$\delta$",
    "π": r"$\pi$",
    "°": r"$^\circ$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "₀": "$_0$",
    "₁": "$_1$",
    "²": "$^2$",
    "³": "$^3$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "τ": r"$\tau$",
    "…": r"\ldots{}",
    "|": r"\textbar{}",
}


@dataclass(frozen=True, kw_only=True)
class Group:
    """The columns of a set."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Words to print: a head of sets and columns, and rows.

    Attributes:
        printed: How many of the rows are the paper's; they come first.
        notes: What a reader has to know of it, a line each.
    """

    groups: tuple[Group, ...]
    rows: tuple[tuple[str, ...], ...]
    printed: int
    notes: tuple[str, ...]


def table_of(result: Result, *, wide: bool = False) -> Table:
    """The table of a result.

    Args:
        result: Of a protocol.
        wide: Show all variants where a paper leaves a choice open, not only those that count.
    """
    chosen = [column for column in result.protocol.columns if wide or column.default]
    titles = dict.fromkeys(each.title for each in result.sets)
    # The paper may print sets that nobody else can make.
    titles |= dict.fromkeys(value.set_title for value in result.protocol.paper)
    groups = tuple(_group(result, title, chosen) for title in titles)
    papers: dict[str, None] = {value.method: None for value in result.protocol.paper}
    printed = [_paper_row(result, method, groups) for method in papers]
    ours = [_row(result, row, groups) for row in result.rows]
    return Table(
        groups=groups,
        rows=(*printed, *ours),
        printed=len(printed),
        notes=_notes(result),
    )


def has_variants(result: Result) -> bool:
    """Whether the wide table shows more."""
    return any(not column.default for column in result.protocol.columns)


def to_markdown(table: Table) -> str:
    """One line for each row, numbers aligned to the right; notes below."""
    heads = [
        f"{group.title} {column.title} {_arrow(column)}".strip()
        for group in table.groups
        for column in group.columns
    ]
    lines = [["", *heads], *(list(row) for row in table.rows)]
    lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *(len(line[at]) for line in lines)) for at in range(len(heads) + 1)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    printed = [_markdown_line(line, widths) for line in lines]
    printed.insert(1, _markdown_line(rule, widths))
    return "\n".join(printed + _below(table.notes))


def is_tall(result: Result) -> bool:
    """Whether sets are better read below each other: there are several, and no paper's form."""
    return len(result.sets) > 1 and not result.protocol.paper


def tall(table: Table, order: Sequence[Column]) -> Table:
    """The same numbers with a row for each set and method, and one column for each metric."""
    shown = {column.metric for group in table.groups for column in group.columns}
    columns = {column.metric: column for column in order if column.metric in shown}
    rows: list[tuple[str, ...]] = []
    at = 1
    for group in table.groups:
        places = {column.metric: at + k for k, column in enumerate(group.columns)}
        at += len(group.columns)
        rows += [
            (
                f"{group.title}: {row[0]}",
                *(row[places[metric]] if metric in places else DASH for metric in columns),
            )
            for row in table.rows
        ]
    group = Group(title="", columns=tuple(columns.values()))
    return Table(groups=(group,), rows=tuple(rows), printed=0, notes=table.notes)


def to_latex(table: Table) -> str:
    """A `tabular` for `booktabs`, sets above their columns; notes as comments."""
    spec = " ".join("r" * len(group.columns) for group in table.groups)
    lines = [f"\\begin{{tabular}}{{l {spec}}}", "\\toprule", *_latex_sets(table.groups)]
    heads = [
        f"{_latex(column.title)} ${_latex_arrow(column)}$"
        for group in table.groups
        for column in group.columns
    ]
    lines.append(" & ".join(["", *heads]).strip() + r" \\")
    for number, row in enumerate(table.rows):
        if number in (0, table.printed):
            lines.append("\\midrule")
        lines.append(" & ".join(_latex(cell) for cell in row) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines + [f"% {note}" for note in table.notes])


def _latex_sets(groups: Sequence[Group]) -> list[str]:
    """Titles over the columns of sets; none where the rows tell the sets."""
    if not any(group.title for group in groups):
        return []
    tops, rules, at = [], [], 2
    for group in groups:
        count = len(group.columns)
        tops.append(f"\\multicolumn{{{count}}}{{c}}{{{_latex(group.title)}}}")
        rules.append(f"\\cmidrule(lr){{{at}-{at + count - 1}}}")
        at += count
    return [" & ".join(["", *tops]).strip() + r" \\", " ".join(rules)]


def _group(result: Result, title: str, columns: Sequence[Column]) -> Group:
    """The columns of a set in which anything stands, or the first one."""
    paper = {value.metric for value in result.protocol.paper if value.set_title == title}
    measured = {
        cell.metric
        for cell in result.cells
        if cell.set_title == title and not math.isnan(cell.value)
    }
    shown = [column for column in columns if column.metric in paper | measured]
    return Group(title=title, columns=tuple(shown or columns[:1]))


def _paper_row(result: Result, method: str, groups: Sequence[Group]) -> tuple[str, ...]:
    values = {
        (value.set_title, value.metric): value.value
        for value in result.protocol.paper
        if value.method == method
    }
    cells = [
        _number(values.get((group.title, column.metric), math.nan), column)
        for group in groups
        for column in group.columns
    ]
    return (method + _PRINTED, *cells)


def _row(result: Result, row: str, groups: Sequence[Group]) -> tuple[str, ...]:
    cells = []
    for group in groups:
        for column in group.columns:
            cell = result.cell(row, group.title, column.metric)
            text = DASH if cell is None else _number(cell.value, column)
            partial = cell is not None and text != DASH and not cell.whole
            cells.append(text + PARTIAL if partial else text)
    return (row, *cells)


def _notes(result: Result) -> tuple[str, ...]:
    """Where the numbers come from, how they were aligned, and what is missing, each said once."""
    protocol = result.protocol
    notes = [f"{protocol.title} ({protocol.source})", f"Alignment: {protocol.alignment}"]
    notes += [f"Choice: {choice}" for choice in protocol.choices]
    if protocol.paper:
        notes.append(f'Rows marked "{_PRINTED.strip()}" are printed there.')
    notes += [f"Missing: {each.missing}" for each in result.sets if each.missing]
    partial: dict[tuple[str, str], tuple[int, int]] = {}
    for cell in result.cells:
        if not (math.isnan(cell.value) or cell.whole):
            partial[cell.method, cell.set_title] = cell.measured, cell.possible
    notes += [
        f"With {PARTIAL}: {method} answered {measured} of {possible} tasks of {set_title}"
        for (method, set_title), (measured, possible) in partial.items()
    ]
    return (*notes, *_unanswered(result))


def _unanswered(result: Result) -> list[str]:
    """Which rows have nothing to say of a whole set, so that dashes are not taken for results."""
    answered: Counter[tuple[str, str]] = Counter()
    for each in result.scored.tasks:
        if each.method not in result.trivial:
            answered[each.method, each.set_title] += each.answered
    return [
        f"{method} answered no task of {set_title}"
        for (method, set_title), count in answered.items()
        if not count
    ]


def _number(value: float, column: Column) -> str:
    return DASH if math.isnan(value) else f"{value:.{column.decimals}f}"


def _arrow(column: Column) -> str:
    return "↓" if column.better == "lower" else "↑"


def _latex_arrow(column: Column) -> str:
    return r"\downarrow" if column.better == "lower" else r"\uparrow"


def _latex(words: str) -> str:
    escaped = "".join(_LATEX.get(letter, letter) for letter in words)
    # Behind the end of a row these would be an option of it.
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped[:1] in ("[", "*") else escaped


def _markdown_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = cells
    padded = [first.ljust(widths[0])]
    padded += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return f"| {' | '.join(padded)} |"


def _below(notes: Sequence[str]) -> list[str]:
    return ["", *(f"- {note}" for note in notes)] if notes else []
