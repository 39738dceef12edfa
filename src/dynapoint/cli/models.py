"""`dynapoint models`."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from dynapoint.cli.common import Flag


@dataclass(frozen=True, kw_only=True)
class ListModels:
    """List the models: parameters, size, licence, source, and where their weights are."""

    def run(self) -> int:
        """Print the list."""
        from dynapoint.models.weight_files import describe_models  # noqa: PLC0415

        print(describe_models())
        return 0


@dataclass(frozen=True, kw_only=True)
class GetModel:
    """Show a model's licence and size, and download its weights."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Name of the model."""
    accept_license: Flag = False
    """Say that you may use weights whose licence does not allow every use."""

    def run(self) -> int:
        """Download the weights unless they are here."""
        from dynapoint.models.cards import find_card  # noqa: PLC0415
        from dynapoint.models.weight_files import describe, fetch  # noqa: PLC0415

        card = find_card(self.name)
        print(describe(card), flush=True)
        print(f"weights in {fetch(card, accept_license=self.accept_license)}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the models that are known by name, or get the weights of one."""

    action: (
        Annotated[ListModels, tyro.conf.subcommand("list")]
        | Annotated[GetModel, tyro.conf.subcommand("get")]
    ) = field(default_factory=ListModels)

    def run(self) -> int:
        """List unless told to get."""
        return self.action.run()
