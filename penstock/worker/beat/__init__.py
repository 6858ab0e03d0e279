"""Periodic tasks: schedules in Redis, and the beat that runs them."""
