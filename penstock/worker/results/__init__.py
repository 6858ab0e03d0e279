"""The result backend: states in Redis, canvases, joins."""
