"""Tables of results, compared with tables made by hand."""

import math
from dataclasses import replace

from dynapoint.evaluation.environment import environment
from dynapoint.evaluation.harness.result import Result, SetFacts
from dynapoint.evaluation.harness.scoring import Cell, Scored, TaskScore
from dynapoint.evaluation.harness.tables import (
    _LATEX,
    has_variants,
    is_tall,
    table_of,
    tall,
    to_latex,
    to_markdown,
)
from dynapoint.evaluation.protocols.protocol import (
    Column,
    PaperValue,
    Protocol,
    ProtocolSet,
)
from dynapoint.evaluation.protocols.registry import all_protocols

COLUMNS = (
    Column(metric="rel", title="AbsRel", unit="share", better="lower"),
    Column(metric="delta", title="δ < 1.25", unit="per cent", better="higher", decimals=1),
    Column(metric="rel_other", title="AbsRel, other", unit="share", better="lower", default=False),
)


def result():
    protocol = Protocol(
        key="t",
        source="Paper & co, table 2",
        title="depth of videos",
        sets=tuple(
            ProtocolSet(dataset="d", split="s", title=title, sampling=lambda _: ())
            for title in ("Sintel", "Bonn_2", "KITTI")
        ),
        score=lambda *_: (),
        columns=COLUMNS,
        alignment="scale & shift",
        choices=("what is left open",),
        paper=(
            PaperValue(method="V-DPM", set_title="Sintel", metric="rel", value=0.247),
            PaperValue(method="V-DPM", set_title="Sintel", metric="delta", value=69.4),
            PaperValue(method="V-DPM", set_title="KITTI", metric="rel", value=0.1),
        ),
    )
    facts = {"dataset": "d", "split": "s", "sequences": 1, "tasks": 2, "tasks_sha256": "x"}
    missing = {"Sintel": "", "Bonn_2": "Bonn_2 lacks 1 of 5 sequences (a)", "KITTI": "KITTI is not"}
    rows = {
        ("nano", "Sintel", "rel"): (0.3004, 2),
        ("nano", "Sintel", "delta"): (50.06, 2),
        ("nano", "Sintel", "rel_other"): (0.2, 2),
        ("nano", "Bonn_2", "rel"): (0.5, 1),
        ("nano", "Bonn_2", "delta"): (math.nan, 0),
        ("truth", "Sintel", "rel"): (0.0, 2),
        ("truth", "Sintel", "delta"): (100.0, 2),
        ("truth", "Sintel", "rel_other"): (0.0, 2),
        ("truth", "Bonn_2", "rel"): (0.0, 2),
        ("truth", "Bonn_2", "delta"): (math.nan, 0),
    }
    return Result(
        protocol=protocol,
        environment=environment(),
        sets=tuple(SetFacts(title=title, missing=said, **facts) for title, said in missing.items()),
        rows=("nano", "truth"),
        trivial=frozenset({"truth"}),
        cells=tuple(
            Cell(
                method=row, set_title=title, metric=metric, value=value, measured=count, possible=2
            )
            for (row, title, metric), (value, count) in rows.items()
        ),
        scored=Scored(),
    )


MARKDOWN = """
|               | Sintel AbsRel ↓ | Sintel δ < 1.25 ↑ | Bonn_2 AbsRel ↓ | KITTI AbsRel ↓ |
| ------------- | --------------: | ----------------: | --------------: | -------------: |
| V-DPM (paper) |           0.247 |              69.4 |               - |          0.100 |
| nano          |           0.300 |              50.1 |          0.500* |              - |
| truth         |           0.000 |             100.0 |           0.000 |              - |

- depth of videos (Paper & co, table 2)
- Alignment: scale & shift
- Choice: what is left open
- Rows marked "(paper)" are printed there.
- Missing: Bonn_2 lacks 1 of 5 sequences (a)
- Missing: KITTI is not
- With *: nano answered 1 of 2 tasks of Bonn_2
"""

