"""Cameras, lens and still depth made to agree with what the pictures themselves say."""
