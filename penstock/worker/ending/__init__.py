"""How executions end, and what is written of it."""
