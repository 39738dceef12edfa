"""Public data sets, read from the layouts in which they are distributed."""
