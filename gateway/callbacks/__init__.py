"""Completion callbacks: the end of a task POSTed to whoever asked for it."""
