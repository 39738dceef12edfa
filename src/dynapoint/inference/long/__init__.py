"""Clips longer than a network sees at once: predicted window by window, then made one scene."""

STAGES = (
    *("read", "load model", "lens", "windows", "wide windows", "windows again"),
    *("loops", "join", "assemble"),
)
"""The stages from a source to an answer."""
