"""Print a run's course as a table for docs/notes/nano.md: validation by samples, from its log.

    python scripts/training_table.py RUN [--every 2]

Each rendered set shows own-time EPE / motion ratio / leak at margin 8, each real folder AbsRel,
how much its depth spreads beside the truth's, focal error in percent and rotation in degrees.
"""

import argparse
import json
from pathlib import Path

REAL = ("abs_rel", "depth_spread", "focal_percent", "rotation_deg")
RENDERED = ("own_time_epe", "motion_ratio", "leak")
DIGITS = {"focal_percent": 1, "rotation_deg": 1, "abs_rel": 3, "depth_spread": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--every", type=int, default=1, help="every so manyth validation")
    options = parser.parse_args()
    rows: dict[int, dict[str, str]] = {}
    for text in (options.run / "log.jsonl").read_text().splitlines():
        line = json.loads(text)
        if line["kind"] != "train":
            rows.setdefault(line["samples"], {})[line["kind"]] = cell(line)
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    print("| samples | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    shown = sorted(rows)
    kept = {*shown[:: options.every], *shown[-1:]}
    for samples in shown:
        if samples in kept:
            cells = [rows[samples].get(name, "–") for name in names]
            print(f"| {samples / 1000:.1f} k | " + " | ".join(cells) + " |")


def cell(line: dict[str, float]) -> str:
    """The numbers of one set at one validation."""
    names = RENDERED if RENDERED[0] in line else REAL
    values = [
        f"{line[name]:.{DIGITS.get(name, 3)}f}".removeprefix("0") for name in names if name in line
    ]
    return " / ".join(values)


if __name__ == "__main__":
    main()
