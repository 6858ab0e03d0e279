"""The headers of messages that are ours, and which names a client may not use.

Celery's own are in `penstock.wire.reserved_names`. No client can set ours: the gateway refuses
names that begin with `x-`.
"""

from penstock.wire.reserved_names import RESERVED_NAMES

TENANT_HEADER = "x-penstock-tenant"
"""Whose the task is: on what the gateway publishes, and on what the workers' tasks start."""
CHECKED_HEADER = "x-penstock-checked"
"""On the message of a batch: the gateway has checked collection and documents."""
JSON_HEADER = "x-penstock-json"
"""What the JSON of the body means, see `penstock.wire.json_meaning`."""
COPY_HEADER = "x-penstock-copy"
"""A nonce: of several messages with one task id, the first that starts is the only one to start."""
GATE_HEADER = "x-penstock-gate"
"""Exchange and routing key of a delayed message to a queue of an app: where the gateway publishes
it when its delay is over."""
RETRIED_HEADER = "x-penstock-retried-from"
"""The id of the task that was published again as this one."""
CALLBACK_HEADER = "x-penstock-callback"
"""The URL to which the end of the task is posted."""
REPLAY_HEADER = "x-penstock-replay"
"""How often the dead letter was published again; a worker may start it though it has ended."""
LINEAGE_HEADER = "x-penstock-lineage"
"""The deaths of a dead letter before that, the latest first: `<time> <reason> <queue>`."""
UNKEPT_HEADER = "x-penstock-unkept"
"""Whether history must not keep what the task was asked with."""
REASON_HEADER = "x-penstock-reason"
"""On a dead letter that one of us published, and not RabbitMQ: why, a kebab-case word."""
ERROR_TYPE_HEADER = "x-penstock-error-type"
ERROR_HEADER = "x-penstock-error"
TRACEBACK_HEADER = "x-penstock-traceback"
"""With the reason, of the exception."""
BROKER_PREFIXES = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count")
"""How the headers begin that RabbitMQ writes itself; a message that is published again has none."""
REQUEST_HEADER = "x-penstock-request"
"""The id of the HTTP request that the task comes from, as the gateway's log has it."""
MAX_REQUEST_ID = 128
"""Characters."""
TRACEPARENT, TRACESTATE, BAGGAGE = "traceparent", "tracestate", "baggage"
"""W3C Trace Context and Baggage, as OpenTelemetry's instrumentation of Celery has them, too."""
OTHERS = frozenset(("cc", "bcc", TRACEPARENT, TRACESTATE, BAGGAGE))
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
