"""Reading videos, folders and arrays into frames."""
