"""Clips longer than a network sees at once: predicted window by window, then made one scene."""
