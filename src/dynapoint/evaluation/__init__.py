"""Scoring predictions against exact truth, motion apart from geometry."""
