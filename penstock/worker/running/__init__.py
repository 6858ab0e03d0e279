"""What happens around one execution of a task."""
