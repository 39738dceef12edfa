"""Building networks whose weights come from a file: nothing is drawn at random for them first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# What layers fill new weights with.
_FILLING = frozenset({Tensor.normal_, Tensor.uniform_})
_DRAWING = frozenset({torch.randn, torch.rand})


class _Unfilled(TorchFunctionMode):
    """Leaves tensors that are to be drawn at random as they are."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _FILLING:
            return args[0]
        if func in _DRAWING:
            func = torch.empty
        return func(*args, **(kwargs or {}))


@contextmanager
def unfilled() -> Iterator[None]:
    """Weights of networks built within hold whatever memory holds, until they are loaded.

    All of them are to be loaded from a file, strictly. Memory that nobody has written to is not
    taken yet, so that shapes may be looked at first.
    """
    with _Unfilled():
        yield
