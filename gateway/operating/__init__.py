"""What operators see: gauges, and where a message would go."""
