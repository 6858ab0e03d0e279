"""What comes in: streams of Redis, records of tasks, Celery's events; each becomes facts."""
