"""The table of docs/datasets.md is what the cards say, and what their miniatures hold.

`PYTHONPATH=src:tests/helpers python tests/datasets/test_datasets_page.py` writes it again.
"""

import sys
import tempfile
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from dynapoint.datasets.registry import READERS, dataset_card, open_dataset
from dynapoint.errors import InputError
from folders import ROOT
from miniatures.engine_clip import engine_clip

PAGE = ROOT / "docs" / "datasets.md"
BEGIN, END = "<!-- cards -->\n", "<!-- end of cards -->\n"
MOTION = {
    "still": "nothing moves",
    "own_time": "",
    "sparse": "points at other times (some)",
    "dense": "points at all times",
}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MINIATURES = {"real-folders": "real_folders", "clips": "clips"}
"""Where a miniature is not called as its reader's module."""


def keys():
    """The sets whose readers are there."""
    return [key for key, name in READERS.items() if find_spec(f"dynapoint.datasets.{name}")]


def truth_of(key, folder):
    """What sequences of a set's miniature hold, in words; "" where there is no miniature."""
    name = MINIATURES.get(key, READERS[key])
    if find_spec(f"miniatures.{name}") is None:
        return ""
    import_module(f"miniatures.{name}").write_miniature(folder, engine_clip())
    for split in dataset_card(key).splits:
        try:
            held = open_dataset(key, folder, split)[0].holds
        except InputError:
            continue
        words = [
            "depth" * held.depth,
            "poses" * held.poses,
            "lens" * held.lens,
            MOTION[held.motion],
            "visibility" * held.visible,
            "tracks" * held.tracks,
            "masks of what moves" * held.moving,
            "masks of objects" * held.instances,
            "poses of objects" * held.object_poses,
        ]
        said = ", ".join(word for word in words if word)
        return said + (" (metres)" if held.metric else "")
    return ""


def table(folder):
    """Rows of all sets."""
    lines = [
        "| key | set | truth | splits | layout | read so far | licence |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in keys():
        card = dataset_card(key)
        # A layout is a path or a sentence.
        layout = card.layout if " " in card.layout else f"`{card.layout}`"
        needs = f" Needs `pip install 'dynapoint[{card.extra}]'`." if card.extra else ""
        cells = [
            f"`{card.key}`",
            f"{card.title}: {card.source}",
            truth_of(key, folder / key),
            ", ".join(card.splits),
            layout + needs,
            card.proven,
            card.licence,
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def page_with(rows):
    """The page with these rows in the place of its own."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + rows + END + after


def test_the_page_says_what_the_cards_say(tmp_path):
    now = PAGE.read_text(encoding="utf-8")
    assert now == page_with(table(tmp_path)), f"run python {Path(__file__).relative_to(ROOT)}"


def test_every_reader_s_card_is_its_own():
    for key in keys():
        card = dataset_card(key)
        assert card.key == key
        for text in (card.title, card.source, card.licence, card.layout, card.proven):
            assert text and "\n" not in text
        assert card.extra in ("", *EXTRAS), "an extra's name alone"
        assert card.splits and len(set(card.splits)) == len(card.splits)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        PAGE.write_text(page_with(table(Path(made))), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
