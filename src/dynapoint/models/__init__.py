"""Networks that answer `points[frame i, time t]`."""
