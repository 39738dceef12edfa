"""The small networks that the package trains and ships."""
