"""The data engine: scenes, a z-buffer and exact truth."""
