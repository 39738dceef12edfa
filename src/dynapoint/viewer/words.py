"""Names of files and scenes as the page may show them."""

import html
import re


def plain(text: str) -> str:
    """Text as itself in viser's Markdown, which would run what looks like HTML in it.

    A scene or an upload may come from anywhere, and its name with it.
    """
    return re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", html.escape(text, quote=False))
