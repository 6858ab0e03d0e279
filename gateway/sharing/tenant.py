"""Whose request is being handled: read wherever something is shared among tenants."""

from contextvars import ContextVar

TENANT: ContextVar[str] = ContextVar("tenant", default="")
"""Whose request is being handled, once it was authorised; empty for the gateway's own work."""
