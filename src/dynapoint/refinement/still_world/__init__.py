"""Motion where a network knows a still world only: from paths of pixels and both frames' maps."""
