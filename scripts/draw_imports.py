"""Print how the package's modules import each other: parts from the ground up, and circles.

    python scripts/draw_imports.py

An arrow counts wherever an import stands, also within a function. A part's line says how many files
it has and which parts it rests on. A circle is a set of modules each of which leads to each other.
"""

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "dynapoint"


def arrows() -> dict[str, set[str]]:
    """Which modules of the package each of its modules imports."""
    paths = sorted(PACKAGE.rglob("*.py"))
    names = {path: module_name(path) for path in paths}
    known = set(names.values())
    found: dict[str, set[str]] = {}
    for path, name in names.items():
        own = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found[name] = {
            target
            for wanted in imports_of(ast.parse(path.read_text()), own)
            if (target := nearest(wanted, known)) not in (None, name)
        }
    return found


def module_name(path: Path) -> str:
    """`dynapoint.models.catalog` for its file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.AST, package: str) -> list[str]:
    """Full names of all that is imported anywhere in a module of a package."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            source = [*(above if node.level else []), *([node.module] if node.module else [])]
            names += [".".join([*source, alias.name]) for alias in node.names]
    return names


def nearest(name: str, known: set[str]) -> str | None:
    """The module that a name lies in; None for those of others and for the package itself."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name if name.count(".") > 0 else None


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of modules that lead to each other (Tarjan 1972), without lone ones."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in number:
                visit(target)
                lowest[name] = min(lowest[name], lowest[target])
            elif target in stack:
                lowest[name] = min(lowest[name], number[target])
        if lowest[name] == number[name]:
            place = stack.index(name)
            ring = stack[place:]
            del stack[place:]
            if len(ring) > 1:
                found.append(sorted(ring))

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return found


def part(name: str) -> str:
    """`models` for `dynapoint.models.catalog`."""
    return name.split(".")[1]


def main() -> int:
    """Print it; 1 where there are circles."""
    graph = {name: targets for name, targets in arrows().items() if name != "dynapoint"}
    below: dict[str, set[str]] = {}
    for name, targets in graph.items():
        below.setdefault(part(name), set()).update(part(each) for each in targets)
    left = {name: targets - {name} for name, targets in below.items()}
    while left:
        ready = sorted(name for name, targets in left.items() if not targets & left.keys())
        for name in ready or sorted(left):
            files = sum(part(each) == name for each in graph)
            rests = ", ".join(sorted(below[name] - {name})) or "nothing"
            print(f"{name:12} {files:3} files, rests on {rests}")
        left = (
            {name: targets for name, targets in left.items() if name not in ready} if ready else {}
        )
    rings = circles(graph)
    for ring in rings:
        print(f"circle of {len(ring)}: {', '.join(ring)}")
    print(f"{len(graph)} modules, {len(rings)} circles")
    return 1 if rings else 0


if __name__ == "__main__":
    sys.exit(main())
