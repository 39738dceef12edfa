"""Compare our networks with the official code's numbers: `python tests/helpers/goldens.py DIR`.

DIR is a folder of the goldens' layout, or any part of one. Every case in it is described by its
JSON file alone: the network is built from the configuration named there, filled by the goldens'
rule, and run on the images that the seed there makes; then every array of the case is compared.
A case whose name ends in `_f64` runs in float64. What is printed is d = max |ours - golden| /
std(golden) of each array beside its limit. Exit code 1: something is beyond its limit or broken.
"""

import argparse
import fnmatch
import gc
import json
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from golden_cases import Case, Report, check_case, compare, label, read_case
from golden_components import PARTS, outputs, read_component
from golden_da3 import (
    PUBLISHED,
    Da3Case,
    build_da3_network,
    check_da3_case,
    check_da3_manifest,
    read_da3_case,
)
from golden_dust3r import (
    PairCase,
    build_pair_network,
    check_pair_case,
    check_pair_manifest,
    read_pair_case,
)
from golden_networks import build, full_size_config, skeleton

AnyCase = Case | PairCase | Da3Case
KINDS: dict[type, tuple[Any, Any]] = {
    Case: (build, check_case),
    PairCase: (build_pair_network, check_pair_case),
    Da3Case: (build_da3_network, check_da3_case),
}
"""What builds the network of a kind of case, and what runs the case."""


def main() -> int:
    """Compare all that DIR holds and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="cases of this name; may have * in it, may be given again",
    )
    parser.add_argument("--skip-full", action="store_true", help="leave out the full-size networks")
    parser.add_argument("--threads", type=int, help="PyTorch's threads")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    reports = []
    for report in check_folder(options.folder, only=options.only, skip_full=options.skip_full):
        print(text_of(report), flush=True)
        reports.append(report)
    print(summary_of(reports))
    return 0 if reports and all(report.passed for report in reports) else 1


def check_folder(folder: Path, *, only: list[str], skip_full: bool) -> Iterator[Report]:
    """Reports of all golden files below a folder, one after the other."""

    def wanted(path: Path) -> bool:
        names = (path.stem, label(path))
        return not only or any(fnmatch.filter(names, pattern) for pattern in only)

    for path in sorted(folder.rglob("*.json")):
        if path.parent.name == "manifests" and wanted(path):
            yield guarded(label(path), partial(check_manifest, path))
    cases: list[AnyCase] = []
    for path in filter(wanted, sorted(folder.rglob("*.npz"))):
        if path.with_name("components.json").is_file():
            yield guarded(label(path), partial(check_component, path))
            continue
        try:
            case = read_pair_case(path) or read_da3_case(path) or read_case(path)
        except Exception as error:
            yield failed(label(path), error)
            continue
        if skip_full and case.full_size:
            yield Report(case=label(path), skipped="full size")
        else:
            cases.append(case)
    yield from check_networks(cases)


def check_networks(cases: list[AnyCase]) -> Iterator[Report]:
    """Reports of cases; those of one network and precision share it, and only one is held."""
    groups: dict[tuple[bool, str, str, str], list[AnyCase]] = {}
    for case in cases:
        key = (
            case.full_size,
            case.config.name,
            str(case.info.get("weights_sha256")),
            str(case.dtype),
        )
        groups.setdefault(key, []).append(case)
    for _, group in sorted(groups.items(), key=lambda item: item[0]):
        try:
            first = group[0]
            make, check = KINDS[type(first)]
            network = make(
                first.config,
                dtype=first.dtype,
                entries=first.entries,
                sha256=first.info.get("weights_sha256"),
            )
        except Exception as error:
            yield from (failed(label(case.path), error) for case in group)
            continue
        for case in group:
            yield guarded(label(case.path), partial(check, case, network))
        # The next one may need all the memory there is.
        del network
        gc.collect()


def check_component(path: Path) -> Report:
    """Compare a part's outputs, in float32 and in float64 where these are stored."""
    part = PARTS[path.stem]
    stored, info = read_component(path)
    ours = outputs(path.stem, stored, info, torch.float32)
    ours |= outputs(path.stem, stored, info, torch.float64)
    golden = [name for name in stored if not re.match(r"in_|pos_[abc]$", name)]
    left = [name for name in golden if re.match(part.not_ours, name)]
    unknown = [name for name in golden if name not in ours and name not in left]
    return Report(
        case=label(path),
        comparisons=tuple(
            compare(
                name,
                ours[name],
                stored[name],
                precision="float64" if name.startswith("out64_") else "float32",
                limit=1e-9 if name.startswith("out64_") else part.limit,
            )
            for name in ours
        ),
        not_in_scope=tuple(left),
        why=part.why,
        error=f"nothing of ours to compare {unknown} with" if unknown else None,
    )


def check_manifest(path: Path) -> Report:
    """Compare the names and shapes of a true network's state dict with ours."""
    if path.stem == "dust3r_512_dpt":
        return check_pair_manifest(path)
    if path.stem in PUBLISHED:
        return check_da3_manifest(path)
    model = {"vdpm": "VDPM(", "vggt": "VGGT("}[path.stem]
    manifest = json.loads(path.read_text())
    entries = [(name, tuple(shape)) for name, shape, *_ in manifest["entries"]]
    network, wanted = skeleton(full_size_config(model), entries)
    built = sum(value.numel() for value in network.state_dict().values())
    return Report(
        case=label(path),
        note=f"{len(wanted)} entries have the same names and shapes, {built:,} parameters built",
    )


def guarded(name: str, check: Callable[[], Report]) -> Report:
    """A check's report, or the error that ended it: one broken case does not hide the others."""
    try:
        return check()
    except Exception as error:
        return failed(name, error)


def failed(name: str, error: Exception) -> Report:
    """The report of a case that could not be compared."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return Report(case=name, error=f"{type(error).__name__} at {where}: {error}")


def text_of(report: Report) -> str:
    """A report as lines of text."""
    state = "skipped" if report.skipped else "PASS" if report.passed else "FAIL"
    about = report.skipped or report.error or report.note
    lines = [f"{report.case}: {state}{f' ({about})' if about else ''}"]
    for c in report.comparisons:
        line = f"    {c.array:<28} {c.deviation:9.2e}  limit {c.limit:.0e}"
        if c.rms_limit < float("inf"):
            line += f"   rms {c.rms:9.2e}  limit {c.rms_limit:.0e}"
        lines.append(f"{line}  {'PASS' if c.passed else 'FAIL'}")
    if report.not_in_scope:
        lines.append(f"    out of scope, {report.why}: {' '.join(report.not_in_scope)}")
    return "\n".join(lines)


def summary_of(reports: list[Report]) -> str:
    """How many passed and the largest deviations in either precision."""
    done = [report for report in reports if not report.skipped]
    broken = [report.case for report in done if not report.passed]
    lines = [f"{len(done) - len(broken)} of {len(done)} passed, {len(reports) - len(done)} skipped"]
    for precision in ("float32", "float64"):
        each = [
            (c.deviation, f"{report.case} {c.array}")
            for report in done
            for c in report.comparisons
            if c.precision == precision
        ]
        if each:
            worst, where = max(each)
            lines.append(f"largest deviation in {precision}: {worst:.2e} ({where})")
    if broken:
        lines.append(f"FAIL: {' '.join(broken)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
