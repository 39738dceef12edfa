"""From a task, its truth and a stored prediction to numbers, one module for each kind of table."""
