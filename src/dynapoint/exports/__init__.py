"""Reconstructions handed on: one module for each format that other programs read."""