LATEX = r"""
\begin{tabular}{l rr r r}
\toprule
& \multicolumn{2}{c}{Sintel} & \multicolumn{1}{c}{Bonn\_2} & \multicolumn{1}{c}{KITTI} \\
\cmidrule(lr){2-3} \cmidrule(lr){4-4} \cmidrule(lr){5-5}
& AbsRel $\downarrow$ & $\delta$ $<$ 1.25 $\uparrow$ & AbsRel $\downarrow$ & AbsRel $\downarrow$ \\
\midrule
V-DPM (paper) & 0.247 & 69.4 & - & 0.100 \\
\midrule
nano & 0.300 & 50.1 & 0.500* & - \\
truth & 0.000 & 100.0 & 0.000 & - \\
\bottomrule
\end{tabular}
% depth of videos (Paper & co, table 2)
"""

TALL = """
|               | AbsRel ↓ | δ < 1.25 ↑ |
| ------------- | -------: | ---------: |
| Sintel: nano  |    0.300 |       50.1 |
| Sintel: truth |    0.000 |      100.0 |
| Bonn_2: nano  |   0.500* |          - |
| Bonn_2: truth |    0.000 |          - |
| KITTI: nano   |        - |          - |
| KITTI: truth  |        - |          - |
"""

TALL_LATEX = r"""
\begin{tabular}{l rr}
\toprule
& AbsRel $\downarrow$ & $\delta$ $<$ 1.25 $\uparrow$ \\
\midrule
Sintel: nano & 0.300 & 50.1 \\
"""


def test_a_table_for_people():
    assert to_markdown(table_of(result())) == MARKDOWN.strip()


def test_a_table_for_papers():
    text = to_latex(table_of(result()))
    assert text.startswith(LATEX.strip())
    assert all(line.startswith("%") for line in text.split("\\end{tabular}\n")[1].splitlines())


def test_variants_stand_in_the_wide_table_alone():
    assert has_variants(result())
    assert "other" not in to_markdown(table_of(result()))
    wide = to_markdown(table_of(result(), wide=True))
    assert "Sintel AbsRel, other ↓" in wide and "Bonn_2 AbsRel, other" not in wide
    assert not has_variants(
        replace(result(), protocol=replace(result().protocol, columns=COLUMNS[:2]))
    )


def test_sets_stand_below_each_other_where_no_paper_has_a_form():
    plain = replace(result(), protocol=replace(result().protocol, paper=()))
    assert is_tall(plain) and not is_tall(result())
    table = tall(table_of(plain), COLUMNS)
    assert to_markdown(table).startswith(TALL.strip())
    assert to_latex(table).startswith(TALL_LATEX.strip())


def test_what_markdown_and_latex_would_take_for_their_own_is_escaped():
    odd = replace(result(), rows=("a|b_c%{}",), cells=())
    assert "| a\\|b_c%{} " in to_markdown(table_of(odd))
    assert r"a\textbar{}b\_c\%\{\} &" in to_latex(table_of(odd))


def test_a_row_s_name_is_no_option_of_the_row_before():
    text = to_latex(table_of(replace(result(), rows=("[mine]", "*best*"), cells=())))
    assert "\n{[}mine] & " in text and "\n{*}best* & " in text


def test_who_answers_nothing_of_a_set_is_named():
    tasks = [
        TaskScore(method=method, set_title=title, sequence="s", task=name, answered=said, values=())
        for method, title, name, said in (
            ("nano", "Sintel", "a", True),
            ("nano", "Sintel", "b", False),
            ("nano", "Bonn_2", "a", False),
            ("nano", "Bonn_2", "b", False),
            ("truth", "Bonn_2", "a", False),
        )
    ]
    notes = table_of(replace(result(), scored=Scored(tasks=tasks))).notes
    assert [note for note in notes if "no task" in note] == ["nano answered no task of Bonn_2"]


def test_no_letter_of_a_protocol_s_tables_is_strange_to_latex():
    """What pdflatex has a letter for, or what is escaped."""
    for protocol in all_protocols().values():
        words = [value for paper in protocol.paper for value in (paper.method, paper.set_title)]
        words += [column.title for column in protocol.columns]
        odd = {letter for word in words for letter in word if ord(letter) > 127}
        assert odd <= {*_LATEX, *"éèáóüöäç"}, protocol.key
