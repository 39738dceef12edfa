"""Depth Anything 3 (arXiv 2511.10647): cameras, depth and rays of a still world."""
