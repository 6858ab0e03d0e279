"""What operators see and do: workers, the audit log, gauges, and where a message would go."""
