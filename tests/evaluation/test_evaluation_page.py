"""docs/evaluation.md lists the protocols as they are.

`PYTHONPATH=src:tests/helpers python tests/evaluation/test_evaluation_page.py` writes the list anew.
"""

import re
from pathlib import Path

from dynapoint.evaluation.predictions.files import ARRAYS
from dynapoint.evaluation.protocols.registry import all_protocols

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
LIST = re.compile(r"(<!-- protocols -->\n).*?(<!-- end of protocols -->)", re.DOTALL)


def row(protocol):
    sets = dict.fromkeys(f"`{each.dataset}` ({each.split})" for each in protocol.sets)
    cells = (f"`{protocol.key}`", protocol.source, protocol.title, ", ".join(sets))
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def listed():
    head = ["| protocol | table | what is measured | sets (split) |", "|---|---|---|---|"]
    return "\n".join([*head, *map(row, all_protocols().values())]) + "\n"


def test_the_page_lists_every_protocol():
    assert LIST.search(PAGE.read_text("utf-8"))[0] == LIST.sub(
        rf"\g<1>{listed()}\g<2>", "<!-- protocols -->\n<!-- end of protocols -->"
    )


def test_the_page_describes_every_array():
    text = PAGE.read_text("utf-8")
    for name in (*ARRAYS, "about"):
        assert f"| `{name}` |" in text


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    PAGE.write_text(LIST.sub(lambda found: found[1] + listed() + found[2], text), "utf-8")
