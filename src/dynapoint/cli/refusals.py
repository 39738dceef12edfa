"""What `dynapoint reconstruct` refuses before anything that takes long is begun."""

from typing import Any

from dynapoint.cli.common import UsageError
from dynapoint.cli.scale_option import is_of_network


def check_shared(command: Any, found: str) -> None:
    """Refuse for several scenes what belongs to one.

    Args:
        command: `reconstruct` with its options.
        found: What was given in place of one scene.

    Raises:
        UsageError: An option of one scene was given.
    """
    for name in ("times", "ignore_masks", "poses", "scale_from"):
        shared = name == "scale_from" and is_of_network(command.scale_from)
        if getattr(command, name) is not None and not shared:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} belongs to one scene, but {found}")
