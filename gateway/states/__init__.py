"""What Redis says of tasks: their records, read and shown."""
