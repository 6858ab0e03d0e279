"""The bytes of task messages: how they are published, and what their JSON means."""
