"""A fake network for clips in windows: it counts what it encodes, and stops when it is told to."""

from collections.abc import Iterator
from contextlib import contextmanager

from dynapoint.errors import InputError
from dynapoint.models import cards
from dynapoint.models.cards import ModelCard
from dynapoint.models.protocol import PLAIN
from fake_model import FakeEncoded, SquareFake

_NAME = "counting-fake"


class CountingFake(SquareFake):
    """Says how often it encoded, and stops after so many times."""

    def __init__(self, *, stops_after: int | None = None) -> None:
        # Without a roll a window's cameras are the same wherever it begins.
        super().__init__(roll_step_rad=0.0)
        self.encoded = 0
        self.stops_after = stops_after

    def encode(self, images, request=PLAIN):
        if self.encoded == self.stops_after:
            raise InputError("stopped")
        self.encoded += 1
        return super().encode(images, request)


@contextmanager
def named_kinds() -> Iterator[None]:
    """What the fake keeps of windows is written to disk, for which it needs a name."""
    cards.register(
        ModelCard(
            name=_NAME, parameters=0, licence="none", source="tests", weights_file=None,
            loader="none:none", kinds={"counting_fake_encoded": FakeEncoded},
        )
    )  # fmt: skip
    yield
    del cards.CARDS[_NAME]
