"""PLY files, read by trimesh."""

from pathlib import Path

import numpy as np
from trimesh.exchange.ply import load_ply


def ply_elements(path: Path) -> dict[str, np.ndarray]:
    """The records of every kind of element (vertex, edge), which must be all that a file holds."""
    with path.open("rb") as file:
        raw = load_ply(file)["metadata"]["_ply_raw"]
    elements = {name: about["data"] for name, about in raw.items()}
    assert {name: about["length"] for name, about in raw.items()} == {
        name: len(records) for name, records in elements.items()
    }
    _, _, data = path.read_bytes().partition(b"end_header\n")
    assert len(data) == sum(records.nbytes for records in elements.values())
    return elements


def ply_comments(path: Path) -> list[str]:
    """The words of a file's comments."""
    header, _, _ = path.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    return [line.removeprefix("comment ") for line in lines if line.startswith("comment ")]
