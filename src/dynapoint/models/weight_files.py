"""Where weights files are on this machine, and how the published ones get there."""

import os
from pathlib import Path

from dynapoint.errors import ModelError
from dynapoint.models.cards import ASSETS, CARDS, NEWEST, HubFile, ModelCard, find_card


def weights_folder() -> Path:
    """Where users place weights: `DYNAPOINT_HOME`, or `~/.cache/dynapoint` unless that is set."""
    return Path(os.environ.get("DYNAPOINT_HOME") or "~/.cache/dynapoint").expanduser()


def find_weights(card: ModelCard) -> Path | None:
    """The weights file of a model, or None where it is not on this machine.

    What the package does not ship is looked for in `weights_folder()`, as .safetensors and then
    under its own name, and in the Hugging Face cache.
    """
    if card.hub is None:
        return ASSETS / card.weights_file
    placed = weights_folder() / card.weights_file
    for path in (placed.with_suffix(".safetensors"), placed):
        if path.is_file():
            return path
    return _find_in_hub_cache(card.hub)


def require_weights(name: str, given: Path | str | None = None) -> Path:
    """The weights file for the model of that name: `given`, or else the model's own.

    Raises:
        ModelError: The name is unknown or retired, or its own file is not on this machine.
    """
    card = find_card(name)
    path = Path(given) if given is not None else find_weights(card)
    if path is None:
        raise ModelError(
            f"the weights of {card.name!r} are not here; run `{_get_command(card)}`, "
            f"{_by_hand(card)}, or give a file with --weights"
        )
    return path


def describe_models() -> str:
    """One paragraph for each model: parameters, size, licence, source and where its file is."""
    return "\n\n".join(describe(card) for card in CARDS.values())


def describe(card: ModelCard) -> str:
    """All that is known of a model and its file, in a few lines."""
    names = [card.name, *(short for short, version in NEWEST.items() if version == card.name)]
    path = find_weights(card)
    where = f"{path}" if path else f"not here; `{_get_command(card)}`, {_by_hand(card)}"
    size = path.stat().st_size if path else card.bytes
    lines = [
        f"{' = '.join(names)}: {card.parameters:,} parameters{_size(size)}",
        f"  licence: {card.licence}",
        f"  source:  {card.source}",
        f"  file:    {where}",
    ]
    return "\n".join(lines + ([f"  remark:  {card.remark}"] if card.remark else []))


def fetch(card: ModelCard, *, accept_license: bool) -> Path:
    """The weights file of a model, downloaded into the Hugging Face cache where it is not here.

    A download that was broken off is taken up again, and a finished one is checked against the
    SHA-256 that the hub gives.

    Raises:
        ModelError: The licence has not been accepted, or the file cannot be downloaded.
    """
    path = find_weights(card)
    if path is not None or card.hub is None:
        return path or ASSETS / card.weights_file
    if not (card.free or accept_license):
        raise ModelError(
            f"the licence of {card.name!r} does not allow every use ({card.licence}); if you may "
            f"use it, say so with `{_get_command(card)}`"
        )
    try:
        import huggingface_hub  # noqa: PLC0415, F401 - an extra, and slow to import.
    except ImportError as error:
        raise ModelError(
            "downloading needs huggingface_hub, which is not installed: "
            f"pip install 'dynapoint[hub]', {_by_hand(card)}"
        ) from error
    try:
        path, wanted = _download(card.hub)
    # Networks and libraries for them fail in ways of their own, which no list keeps up with.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"{card.weights_file} could not be downloaded ({reason[:200]}); run the command again "
            f"to go on, {_by_hand(card)}"
        ) from error
    _check_hash(path, wanted)
    return path


def _download(file: HubFile) -> tuple[Path, str | None]:
    """Download a file; returns where it lies and the SHA-256 that it should have, where known."""
    from huggingface_hub import HfApi, hf_hub_download  # noqa: PLC0415 - an extra.

    (info,) = HfApi().get_paths_info(file.repository, [file.name])
    wanted = info.lfs.sha256 if info.lfs is not None else None
    return Path(hf_hub_download(file.repository, file.name)), wanted


def _check_hash(path: Path, wanted: str | None) -> None:
    """Delete a download that is not what the hub holds, so that the next one starts anew."""
    from dynapoint.models.weights import sha256_of  # noqa: PLC0415 - loads torch.

    if wanted is None:
        return
    found = sha256_of(path)
    if found != wanted:
        # In the hub's cache the path is a link to where the bytes lie.
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise ModelError(
            f"the download has SHA-256 {found} instead of {wanted} and was deleted; run the "
            "command again"
        )


def _find_in_hub_cache(file: HubFile) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - an extra.
    except ImportError:
        return None
    path = try_to_load_from_cache(file.repository, file.name)
    # A file that is known not to exist is answered by an object of the library's own.
    return Path(path) if isinstance(path, str) else None


def _get_command(card: ModelCard) -> str:
    return f"dynapoint models get {card.name}{'' if card.free else ' --accept-license'}"


def _by_hand(card: ModelCard) -> str:
    assert card.hub is not None
    return (
        f"or place {card.hub.name} of huggingface.co/{card.hub.repository} at "
        f"{weights_folder() / card.weights_file}"
    )


def _size(count: int | None) -> str:
    if count is None:
        return ""
    return f", {count / 1e9:.2f} GB" if count >= 1e9 else f", {count / 1e6:.1f} MB"
