"""Where weights files are on this machine, and how the published ones get there."""

import os
import re
from pathlib import Path
from typing import Any

from dynapoint.errors import ModelError
from dynapoint.models.cards import ASSETS, NEWEST, HubFile, ModelCard, find_card
from dynapoint.whole_file import sha256_of


def weights_folder() -> Path:
    """Where users place weights: `DYNAPOINT_HOME`, or `~/.cache/dynapoint` unless that is set."""
    return Path(os.environ.get("DYNAPOINT_HOME") or "~/.cache/dynapoint").expanduser()


def find_weights(card: ModelCard) -> Path | None:
    """The weights file of a model, or None where it is not on this machine.

    What the package does not ship is looked for in `weights_folder()`, as .safetensors and then
    under its own name, and in the Hugging Face cache.
    """
    if card.weights_file is None:
        return None
    shipped, placed = ASSETS / card.weights_file, weights_folder() / card.weights_file
    if card.hub is None and shipped.is_file():
        return shipped
    for path in (placed.with_suffix(".safetensors"), placed):
        if path.is_file():
            return path
    return None if card.hub is None else _find_in_hub_cache(card.hub)


def require_weights(
    name: str, given: Path | str | None = None, *, option: str = "--weights"
) -> Path:
    """The weights file for the model of that name: `given`, or else the model's own.

    `option` is how commands are given one.

    Raises:
        ModelError: The name is unknown or retired, or its own file is not on this machine or does
            not exist.
    """
    card = find_card(name)
    path = Path(given) if given is not None else find_weights(card)
    if path is None and card.instead:
        raise ModelError(f"{card.name}: {card.instead}")
    if path is None:
        raise ModelError(
            f"the weights of {card.name!r} are {_how_to_get(card)}, or give a file with {option}"
        )
    return path


def model_facts(card: ModelCard) -> dict[str, Any]:
    """All that is known of a model and its file, as JSON would have it.

    `bytes` are those of the file, or of one not here the published size; one of `file` and
    `how_to_get` is None.
    """
    path = find_weights(card)
    return {
        "name": card.name,
        "short_names": [short for short, version in NEWEST.items() if version == card.name],
        "parameters": card.parameters,
        "bytes": path.stat().st_size if path else card.bytes,
        "licence": card.licence,
        "free": card.free,
        "source": card.source,
        "file": str(path) if path else None,
        "how_to_get": None if path else card.instead or _how_to_get(card),
        "remark": card.remark,
    }


def describe(card: ModelCard) -> str:
    """The same in a few lines."""
    facts = model_facts(card)
    names = " = ".join([facts["name"], *facts["short_names"]])
    lines = [
        f"{names}: {facts['parameters']:,} parameters{_size(facts['bytes'])}",
        f"  licence: {facts['licence']}",
        f"  source:  {facts['source']}",
        f"  file:    {facts['file'] or facts['how_to_get']}",
    ]
    return "\n".join(lines + ([f"  remark:  {card.remark}"] if card.remark else []))


def fetch(card: ModelCard, *, accept_license: bool) -> Path:
    """The weights file of a model, downloaded into `weights_folder()` where it is not here.

    What has come of a download that broke off is kept, and the next call goes on from there. A
    finished one is checked against the SHA-256 that the hub gives.

    Raises:
        ModelError: The licence has not been accepted, the file cannot be downloaded, or there is
            none.
    """
    path = find_weights(card)
    if path is not None:
        return path
    if card.hub is None or card.weights_file is None:
        raise ModelError(f"{card.name}: {card.instead or _how_to_get(card)}")
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
    path = weights_folder() / card.weights_file
    try:
        partial, wanted = _download(card.hub, path)
        found = sha256_of(partial)
        if found == wanted:
            partial.replace(path)
            return path
        partial.unlink()
    # Networks and libraries for them fail in ways of their own, which no list keeps up with.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"{path} could not be downloaded ({reason[:200]}); run the command again to go on, "
            f"{_by_hand(card)}"
        ) from error
    raise ModelError(
        f"the download has SHA-256 {found} instead of {wanted} and was deleted; run the command "
        f"again, {_by_hand(card)}"
    )


def _download(file: HubFile, path: Path) -> tuple[Path, str]:
    """Download `file` beside `path`; returns where it lies and the SHA-256 that it should have.

    huggingface_hub's own downloads start anew in every process since its version 1.18, so only its
    transfer of one file is used, which takes an offset.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # noqa: PLC0415 - an extra.
    from huggingface_hub.file_download import http_get  # noqa: PLC0415
    from huggingface_hub.utils import build_hf_headers  # noqa: PLC0415

    url = hf_hub_url(file.repository, file.name)
    metadata = get_hf_file_metadata(url)
    # Of large files the hub gives the content's hash as the tag.
    wanted = metadata.etag or ""
    if not re.fullmatch("[0-9a-f]{64}", wanted):
        raise ValueError("the hub gives no SHA-256 of it")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file that has changed on the hub is another download.
    partial = path.with_name(f"{path.name}.{wanted[:12]}.part")
    with partial.open("ab") as stream:
        http_get(
            url,
            stream,
            resume_size=stream.tell(),
            headers=build_hf_headers(),
            expected_size=metadata.size,
            displayed_filename=path.name,
        )
    return partial, wanted


def _find_in_hub_cache(file: HubFile) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - an extra.
    except ImportError:
        return None
    path = try_to_load_from_cache(file.repository, file.name)
    # A file that is known not to exist is answered by an object of the library's own.
    return Path(path) if isinstance(path, str) else None


def _how_to_get(card: ModelCard) -> str:
    if card.hub is None:
        return f"not here; place {card.weights_file} in {weights_folder()}"
    return f"not here; run `{_get_command(card)}`, {_by_hand(card)}"


def _get_command(card: ModelCard) -> str:
    return f"dynapoint models get {card.name}{'' if card.free else ' --accept-license'}"


def _by_hand(card: ModelCard) -> str:
    assert card.hub is not None and card.weights_file is not None
    return (
        f"or place {card.hub.name} of huggingface.co/{card.hub.repository} at "
        f"{weights_folder() / card.weights_file}"
    )


def _size(count: int | None) -> str:
    if count is None:
        return ""
    return f", {count / 1e9:.2f} GB" if count >= 1e9 else f", {count / 1e6:.1f} MB"
