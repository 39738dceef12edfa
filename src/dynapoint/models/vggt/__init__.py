"""VGGT and what grew from it: V-DPM and DePT3R."""
