"""What operators see of a gateway process: log lines and metrics."""
