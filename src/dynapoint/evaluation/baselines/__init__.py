"""Methods without a network, which answer the same tasks as networks do."""
