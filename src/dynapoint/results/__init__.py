"""Reconstructions: what a user holds, stores and looks at."""
