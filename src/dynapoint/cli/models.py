"""`dynapoint models`."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from dynapoint.cli.common import Flag, print_json


@dataclass(frozen=True, kw_only=True)
class ListModels:
    """List the models: parameters, size, licence, source, and the place of their weights."""

    def run(self, *, as_json: bool) -> None:
        """Print the list."""
        from dynapoint.models.cards import CARDS  # noqa: PLC0415
        from dynapoint.models.weight_files import describe, model_facts  # noqa: PLC0415

        if as_json:
            print_json({"models": [model_facts(card) for card in CARDS.values()]})
        else:
            print("\n\n".join(describe(card) for card in CARDS.values()))


@dataclass(frozen=True, kw_only=True)
class GetModel:
    """Show a model's licence and size, and download its weights."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Name of the model."""
    accept_license: Flag = False
    """Confirm that you may use weights whose licence does not allow every use."""

    def run(self, *, as_json: bool) -> None:
        """Download the weights unless they are here."""
        from dynapoint.models.cards import find_card  # noqa: PLC0415
        from dynapoint.models.weight_files import describe, fetch, model_facts  # noqa: PLC0415

        card = find_card(self.name)
        if not as_json:
            # The licence is read before anything is fetched.
            print(describe(card), flush=True)
        path = fetch(card, accept_license=self.accept_license)
        if as_json:
            print_json({"model": model_facts(card), "files": [str(path)]})
        else:
            print(f"weights in {path}")


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the known models, or get the weights of one."""

    action: (
        Annotated[ListModels, tyro.conf.subcommand("list")]
        | Annotated[GetModel, tyro.conf.subcommand("get")]
    ) = field(default_factory=ListModels)
    json: Flag = False
    """Print one JSON object."""

    def run(self) -> int:
        """List unless told to get."""
        self.action.run(as_json=self.json)
        return 0
