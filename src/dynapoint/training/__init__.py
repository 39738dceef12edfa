"""Training from nothing on what the data engine makes."""
