"""Many clips: lists of them, an index of their scenes, and workers of Ray."""
