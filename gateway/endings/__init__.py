"""What follows the end of a task: callbacks, revocation, outcomes that the broker reports."""
