"""Which header names of a task message belong to the protocol, and which are the client's own."""

from penstock.wire.reserved_names import RESERVED_NAMES

TENANT_HEADER = "x-penstock-tenant"
"""Whose the task is. The gateway puts it on what it publishes, and workers on what its tasks start;
a client cannot set it, since names that begin with `x-` are refused."""
COPY_HEADER = "x-penstock-copy"
"""Names a message where its id may be published more than once; a worker starts one of them."""
OTHERS = frozenset(("cc", "bcc", "traceparent", "tracestate"))
"""CC and BCC route a message to more queues (RabbitMQ, "Sender-selected Distribution"); the rest is
the trace of the request."""


def is_reserved(name: str) -> bool:
    """Return whether a client may not name a header so.

    Args:
        name: of a header. Case does not count, nor `-` in place of `_`: whatever a library makes
            an attribute of would look alike to the one who reads it.
    """
    plain = name.lower().replace("-", "_")
    return (
        plain.startswith("_") or name[:2] in {"x-", "X-"}
        or plain in RESERVED_NAMES or plain in OTHERS
    )  # fmt: skip
