"""What `dynapoint reconstruct` refuses before anything that takes long is begun."""

from typing import Any

from dynapoint.cli.common import UsageError
from dynapoint.cli.scale_option import is_of_network


def check_network(command: Any) -> None:
    """Refuse what the network of that name is known not to do; before it is loaded.

    Raises:
        ModelError: It is not for clips, is not here, or does not heed an option.
    """
    from dynapoint.models.cards import check_asked, check_reconstructs  # noqa: PLC0415
    from dynapoint.models.weight_files import require_weights  # noqa: PLC0415

    check_reconstructs(command.model)
    require_weights(command.model, command.weights)
    check_asked(
        command.model,
        command.weights,
        reference=command.reference,
        poses=command.poses is not None,
        decoder_weights=command.decoder_weights,
        precision=command.precision,
        compile_blocks=command.compile,
    )


def check_shared(command: Any, count: int) -> None:
    """Refuse for several scenes what belongs to one; raises UsageError."""
    for name in ("times", "ignore_masks", "poses", "scale_from"):
        shared = name == "scale_from" and is_of_network(command.scale_from)
        if getattr(command, name) is not None and not shared:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} belongs to one scene but {count} were given")
