"""A scene as a folder on disk (docs/formats.md): manifest, arrays and frames, written and read."""
