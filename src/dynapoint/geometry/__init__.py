"""Cameras, rigid motions and similarities: small exact formulas that every part may use."""
