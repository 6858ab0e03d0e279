"""What gateways ask: one file per noun, each a small GET or POST that answers JSON."""
