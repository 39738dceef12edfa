"""Files of tensors: the same content is the same bytes."""

import pytest
import torch
from safetensors.torch import save_file

from dynapoint.models.tensor_files import order_metadata, read_safetensors, write_safetensors

TOLD = {"format": "pt", "b": 'quoted "words" \\ and\nlines', "é": "∞\x01", "a": "", "1": "/"}


def tensors():
    return {name: torch.arange(n, dtype=torch.float32) for n, name in enumerate("zyxw", 1)}


def test_files_of_the_same_content_are_the_same(tmp_path):
    found = set()
    for number in range(12):
        path = tmp_path / f"{number}.safetensors"
        write_safetensors(tensors(), path, metadata=TOLD)
        found.add(path.read_bytes())
    # By chance one of 12 orders of five words would recur once in (1/120)^11.
    assert len(found) == 1
    read, told = read_safetensors(path)
    assert told == TOLD
    assert all(torch.equal(read[name], value) for name, value in tensors().items())


def test_order_leaves_files_without_metadata_alone(tmp_path):
    save_file(tensors(), tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    order_metadata(tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == before
    with pytest.raises(OSError):
        order_metadata(tmp_path / "none")
